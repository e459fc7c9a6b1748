"""Exponential moving average of a model's weights, batch-norm statistics included."""

import keras
import tensorflow as tf


class WeightAverage(tf.Module):
    """Shadows of all float variables of a model: s = decay s + (1 - decay) v, with decay min(decay, (1 + n) / (10 + n)).

    Each replica keeps its own shadow, so an update needs no communication (as `keras` optimizers' EMA does, which leaves
    out batch-norm statistics).

    Args:
        model: built.
        decay: 0 .. 1.
    """

    def __init__(self, model: keras.Model, decay: float):
        super().__init__()
        self.decay = decay
        self._model_variables = [variable for variable in model.variables if "float" in variable.dtype]
        self.shadows = [
            tf.Variable(
                variable.numpy(),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for variable in self._model_variables
        ]

    def update(self, step: tf.Tensor) -> None:
        """Moves the shadows towards the model, in a replica context. `step`: number of finished steps."""
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for shadow, variable in zip(self.shadows, self._model_variables, strict=True):
            shadow.assign(decay * shadow + (1.0 - decay) * tf.convert_to_tensor(variable))

    def copy_to(self, model: keras.Model) -> None:
        """Writes the shadows into a model of the same structure, outside of any replica."""
        targets = [variable for variable in model.variables if "float" in variable.dtype]
        for shadow, target in zip(self.shadows, targets, strict=True):
            target.assign(shadow.read_value())
