"""Runs jobs in this process and in others."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from wss.errors import UserError
from wss.progress import track

# Below this many images, starting processes that import TensorFlow takes longer than the work.
MIN_IMAGES_FOR_PROCESSES = 1500
SECONDS_BETWEEN_LOOKS = 0.1
MAX_TICKS_AT_ONCE = 10_000
WORKER_KILLED = (
    "a worker process was killed, perhaps because memory ran out; run the same command again with fewer --workers, "
    "finished files are kept"
)

Tick = Callable[[int], None]
Job = Callable[[Any, Tick], Any]


class ConversionStoppedError(UserError):
    """A stop whose finished work is worth keeping: the same command can go on."""


def run_jobs(function: Job, jobs: Sequence, *, workers: int, what: str, total: int, unit: str = "image") -> list:
    """Calls `function(job, tick)` for all jobs and returns their results in order.

    Args:
        function: Function of a module, so that other processes find it; calls `tick(n)` after `n` units of work.
        jobs: Jobs that pickle.
        workers: Number of processes, this one included; 0 for one per core if `total` is large, else 1.
        what: A few words for the progress line.
        total: Number of units.
        unit: Singular name of the unit.

    Raises:
        UserError: The first job that raises one did, or a process was killed (`ConversionStoppedError`). The other jobs
            are stopped.
    """
    if not workers:
        workers = (os.cpu_count() or 1) if total >= MIN_IMAGES_FOR_PROCESSES else 1
    workers = min(workers, len(jobs))
    run = _Run(function, jobs)
    units = run.units(workers) if workers > 1 else run.units_here()
    with contextlib.closing(units):
        for _ in track(units, what, total, unit=unit):
            pass
    return [run.results[number] for number in range(len(jobs))]


def hide_accelerators() -> None:
    """Hides GPUs from this process: its jobs need none, and must not hold their memory."""
    import tensorflow as tf  # here, so that --help of the converters need not wait for it

    with contextlib.suppress(RuntimeError):  # TensorFlow runs already, so it is the caller's
        tf.config.set_visible_devices([], "GPU")


class _Run:
    """Jobs of which this process takes the last one that is left, and the other processes the first."""

    def __init__(self, function: Job, jobs: Sequence):
        self.function = function
        self.left = deque(enumerate(jobs))
        self.results: dict[int, Any] = {}

    def units_here(self) -> Generator[None, None, None]:
        """Does all jobs in this process and yields once for each unit of work, when its job is done."""
        while self.left:
            done: list[int] = []
            number, job = self.left.popleft()
            self.results[number] = self.function(job, done.append)
            yield from [None] * sum(done)

    def units(self, workers: int) -> Generator[None, None, None]:
        """Does all jobs in several processes and yields once for each unit of work."""
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork.
        ticks, stop = context.SimpleQueue(), context.Event()
        with (
            ProcessPoolExecutor(workers - 1, context, _start_worker, (ticks, stop)) as executor,
            ThreadPoolExecutor(1) as here,
        ):
            running: dict[Future, int | None] = {}
            try:
                with without_interrupts():
                    self._submit(executor, running, workers - 1)
                running[here.submit(self._work_here, _tick_of(ticks, stop))] = None
                while running:
                    for future in wait(running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED).done:
                        number, result = running.pop(future), future.result()
                        if number is not None:
                            self.results[number] = result
                            self._submit(executor, running, 1)
                    yield from _taken(ticks)
            except BrokenProcessPool as error:
                raise ConversionStoppedError(WORKER_KILLED) from error
            finally:
                stop.set()
                self.left.clear()
                while wait(running, SECONDS_BETWEEN_LOOKS).not_done:
                    list(_taken(ticks))  # a full pipe would block those who write to it

    def _submit(self, executor: ProcessPoolExecutor, running: dict[Future, int | None], count: int) -> None:
        for _ in range(min(count, len(self.left))):
            with contextlib.suppress(IndexError):  # the thread below has just taken the last one
                number, job = self.left.popleft()
                running[executor.submit(_call, self.function, job)] = number

    def _work_here(self, tick: Tick) -> None:
        while self.left:
            with contextlib.suppress(IndexError):
                number, job = self.left.pop()
                self.results[number] = self.function(job, tick)


def _taken(ticks) -> Iterator[None]:
    for _ in range(MAX_TICKS_AT_ONCE):
        if ticks.empty():
            return
        yield from [None] * ticks.get()


def _tick_of(ticks, stop) -> Tick:
    def tick(count: int) -> None:
        if stop.is_set():
            raise InterruptedError("stopped")
        ticks.put(count)

    return tick


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile ignore Ctrl-C: it is for their parent, which stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


# Of a worker process.
_ticks: Any = None
_stop: Any = None


def _start_worker(ticks, stop) -> None:
    global _ticks, _stop
    _ticks, _stop = ticks, stop
    hide_accelerators()
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _call(function: Job, job):
    return function(job, _tick_of(_ticks, _stop))
