#!/bin/bash
set -e
grep -q 'Each line is rounded' docs/ACCOUNTING.md && line=True || line=False
grep -q 'even cent' docs/ACCOUNTING.md && even=True || even=False
cat > invoice.py <<PY
from fractions import Fraction


def cents(value):
    whole, rest = divmod(value * 100, 1)
    up = rest > Fraction(1, 2) or rest == Fraction(1, 2) and (not $even or whole % 2)
    return int(whole) + (1 if up else 0)


def total(lines, tax):
    amounts = [Fraction(q) * Fraction(p) for q, p in lines]
    if $line:
        base = sum(map(cents, amounts))
        due = base + cents(Fraction(base, 100) * Fraction(tax) / 100)
    else:
        due = cents(sum(amounts) * (1 + Fraction(tax) / 100))
    return "%d.%02d" % divmod(due, 100)
PY
