"""Passes over several batches of images that have statistics in common, or not."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import tensorflow as tf

from wss.models.layers.normalization import batch_norm_updates

Result = TypeVar("Result")


def training_pass(run: Callable[[tf.Tensor], Result], parts: Sequence[tf.Tensor], *, join: bool) -> Result:
    """Returns what `run` makes of several batches of images, one after the other in each tensor.

    Args:
        run: Runs a network in training mode over [B, H, W, 3]; returns tensors [B, ...] (or None) in any structure.
        parts: The batches, [B_i, H, W, 3].
        join: Whether they are one batch with common statistics. Otherwise each has a pass, and the first alone moves the
            statistics of inference.
    """
    if join:
        return run(tf.concat(list(parts), 0))
    first, *others = parts
    results = [run(first)]
    with batch_norm_updates(False):
        results += [run(part) for part in others]
    return tf.nest.map_structure(lambda *of_part: None if of_part[0] is None else tf.concat(of_part, 0), *results)
