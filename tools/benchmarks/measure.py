"""Interleaved measurements of workloads, each in a process of its own, beside a calibration of the machine."""

import dataclasses
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from wss.runtime.memory import peak_memory_with_children

MATMUL_SIDE = 1536


@dataclasses.dataclass(frozen=True)
class Workload:
    """Something to time.

    Attributes:
        run: One repeat; returns when its work is done. The first call warms up.
        images: Images that one repeat works on; 0 where images/s says nothing.
        flops: Operations of one repeat, as `count_flops` counts them; None where they say nothing.
        facts: Further numbers for table and JSON, by name.
    """

    run: Callable[[], object]
    images: int = 0
    flops: float | None = None
    facts: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Case:
    """A workload to be built in a process of its own.

    Attributes:
        name: Name of its row.
        build: A picklable function; called there with `options`, before TensorFlow was imported.
        options: Picklable keyword arguments of `build`.
        cores: Number of processor cores that the process may use; None for all.
    """

    name: str
    build: Callable[..., Workload]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    cores: int | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one case.

    Attributes:
        name: Name of the case.
        seconds: Median of the repeats.
        fastest: Seconds of the fastest repeat.
        slowest: Seconds of the slowest repeat.
        images_per_second: Images a second at the median; None where they say nothing.
        gflops: 10^9 floating-point operations a second at the median; None if they are not counted.
        share_of_peak: `gflops` by the calibration.
        calibration: 10^9 operations a second of a float32 matrix product on all cores (or the GPU), in a process of its
            own that took its turns with the others; median.
        peak_mb: Largest resident memory of the process and of those it started, in 10^6 bytes.
        facts: Further numbers of the workload, by name.
    """

    name: str
    seconds: float
    fastest: float
    slowest: float
    images_per_second: float | None
    gflops: float | None
    share_of_peak: float | None
    calibration: float
    peak_mb: float
    facts: dict[str, float]


def measure(cases: Sequence[Case], repeats: int) -> list[Row]:
    """Measures cases in turns: every case once, then every case again, so that a slow minute of the machine hits all.

    Args:
        cases: One case or more.
        repeats: How often each runs, after one run to warm up.
    """
    calibration = Case("calibration", matmul)
    workers: list[_Worker] = []
    try:
        for case in (calibration, *cases):
            workers.append(_Worker(case))
        for _ in range(repeats):
            for worker in workers:
                worker.repeat()
        return [worker.row(workers[0].flops_per_second()) for worker in workers[1:]]
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The process of one case; it works only when asked."""

    def __init__(self, case: Case):
        self.case = case
        self._times: list[float] = []
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(case, there))
        self._process.start()
        there.close()
        self._images, self._flops, self._facts = self._receive()

    def repeat(self) -> None:
        self._pipe.send("run")
        self._times.append(self._receive())

    def flops_per_second(self) -> float:
        return (self._flops or 0.0) / statistics.median(self._times)

    def row(self, peak: float) -> Row:
        self._pipe.send("memory")
        peak_mb = self._receive()
        seconds = statistics.median(self._times)
        rate = self.flops_per_second() if self._flops is not None else None
        return Row(
            self.case.name,
            seconds,
            min(self._times),
            max(self._times),
            self._images / seconds if self._images else None,
            None if rate is None else rate / 1e9,
            None if rate is None else rate / peak,
            peak / 1e9,
            peak_mb,
            self._facts,
        )

    def close(self) -> None:
        self._pipe.close()  # ends the loop of `_serve`
        self._process.join()

    def _receive(self):
        try:
            return self._pipe.recv()
        except EOFError as error:
            raise RuntimeError(f"{self.case.name}: its process ended with an error, see above") from error


def warmed_up(case: Case) -> Workload:
    """Builds a case in this process, on its cores, and runs it once."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # all cases are loaded at a time
    if case.cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.cores])
    workload = case.build(**case.options)
    workload.run()
    return workload


def _serve(case: Case, pipe) -> None:
    workload = warmed_up(case)
    pipe.send((workload.images, workload.flops, workload.facts))
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        if request == "memory":
            pipe.send(peak_memory_with_children() / 1e6)
            continue
        start = time.perf_counter()
        workload.run()
        pipe.send(time.perf_counter() - start)


def matmul() -> Workload:
    """Builds a few float32 matrix products on this process' device."""
    import tensorflow as tf

    a = tf.random.stateless_normal([MATMUL_SIDE, MATMUL_SIDE], [0, 1])
    product = tf.function(lambda x: tf.reduce_sum(tf.matmul(x, x)))
    number = 5
    return Workload(lambda: [product(a) for _ in range(number)][-1].numpy(), flops=2.0 * number * MATMUL_SIDE**3)
