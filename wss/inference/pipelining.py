"""Overlaps the work of device, processor and disk: results read one step behind, threads a few items ahead."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
THREADS = min(8, os.cpu_count() or 1)


def one_behind(results: Iterable[T]) -> Iterator[T]:
    """Yields each result once the next one was asked for: a device works on that while this one is read."""
    waiting: collections.deque[T] = collections.deque()
    for result in results:
        waiting.append(result)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def in_threads(
    function: Callable[[T], R], items: Iterable[T], *, threads: int = THREADS, ahead: int = 2 * THREADS
) -> Iterator[R]:
    """Yields `function(item)` for each item, in order, worked out by threads ahead of time.

    An error in `function` or in `items` ends the work and is raised here; what has begun is finished, so that a writer
    leaves whole files.

    Args:
        function: Function that several threads call at once.
        items: Items, which the caller's thread takes. At most `ahead` of them are taken before the result of the first is
            asked for, so that neither items nor results pile up.
        threads: Number of threads.
        ahead: Largest number of items in work or waiting.
    """
    waiting: collections.deque[Future[R]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                while waiting and (waiting[0].done() or len(waiting) >= ahead):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
