"""Optimizers with a learning rate for each variable."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import gin
import keras
import tensorflow as tf

from wss.errors import UserError
from wss.ops.constants import shared_constant
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import LARGEST_STEP, Integer, Number, OneOf, SetByCode, Several, Switch
from wss.training.schedules import PolySchedule, SlowStartSchedule, StepSchedule


class VariableRates:
    """A mixin of a Keras optimizer: `rate_factors` multiply the learning rate, by path of the variable.

    DeepLab multiplies the gradient. That comes to the same for `Momentum`; Adam divides by the gradient's size.
    """

    rate_factors: Mapping[str, float] = MappingProxyType({})

    def factor(self, variable: keras.Variable | tf.Variable) -> float:
        """Returns the factor of a Keras variable, or of the TensorFlow one of a replica."""
        index = self._get_variable_index(variable)  # type: ignore[attr-defined]
        return self.rate_factors.get(self._trainable_variables[index].path, 1.0)  # type: ignore[attr-defined]

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Updates a variable with its own learning rate."""
        super().update_step(gradient, variable, learning_rate * self.factor(variable))  # type: ignore[misc]


class Adam(VariableRates, keras.optimizers.Adam):
    """The `keras.optimizers.Adam` with a learning rate for each variable."""


class AdamW(VariableRates, keras.optimizers.AdamW):
    """The `keras.optimizers.AdamW` with a learning rate for each variable.

    Args:
        decay_with_rate: Whether a variable's weight decay is times its own rate, as PyTorch's parameter groups have it;
            otherwise it is times the common rate.
        **options: Arguments of `keras.optimizers.AdamW`.
    """

    def __init__(self, *args, decay_with_rate: bool = False, **options):
        super().__init__(*args, **options)
        self.decay_with_rate = decay_with_rate

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Applies the decay of the common rate; that of a variable's own rate belongs to its update."""
        if not self.decay_with_rate:
            super()._apply_weight_decay(variables)

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Updates a variable with its own learning rate, and lets it decay by it."""
        if self.decay_with_rate and self.weight_decay and self._use_weight_decay(variable):
            share = tf.cast(learning_rate * self.factor(variable) * self.weight_decay, variable.dtype)
            self.assign_sub(variable, share * variable)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "decay_with_rate": self.decay_with_rate}


class Momentum(VariableRates, keras.optimizers.Optimizer):
    """The momentum of TensorFlow 1 and DeepLab, one kernel a variable: a = m a + g, w = w - rate a.

    `keras.optimizers.SGD` folds the rate into the velocity, which differs while the rate changes. A factor of the rate is
    on the gradient, so that the accumulators are DeepLab's.

    Args:
        learning_rate: Learning rate or schedule.
        momentum: Share m of the accumulator that a step keeps.
        name: Name of the optimizer.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        name: str = "momentum",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the accumulators."""
        if not self.built:
            super().build(variables)
            self.accumulators = self.add_optimizer_variables(variables, "momentum")

    def _backend_update_step(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable], learning_rate: tf.Tensor
    ) -> None:
        """Updates all variables; a single replica has nothing to sum and no copies to keep alike."""
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Updates a variable and its accumulator."""
        accumulator, factor = self.accumulators[self._get_variable_index(variable)], self.factor(variable)
        gradient = tf.cast(gradient, variable.dtype)
        tf.raw_ops.ResourceApplyMomentum(
            var=(variable.value if isinstance(variable, keras.Variable) else variable).handle,
            accum=accumulator.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=gradient if factor == 1 else gradient * factor,
            momentum=shared_constant(float(self.momentum)),
        )

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "momentum": self.momentum}


OPTIMIZERS = ("momentum", "adam", "adamw")
SCHEDULES = ("poly", "step")
SCALINGS = ("none", "linear", "sqrt")


