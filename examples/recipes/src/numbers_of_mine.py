"""What the tests test."""


def double(number):
    return 2 * number
