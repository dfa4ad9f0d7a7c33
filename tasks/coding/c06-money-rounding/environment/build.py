"""Instances of c06: invoice totals in binary floats, and the rounding rule in another document."""

import argparse
import json
import pathlib
import random

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")

README = """# Invoices

invoice.py computes what we print on an invoice. `total(lines, tax)` takes a list of [quantity, unit price] pairs and a tax
rate in percent, all as decimal strings, and returns the amount due as a string with two decimals.

How amounts are rounded is laid down by accounting: docs/ACCOUNTING.md.
"""

RULES = """# Accounting rules

## Numbering

Invoices are numbered per {period}. A gap is explained in the journal. Numbers are never used twice, not even when an invoice
is cancelled; the cancelling document gets a number of its own and names the first.

## Archive

Copies are kept for {years} years. Corrections are separate documents, and the first document stays as it was printed.
Scans are stored beside the data, never instead of it. Access is logged, and the log is looked through every {period}.

## Reminders

The first reminder goes out after {days} days, the second after as many again. Nobody is reminded of less than five.

## Currency

One invoice has one currency. A payment in another one is converted on the day on which it arrives.

## Rounding

Amounts are exact decimals; binary fractions are not used. {scope}
{mode}
"""
SCOPE = {"line": "Each line is rounded to cents on its own, then the sum is taken; the tax on the sum is rounded again.",
         "total": "Nothing is rounded before the end: lines and tax are summed exactly, and the amount due is rounded once."}
MODE = {"up": "A half cent is rounded away from zero (commercial rounding).",
        "even": "A half cent is rounded to the even cent (bankers' rounding)."}

MODULE = """# What an invoice comes to; see README.md.


def total(lines, tax):
    amount = sum(float(quantity) * float(price) for quantity, price in lines)
    return "%.2f" % (amount * (1 + float(tax) / 100))
"""

TESTS = """# The tests so far: python3 test_invoice.py

from invoice import total

assert total([["1", "10.00"]], "20") == "12.00"
assert total([["2", "3.50"], ["1", "1.00"]], "0") == "8.00"
print("ok")
"""


def reference(lines, tax, scope, mode):
    rounding = ROUND_HALF_UP if mode == "up" else ROUND_HALF_EVEN

    def cents(value):
        return value.quantize(CENT, rounding=rounding)

    amounts = [Decimal(q) * Decimal(p) for q, p in lines]
    if scope == "line":
        base = sum((cents(a) for a in amounts), Decimal(0))
        return str(base + cents(base * Decimal(tax) / 100))
    return str(cents(sum(amounts, Decimal(0)) * (1 + Decimal(tax) / 100)))


def build(seed):
    rng = random.Random(f"c06:{seed}")
    scope, mode = rng.choice(["line", "total"]), rng.choice(["up", "even"])
    other_scope, other_mode = {"line": "total", "total": "line"}[scope], {"up": "even", "even": "up"}[mode]

    def draw():
        lines = [[str(rng.randrange(1, 9)) + rng.choice(["", ".5", ".25"]), f"{rng.randrange(1, 60)}.{rng.randrange(100):02d}"]
                 for _ in range(rng.randrange(2, 6))]
        return lines, rng.choice(["0", "5", "7", "20", "8.5"])

    cases = {"plain": [[[["2", "4.00"]], "20"]], "exact-decimals": [], "scope": [], "half-cents": []}
    while len(cases["scope"]) < 6 or len(cases["half-cents"]) < 6 or len(cases["exact-decimals"]) < 4:
        lines, tax = draw()
        right = reference(lines, tax, scope, mode)
        floats = "%.2f" % (sum(float(q) * float(p) for q, p in lines) * (1 + float(tax) / 100))
        if reference(lines, tax, other_scope, mode) != right and reference(lines, tax, scope, other_mode) == right:
            if len(cases["scope"]) < 6:
                cases["scope"].append([lines, tax])
        elif reference(lines, tax, scope, other_mode) != right:
            if len(cases["half-cents"]) < 6:
                cases["half-cents"].append([lines, tax])
        elif floats != right and len(cases["exact-decimals"]) < 4 and rng.random() < 0.5:
            cases["exact-decimals"].append([lines, tax])
        elif len(cases["exact-decimals"]) < 4 and rng.random() < 0.01:
            cases["exact-decimals"].append([lines, tax])
    expected = {name: [[*case, reference(*case, scope, mode)] for case in found] for name, found in cases.items()}
    rules = RULES.format(scope=SCOPE[scope], mode=MODE[mode], period=rng.choice(["year", "quarter", "month"]),
                         years=rng.randrange(6, 12), days=rng.randrange(10, 31))
    files = {"invoice.py": MODULE, "test_invoice.py": TESTS, "README.md": README, "docs/ACCOUNTING.md": rules}
    return files, {"expected.json": json.dumps(expected) + "\n"}


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