@gin.configurable
@in_ranges(
    "build_optimizer",
    Relation(
        ("schedule", "milestones"),
        lambda schedule, milestones: (schedule == "step") == bool(milestones),
        "milestones such as (5000,) with schedule = 'step', and none with 'poly'",
    ),
    Relation(
        ("name", "decoupled_weight_decay", "decay_with_rate"),
        lambda name, decay, with_rate: name == "adamw" or not (decay or with_rate),
        "decoupled_weight_decay = 0.0 and decay_with_rate = False without name = 'adamw'",
    ),
    num_steps=SetByCode("train.num_steps"),
    name=OneOf(OPTIMIZERS),
    learning_rate=Number(minimum=0),
    schedule=OneOf(SCHEDULES),
    power=Number(minimum=0),
    milestones=Several(Integer(1, LARGEST_STEP), 0),
    step_factor=Number(minimum=0),
    slow_start_steps=Integer(0, LARGEST_STEP),
    slow_start_rate=Number(minimum=0),
    momentum=Number(minimum=0, below=1),
    epsilon=Number(above=0),
    decoupled_weight_decay=Number(minimum=0),
    decay_with_rate=Switch(),
    scaling=OneOf(SCALINGS),
    reference_batch_size=Integer(1),
    batch_size=SetByCode("TrainingData.labeled_batch_size"),
    steps_before=Integer(0, LARGEST_STEP),
    lag=Integer(0, 1),
)
def build_optimizer(
    num_steps: int,
    *,
    name: str = "momentum",
    learning_rate: float = 0.007,
    schedule: str = "poly",
    power: float = 0.9,
    milestones: Sequence[int] = (),
    step_factor: float = 0.1,
    slow_start_steps: int = 0,
    slow_start_rate: float = 1e-4,
    momentum: float = 0.9,
    epsilon: float = 1e-7,
    decoupled_weight_decay: float = 0.0,
    decay_with_rate: bool = False,
    scaling: str = "none",
    reference_batch_size: int = 16,
    batch_size: int | None = None,
    steps_before: int = 0,
    lag: int = 0,
) -> keras.optimizers.Optimizer:
    """Builds an optimizer with its schedule, wrapped for loss scaling under mixed_float16.

    Args:
        num_steps: Length of the schedule, after `steps_before`. Scaling the rate does not shorten it: with k times the
            batch, set `train.num_steps` to 1/k for as many epochs.
        name: Name of the optimizer: "momentum" (DeepLab), "adam" or "adamw".
        learning_rate: Base rate of the schedule.
        schedule: Schedule of the rate: "poly", see `PolySchedule`, or "step", see `StepSchedule`.
        power: See `PolySchedule`.
        milestones: Steps of "step" from which on the rate is multiplied once more, counted over all rounds.
        step_factor: Factor of the rate at each milestone.
        slow_start_steps: See `SlowStartSchedule`.
        slow_start_rate: See `SlowStartSchedule`.
        momentum: Momentum of "momentum".
        epsilon: Number that "adam" and "adamw" add to the root of the second moment, before its bias is corrected; PyTorch's
            is 1e-8, after that.
        decoupled_weight_decay: Weight decay of "adamw"; DeepLab's L2 loss is `train.weight_decay`.
        decay_with_rate: See `AdamW`.
        scaling: Scaling of `learning_rate` to the batch, see `rate_factor`. `slow_start_rate` stays as it is, so with
            `slow_start_steps` it is the warm-up that Goyal et al. advise for large batches.
        reference_batch_size: Labelled images a step, over all replicas, that `learning_rate` is right for; DeepLab's 0.007
            is for 16.
        batch_size: Labelled images a step, over all replicas; `train` sets it.
        steps_before: Steps that earlier rounds of self-training took. The schedule is over theirs and `num_steps`, and
            goes on where they stopped, past its slow start if that is over. 0 starts afresh.
        lag: See `SlowStartSchedule`.
    """
    learning_rate *= rate_factor(scaling, batch_size, reference_batch_size)
    start: dict = {
        "slow_start_steps": slow_start_steps,
        "slow_start_rate": slow_start_rate,
        "steps_before": steps_before,
        "lag": lag,
    }
    if schedule == "step":
        rate: SlowStartSchedule = StepSchedule(learning_rate, milestones, factor=step_factor, **start)
    else:
        rate = PolySchedule(learning_rate, steps_before + num_steps, power=power, **start)
    if name == "momentum":
        optimizer = Momentum(rate, momentum)
    elif name == "adam":
        optimizer = Adam(rate, epsilon=epsilon)
    else:
        optimizer = AdamW(rate, epsilon=epsilon, weight_decay=decoupled_weight_decay, decay_with_rate=decay_with_rate)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def rate_factor(scaling: str, batch_size: int | None, reference_batch_size: int) -> float:
    """Returns by how much the learning rate grows with the batch.

    Args:
        scaling: Rule of the growth. "none" is 1. "linear" is batch / reference (Goyal et al., 2017, section 2.1), for
            momentum. "sqrt" is the square root of that (Krizhevsky, 2014, section 5), the usual choice for Adam.
        batch_size: Images a step, over all replicas.
        reference_batch_size: Batch size at which the factor is 1.
    """
    if scaling == "none":
        return 1.0
    if not batch_size:
        raise UserError(f"build_optimizer.scaling = {scaling!r} needs a batch_size above 0, found {batch_size}")
    factor = batch_size / reference_batch_size
    return factor if scaling == "linear" else factor**0.5
