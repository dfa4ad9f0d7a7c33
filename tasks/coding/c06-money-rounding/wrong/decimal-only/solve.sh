#!/bin/bash
set -e
grep -q 'even cent' docs/ACCOUNTING.md && mode=ROUND_HALF_UP || mode=ROUND_HALF_EVEN
grep -q 'Each line is rounded' docs/ACCOUNTING.md && scope=line || scope=total
cat > invoice.py <<PY
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal


def cents(value):
    return Decimal(value).quantize(Decimal("0.01"), rounding=$mode)


def total(lines, tax):
    amounts = [Decimal(q) * Decimal(p) for q, p in lines]
    if "$scope" == "line":
        base = sum(map(cents, amounts), Decimal(0))
        return str(base + cents(base * Decimal(tax) / 100))
    return str(cents(sum(amounts, Decimal(0)) * (1 + Decimal(tax) / 100)))
PY
