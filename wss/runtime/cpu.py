"""Settings of the process that trains: threads and memory of the host."""

import ctypes
import os
import sys
from collections.abc import Callable

import gin
import tensorflow as tf


def set_cpu_threads(intra_op: int = 0) -> None:
    """Sets TensorFlow's intra-op threads on a machine without GPU or TPU; has to come before anything runs.

    A method whose passes do not wait for each other (PseudoSeg: labelled, weak, strong) keeps the cores busy by running
    them side by side. Operations that are split over the same cores as well then only get in each other's way. On two
    cores one thread each is 1.3 times as fast as TensorFlow's default of two.

    Args:
        intra_op: Threads of one operation; 0 shares the cores among the passes of the method that gin configures.
    """
    if tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    tf.config.threading.set_intra_op_parallelism_threads(intra_op or max(1, cores // _independent_passes()))


def _independent_passes() -> int:
    try:
        method = gin.query_parameter("train.method")
    except ValueError:  # not bound; `train` will say so
        return 1
    return getattr(method.configurable.wrapped, "independent_passes", 1)


def keep_freed_memory() -> None:
    """Lets the C library keep freed memory instead of giving it back to the system, where that library is glibc.

    The views of each image are a few megabytes that are freed soon after. To ask the system for fresh pages each time takes
    the input pipeline a fifth of its time.
    """
    trim_threshold, mmap_threshold = -1, -3  # parameters of mallopt, <malloc.h>
    if mallopt := _of_glibc("mallopt"):
        mallopt(mmap_threshold, 32 * 2**20)
        mallopt(trim_threshold, 2**31 - 1)


def return_freed_memory() -> None:
    """Gives freed memory back to the system, where the C library is glibc: what a graph took that is optimized by now."""
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library, None if it is not glibc's."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
