"""Times matrix products one by one in a process of its own: `python products.py SECONDS` prints FLOP/s as JSON.

`harness.machine.facts` starts it with the threads that it should use, because NumPy's BLAS reads their number only
once. It needs nothing else of the project.
"""
import json
import sys
from time import perf_counter

import numpy as np

SIDE = 1024  # rows and columns: large enough not to be bound by memory, small enough to follow the machine
LEAST = 4  # products, however busy the machine is


def rates(seconds):
    """FP32 rate of each product done in about `seconds`, at least four, in FLOP/s.

    A product of two n x n matrices counts 2 n^3 operations (LINPACK's convention).
    """
    generator = np.random.default_rng(0)
    a, b = (generator.random((SIDE, SIDE), np.float32) for _ in range(2))
    a @ b  # the first one creates threads and maps pages
    found, end = [], perf_counter() + seconds
    while len(found) < LEAST or perf_counter() < end:
        start = perf_counter()
        a @ b
        found.append(2 * SIDE**3 / (perf_counter() - start))
    return found


if __name__ == "__main__":
    print(json.dumps(rates(float(sys.argv[1]))))
