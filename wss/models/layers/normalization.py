"""Batch normalisation by the fused kernel, with the statistics and switches of DeepLab."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from wss.runtime.devices import on_cpu

# MirroredStrategy traces each replica in a thread of its own, so the switch is local to the thread.
_switch = threading.local()


@contextlib.contextmanager
def batch_norm_updates(enabled: bool) -> Iterator[None]:
    """Sets whether training passes traced inside move the moving statistics of `BatchNorm` layers.

    By default they do; what is switched off outside stays off inside. The outputs do not change: a training pass
    normalises by batch statistics either way. Under `strategy.run` enter it inside the replica function.

    Args:
        enabled: Whether they move.
    """
    before = getattr(_switch, "enabled", True)
    _switch.enabled = before and enabled
    try:
        yield
    finally:
        _switch.enabled = before


def updates_are_enabled() -> bool:
    """Returns whether training passes that are traced here move moving statistics, see `batch_norm_updates`."""
    return getattr(_switch, "enabled", True)


@keras.saving.register_keras_serializable(package="wss")
class BatchNorm(keras.layers.Layer):
    """The batch normalisation of `[B, H, W, C]`, float32, bfloat16 or float16, by `FusedBatchNormV3`.

    Parameters and statistics are always float32. In training `moving = moving * momentum + batch * (1 - momentum)`. The
    batch variance is the unbiased one (n / (n - 1)), as in TensorFlow 1 and unlike `keras.layers.BatchNormalization`.

    Args:
        momentum: Decay of the moving statistics.
        epsilon: Number that is added to the variance.
        scale: Whether there is a gamma.
        synchronized: Whether batch statistics are taken over all replicas of the strategy.
        fine_tune: Whether training normalises by batch statistics and moves the moving ones. Without it gamma and beta
            still train (DeepLab's `fine_tune_batch_norm=False`).
        tf1_scope: TensorFlow 1 scope, e.g. "xception_65/entry_flow/conv1_1/BatchNorm". None without one.
        name: Name of the layer; None takes the scope with "." for "/".

    Attributes:
        folded: Whether the convolution before it does its work, see `wss.models.folding.fold`.
        shift: Returns what that convolution has added, in its dtype, to be near 0, float32 [C]; None for nothing.
    """

    folded = False
    shift: Callable[[], tf.Tensor] | None = None

    def __init__(
        self,
        *,
        momentum: float = 0.9997,
        epsilon: float = 1e-3,
        scale: bool = True,
        synchronized: bool = False,
        fine_tune: bool = True,
        tf1_scope: str | None = None,
        name: str | None = None,
        **kwargs,
    ):
        super().__init__(name=name or (tf1_scope and tf1_scope.replace("/", ".")), **kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.scale = scale
        self.synchronized = synchronized
        self.fine_tune = fine_tune
        self.tf1_scope = tf1_scope

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the variables."""
        shape = (input_shape[-1],)
        parameter = {"shape": shape, "dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(**parameter, initializer="ones", name="gamma") if self.scale else None
        self.beta = self.add_weight(**parameter, initializer="zeros", name="beta")
        # `add_weight` has no `synchronization`. ON_READ keeps one copy per replica, so that an update needs no
        # communication; who reads it outside of a replica (a checkpoint) gets the mean.
        statistic = {
            **parameter,
            "trainable": False,
            "aggregation": "mean",
            "synchronization": "on_read",
        }
        self.moving_mean = keras.Variable("zeros", **statistic, name="moving_mean")
        self.moving_variance = keras.Variable("ones", **statistic, name="moving_variance")

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the normalised input; training moves the statistics."""
        self._check_predicts(training)
        if self.folded:
            return inputs
        if tf.as_dtype(inputs.dtype) == tf.bfloat16 and on_cpu():
            # With casts around it the float32 kernel takes a third of the time of oneDNN's for bfloat16.
            return tf.cast(self.call(tf.cast(inputs, tf.float32), training), tf.bfloat16)
        gamma = tf.ones_like(self.beta) if self.gamma is None else tf.convert_to_tensor(self.gamma)
        beta = tf.convert_to_tensor(self.beta)
        inference = not (training and self.trainable)
        if inference and tf.as_dtype(inputs.dtype) == tf.float32 and on_cpu():
            return self._multiply_add(inputs, gamma, beta)
        if inference or not self.fine_tune:
            return self._fused(inputs, gamma, beta, mean=self._mean(), variance=self.moving_variance)[0]
        context = tf.distribute.get_replica_context()
        if self.synchronized and context is not None and context.num_replicas_in_sync > 1:
            return self._synchronized(inputs, gamma, beta, context)
        return self._batch(inputs, gamma, beta)

    def _check_predicts(self, training: bool | None) -> None:
        if training and (self.folded or self.shift is not None):
            raise ValueError(f"{self.name}: folded into a convolution; expected a network that only predicts")

    def save_own_variables(self, store: dict) -> None:
        """Saves the variables; those of a folded batch norm belong to another network."""
        self._check_predicts(training=True)
        super().save_own_variables(store)

    def _mean(self) -> tf.Tensor:
        """Returns the moving mean; past a shift what its rounding has left of it."""
        if self.shift is None:
            return tf.convert_to_tensor(self.moving_mean)
        shift = self.shift()
        return tf.cast(tf.cast(shift, self.compute_dtype), tf.float32) - shift

    def _fused(self, inputs, gamma, beta, *, mean, variance, **kwargs):
        attributes = {
            "is_training": False,
            "epsilon": self.epsilon,
            "data_format": "NHWC",
            **kwargs,
        }
        # The first version is the same on a processor. For the gradient of the third TensorFlow makes zeros of five more
        # outputs: a sixth of all operations of a step.
        plain = tf.as_dtype(inputs.dtype) == tf.float32 and on_cpu()
        kernel = tf.raw_ops.FusedBatchNorm if plain else tf.raw_ops.FusedBatchNormV3
        return kernel(x=inputs, scale=gamma, offset=beta, mean=mean, variance=variance, **attributes)[:3]

    def _multiply_add(self, inputs, gamma, beta):
        """Normalises by the moving statistics, in place.

        TensorFlow fuses what it can. Without AVX-512 a fused convolution of oneDNN takes 30 times as long as one without
        batch norm. In place this is faster than the kernel even without that.
        """
        scale = gamma * tf.math.rsqrt(tf.convert_to_tensor(self.moving_variance) + self.epsilon)
        return inputs * scale + (beta - self._mean() * scale)

    def _batch(self, inputs, gamma, beta):
        if not updates_are_enabled():
            return self._fused(inputs, gamma, beta, mean=[], variance=[], is_training=True)[0]
        # The kernel itself returns the moved statistics: no further ops.
        outputs, mean, variance = self._fused(
            inputs,
            gamma,
            beta,
            mean=self.moving_mean,
            variance=self.moving_variance,
            is_training=True,
            exponential_avg_factor=1.0 - self.momentum,
        )
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance)
        return outputs

    def _synchronized(self, inputs, gamma, beta, context):
        x = tf.cast(inputs, tf.float32)
        moments = [tf.reduce_mean(x, [0, 1, 2]), tf.reduce_mean(tf.square(x), [0, 1, 2])]
        mean, mean_square = context.all_reduce(tf.distribute.ReduceOp.MEAN, moments)
        variance = tf.maximum(mean_square - tf.square(mean), 0.0)
        if updates_are_enabled():
            count = tf.cast(tf.size(x) // tf.shape(x)[-1] * context.num_replicas_in_sync, tf.float32)
            unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, unbiased)
        outputs = tf.nn.batch_normalization(x, mean, variance, offset=beta, scale=gamma, variance_epsilon=self.epsilon)
        return tf.cast(outputs, inputs.dtype)

    def _move(self, moving, batch):
        moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "scale": self.scale,
            "synchronized": self.synchronized,
            "fine_tune": self.fine_tune,
            "tf1_scope": self.tf1_scope,
        }
