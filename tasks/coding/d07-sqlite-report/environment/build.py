"""Instances of d07: a dump of a shop's database; what counts as revenue stands in the comments of its schema."""

import argparse
import json
import pathlib
import random

import datetime

SCHEMA = """-- Dump of the shop's database. Load it with sqlite3 (python3 -m sqlite3 or the module).
-- Amounts are whole cents. All times are UTC; the books are kept in local time, which is UTC{sign}{hours} the whole year.

CREATE TABLE customers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  city TEXT
);

CREATE TABLE products (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  weight_g INTEGER
);

-- A sale. deleted_at is set when somebody removed a sale that never was one: such rows are kept for the auditors and count
-- nowhere. A sale with is_test = 1 came from the shop's own staff and is a sale like any other.
CREATE TABLE sales (
  id INTEGER PRIMARY KEY,
  customer_id INTEGER REFERENCES customers(id),
  product_id INTEGER REFERENCES products(id),
  sold_at TEXT NOT NULL,
  cents INTEGER NOT NULL,
  is_test INTEGER NOT NULL DEFAULT 0,
  deleted_at TEXT
);

-- Money given back. A refund lowers the revenue of the month in which it was paid, not of the month of its sale.
-- A refund of a deleted sale was never paid.
CREATE TABLE refunds (
  id INTEGER PRIMARY KEY,
  sale_id INTEGER REFERENCES sales(id),
  paid_at TEXT NOT NULL,
  cents INTEGER NOT NULL
);

"""


def build(seed):
    rng = random.Random(f"d07:{seed}")
    hours = rng.choice([-8, -5, 3, 5, 8, 9])
    year, first = rng.randrange(2019, 2026), rng.randrange(1, 9)
    zone = datetime.timedelta(hours=hours)
    utc = datetime.timezone.utc
    begin = datetime.datetime(year, first, 1, tzinfo=utc)
    rows = [SCHEMA.format(sign="+" if hours > 0 else "-", hours=abs(hours))]
    rows += [f"INSERT INTO customers VALUES ({i}, 'customer {i}', '{rng.choice(['Bonn', 'Lyon', 'Graz', 'Turku'])}');" for i in range(1, 9)]
    rows += [f"INSERT INTO products VALUES ({i}, 'product {i}', {rng.randrange(50, 900)});" for i in range(1, 6)]
    revenue, sales = {}, []

    def month(moment):
        return (moment + zone).strftime("%Y-%m")

    def book(moment, cents):
        revenue[month(moment)] = revenue.get(month(moment), 0) + cents

    moments = [begin + datetime.timedelta(minutes=rng.randrange(24 * 60 * 20, 24 * 60 * 100)) for _ in range(110)]
    for k in range(1, 4):
        edge = datetime.datetime(year, first + k, 1, tzinfo=utc) - zone
        moments += [edge + datetime.timedelta(minutes=m) for m in (-90, -30, 20, 75)]
        away = datetime.datetime(year, first + k, 1, tzinfo=utc)
        moments += [away + datetime.timedelta(minutes=m) for m in (-70, 40)]
    for number, moment in enumerate(sorted(moments), start=1):
        cents, test, deleted = rng.randrange(150, 20000), int(rng.random() < 0.1), rng.random() < 0.12
        gone = f"'{(moment + datetime.timedelta(hours=5)).strftime('%Y-%m-%d %H:%M:%S')}'" if deleted else "NULL"
        rows.append(f"INSERT INTO sales VALUES ({number}, {rng.randrange(1, 9)}, {rng.randrange(1, 6)}, "
                    f"'{moment.strftime('%Y-%m-%d %H:%M:%S')}', {cents}, {test}, {gone});")
        sales.append((number, moment, cents, deleted))
        if not deleted:
            book(moment, cents)
    count = 0
    for number, moment, cents, deleted in sales:
        if rng.random() < 0.2:
            count += 1
            paid = moment + datetime.timedelta(days=rng.randrange(10, 35))
            back = rng.randrange(50, cents + 1)
            rows.append(f"INSERT INTO refunds VALUES ({count}, {number}, '{paid.strftime('%Y-%m-%d %H:%M:%S')}', {back});")
            if not deleted:
                book(paid, -back)
    return {"shop.sql": "\n".join(rows) + "\n"}, {"expected.json": json.dumps(dict(sorted(revenue.items()))) + "\n"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for folder, made in zip(("files", "instance"), build(arguments.seed)):
        for name, text in made.items():
            target = arguments.out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


if __name__ == "__main__":
    main()
