"""The exponential moving average of a network's weights: to evaluate and export, or as a teacher that predicts."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

Result = TypeVar("Result")


class ExponentialMovingAverage(tf.Module):
    """The averages of all float variables of a network, batch-norm statistics included.

    Each replica keeps an average of its own, so an update needs no communication. Keras optimizers' average leaves out
    the batch-norm statistics.

    Args:
        network: The network, built.
        decay: Share of the average that a step keeps, 0 to 1.
        warm_up: Whether the decay of step n is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.
    """

    def __init__(self, network: keras.Model, *, decay: float, warm_up: bool = True):
        super().__init__()
        self.decay, self.warm_up = decay, warm_up
        # In containers that tf.Module does not look into: the network is saved elsewhere.
        self._network = lambda: network
        followed = [variable for variable in network.variables if "float" in variable.dtype]
        self._followed = lambda: followed
        self.averages = [replica_variable(variable.numpy()) for variable in followed]

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the weights, in a replica context: a = d a + (1 - d) w.

        Args:
            step: Integer scalar, the number of finished steps.
        """
        decay = self.decay_at(tf.cast(step, tf.float32))
        for average, variable in self._moved():
            average.assign(decay * average + (1.0 - decay) * tf.convert_to_tensor(variable))

    def decay_at(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the share of the average that a step keeps; `step` is a float32 scalar, see `update`."""
        return tf.minimum(self.decay, (1.0 + step) / (10.0 + step)) if self.warm_up else tf.constant(self.decay)

    def run(self, function: Callable[[], Result]) -> Result:
        """Returns what a function computes with the averaged weights in the network, without gradient.

        Args:
            function: Runs the network and returns tensors (or None) in any structure. In inference mode it needs the memory
                of inference.
        """
        with self._scope():
            return tf.nest.map_structure(lambda value: None if value is None else tf.stop_gradient(value), function())

    def predict(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the network's logits [B, h, w, C], float32, with the averaged weights; see `run`.

        Args:
            images: [B, H, W, 3] in 0 .. 255.
        """
        return self.run(lambda: self._network()(images, training=False))

    def _scope(self) -> keras.StatelessScope:
        """Returns a context in which the network's weights are the averages."""
        averages = [tf.convert_to_tensor(average) for average in self.averages]
        return keras.StatelessScope(state_mapping=list(zip(self._followed(), averages, strict=True)))

    def _moved(self) -> list[tuple[tf.Variable, keras.Variable]]:
        """Returns the averages that `update` moves, each with its variable."""
        return list(zip(self.averages, self._followed(), strict=True))

    def copy_into_network(self) -> None:
        """Replaces the network's weights by the averages, outside of any replica."""
        for variable, average in zip(self._followed(), self.averages, strict=True):
            variable.assign(average.read_value())

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Puts the averages into the network for a while, outside of any replica."""
        own = [variable.numpy() for variable in self._followed()]
        self.copy_into_network()
        try:
            yield
        finally:
            for variable, value in zip(self._followed(), own, strict=True):
                variable.assign(value)


def replica_variable(initial: tf.Tensor | np.ndarray, name: str | None = None) -> tf.Variable:
    """Returns a variable of which each replica has a copy, so that writing it needs no communication.

    Read outside of a replica it is that of the first one. Where all must have the same, all write the same.
    """
    return tf.Variable(
        initial,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
