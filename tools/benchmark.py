"""Measures how fast this machine trains, reads, predicts and starts, and in how much memory.

python tools/benchmark.py --what=step,inference --output=benchmark.json
python tools/benchmark.py --what=step --only="129.*float32" --trace=traces
python tools/benchmark.py --what=step,inference --peer=torch      beside PyTorch, where it is installed

Every row is a process of its own; they run in turns, one at a time, and the table has the median of the repeats, the fastest
and the slowest. A float32 matrix product takes its turn too: its speed is the calibration, and a row's share of it says how
well the machine is used whatever else runs on it. Timings compare within a run, and between runs by that share.
"""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

from absl import flags
from benchmarks import cam, esl, export, inference, input, label, methods, peer_torch, startup, step
from benchmarks.measure import Row, measure
from benchmarks.trace import trace

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_writable, write_text

WHAT = {
    "step": step.cases,
    "methods": methods.cases,
    "esl": esl.cases,
    "input": input.cases,
    "inference": inference.cases,
    "export": export.cases,
    "cam": cam.cases,
    "label": label.cases,
    "startup": startup.cases,
    "import": startup.import_cases,
}

PEERS = {"torch": {"step": peer_torch.step_cases, "inference": peer_torch.inference_cases}}

FLAGS = flags.FLAGS
flags.DEFINE_list("what", ["step"], f"What to measure: some of {', '.join(WHAT)}.")
flags.DEFINE_string("only", "", "Only rows whose name this regular expression is found in.")
flags.DEFINE_enum("peer", None, list(PEERS), "Also measures the same passes in another framework, in turns with ours.")
flags.DEFINE_integer("repeats", 7, "How often each row runs.", lower_bound=1)
flags.DEFINE_string("output", None, "JSON file for the rows.")
flags.DEFINE_string("trace", None, "Instead of measuring, profile each row once into this folder and show its costs.")


def main(argv: list[str]) -> None:
    """Measures what the flags name, or traces it."""
    del argv
    if unknown := set(FLAGS.what) - set(WHAT):
        raise UserError(f"--what={unknown.pop()}: expected some of {', '.join(WHAT)}")
    made = [make for what in FLAGS.what for make in (WHAT[what], *_of_peer(what))]
    cases = [case for make in made for case in make() if re.search(FLAGS.only, case.name)]
    if not cases:
        raise UserError(f"--only={FLAGS.only}: no row of --what={','.join(FLAGS.what)} has this in its name")
    if FLAGS.output:
        check_writable(FLAGS.output, "give another file by --output")
    if FLAGS.trace:
        show_costs(cases, Path(FLAGS.trace))
        return
    rows = measure(cases, FLAGS.repeats)
    print(table(rows))
    if FLAGS.output:
        write_text(FLAGS.output, json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")


def _of_peer(what: str) -> list[Callable]:
    """Returns what makes the rows of the peer that stand beside ours."""
    if FLAGS.peer is None:
        return []
    if packages := peer_torch.missing():
        raise UserError(f"--peer={FLAGS.peer}: {' and '.join(packages)} not found; pip install {' '.join(packages)}")
    makes = PEERS[FLAGS.peer].get(what)
    if makes is None:
        raise UserError(f"--peer={FLAGS.peer} --what={what}: expected some of {', '.join(PEERS[FLAGS.peer])}")
    return [makes]


def show_costs(cases, folder: Path) -> None:
    """Traces each case and prints its most expensive operations."""
    for number, case in enumerate(cases):
        operations = trace(case, folder / str(number))
        print(f"\n{case.name}: {folder / str(number)}")
        for kind, count, seconds in operations:
            print(f"{seconds * 1e3:10.1f} ms  {count:6} x {kind}")


def table(rows: list[Row]) -> str:
    """Returns the rows as text."""
    width = max(len(row.name) for row in rows)
    number = lambda value, form: f"{'-' if value is None else format(value, form):>8}"
    lines = [
        f"calibration: {rows[0].calibration:.0f} GFLOP/s (float32 matrix product)",
        f"{'':{width}}  seconds  fastest  slowest  images/s  GFLOP/s     share    memory",
    ]
    for row in rows:
        columns = [f"{seconds:7.3f}" for seconds in (row.seconds, row.fastest, row.slowest)]
        columns += [number(row.images_per_second, ".1f"), number(row.gflops, ".1f"), number(row.share_of_peak, ".0%")]
        facts = ", ".join(f"{name} {value:g}" for name, value in row.facts.items())
        lines.append(f"{row.name:{width}}  {'  '.join(columns)}  {row.peak_mb:6.0f} MB  {facts}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
