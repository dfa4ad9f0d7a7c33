# The tests so far: python3 test_invoice.py

from invoice import total

assert total([["1", "10.00"]], "20") == "12.00"
assert total([["2", "3.50"], ["1", "1.00"]], "0") == "8.00"
print("ok")
