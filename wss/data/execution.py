"""Runs the jobs of a conversion: in this process, in several, or as an Apache Beam pipeline."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from wss.errors import UserError
from wss.progress import track

# Below this many images, starting processes that import TensorFlow takes longer than the work.
MIN_IMAGES_FOR_PROCESSES = 1500


class ConversionStoppedError(UserError):
    """What was finished is worth keeping: the same command can go on."""


Job = Callable[[Any, Callable[[], None]], Any]


def run_jobs(function: Job, jobs: Sequence, workers: int, what: str, total: int, unit: str = "image") -> list:
    """Calls `function(job, tick)` for all jobs and returns their results in order.

    Args:
        function: of a module, so that other processes find it; calls `tick()` after each unit of work.
        jobs: what it is called with; they must pickle.
        workers: number of processes; 1 for none but this one, 0 for one per core if `total` is large.
        what: a few words for the progress line.
        total: number of units.
        unit: singular name of the unit.

    Raises:
        UserError: of the first job that raises one, or a process was killed (`ConversionStoppedError`). The other jobs
            are stopped.
    """
    if not workers:
        workers = (os.cpu_count() or 1) if total >= MIN_IMAGES_FOR_PROCESSES else 1
    workers = min(workers, len(jobs))
    if workers <= 1:
        return _run_here(function, jobs, what, total, unit)
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork.
    ticks, stop = context.SimpleQueue(), context.Event()
    with ProcessPoolExecutor(workers, context, _start_worker, (ticks, stop)) as executor:
        futures = [executor.submit(_call, function, job) for job in jobs]
        try:
            for _ in track(_ticks_of(futures, ticks), what, total, unit):
                pass
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise ConversionStoppedError(
                "a worker process was killed, perhaps because memory ran out; run the same command again with fewer "
                "--workers, finished files are kept"
            ) from error
        finally:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)


def beam_options(options: str) -> Any:
    """Returns the PipelineOptions of Apache Beam.

    Args:
        options: "name=value" or "name", separated by commas.

    Raises:
        UserError: Beam is not installed, or an option is unknown.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError("--beam_pipeline_options: Apache Beam is not installed; pip install 'wss[beam]'") from error
    flags = [f"--{option.strip()}" for option in options.split(",") if option.strip()]
    pipeline_options = PipelineOptions(flags)
    known = pipeline_options.get_all_options(retain_unknown_options=False)
    unknown = [flag for flag in flags if flag[2:].split("=")[0] not in known]
    if unknown:
        raise UserError(f"--beam_pipeline_options={options}: Apache Beam knows no option {', '.join(unknown)}")
    return pipeline_options


def run_beam(function: Job, jobs: Sequence, pipeline_options: Any) -> None:
    """Calls `function(job, tick)` for all jobs on Apache Beam; its results are dropped.

    Args:
        function: of a module that is installed on the workers.
        jobs: they must pickle.
        pipeline_options: see `beam_options`.
    """
    import apache_beam as beam

    logging.getLogger("apache_beam").setLevel(logging.WARNING)  # it tells of each message between its processes
    with beam.Pipeline(options=pipeline_options) as pipeline:
        (
            pipeline
            | "jobs" >> beam.Create(jobs)
            | "spread" >> beam.Reshuffle()
            | "run" >> beam.Map(_call_without_ticks, function)
        )


def _run_here(function: Job, jobs: Sequence, what: str, total: int, unit: str) -> list:
    results: list = []

    def units() -> Iterator[None]:
        """A generator cannot yield from within `function`, so each job reports its units at its end."""
        for job in jobs:
            done = 0

            def tick() -> None:
                nonlocal done
                done += 1

            results.append(function(job, tick))
            yield from [None] * done

    for _ in track(units(), what, total, unit):
        pass
    return results


def _ticks_of(futures: Sequence[Future], ticks) -> Iterator[None]:
    running = True
    while running:
        done, not_done = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
        running = bool(not_done)
        for future in done:
            future.result()
        while not ticks.empty():
            yield ticks.get()


_ticks: Any = None
_stop: Any = None


def _start_worker(ticks, stop) -> None:
    global _ticks, _stop
    _ticks, _stop = ticks, stop
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # converting needs no GPU, and must not hold its memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _call(function: Job, job):
    def tick() -> None:
        if _stop.is_set():
            raise InterruptedError("stopped")
        _ticks.put(None)

    return function(job, tick)


def _call_without_ticks(job, function: Job) -> None:
    function(job, lambda: None)
