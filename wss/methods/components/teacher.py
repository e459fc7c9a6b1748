"""The mean teacher (Tarvainen and Valpola, 2017): a student's average, which predicts what the student learns from."""

from collections.abc import Callable

import keras
import tensorflow as tf

from wss.methods.components.ema import ExponentialMovingAverage, replica_variable

STATISTICS = ("average", "refresh")
_STATISTIC_NAMES = ("moving_mean", "moving_variance")


class Teacher(ExponentialMovingAverage):
    """A network's average that begins as a copy of it at a given step.

    Args:
        network: The student, built.
        decay: Largest share of the average that a step keeps.
        warm_up: Whether step t after the start keeps at most 1 - 1 / (t + 1), so that the teacher is at first the mean
            of all students (U2PL).
        statistics: Where batch-norm statistics come from. "average" averages the student's, "refresh" has `refresh` move
            them by passes of the teacher itself, as in U2PL.

    Attributes:
        start: int64 variable, the step up to which the teacher copies the student.
    """

    def __init__(self, network: keras.Model, *, decay: float = 0.99, warm_up: bool = True, statistics: str = "average"):
        super().__init__(network, decay=decay, warm_up=warm_up)
        self.statistics = statistics
        self.start = replica_variable(tf.constant(0, tf.int64), "start")

    def decay_at(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the share of the average that a step keeps, 0 before the start."""
        steps = step - tf.cast(self.start, tf.float32)
        decay = tf.minimum(self.decay, 1.0 - 1.0 / tf.maximum(steps + 1.0, 1.0)) if self.warm_up else self.decay
        return tf.where(steps < 0, 0.0, decay)

    def has_started(self, step: tf.Tensor) -> tf.Tensor:
        """Returns whether the student learns from it in a step, a bool scalar."""
        return tf.cast(step, tf.int64) >= tf.convert_to_tensor(self.start)

    def refresh(self, function: Callable[[], object]) -> None:
        """Moves the teacher's own statistics by a training pass, which `function` runs; in a replica context.

        It does nothing unless `statistics` is "refresh".
        """
        if self.statistics != "refresh":
            return
        with self._scope() as scope:
            function()
        for average, variable in zip(self.averages, self._followed(), strict=True):
            if variable.name in _STATISTIC_NAMES:
                average.assign(scope.get_current_value(variable))

    def _moved(self) -> list[tuple[tf.Variable, keras.Variable]]:
        pairs = super()._moved()
        if self.statistics == "average":
            return pairs
        return [pair for pair in pairs if pair[1].name not in _STATISTIC_NAMES]
