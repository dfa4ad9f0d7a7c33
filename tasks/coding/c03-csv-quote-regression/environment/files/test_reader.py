# The tests so far: python3 test_reader.py

from reader import parse

assert parse("a,b\n1,2\n") == [["a", "b"], ["1", "2"]]
assert parse("x,y") == [["x", "y"]]
print("ok")
