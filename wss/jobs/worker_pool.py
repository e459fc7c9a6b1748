"""A pool of processes for single calls beside the work of this one, such as NumPy beside a network."""

import concurrent.futures
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeAlias

from wss.jobs.processes import ConversionStoppedError, end_with_parent, without_interrupts

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
        with without_interrupts():  # processes start with the first calls
            concurrent.futures.wait([executor.submit(int) for _ in range(workers)])
        yield executor.submit
    except BrokenProcessPool as error:
        raise ConversionStoppedError(
            "a worker process was killed, perhaps because memory ran out; run the same command again with fewer "
            "--workers, finished files are kept"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _call_here(function: Callable, *arguments: Any) -> Future:
    future: Future = Future()
    future.set_result(function(*arguments))
    return future


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the parent, which stops its processes
    threading.Thread(target=end_with_parent, daemon=True).start()
