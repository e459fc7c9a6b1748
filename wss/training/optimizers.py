"""Optimizers and the learning-rate schedule of DeepLab."""

import gin
import keras
import tensorflow as tf

from wss.errors import UserError, did_you_mean


class PolySchedule(keras.optimizers.schedules.LearningRateSchedule):
    """base (1 - (step - s) / (total - s))^power after a constant `slow_start_rate` for the first s = `slow_start_steps`.

    Source: DeepLab's train_utils.get_model_learning_rate.
    """

    def __init__(
        self,
        base_rate: float,
        total_steps: int,
        power: float = 0.9,
        slow_start_steps: int = 0,
        slow_start_rate: float = 1e-4,
    ):
        self.base_rate = base_rate
        self.total_steps = total_steps
        self.power = power
        self.slow_start_steps = slow_start_steps
        self.slow_start_rate = slow_start_rate

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        done = (step - self.slow_start_steps) / (self.total_steps - self.slow_start_steps)
        rate = self.base_rate * tf.clip_by_value(1.0 - done, 0.0, 1.0) ** self.power
        return tf.where(step < self.slow_start_steps, self.slow_start_rate, rate)

    def get_config(self) -> dict:
        return dict(vars(self))


class Momentum(keras.optimizers.Optimizer):
    """Momentum as TensorFlow 1 and DeepLab have it, one kernel a variable: a = m a + g, w = w - rate a.

    `keras.optimizers.SGD` folds the rate into the velocity, which differs while the rate changes.
    """

    def __init__(self, learning_rate, momentum: float = 0.9, name: str = "momentum", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.accumulators = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        accumulator = self.accumulators[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=accumulator.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=self.momentum,
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "momentum": self.momentum}


OPTIMIZERS = ("momentum", "adam", "adamw")


@gin.configurable
def build_optimizer(
    num_steps: int,
    name: str = "momentum",
    learning_rate: float = 0.007,
    power: float = 0.9,
    slow_start_steps: int = 0,
    slow_start_rate: float = 1e-4,
    momentum: float = 0.9,
    decoupled_weight_decay: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Builds an optimizer with a poly schedule over `num_steps`, wrapped for loss scaling under mixed_float16.

    Args:
        num_steps: length of the schedule.
        name: "momentum" (DeepLab), "adam" or "adamw".
        learning_rate, power, slow_start_steps, slow_start_rate: of `PolySchedule`.
        momentum: of "momentum".
        decoupled_weight_decay: of "adamw"; DeepLab's L2 loss is `train.weight_decay`.
    """
    schedule = PolySchedule(learning_rate, num_steps, power, slow_start_steps, slow_start_rate)
    if name == "momentum":
        optimizer = Momentum(schedule, momentum)
    elif name == "adam":
        optimizer = keras.optimizers.Adam(schedule)
    elif name == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=decoupled_weight_decay)
    else:
        raise UserError(
            f"build_optimizer.name = {name!r}, expected one of {', '.join(OPTIMIZERS)}.{did_you_mean(name, OPTIMIZERS)}"
        )
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
