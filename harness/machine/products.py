"""Matrix products, timed one by one, in a process of its own: `python products.py SECONDS` prints FLOP/s as JSON.

It is started by `harness.machine.facts` with the threads that it is to use, which NumPy's BLAS reads only once, and
needs nothing else of the project.
"""
import json
import sys
from time import perf_counter

import numpy as np

SIDE = 1024  # rows and columns: large enough that memory does not decide, small enough to see the machine change
LEAST = 4  # products, however busy the machine is


def rates(seconds, side=SIDE):
    """FP32 rate of each product done in about `seconds`, at least four, in FLOP/s.

    A product of two n x n matrices counts 2 n^3 operations (LINPACK's convention).
    """
    generator = np.random.default_rng(0)
    a, b = (generator.random((side, side), np.float32) for _ in range(2))
    a @ b  # threads and pages are there from the second on
    found, end = [], perf_counter() + seconds
    while len(found) < LEAST or perf_counter() < end:
        start = perf_counter()
        a @ b
        found.append(2 * side**3 / (perf_counter() - start))
    return found


if __name__ == "__main__":
    print(json.dumps(rates(float(sys.argv[1]))))
