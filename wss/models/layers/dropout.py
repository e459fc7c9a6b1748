"""Draws without state: dropout is a function of (seed, step, replica, call), so a resumed run drops the same."""

import contextlib
import itertools
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from wss.ops.resizing import sides

# MirroredStrategy traces each replica in a thread of its own.
_seeds = threading.local()


@contextlib.contextmanager
def dropout_seed(seed: tf.Tensor) -> Iterator[None]:
    """Lets every `Dropout` called inside draw from its own branch of `seed` (int [2]), in the order of the calls."""
    _seeds.branches = (tf.random.fold_in(seed, number) for number in itertools.count())
    try:
        yield
    finally:
        del _seeds.branches


def next_seed() -> tf.Tensor:
    """Returns the next branch of the seed of `dropout_seed`, int [2]: for what a method draws by itself.

    Raises:
        RuntimeError: It is called outside of `dropout_seed`.
    """
    branches = getattr(_seeds, "branches", None)
    if branches is None:
        raise RuntimeError("next_seed: called outside of dropout_seed")
    return next(branches)


@keras.saving.register_keras_serializable(package="wss")
class Dropout(keras.layers.Layer):
    """A layer that in training drops elements with probability `rate` and scales the others by 1 / (1 - rate).

    Inside of `dropout_seed` the draw is stateless; elsewhere it comes from TensorFlow's global generator.

    Args:
        rate: Share of the elements that training drops, 0 to 1.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the input, in training with dropped elements."""
        if not training or self.rate == 0:
            return inputs
        branches = getattr(_seeds, "branches", None)
        if branches is None:
            return tf.nn.dropout(inputs, self.rate)
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, next(branches))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package="wss")
class SpatialDropout(Dropout):
    """A `Dropout` of whole channels of an image."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the input, in training with dropped channels."""
        if not training or self.rate == 0:
            return inputs
        batch, _, _, channels = sides(inputs)
        return inputs * super().call(tf.ones([batch, 1, 1, channels], inputs.dtype), training=True)
