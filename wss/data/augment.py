"""Weak and strong views: PseudoSeg, section "Data augmentation", and the original's input_preprocess.py.

Every random function takes a stateless seed (int64 [2]); the deterministic ones take the draws, so that a test can replay
the original's. Only the pixels that the crop needs are computed, the strong view's from the weak one's; padding comes last.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import gin
import tensorflow as tf

from wss.data.resize import BLUR_MARGIN, blur_crop, crop, nearest_sources, resize_crop, rotate_crop, with_margin
from wss.errors import UserError

COLOR_OPS = ("brightness", "contrast", "saturation", "hue")
NOTHING = -1  # where a label has no pixel


def split_seed(seed: tf.Tensor, number: int) -> list[tf.Tensor]:
    """Returns `number` independent stateless seeds."""
    return tf.unstack(tf.random.split(seed, number))


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Which pixels of an image a view shows.

    Attributes:
        size: int32 (height, width) of the whole image after scaling.
        offset: int32 (y, x) of the crop in it.
        flip: bool [], from left to right, with the padding.
        angle: float32 [], of a rotation of the scaled image in radians, see `rotate_crop`; None never rotates.
        blur: bool [], blur the image after that; None never does.
    """

    size: tf.Tensor
    offset: tf.Tensor
    flip: tf.Tensor
    angle: tf.Tensor | None = None
    blur: tf.Tensor | None = None


