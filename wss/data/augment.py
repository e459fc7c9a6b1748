"""Weak and strong views: PseudoSeg, section "Data augmentation", and the original's input_preprocess.py.

Every random function takes a stateless seed (int64 [2]); the deterministic ones below them take the draws, so that a test
can replay the original's. Images are float32 [H, W, 3] in 0 .. 255 (colour operations: 0 .. 1), labels int32 [H, W, 1].
"""

import gin
import tensorflow as tf

from wss.errors import UserError

COLOR_OPS = ("brightness", "contrast", "saturation", "hue")


def split_seed(seed: tf.Tensor, number: int) -> list[tf.Tensor]:
    """Returns `number` independent stateless seeds."""
    return tf.unstack(tf.random.split(seed, number))


@gin.configurable
class Augmentation:
    """The random views of one image.

    Args:
        crop_size: (height, width) of every view; DeepLab takes 2^n + 1.
        mean_pixel: RGB of padding and of the CutOut hole.
        ignore_label: label of padding.
        min_scale, max_scale, scale_step: random scale; step 0 draws it continuously.
        flip_probability: of a left-right flip.
        jitter_strength: s of the paper's Figure 5e: brightness, contrast and saturation 0.5 s, hue 0.25 s.
        jitter_scope: "crop" jitters what survives the crop; "image" the whole scaled image, as the original does (the
            contrast's mean differs).
        cutout_half_side: half the side of the square hole; 50 in the original's flags, 25 in the paper; 0 for none.
        label_align_corners: scale the label by aligned corners, as the original does though its image is not.
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

    def weak(self, image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scale, crop, flip. Returns image [h, w, 3], label [h, w, 1], valid [h, w, 1] (0 on padding)."""
        image, label, offset, flip = self._draw_geometry(image, label, seed)
        return self._view(image, label, offset, flip)

    def weak_and_strong(self, image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The weak view and, with the same geometry, the strong one.

        Returns:
            weak, strong: float32 [h, w, 3].
            label: int32 [h, w, 1] of the weak view.
            valid: float32 [h, w, 1], 0 on padding and in the CutOut hole.
            not_padding: float32 [h, w, 1], 0 on padding only.
        """
        seed, jitter_seed, cutout_seed = split_seed(seed, 3)
        image, label, offset, flip = self._draw_geometry(image, label, seed)
        jitter = random_jitter(jitter_seed, self.jitter_strength)
        weak = self._view(image, label, offset, flip)
        strong = self._view(image, label, offset, flip, jitter)["image"]
        hole = tf.zeros_like(weak["valid"])
        if self.cutout_half_side:
            center = random_position(cutout_seed, self.crop_size)
            hole = cutout_hole(self.crop_size, center, self.cutout_half_side)
        return {
            "weak": weak["image"],
            "strong": tf.where(hole > 0, tf.constant(self.mean_pixel, tf.float32), strong),
            "label": weak["label"],
            "valid": weak["valid"] * (1.0 - hole),
            "not_padding": weak["valid"],
        }

    def _draw_geometry(self, image, label, seed):
        scale_seed, offset_seed, flip_seed = split_seed(seed, 3)
        factor = random_scale_factor(scale_seed, *self.scales)
        image, label = scale(image, label, factor, self.label_align_corners)
        spare = tf.maximum(tf.shape(image)[:2] - self.crop_size, 0)
        offset = random_position(offset_seed, spare + 1)
        flip = tf.random.stateless_uniform([], flip_seed) <= self.flip_probability
        return image, label, offset, flip

    def _view(self, image, label, offset, flip, jitter=None):
        if jitter is not None and self.jitter_scope == "image":
            image = jitter(image)
        image, label = crop(image, offset, self.crop_size), crop(label, offset, self.crop_size)
        if jitter is not None and self.jitter_scope == "crop":
            image = jitter(image)
        valid = tf.ones_like(label, tf.float32)
        view = {
            "image": pad(image, self.crop_size, self.mean_pixel),
            "label": pad(label, self.crop_size, [self.ignore_label]),
            "valid": pad(valid, self.crop_size, [0.0]),
        }
        return {name: tf.where(flip, tf.reverse(value, [1]), value) for name, value in view.items()}


def random_position(seed: tf.Tensor, limit) -> tf.Tensor:
    """Draws int32 (y, x), each from 0 .. limit - 1."""
    return tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(limit, tf.float32), tf.int32)


def random_scale_factor(seed: tf.Tensor, minimum: float, maximum: float, step: float) -> tf.Tensor:
    """Draws from {minimum, minimum + step, ..., maximum}; from the interval if step is 0."""
    if step == 0:
        return tf.random.stateless_uniform([], seed, minimum, maximum)
    count = round((maximum - minimum) / step) + 1
    return tf.linspace(minimum, maximum, count)[tf.random.stateless_uniform([], seed, 0, count, tf.int32)]


def scale(image: tf.Tensor, label: tf.Tensor, factor: tf.Tensor, label_align_corners: bool = False):
    """Resizes the image (antialiased bilinear) and the label (nearest) by a factor; sizes truncate."""
    size = tf.cast(tf.cast(tf.shape(image)[:2], tf.float32) * factor, tf.int32)
    label = tf.raw_ops.ResizeNearestNeighbor(
        images=label[None], size=size, align_corners=label_align_corners, half_pixel_centers=not label_align_corners
    )[0]
    return tf.image.resize(image, size, antialias=True), label


def crop(image: tf.Tensor, offset: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Cuts [offset, offset + size), or as much of it as the image has."""
    return image[offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


def pad(image: tf.Tensor, size: tuple[int, int], value) -> tf.Tensor:
    """Pads at the bottom and the right with one pixel's `value` to a static [h, w, channels]."""
    value = tf.cast(value, image.dtype)
    shape = tf.shape(image)
    image = tf.pad(image - value, [[0, size[0] - shape[0]], [0, size[1] - shape[1]], [0, 0]]) + value
    return tf.ensure_shape(image, [*size, image.shape[-1]])


def random_jitter(seed: tf.Tensor, strength: float = 1.0):
    """Draws a colour jitter; returns a function of images in 0 .. 255, so that two calls share the draw."""
    order_seed, *seeds = split_seed(seed, 5)
    s = 0.5 * strength
    ranges = ((-s, s), (1 - s, 1 + s), (1 - s, 1 + s), (-s / 2, s / 2))
    draws = [tf.random.stateless_uniform([], sd, low, high) for sd, (low, high) in zip(seeds, ranges, strict=True)]
    order = tf.random.experimental.stateless_shuffle(tf.range(4), order_seed)
    return lambda image: color_jitter(image / 255.0, draws, order) * 255.0


def color_jitter(image: tf.Tensor, draws, order: tf.Tensor) -> tf.Tensor:
    """Applies the four colour operations in `order`, clipping to 0 .. 1 after each.

    Args:
        image: [H, W, 3] in 0 .. 1.
        draws: added brightness, contrast factor, saturation factor, added hue.
        order: permutation of 0 .. 3 over COLOR_OPS.
    """
    brightness, contrast, saturation, hue = draws
    for position in range(len(COLOR_OPS)):
        image = tf.switch_case(
            order[position],
            [
                lambda x=image: x + brightness,
                lambda x=image: tf.image.adjust_contrast(x, contrast),
                lambda x=image: tf.image.adjust_saturation(x, saturation),
                lambda x=image: tf.image.adjust_hue(x, hue),
            ],
        )
        image = tf.clip_by_value(image, 0.0, 1.0)
    return image


def cutout_hole(size: tuple[int, int], center: tf.Tensor, half_side: int) -> tf.Tensor:
    """Returns float32 [h, w, 1]: 1 within `half_side` of `center` (y, x), clipped at the border."""
    rows, columns = tf.range(size[0]), tf.range(size[1])
    inside = lambda p, c: (p >= c - half_side) & (p < c + half_side)  # noqa: E731
    hole = inside(rows, center[0])[:, None] & inside(columns, center[1])[None, :]
    return tf.cast(hole, tf.float32)[..., None]


def image_label_of(label: tf.Tensor, num_classes: int, has_background: bool = True) -> tf.Tensor:
    """Multi-hot float32 [K] of the classes that occur in a label map; K = C - has_background."""
    present = tf.reduce_any(tf.reshape(label, [-1, 1]) == tf.range(num_classes), axis=0)
    return tf.cast(present[int(has_background) :], tf.float32)
