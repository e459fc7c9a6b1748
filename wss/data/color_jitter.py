"""The colours of strong views, stateless: the original's jitter, and torchvision's with grey and blur (UniMatch)."""

import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from wss.ops.resizing import sides

COLOR_OPS = ("brightness", "contrast", "saturation", "hue")
ADDITIVE, MULTIPLICATIVE = "additive", "multiplicative"
JITTERS = (ADDITIVE, MULTIPLICATIVE)
GREY = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as Pillow's
REACH = 4  # standard deviations of a blur's kernel


def random_jitter(
    seed: tf.Tensor, strength: float, *, hue: bool = True, kind: str = ADDITIVE, rounded: bool = False
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Draws a colour jitter of images in 0 .. 255, of the strength that `Augmentation` describes; `hue` moves hues too."""
    order_seed, *seeds = tf.unstack(tf.random.split(seed, 5))
    s = 0.5 * strength
    brightness = (-s, s) if kind == ADDITIVE else (1 - s, 1 + s)
    ranges = (brightness, (1 - s, 1 + s), (1 - s, 1 + s), (-s / 2, s / 2))
    draws = [tf.random.stateless_uniform([], sd, low, high) for sd, (low, high) in zip(seeds, ranges, strict=True)]
    order = tf.random.experimental.stateless_shuffle(tf.range(4), order_seed)
    if not hue:
        without = tf.boolean_mask(order, order != COLOR_OPS.index("hue"))
        order = tf.ensure_shape(without, [len(COLOR_OPS) - 1])
    if kind == MULTIPLICATIVE:
        return lambda image: multiplicative_jitter(image, draws, order, rounded=rounded)
    return lambda image: color_jitter(image, draws, order, maximum=255.0)


def color_jitter(image: tf.Tensor, draws: Sequence, order: tf.Tensor, *, maximum: float = 1.0) -> tf.Tensor:
    """Applies the four colour operations in `order`, clipping to 0 .. maximum after each.

    Args:
        image: [H, W, 3] in 0 .. maximum.
        draws: Brightness to add, in parts of `maximum`; contrast factor; saturation factor; hue to add.
        order: Numbers of those of `COLOR_OPS` that are applied, a permutation of 0 .. 3 for all.
        maximum: Largest value of a pixel.
    """
    brightness, contrast, saturation, hue = draws
    clipped = lambda x: tf.clip_by_value(x, 0.0, maximum)
    operations = (
        lambda x: clipped(x + brightness * maximum),
        lambda x: clipped(tf.image.adjust_contrast(x, contrast)),
        # These two never leave the range, and a factor of all values passes through them.
        lambda x: tf.image.adjust_saturation(x, saturation),
        lambda x: tf.image.adjust_hue(x, hue),
    )
    return _in_order(image, operations, order)


def multiplicative_jitter(image: tf.Tensor, draws: Sequence, order: tf.Tensor, *, rounded: bool = False) -> tf.Tensor:
    """Applies the four colour operations of torchvision's ColorJitter on Pillow images, clipping to 0 .. 255 after each.

    Each of the first three blends the image with another one: black, the mean grey of all its pixels, or each pixel's grey.

    Args:
        image: float32 [H, W, 3] in 0 .. 255.
        draws: Factors of brightness, contrast and saturation, 0 or more, 1 for the image itself; hue to add, in circles.
        order: Numbers of those of `COLOR_OPS` that are applied.
        rounded: Whether values are cut to integers after each operation, as 8 bits do.
    """
    brightness, contrast, saturation, hue = draws

    def stored(x: tf.Tensor) -> tf.Tensor:
        x = tf.clip_by_value(x, 0.0, 255.0)
        return tf.floor(x) if rounded else x

    def blended(x: tf.Tensor, with_: tf.Tensor | float, factor: tf.Tensor) -> tf.Tensor:
        return stored(with_ + factor * (x - with_))

    operations = (
        lambda x: blended(x, 0.0, brightness),
        lambda x: blended(x, tf.reduce_mean(grey(x)), contrast),
        lambda x: blended(x, grey(x), saturation),
        lambda x: stored(tf.image.adjust_hue(x / 255.0, hue) * 255.0),
    )
    return _in_order(image, operations, order)


def grey(image: tf.Tensor) -> tf.Tensor:
    """Returns the luma [..., 1] of RGB images [..., 3]."""
    return tf.reduce_sum(image * tf.constant(GREY), axis=-1, keepdims=True)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor, *, largest: float) -> tf.Tensor:
    """Returns an image [H, W, 3], float32, blurred by a Gaussian; pixels beyond the border are the nearest one's.

    Args:
        image: The image.
        sigma: Standard deviation in pixels, a float32 scalar, 0 < sigma <= largest.
        largest: Largest standard deviation, which gives the number of neighbours that count.
    """
    reach, channels = math.ceil(REACH * largest), 3
    image = tf.ensure_shape(image, [None, None, channels])
    weights = tf.exp(-0.5 * tf.square(tf.range(-reach, reach + 1, dtype=tf.float32) / sigma))
    weights /= tf.reduce_sum(weights)
    rows, columns = (tf.clip_by_value(tf.range(-reach, side + reach), 0, side - 1) for side in sides(image)[:2])
    padded = tf.gather(tf.gather(image, rows), columns, axis=1)[None]
    for shape in ([-1, 1, 1, 1], [1, -1, 1, 1]):
        kernel = tf.tile(tf.reshape(weights, shape), [1, 1, channels, 1])
        padded = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    return padded[0]


def _in_order(image: tf.Tensor, operations: Sequence[Callable], order: tf.Tensor) -> tf.Tensor:
    for number in tf.unstack(order):
        image = tf.switch_case(number, [functools.partial(operation, image) for operation in operations])
    return image
