"""A pool of processes for single calls beside the work of this one, such as NumPy beside a network."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeAlias

from wss.jobs.processes import WORKER_KILLED, ConversionStoppedError, end_with_parent, without_interrupts

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Submit: TypeAlias = Callable[..., Future]


@contextmanager
def worker_pool(workers: int) -> Iterator[Submit]:
    """Yields `submit(function, *arguments)`, which returns a `Future`.

    Args:
        workers: Number of processes; 0 calls in this one at once.

    Raises:
        ConversionStoppedError: A process was killed.
    """
    if not workers:
        yield _call_here
        return
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork.
    executor = ProcessPoolExecutor(workers, context, _start)
    try:
        with without_interrupts(), _one_thread():  # processes start with the first calls
            concurrent.futures.wait([executor.submit(int) for _ in range(workers)])
        yield executor.submit
    except BrokenProcessPool as error:
        raise ConversionStoppedError(WORKER_KILLED) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _call_here(function: Callable, *arguments: Any) -> Future:
    future: Future = Future()
    future.set_result(function(*arguments))
    return future


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets processes that start meanwhile multiply matrices in one thread each: there is one for each core."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the parent, which stops its processes
    threading.Thread(target=end_with_parent, daemon=True).start()
