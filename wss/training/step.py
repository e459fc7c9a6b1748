"""One optimizer step of a method, and a compiled loop of them."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import keras
import tensorflow as tf

from wss.data.streams import unpacked
from wss.errors import UserError
from wss.methods.base import Method
from wss.methods.components.ema import ExponentialMovingAverage
from wss.models.deeplab import DeepLab
from wss.models.layers.dropout import dropout_seed
from wss.models.layers.read_once import read_once
from wss.models.weights.weights_file import named_variables
from wss.ops.losses import weight_decay_loss
from wss.runtime.cpu import return_freed_memory
from wss.runtime.graphs import graphs_as_traced
from wss.training.optimizers import VariableRates

MAX_SCALARS = 256


class TrainStep:
    """A step on all replicas, and a loop of them without a host round trip in between.

    Args:
        strategy: The strategy in whose scope network and optimizer were made.
        model: The network that is trained, with the method's `branches` and `state`.
        method: The method whose losses are minimised.
        optimizer: An optimizer of `build_optimizer`.
        weight_decay: Factor of sum(w^2) / 2 over `model.decayed_kernels()`.
        seed: Seed of dropout.
        clip_norm: Largest global norm of the gradient, before the factors, summed over replicas; None for no clipping.
        rate_factors: Factors of the learning rate by path of the variable, see `DeepLab.rate_factors`; 1 elsewhere.
        average: An average of the weights that is updated after each step; None without one.
        accumulated_batches: Number of batches of a step, whose gradients are averaged.
        jit_compile: Whether XLA compiles what a replica does; for one device (a TPU always does).

    Raises:
        UserError: `jit_compile` on several replicas.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: DeepLab,
        method: Method,
        *,
        optimizer: keras.optimizers.Optimizer,
        weight_decay: float,
        seed: int = 0,
        clip_norm: float | None = None,
        rate_factors: Mapping[str, float] = MappingProxyType({}),
        average: ExponentialMovingAverage | None = None,
        accumulated_batches: int = 1,
        jit_compile: bool = False,
    ):
        if jit_compile and strategy.num_replicas_in_sync > 1:
            raise UserError(
                f"train.jit_compile = True: expected one device, found {strategy.num_replicas_in_sync}; leave it out, or "
                "show one by CUDA_VISIBLE_DEVICES=0"
            )
        self.strategy = strategy
        self.model, self.method, self.optimizer = model, method, optimizer
        self.weight_decay = weight_decay
        self.seed = seed
        self.clip_norm = clip_norm
        rated = getattr(optimizer, "inner_optimizer", optimizer)  # inside the loss scaling
        if not isinstance(rated, VariableRates):
            raise TypeError(f"{type(rated).__name__}: expected an optimizer of build_optimizer")
        rated.rate_factors = rate_factors
        self.average = average
        self.accumulated_batches = accumulated_batches
        # Converting plain Python costs a tenth of the time to build the graph.
        prepared = tf.autograph.experimental.do_not_convert
        if jit_compile:
            prepared = functools.partial(tf.function, jit_compile=True, autograph=False)
        self.replica_step, self.replica_accumulation = prepared(self._replica_step), prepared(self._accumulate)
        self._prepared = False
        self.names: list[str] = []  # of the scalars, in order; known once traced
        self.losses = 0  # the first so many scalars are losses, the first of them their sum
        with strategy.scope():
            optimizer.build(model.trainable_variables)
            self.sums_of_gradients = _zeros_like(model.trainable_variables) if accumulated_batches > 1 else []
            self.sums = tf.Variable(tf.zeros([MAX_SCALARS]), trainable=False)
            self.bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False)
            self.bad_scalars = tf.Variable(tf.zeros([MAX_SCALARS]), trainable=False)

    def run(self, iterator: Iterator, num_steps: int) -> None:
        """Takes `num_steps` steps, each on `accumulated_batches` batches of the iterator."""
        with graphs_as_traced():
            if not self._prepared:  # what tracing takes is free again before the first step
                self.loop(iterator, tf.constant(0))
                return_freed_memory()
                self._prepared = True
            self.loop(iterator, tf.constant(num_steps))

    @tf.function
    def loop(self, iterator: Iterator, num_steps: tf.Tensor) -> None:
        """Takes `num_steps` steps (int32 scalar), see `run`."""
        self.sums.assign(tf.zeros([MAX_SCALARS]))
        mean = lambda scalars: self.strategy.reduce(tf.distribute.ReduceOp.MEAN, scalars, axis=None)
        for _ in tf.range(num_steps):
            if self.accumulated_batches > 1:
                scalars = tf.zeros([MAX_SCALARS])
                for number in tf.range(self.accumulated_batches - 1):
                    scalars += mean(self.strategy.run(self.replica_accumulation, args=(next(iterator), number)))
                scalars += mean(self.strategy.run(self.replica_step, args=(next(iterator),)))
                scalars /= self.accumulated_batches
            else:
                scalars = mean(self.strategy.run(self.replica_step, args=(next(iterator),)))
            self.sums.assign_add(scalars)
            first_bad = (self.bad_step < 0) & ~tf.math.is_finite(scalars[0])
            finished = tf.cast(self.optimizer.iterations, tf.int64)
            self.bad_step.assign(tf.where(first_bad, finished - 1, self.bad_step))
            self.bad_scalars.assign(tf.where(first_bad, scalars, self.bad_scalars))

    def _replica_step(self, batch) -> tf.Tensor:
        """Takes one step on one replica, with the last of its batches; returns the scalars of this batch."""
        step = tf.cast(self.optimizer.iterations, tf.int64)
        gradients, tensors, scalars = self._gradients(batch, step)
        if self.sums_of_gradients:
            gradients = list(map(_sum, self.sums_of_gradients, gradients))
        self._apply(gradients, self.model.trainable_variables)
        self.method.after_step(self.model, tensors, step)
        if self.average is not None:
            self.average.update(step)
        return scalars

    def _accumulate(self, batch, number: tf.Tensor) -> tf.Tensor:
        """Adds the gradients of one batch of a step, counted from 0, on one replica; returns its scalars."""
        gradients, _, scalars = self._gradients(batch, tf.cast(self.optimizer.iterations, tf.int64), number)
        for earlier, gradient in zip(self.sums_of_gradients, gradients, strict=True):
            if gradient is not None:
                earlier.assign_add(gradient)
        return scalars

    def _gradients(self, batch, step: tf.Tensor, number: tf.Tensor | None = None):
        """Runs the passes of one batch on one replica.

        Args:
            batch: The batch.
            step: Number of finished steps, int64 scalar.
            number: Number of the batch in its step, int32 scalar; None for the last.

        Returns:
            The gradients, None for variables without; the tensors of the method; and the scalars, float32 [MAX_SCALARS]:
            total loss, losses, metrics.
        """
        variables = self.model.trainable_variables
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        draws = tf.random.fold_in(tf.random.fold_in(tf.constant([self.seed, 0], tf.int64), step), replica)
        if number is not None:
            draws = tf.random.fold_in(draws, number)
        kernels = self.model.decayed_kernels()
        with read_once(self.model.variables) as value_of:
            weights = [value_of(variable) for variable in variables]
            with dropout_seed(draws), tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                result = self.method.losses(self.model, unpacked(batch), step)
                # The optimizer sums gradients over replicas; the loss of a step is the mean over replicas and batches.
                parts = self.strategy.num_replicas_in_sync * self.accumulated_batches
                objective = self.optimizer.scale_loss(tf.add_n(list(result.losses.values())) / parts)
            decay = weight_decay_loss([value_of(kernel) for kernel in kernels], self.weight_decay)
        decayed = {id(kernel) for kernel in kernels}
        factor = self.optimizer.scale_loss(self.weight_decay / parts)
        gradients = [
            _decayed(gradient, weight, factor) if id(variable) in decayed else gradient
            for gradient, weight, variable in zip(tape.gradient(objective, weights), weights, variables, strict=True)
        ]
        losses = {**result.losses, "weight_decay": decay}
        total = tf.add_n(list(losses.values()))
        scalars = {"total": total, **losses, **result.metrics}
        self.names, self.losses = list(scalars), 1 + len(losses)
        values = tf.stack([tf.cast(value, tf.float32) for value in scalars.values()])
        return gradients, result.tensors, tf.pad(values, [[0, MAX_SCALARS - len(scalars)]])

    def _apply(self, gradients, variables):
        pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        gradients, variables = zip(*pairs, strict=True)
        if self.clip_norm is not None:
            gradients = self._clip(gradients)
        self.optimizer.apply(gradients, variables)

    def _clip(self, gradients):
        """Clips what the optimizer will sum: the norm is that of the sum over replicas."""
        context = tf.distribute.get_replica_context()
        scale = 1.0
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            scale = tf.cast(self.optimizer.scale_loss(1.0), tf.float32)
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        factor = tf.minimum(1.0, self.clip_norm * scale / (tf.linalg.global_norm(summed) + 1e-12))
        return [gradient * factor for gradient in gradients]

    def saved_variables(self) -> Iterator[tuple[str, tf.Variable]]:
        """Yields what a checkpoint keeps: the variables of network, optimizer and average, with their names."""
        yield from named_variables(self.model)
        yield from ((f"optimizer/{variable.path}", variable.value) for variable in self.optimizer.variables)
        if self.model.state is not None:
            yield from ((f"state/{variable.name}", variable) for variable in self.model.state.variables)
        if self.average is not None:
            yield from ((f"average/{variable.name}", variable) for variable in self.average.variables)

    def results(self, num_steps: int) -> dict[str, float]:
        """Returns means over the last `run` of `num_steps` steps, by name."""
        return dict(zip(self.names, (self.sums.numpy() / num_steps).tolist(), strict=False))

    def failure(self) -> tuple[int, dict[str, float]] | None:
        """Returns the first step (from 0) whose loss was not finite, with its losses; None if there was none."""
        step = int(self.bad_step.numpy())
        if step < 0:
            return None
        losses = zip(self.names[: self.losses], self.bad_scalars.numpy().tolist(), strict=False)
        return step, dict(losses)


def _zeros_like(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    """Returns sums of gradients, one for each variable; each replica has its own."""
    return [
        tf.Variable(
            tf.zeros(variable.shape, variable.dtype),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        for variable in variables
    ]


def _decayed(gradient: tf.Tensor | None, weight: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Adds the gradient of weight decay, factor * w, which waits for the other.

    A tape's would be computed first of all and lie there for most of a step: as many bytes as all weights.
    """
    if gradient is None:
        return factor * weight
    with tf.control_dependencies([gradient]):
        return gradient + factor * weight


def _sum(earlier: tf.Variable, gradient: tf.Tensor | None) -> tf.Tensor | None:
    """Returns the sum of the gradients of a step, and begins the next with zeros."""
    if gradient is None:
        return None
    total = earlier.read_value() + gradient
    with tf.control_dependencies([total]):
        earlier.assign(tf.zeros_like(total))
    return total
