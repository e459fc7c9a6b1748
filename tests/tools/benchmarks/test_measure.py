"""The harness on workloads whose time is known, the training step in small, and the trace of it."""

import time
from pathlib import Path

import pytest
from benchmarks import step
from benchmarks.measure import Case, Workload, measure
from benchmarks.trace import trace
from scripts import load_module, separate_flags

SMALL = {
    "crop": 33,
    "batch": 1,
    "num_classes": 3,
    "backbone": "mobilenet_v2",
    "parameters": ["build_model.depth_multiplier = 0.25"],
}


def sleep(seconds: float) -> Workload:
    return Workload(lambda: time.sleep(seconds), images=4, facts={"slept": seconds})


def fail() -> Workload:
    raise ValueError("a workload that cannot be built")


@pytest.mark.slow
def test_rows_have_medians_rates_and_facts():
    short, long = measure([Case("short", sleep, {"seconds": 0.05}), Case("long", sleep, {"seconds": 0.2}, 1)], 3)
    assert 0.05 <= short.fastest <= short.seconds <= short.slowest and long.seconds >= 0.2
    assert short.images_per_second == pytest.approx(4 / short.seconds)
    assert (short.gflops, short.share_of_peak) == (None, None) and short.calibration > 0
    assert long.facts == {"slept": 0.2} and long.peak_mb > 1


@pytest.mark.slow
def test_a_case_that_fails_is_named():
    with pytest.raises(RuntimeError, match="broken"):
        measure([Case("broken", fail)], 1)


@pytest.mark.slow
def test_a_step_in_small_as_a_row_of_the_table():
    with separate_flags():
        benchmark = load_module(Path(__file__).parents[3] / "tools" / "benchmark.py")
    rows = measure([Case("step", step.build, SMALL)], 1)
    lines = benchmark.table(rows).splitlines()
    assert rows[0].gflops > 0 and rows[0].images_per_second == pytest.approx(2 * step.STEPS / rows[0].seconds)
    assert len(lines) == 3 and "GFLOP/s" in lines[0]
    assert lines[2].startswith("step ") and f"{rows[0].seconds:.3f}" in lines[2]


@pytest.mark.slow
def test_trace_finds_the_products(tmp_path):
    operations = trace(Case("step", step.build, SMALL), tmp_path)
    seconds = [row[2] for row in operations]
    assert len(operations) == 10 and seconds == sorted(seconds, reverse=True) and min(seconds) > 0
    assert any("MatMul" in kind for kind, _, _ in operations)
    assert all(number > 0 for _, number, _ in operations)
