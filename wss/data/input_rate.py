"""Whether the input keeps up with the training step."""

import os
import time
from collections.abc import Iterable

NEARLY_ALL = 0.85  # of its rate; the rest is the spread of both measurements


def pipeline_rate(dataset: Iterable, seconds: float) -> float:
    """Measures the batches a second of an input while nothing else works.

    Args:
        dataset: A `tf.data.Dataset` of two batches or more; it is iterated over from its beginning.
        seconds: Time to measure, from the first batch on, before which buffers fill.
    """
    iterator = iter(dataset)
    next(iterator)
    start = time.perf_counter()
    number, elapsed = 0, 0.0
    for _ in iterator:
        number, elapsed = number + 1, time.perf_counter() - start
        if elapsed >= seconds:
            break
    return number / elapsed


def slow_input_line(batches_per_second: float, steps_per_second: float, replicas: int = 1) -> str | None:
    """Says in one line that the input holds training up, and what to set; None if it does not.

    It does if training takes almost all that the input gives when nothing else works.

    Args:
        batches_per_second: Rate of this host's input, see `pipeline_rate`.
        steps_per_second: Rate of the training.
        replicas: Number of replicas on this host; each takes a batch a step.
    """
    possible = batches_per_second / replicas
    if steps_per_second < NEARLY_ALL * possible:
        return None
    return (
        f"the input holds training up: {os.cpu_count()} cores prepare batches for {possible:.3g} steps/s and "
        f"{steps_per_second:.3g} are taken; give more cores, set Augmentation.jitter_strength = 0 or a smaller "
        "TrainingData.crop_size, or build records of smaller images"
    )
