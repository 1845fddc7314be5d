import sys

sys.path.insert(0, "/app/src")

from numbers_of_mine import double


def test_double():
    assert double(21) == 42
