"""A profile of one workload: the trace for TensorBoard or Perfetto, and where its time goes."""

import collections
import multiprocessing
from pathlib import Path

from benchmarks.measure import Case, warmed_up

TOP = 10


def trace(case: Case, folder: Path) -> list[tuple[str, int, float]]:
    """Runs a case twice in a process of its own, the second time under tf.profiler.

    Args:
        case: What to build and run.
        folder: Where the trace goes; `tensorboard --logdir` with the plug-in xprof shows it.

    Returns:
        (kind of operation, how many ran, seconds of all threads together) of the `TOP` most expensive kinds.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_trace, (case, folder))


def _trace(case: Case, folder: Path) -> list[tuple[str, int, float]]:
    workload = warmed_up(case)
    import tensorflow as tf

    tf.profiler.experimental.start(str(folder))
    workload.run()
    tf.profiler.experimental.stop()
    newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    return top_operations(newest)


def top_operations(path: Path) -> list[tuple[str, int, float]]:
    """Sums up a trace file by kind of operation; see `trace`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    seconds: collections.Counter[str] = collections.Counter()
    number: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            # An operation's event is called "its/name:Kind"; what else there is (executors, threads) contains operations.
            if ":" in name and not (name[name.rindex(":") + 1 :].startswith(" ") or "::" in name):
                kind = name.rsplit(":", 1)[1]
                seconds[kind] += event.duration_ps / 1e12
                number[kind] += 1
    return [(kind, number[kind], total) for kind, total in seconds.most_common(TOP)]
