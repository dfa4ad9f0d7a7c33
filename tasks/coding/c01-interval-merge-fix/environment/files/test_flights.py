# The tests so far: python3 test_flights.py

import flights

assert flights.merge([]) == []
assert flights.merge([(143, 183), (343, 381)]) == [(143, 183), (343, 381)]
assert flights.merge([(343, 381), (143, 353)]) == [(143, 381)]
print("ok")
