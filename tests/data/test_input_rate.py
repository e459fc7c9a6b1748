"""The line on a slow input, and the rate it is about."""

import time

import pytest

from wss.data.input_rate import pipeline_rate, slow_input_line


def test_rate_counts_neither_the_first_batch_nor_what_came_before_it():
    def batches():
        time.sleep(0.3)
        yield 0
        for number in range(1, 6):
            time.sleep(0.05)
            yield number

    assert 12 < pipeline_rate(batches(), 10.0) <= 20  # five batches in a quarter of a second


def test_rate_stops_in_time():
    def endless():
        while True:
            yield time.sleep(0.01)

    start = time.perf_counter()
    pipeline_rate(endless(), 0.1)
    assert time.perf_counter() - start < 1


def test_an_input_that_is_taken_whole_is_one_line_that_says_what_to_set():
    line = slow_input_line(batches_per_second=3.0, steps_per_second=1.4, replicas=2)
    assert "prepare batches for 1.5 steps/s and 1.4 are taken" in line and "\n" not in line
    assert "Augmentation.jitter_strength = 0" in line and "TrainingData.crop_size" in line


@pytest.mark.parametrize(("batches", "steps", "replicas"), [(4.5, 3.0, 1), (9.0, 3.0, 2)])
def test_an_input_with_more_to_give_is_not_mentioned(batches, steps, replicas):
    assert slow_input_line(batches, steps, replicas) is None
