"""The colour jitter of strong views, stateless; order and clipping are the original's."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

COLOR_OPS = ("brightness", "contrast", "saturation", "hue")


def random_jitter(seed: tf.Tensor, strength: float, *, hue: bool = True) -> Callable[[tf.Tensor], tf.Tensor]:
    """Draws a colour jitter of images in 0 .. 255, of the strength that `Augmentation` describes; `hue` moves hues too."""
    order_seed, *seeds = tf.unstack(tf.random.split(seed, 5))
    s = 0.5 * strength
    ranges = ((-s, s), (1 - s, 1 + s), (1 - s, 1 + s), (-s / 2, s / 2))
    draws = [tf.random.stateless_uniform([], sd, low, high) for sd, (low, high) in zip(seeds, ranges, strict=True)]
    order = tf.random.experimental.stateless_shuffle(tf.range(4), order_seed)
    if not hue:
        without = tf.boolean_mask(order, order != COLOR_OPS.index("hue"))
        order = tf.ensure_shape(without, [len(COLOR_OPS) - 1])
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
    for number in tf.unstack(order):
        image = tf.switch_case(number, [functools.partial(operation, image) for operation in operations])
    return image
