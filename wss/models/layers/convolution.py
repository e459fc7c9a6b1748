"""Convolutions with slim's padding and names, and what surrounds them in every network."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from wss.models.layers.normalization import BatchNorm
from wss.ops.constants import reshape
from wss.ops.resizing import resize_bilinear, sides

Shape = tuple[int | None, ...]
# Of networks that were trained with PyTorch's defaults.
PYTORCH_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
_switch = threading.local()


@contextlib.contextmanager
def convolutions_as_such() -> Iterator[None]:
    """Traces every `Conv2D` as a convolution, 1x1 too: runtimes other than TensorFlow know best what to make of it."""
    before = getattr(_switch, "as_such", False)
    _switch.as_such = True
    try:
        yield
    finally:
        _switch.as_such = before


@keras.saving.register_keras_serializable(package="wss")
class ResizeLike(keras.layers.Layer):
    """The `resize_bilinear` of the first input `[B, h, w, C]` to the height and width of the second."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the first input at the size of the second."""
        x, reference = inputs
        static = reference.shape[1:3]
        return resize_bilinear(x, static if static.is_fully_defined() else tf.shape(reference)[1:3])

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """Returns the shape of the resized input."""
        x, reference = input_shape
        return (x[0], *reference[1:3], x[3])


@keras.saving.register_keras_serializable(package="wss")
class Preprocess(keras.layers.Layer):
    """The normalisation of raw RGB images `[B, H, W, 3]`, 0 .. 255, in float32: `x * scale + offset`.

    Args:
        scale: Factor of all channels, or one number per channel.
        offset: One number per channel, in the order RGB.
        bgr: Whether the channels leave in the order BGR.
    """

    def __init__(self, scale: float | tuple[float, ...], offset: tuple[float, ...], bgr: bool = False, **kwargs):
        super().__init__(**{"dtype": "float32", "name": "preprocess", "autocast": False, **kwargs})
        self.scale = scale if isinstance(scale, float | int) else tuple(scale)
        self.offset = tuple(offset)
        self.bgr = bgr

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns normalised images, float32."""
        outputs = tf.cast(inputs, tf.float32) * tf.constant(self.scale) + tf.constant(self.offset)
        return outputs[..., ::-1] if self.bgr else outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "scale": self.scale, "offset": self.offset, "bgr": self.bgr}


class _SlimConvolution:
    """The padding and name of slim for a Keras convolution; the mixed-in class comes next in the bases.

    With `symmetric_padding` (slim's `conv2d_same`) a strided kernel is padded alike on both sides, whatever the image
    size. That keeps features aligned at even sizes. Otherwise padding is TensorFlow's "SAME".

    Attributes:
        offset: Returns what is added to each channel in place of the bias, float32 [C], see `wss.models.folding.fold`; None
            for the bias.
    """

    kernel_size: tuple[int, int]
    dilation_rate: tuple[int, int]
    strides: tuple[int, int]
    use_bias: bool
    bias: keras.Variable
    offset: Callable[[], tf.Tensor] | None = None

    def __init__(self, *args, tf1_scope: str, symmetric_padding: bool = True, **kwargs):
        kwargs.setdefault("name", tf1_scope.replace("/", "."))
        super().__init__(*args, **kwargs)
        self.tf1_scope = tf1_scope
        self.symmetric_padding = symmetric_padding
        reach = max(k + (k - 1) * (d - 1) for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)) - 1
        # At stride 1 "SAME" is symmetric already.
        self._explicit = (reach // 2, reach - reach // 2) if symmetric_padding and max(self.strides) > 1 else (0, 0)
        self.padding = "valid" if any(self._explicit) else "same"

    def _padded(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.pad(inputs, [(0, 0), self._explicit, self._explicit, (0, 0)]) if any(self._explicit) else inputs

    def _with_bias(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.offset is not None:
            return tf.nn.bias_add(outputs, tf.cast(self.offset(), outputs.dtype))
        return tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the convolved input."""
        batch, height, width, channels = input_shape
        padded = [side and side + sum(self._explicit) for side in (height, width)]
        return super().compute_output_shape((batch, *padded, channels))  # type: ignore[misc]

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        config = super().get_config()  # type: ignore[misc]
        del config["padding"]
        return {**config, "tf1_scope": self.tf1_scope, "symmetric_padding": self.symmetric_padding}


@keras.saving.register_keras_serializable(package="wss")
class Conv2D(_SlimConvolution, keras.layers.Conv2D):
    """A `keras.layers.Conv2D` with slim's symmetric padding and a TensorFlow 1 scope; 1x1 runs as a matrix product."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the convolution of the input, as a matrix product where the kernel is 1x1."""
        kernel = tf.convert_to_tensor(self.kernel)
        if self.kernel_size != (1, 1) or getattr(_switch, "as_such", False):
            return self._with_bias(self.convolution_op(self._padded(inputs), kernel))
        # On a CPU a product takes two thirds of the time of a convolution, its gradients half; a GPU makes it one anyway.
        # With a stride too: a convolution, its bias and a sum that two others read make TensorFlow's remapper fail.
        inputs = tf.convert_to_tensor(inputs)
        if max(self.strides) > 1:  # each pixel's own mean: to slice takes twelve times as long
            inputs = tf.nn.avg_pool2d(inputs, 1, self.strides, "VALID")
        outputs = tf.matmul(reshape(inputs, (-1, kernel.shape[2])), reshape(kernel, kernel.shape[2:]))
        return reshape(self._with_bias(outputs), [*sides(inputs)[:3], self.filters])


@keras.saving.register_keras_serializable(package="wss")
class DepthwiseConv2D(_SlimConvolution, keras.layers.DepthwiseConv2D):
    """A `keras.layers.DepthwiseConv2D` with slim's symmetric padding and a TensorFlow 1 scope."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the convolution of the input."""
        as_such = getattr(_switch, "as_such", False)
        kernel = tf.convert_to_tensor(self.kernel)
        if not as_such and self._sees_one_pixel(inputs.shape[1:3]):
            return self._with_bias(inputs * kernel[self.kernel_size[0] // 2, self.kernel_size[1] // 2, :, 0])
        inputs = self._padded(inputs)
        if not as_such and max(self.dilation_rate) > 1:
            # TensorFlow's kernel knows no rates on a processor, so that Keras surrounds it by rearrangements.
            outputs = keras.ops.depthwise_conv(inputs, kernel, self.strides, self.padding, None, self.dilation_rate)
        else:  # converters mistake the rearrangements
            outputs = tf.raw_ops.DepthwiseConv2dNative(
                input=inputs,
                filter=kernel,
                strides=[1, *self.strides, 1],
                padding=self.padding.upper(),
                dilations=[1, *self.dilation_rate, 1],
            )
        return self._with_bias(outputs)

    def _sees_one_pixel(self, size: tf.TensorShape) -> bool:
        """Returns whether all of the kernel but its middle lies outside of an image, for its rate: on small crops."""
        odd = all(side % 2 for side in self.kernel_size)
        small = size.is_fully_defined() and min(self.dilation_rate) >= max(size)
        return small and odd and max(self.kernel_size) > 1 and max(self.strides) == 1 and self.depth_multiplier == 1


class AtrousSchedule:
    """The (stride, atrous rate) of a network, unit by unit.

    Once the output stride is reached a unit no longer strides, and the units after it dilate in its place (slim's
    `stack_blocks_dense`).

    Args:
        output_stride: Ratio of input to output resolution.
        stem_stride: Stride that the layers before the first unit have reached already.
    """

    def __init__(self, output_stride: int, stem_stride: int):
        self.output_stride = output_stride
        self.reached = stem_stride
        self.rate = 1

    def next(self, stride: int) -> tuple[int, int]:
        """Returns (stride, rate) of the next unit, whose nominal stride is `stride`."""
        if self.reached < self.output_stride:
            self.reached *= stride
            return stride, 1
        rate, self.rate = self.rate, self.rate * stride
        return 1, rate


def head_input(shape: tuple[int | None, int | None, int], name: str) -> keras.KerasTensor:
    """Returns a Keras input of a head, [B, *shape] in the compute dtype, named after the end point that it takes."""
    return keras.Input(shape, dtype=keras.config.dtype_policy().compute_dtype, name=name)


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """Returns an initializer: a normal distribution with mean 0, cut at two standard deviations."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def pytorch_uniform() -> keras.initializers.Initializer:
    """Returns PyTorch's default initializer of convolutions: uniform within 1 / sqrt(inputs of a unit)."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def conv_bn(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    scope: str,
    batch_norm: Mapping,
    activation: str | None = "relu",
    stride: int = 1,
    rate: int = 1,
    symmetric_padding: bool = True,
    initializer: str | keras.initializers.Initializer = "glorot_uniform",
    use_bias: bool = False,
) -> keras.KerasTensor:
    """Applies convolution, batch normalisation and activation: `slim.conv2d` with a normalizer.

    Args:
        x: Keras tensor `[B, H, W, C]`.
        filters: Number of output channels.
        kernel_size: Height and width of the kernel.
        scope: TensorFlow 1 scope of the convolution, e.g. "xception_65/entry_flow/conv1_1".
        batch_norm: Keyword arguments of `BatchNorm`.
        activation: Name of a Keras activation; None for none.
        stride: Stride of the convolution.
        rate: Atrous rate.
        symmetric_padding: See `Conv2D`.
        initializer: Initializer of the kernel.
        use_bias: Whether the convolution has a bias; slim's have none.
    """
    x = Conv2D(
        filters,
        kernel_size,
        strides=stride,
        dilation_rate=rate,
        use_bias=use_bias,
        kernel_initializer=initializer,
        symmetric_padding=symmetric_padding,
        tf1_scope=scope,
    )(x)
    return _bn_activation(x, scope, batch_norm, activation)


def depthwise_bn(
    x: keras.KerasTensor,
    *,
    scope: str,
    batch_norm: Mapping,
    activation: str | None = None,
    kernel_size: int = 3,
    stride: int = 1,
    rate: int = 1,
    symmetric_padding: bool = True,
    initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> keras.KerasTensor:
    """Applies depthwise convolution without bias, batch norm and activation; arguments as in `conv_bn`."""
    x = DepthwiseConv2D(
        kernel_size,
        strides=stride,
        dilation_rate=rate,
        use_bias=False,
        depthwise_initializer=initializer,
        symmetric_padding=symmetric_padding,
        tf1_scope=scope,
    )(x)
    return _bn_activation(x, scope, batch_norm, activation)


def separable_conv_bn(
    x: keras.KerasTensor,
    filters: int,
    *,
    scope: str,
    batch_norm: Mapping,
    activation: str | None = None,
    stride: int = 1,
    rate: int = 1,
    depthwise_initializer: str | keras.initializers.Initializer = "glorot_uniform",
    pointwise_initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> keras.KerasTensor:
    """Applies DeepLab's split separable 3x3: depthwise and 1x1, each with batch norm and activation."""
    x = depthwise_bn(
        x,
        scope=f"{scope}_depthwise",
        batch_norm=batch_norm,
        activation=activation,
        stride=stride,
        rate=rate,
        initializer=depthwise_initializer,
    )
    return conv_bn(
        x,
        filters,
        1,
        scope=f"{scope}_pointwise",
        batch_norm=batch_norm,
        activation=activation,
        initializer=pointwise_initializer,
    )


def _bn_activation(x: keras.KerasTensor, scope: str, batch_norm: Mapping, activation: str | None) -> keras.KerasTensor:
    x = BatchNorm(tf1_scope=f"{scope}/BatchNorm", **batch_norm)(x)
    if activation is None:
        return x
    return keras.layers.Activation(activation, name=f"{scope.replace('/', '.')}.{activation}")(x)