@gin.configurable
class Augmentation:
    """The random views of one image.

    Args:
        crop_size: (height, width) of every view; DeepLab takes 2^n + 1.
        mean_pixel: RGB of padding and of the CutOut hole.
        ignore_label: label of padding.
        min_scale, max_scale, scale_step: random scale; step 0 draws it continuously.
        flip_probability: of a left-right flip.
        jitter_strength: s of the paper's Figure 5e: brightness, contrast and saturation 0.5 s, hue 0.25 s; 0 for none.
        jitter_scope: "crop" jitters what survives the crop; "image" the whole scaled image, as the original does (the
            contrast's mean differs).
        cutout_half_side: half the side of the square hole; 50 in the original's flags, 25 in the paper; 0 for none.
        label_align_corners: scale the label by aligned corners, as the original does though its image is not.
        rotate_degrees: rotate the scaled image by an angle of -rotate_degrees .. rotate_degrees; its corners become as
            padding is, but are jittered on the strong view. 0 for none.
        rotate_probability: of that rotation.
        blur_probability: of a Gaussian blur of 5x5 pixels, after the rotation.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        mean_pixel: tuple[float, float, float],
        ignore_label: int = 255,
        min_scale: float = 0.5,
        max_scale: float = 2.0,
        scale_step: float = 0.25,
        flip_probability: float = 0.5,
        jitter_strength: float = 1.0,
        jitter_scope: str = "crop",
        cutout_half_side: int = 50,
        label_align_corners: bool = False,
        rotate_degrees: float = 0.0,
        rotate_probability: float = 0.5,
        blur_probability: float = 0.0,
    ):
        if jitter_scope not in ("crop", "image"):
            raise UserError(f"jitter_scope={jitter_scope!r}, expected 'crop' or 'image'")
        height, width = crop_size
        self.crop_size = height, width
        self.mean_pixel = mean_pixel
        self.ignore_label = ignore_label
        self.scales = min_scale, max_scale, scale_step
        self.flip_probability = flip_probability
        self.jitter_strength = jitter_strength
        self.jitter_scope = jitter_scope
        self.cutout_half_side = cutout_half_side
        self.label_align_corners = label_align_corners
        self.rotate_degrees = rotate_degrees
        self.rotate_probability = rotate_probability
        self.blur_probability = blur_probability

    def weak(self, image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scale, rotate, blur, crop, flip.

        Args:
            image: [H, W, 3] in 0 .. 255, uint8 or float32.
            label: int32 [H, W, 1].
            seed: stateless.

        Returns:
            image float32 [h, w, 3], label int32 [h, w, 1], valid float32 [h, w, 1] (0 on padding and in the corners that a
            rotation leaves).
        """
        return self.views(image, label, self._draw_geometry(tf.shape(image)[:2], seed))[0]

    def weak_and_strong(self, image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The weak view and, with the same geometry, the strong one; arguments as for `weak`.

        Returns:
            weak, strong: float32 [h, w, 3].
            label: int32 [h, w, 1] of the weak view.
            valid: float32 [h, w, 1], 0 on padding and in the CutOut hole.
            not_padding: float32 [h, w, 1], 0 on padding only.
        """
        seed, jitter_seed, cutout_seed = split_seed(seed, 3)
        geometry = self._draw_geometry(tf.shape(image)[:2], seed)
        jitter = random_jitter(jitter_seed, self.jitter_strength) if self.jitter_strength else None
        view, strong = self.views(image, label, geometry, jitter)
        valid = view["valid"]
        if self.cutout_half_side:
            center = random_position(cutout_seed, self.crop_size)
            strong = cut_out(strong, center, self.cutout_half_side, self.mean_pixel)
            valid = cut_out(valid, center, self.cutout_half_side, [0.0])
        return {
            "weak": view["image"],
            "strong": strong,
            "label": view["label"],
            "valid": valid,
            "not_padding": view["valid"],
        }

    def _draw_geometry(self, shape: tf.Tensor, seed: tf.Tensor) -> Geometry:
        scale_seed, offset_seed, flip_seed = split_seed(seed, 3)
        size = scaled_size(shape, random_scale_factor(scale_seed, *self.scales))
        offset = random_position(offset_seed, tf.maximum(size - self.crop_size, 0) + 1)
        flip = tf.random.stateless_uniform([], flip_seed) <= self.flip_probability
        # From seeds of their own, so that the three above are the same with them and without.
        angle = blur = None
        if self.rotate_degrees:
            draw, other = tf.unstack(tf.random.stateless_uniform([2], tf.random.fold_in(seed, 1)))
            angle = tf.where(draw < self.rotate_probability, math.radians(self.rotate_degrees) * (2 * other - 1), 0.0)
        if self.blur_probability:
            blur = tf.random.stateless_uniform([], tf.random.fold_in(seed, 2)) < self.blur_probability
            blur &= tf.reduce_all(size > BLUR_MARGIN)  # a smaller image has no two pixels to reflect at its border
        return Geometry(size, offset, flip, angle, blur)

    def views(
        self, image: tf.Tensor, label: tf.Tensor, geometry: Geometry, jitter: Callable | None = None
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Returns the weak view, see `weak`, and its image after `jitter`, a function of images in 0 .. 255."""
        size, offset, flip = geometry.size, geometry.offset, geometry.flip
        extent = tf.minimum(size, self.crop_size)
        mirror = lambda pixels: tf.cond(flip, lambda: tf.reverse(pixels, [1]), lambda: pixels)
        padded = lambda pixels: pad(pixels, self.crop_size, self.mean_pixel, left=flip)
        pixels = mirror(self._pixels(image, geometry, offset, extent))
        label = pad(mirror(self._labels(label, geometry, offset, extent)), self.crop_size, [NOTHING], left=flip)
        valid = label != NOTHING
        weak = {
            "image": padded(pixels),
            "label": tf.where(valid, label, self.ignore_label),
            "valid": tf.cast(valid, tf.float32),
        }
        if jitter is None:
            return weak, weak["image"]
        if self.jitter_scope == "crop":
            pixels = jitter(pixels)
        else:
            whole = jitter(self._pixels(image, geometry, tf.zeros_like(offset), size))
            pixels = mirror(crop(whole, offset, extent))
        return weak, padded(pixels)

    def _pixels(self, image: tf.Tensor, geometry: Geometry, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
        """A crop of the scaled, rotated and blurred image, float32 [*extent, 3]."""
        size, blur = geometry.size, geometry.blur
        scaled = functools.partial(resize_crop, image, size)
        rotated = functools.partial(self._rotated, scaled, geometry, interpolation="BILINEAR", fill=self.mean_pixel)
        if blur is None:
            return rotated(offset, extent)
        pixels = rotated(*with_margin(size, offset, extent, BLUR_MARGIN * tf.cast(blur, tf.int32)))
        return tf.cond(blur, lambda: blur_crop(pixels, size, offset, extent), lambda: pixels)

    def _labels(self, label: tf.Tensor, geometry: Geometry, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
        """A crop of the scaled and rotated label, int32 [*extent, 1], `NOTHING` in the corners."""

        def scaled(offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
            rows, columns = (
                nearest_sources(length, geometry.size[axis], self.label_align_corners)[offset[axis] :][: extent[axis]]
                for axis, length in enumerate(tf.unstack(tf.shape(label)[:2]))
            )
            # To transpose twice and gather rows takes a third of the time of gathering columns.
            return tf.gather(tf.transpose(tf.gather(tf.transpose(label[..., 0]), columns)), rows)[..., None]

        return self._rotated(scaled, geometry, offset, extent, "NEAREST", NOTHING)

    def _rotated(self, crop_of, geometry: Geometry, offset: tf.Tensor, extent: tf.Tensor, interpolation: str, fill):
        if geometry.angle is None:
            return crop_of(offset, extent)
        return rotate_crop(crop_of, geometry.size, geometry.angle, offset, extent, interpolation, fill)


def random_position(seed: tf.Tensor, limit) -> tf.Tensor:
    """Draws int32 (y, x), each from 0 .. limit - 1."""
    return tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(limit, tf.float32), tf.int32)


def random_scale_factor(seed: tf.Tensor, minimum: float, maximum: float, step: float) -> tf.Tensor:
    """Draws from {minimum, minimum + step, ..., maximum}; from the interval if step is 0."""
    if step == 0:
        return tf.random.stateless_uniform([], seed, minimum, maximum)
    count = round((maximum - minimum) / step) + 1
    return tf.linspace(minimum, maximum, count)[tf.random.stateless_uniform([], seed, 0, count, tf.int32)]


def scaled_size(shape: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """The int32 (height, width) that an image of int32 `shape` is scaled to; sizes truncate."""
    return tf.cast(tf.cast(shape, tf.float32) * factor, tf.int32)


def pad(image: tf.Tensor, size: tuple[int, int], value, left: tf.Tensor | bool = False) -> tf.Tensor:
    """Pads to a static [h, w, channels] with one pixel's `value`, at the bottom and at the right (or the left)."""
    height, width = tf.unstack(tf.shape(image)[:2])

    def padded() -> tf.Tensor:
        spare = size[1] - width
        before = tf.where(left, spare, 0)
        beside = [filled(height, part, value, image.dtype) for part in (before, spare - before)]
        rows = tf.concat([beside[0], image, beside[1]], 1)
        return tf.concat([rows, filled(size[0] - height, size[1], value, image.dtype)], 0)

    full = (height == size[0]) & (width == size[1])
    return tf.ensure_shape(tf.cond(full, lambda: image, padded), [*size, image.shape[-1]])


def filled(height: tf.Tensor, width: tf.Tensor, value, dtype: tf.DType) -> tf.Tensor:
    """Returns [height, width, channels] of one pixel's `value`; by rows, as small inner sides are broadcast slowly."""
    row = tf.tile(tf.cast(value, dtype), [width])
    return tf.reshape(tf.broadcast_to(row, [height, tf.size(row)]), [height, width, len(value)])


def random_jitter(seed: tf.Tensor, strength: float = 1.0) -> Callable[[tf.Tensor], tf.Tensor]:
    """Draws a colour jitter of images in 0 .. 255."""
    order_seed, *seeds = split_seed(seed, 5)
    s = 0.5 * strength
    ranges = ((-s, s), (1 - s, 1 + s), (1 - s, 1 + s), (-s / 2, s / 2))
    draws = [tf.random.stateless_uniform([], sd, low, high) for sd, (low, high) in zip(seeds, ranges, strict=True)]
    order = tf.random.experimental.stateless_shuffle(tf.range(4), order_seed)
    return lambda image: color_jitter(image, draws, order, 255.0)


def color_jitter(image: tf.Tensor, draws, order: tf.Tensor, maximum: float = 1.0) -> tf.Tensor:
    """Applies the four colour operations in `order`, clipping to 0 .. maximum after each.

    Args:
        image: [H, W, 3] in 0 .. maximum.
        draws: brightness to add, in parts of `maximum`, contrast factor, saturation factor, hue to add.
        order: permutation of 0 .. 3 over COLOR_OPS.
        maximum: of the values.
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
    for position in range(len(COLOR_OPS)):
        image = tf.switch_case(order[position], [functools.partial(operation, image) for operation in operations])
    return image


def cut_out(image: tf.Tensor, center: tf.Tensor, half_side: int, value) -> tf.Tensor:
    """Fills the square within `half_side` of `center`, int32 (y, x), as far as it lies in the image, with `value`."""
    begin = tf.maximum(center - half_side, 0)
    end = tf.minimum(center + half_side, tf.shape(image)[:2])
    height, width = tf.unstack(end - begin)
    hole = filled(height, width, value, image.dtype)
    return tf.raw_ops.TensorStridedSliceUpdate(input=image, begin=begin, end=end, strides=[1, 1], value=hole)


def image_label_of(label: tf.Tensor, num_classes: int, has_background: bool = True) -> tf.Tensor:
    """Multi-hot float32 [K] of the classes that occur in a label map of 0 .. 255; K = C - has_background."""
    counts = tf.math.bincount(tf.reshape(label, [-1]), minlength=num_classes, maxlength=num_classes)
    return tf.cast(counts[int(has_background) :] > 0, tf.float32)
