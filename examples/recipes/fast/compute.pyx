"""The computation that has to be fast."""


def fast_compute(long limit):
    cdef long total = 0
    cdef long number
    for number in range(limit):
        total += number
    return total
