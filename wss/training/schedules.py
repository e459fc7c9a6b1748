"""Schedules of the learning rate: DeepLab's, and one in steps."""

import abc
from collections.abc import Sequence

import keras
import tensorflow as tf


class SlowStartSchedule(keras.optimizers.schedules.LearningRateSchedule, abc.ABC):
    """A schedule after a constant rate for the first s steps; a subclass says what follows.

    All steps count from the beginning of the schedule, which the optimizer enters after `steps_before`.

    Args:
        slow_start_steps: Number s of steps with the constant rate.
        slow_start_rate: The constant rate.
        steps_before: Steps of the schedule that were taken before the optimizer's first.
        lag: Steps by which the rate is behind; 1 where a loop sets it after a step, for the next one.
    """

    def __init__(
        self, *, slow_start_steps: int = 0, slow_start_rate: float = 1e-4, steps_before: int = 0, lag: int = 0
    ):
        self.slow_start_steps = slow_start_steps
        self.slow_start_rate = slow_start_rate
        self.steps_before = steps_before
        self.lag = lag

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate of an optimizer's step, float32."""
        step = tf.maximum(tf.cast(step, tf.float32) + self.steps_before - self.lag, 0.0)
        return tf.where(step < self.slow_start_steps, self.slow_start_rate, self.rate(step))

    @abc.abstractmethod
    def rate(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate after the slow start, float32, for a step of the schedule, float32."""

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return dict(vars(self))


class PolySchedule(SlowStartSchedule):
    """The learning rate base (1 - (step - s) / (total - s))^power, after a constant one for the first s steps.

    Source: DeepLab's train_utils.get_model_learning_rate.

    Args:
        base_rate: Learning rate at the beginning.
        total_steps: Length of the schedule, after which the rate is 0.
        power: Exponent of the decay.
        **slow_start: Arguments of `SlowStartSchedule`.
    """

    def __init__(self, base_rate: float, total_steps: int, *, power: float = 0.9, **slow_start):
        super().__init__(**slow_start)
        self.base_rate = base_rate
        self.total_steps = total_steps
        self.power = power

    def rate(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate after the slow start, float32."""
        done = (step - self.slow_start_steps) / (self.total_steps - self.slow_start_steps)
        return self.base_rate * tf.clip_by_value(1.0 - done, 0.0, 1.0) ** self.power


class StepSchedule(SlowStartSchedule):
    """The learning rate base factor^m after m milestones, after a constant one for the first s steps.

    Args:
        base_rate: Learning rate at the beginning.
        milestones: Steps from which on the rate is multiplied once more.
        factor: What it is multiplied by.
        **slow_start: Arguments of `SlowStartSchedule`.
    """

    def __init__(self, base_rate: float, milestones: Sequence[int], *, factor: float = 0.1, **slow_start):
        super().__init__(**slow_start)
        self.base_rate = base_rate
        self.milestones = tuple(milestones)
        self.factor = factor

    def rate(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate after the slow start, float32."""
        passed = tf.reduce_sum(tf.cast(step >= tf.constant(self.milestones, tf.float32), tf.float32))
        return self.base_rate * self.factor**passed
