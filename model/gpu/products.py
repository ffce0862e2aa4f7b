"""The rate of matrix products on a GPU, the yardstick for throughput there, in each numeric format.

Runs in the detector's Python, in a process of its own beside it; on Python 3.7 and TensorFlow 1.15 too, without TF32.
Not yet run on a GPU.
"""
from __future__ import annotations

from functools import lru_cache
from time import perf_counter

import tensorflow as tf

from model.gpu import placement

SIDE = 4096  # rows and columns: large enough to keep every multiprocessor of a GPU busy
CHAIN = 8  # products that follow one another in a run, so that starting it does not count
LEAST = 4  # runs, however busy the GPU is


def rates(seconds: float, number_format: str = "fp32", device: str = "/device:GPU:0", side: int = SIDE) -> list:
    """The rate in FLOP/s of each run of products done in about `seconds`, at least four.

    A product of two n x n matrices counts 2 n^3 operations (LINPACK's convention). Raises RuntimeError where
    TensorFlow does not see the device or the GPU does not have the format.
    """
    fault = placement.tf32_fault() if number_format == "tf32" else ""
    if fault:
        raise RuntimeError(f"matrix products in TF32: {fault}")
    placement.use_tf32(number_format == "tf32")
    run = _products(tf.float16 if number_format == "fp16" else tf.float32, device, side)
    found, end = [], perf_counter() + seconds
    while len(found) < LEAST or perf_counter() < end:
        start = perf_counter()
        run()
        found.append(CHAIN * 2 * side**3 / (perf_counter() - start))
    return found


@lru_cache(maxsize=8)
def _products(dtype, device: str, side: int):
    """A function that runs the products and returns when the last one is done; it has run before."""
    graph = tf.Graph()
    with graph.as_default(), tf.device(device):
        # Products of such numbers keep their size, so that none becomes infinite or 0.
        scale = side**-0.5
        factor, result = (tf.compat.v1.Variable(tf.random.normal([side, side], stddev=scale, dtype=dtype, seed=seed))
                          for seed in (1, 2))
        for _ in range(CHAIN):
            result = tf.matmul(factor, result)
        last = tf.reduce_max(result)
        initialize = tf.compat.v1.global_variables_initializer()
    config = tf.compat.v1.ConfigProto()
    config.gpu_options.allow_growth = True  # the detector has the rest of the memory
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        session.run(initialize)
    except tf.errors.InvalidArgumentError as error:
        fault = placement.explained(f"matrix products cannot run on {device}", session)
        raise RuntimeError(fault) from error
    run = session.make_callable(last)
    run()  # the first run chooses algorithms and loads libraries
    return run
