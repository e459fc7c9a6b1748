"""Weak and strong views: PseudoSeg, section "Data augmentation", and the original's input_preprocess.py.

Every random function takes a stateless seed (int64 [2]); the deterministic ones take the draws, so that a test can replay
the original's. Only the pixels that the crop needs are computed, the strong view's from the weak one's; padding comes last.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import gin
import tensorflow as tf

from wss.data.color_jitter import ADDITIVE, JITTERS, MULTIPLICATIVE, gaussian_blur, grey, random_jitter
from wss.data.companions import Companions, boxes_in_view
from wss.data.crops import BLUR_MARGIN, blur_crop, crop, nearest_sources, resize_crop, rotate_crop, with_margin
from wss.data.geometry import Geometry
from wss.data.padding import Pixel, cut_out, pad
from wss.parameter_ranges import Relation, at_most, in_ranges
from wss.ranges import LARGEST_SCALE, LARGEST_SIDE, Integer, Number, OneOf, SetByCode, Several, Switch

LARGEST_NUMBER_OF_SCALES = 1000
HOLE_SHARE = 50 / 513  # half the side of the original's CutOut hole over that of its crop
NOTHING = -1  # where a label has no pixel
JITTER_SCOPES = ("crop", "image", "view")
PADDINGS = {"mean": None, "black": (0.0, 0.0, 0.0)}
LARGEST_SIGMA = 32.0


def split_seed(seed: tf.Tensor, number: int) -> list[tf.Tensor]:
    """Returns `number` independent stateless seeds."""
    return tf.unstack(tf.random.split(seed, number))


@gin.configurable
@in_ranges(
    "Augmentation",
    at_most("min_scale", "max_scale"),
    Relation(
        ("jitter_kind", "jitter_rounded"),
        lambda kind, rounded: kind == MULTIPLICATIVE or not rounded,
        f"jitter_rounded = False with jitter_kind = {ADDITIVE!r}",
    ),
    Relation(("strong_blur_sigmas",), lambda sigmas: sigmas[0] <= sigmas[1], "the smaller one first"),
    Relation(
        ("scale_step", "min_scale", "max_scale"),
        lambda step, least, most: step == 0 or least >= most or 1 <= (most - least) / step <= LARGEST_NUMBER_OF_SCALES,
        f"a step of 0, or 1 to {LARGEST_NUMBER_OF_SCALES} steps from min_scale to max_scale",
    ),
    crop_size=SetByCode("TrainingData.crop_size"),
    mean_pixel=SetByCode(),
    ignore_label=SetByCode(),
    eight_bits=SetByCode(),
    min_scale=Number(minimum=0.01, maximum=LARGEST_SCALE),
    max_scale=Number(minimum=0.01, maximum=LARGEST_SCALE),
    scale_step=Number(minimum=0, maximum=LARGEST_SCALE),
    flip_probability=Number(minimum=0, maximum=1),
    jitter_strength=Number(minimum=0, maximum=2),
    jitter_hue=Switch(),
    jitter_kind=OneOf(JITTERS),
    jitter_probability=Number(minimum=0, maximum=1),
    jitter_rounded=Switch(),
    jitter_scope=OneOf(JITTER_SCOPES),
    grey_probability=Number(minimum=0, maximum=1),
    strong_blur_probability=Number(minimum=0, maximum=1),
    strong_blur_sigmas=Several(Number(above=0, maximum=LARGEST_SIGMA), 2, 2),
    padding=OneOf(PADDINGS),
    cutout_half_side=Integer(0, LARGEST_SIDE),
    label_align_corners=Switch(),
    rotate_degrees=Number(minimum=0, maximum=180),
    rotate_probability=Number(minimum=0, maximum=1),
    blur_probability=Number(minimum=0, maximum=1),
)
@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The random views of one image.

    Attributes:
        crop_size: (height, width) of every view; DeepLab takes 2^n + 1.
        mean_pixel: RGB of the CutOut hole, and of padding unless `padding` says another.
        ignore_label: Label of padding.
        eight_bits: Whether images, labels and `valid` leave as uint8, images rounded; labels have to fit.
        min_scale: Smallest random scale.
        max_scale: Largest random scale.
        scale_step: Distance of the scales; 0 draws them continuously.
        flip_probability: Probability of a left-right flip.
        jitter_strength: Strength s of the paper's Figure 5e: brightness, contrast and saturation 0.5 s, hue 0.25 s; 0 for
            none.
        jitter_hue: Whether hues are jittered too.
        jitter_kind: Colour jitter: "additive" adds to brightness, as in the original; "multiplicative" multiplies it, and
            blends as Pillow and torchvision do (UniMatch).
        jitter_probability: Probability of the jitter.
        jitter_rounded: Whether "multiplicative" cuts values to integers after each of its operations.
        jitter_scope: Pixels whose colours change together: the "crop", the whole scaled "image", as in the original, or the
            "view", which is the crop with its padding (UniMatch). The mean of the contrast differs.
        grey_probability: Probability that a strong view has no colours, after the jitter.
        strong_blur_probability: Probability that a strong view is blurred, after that.
        strong_blur_sigmas: Smallest and largest standard deviation of this Gaussian blur, in pixels.
        padding: Colour of padding: "mean" is `mean_pixel`, or "black" (UniMatch).
        cutout_half_side: Half the side of the square hole; 50 in the original's flags, 25 in the paper; 0 for none.
        label_align_corners: Whether the label is scaled by aligned corners, as in the original though its image is not.
        rotate_degrees: Largest angle in degrees by which the scaled image turns either way; 0 for none. Its corners become
            as padding is, but are jittered on the strong view.
        rotate_probability: Probability of that rotation.
        blur_probability: Probability of a Gaussian blur of 5x5 pixels, after the rotation.

    Raises:
        UserError: A value outside its range.
    """

    crop_size: tuple[int, int]
    mean_pixel: tuple[float, float, float]
    ignore_label: int = 255
    eight_bits: bool = False
    _: dataclasses.KW_ONLY
    min_scale: float = 0.5
    max_scale: float = 2.0
    scale_step: float = 0.25
    flip_probability: float = 0.5
    jitter_strength: float = 1.0
    jitter_hue: bool = True
    jitter_kind: str = ADDITIVE
    jitter_probability: float = 1.0
    jitter_rounded: bool = False
    jitter_scope: str = "crop"
    grey_probability: float = 0.0
    strong_blur_probability: float = 0.0
    strong_blur_sigmas: Sequence[float] = (0.1, 2.0)
    padding: str = "mean"
    cutout_half_side: int = 50
    label_align_corners: bool = False
    rotate_degrees: float = 0.0
    rotate_probability: float = 0.5
    blur_probability: float = 0.0

    def weak(
        self, image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, *, companions: Companions | None = None
    ) -> dict[str, tf.Tensor]:
        """Scales, rotates, blurs, crops and flips.

        Args:
            image: [H, W, 3] in 0 .. 255, uint8 or float32.
            label: int32 [H, W, 1].
            seed: Stateless seed.
            companions: Boxes and second mask of the image; None for nothing.

        Returns:
            image float32 [h, w, 3], label int32 [h, w, 1], valid float32 [h, w, 1], and what follows from the companions,
            see `wss.data.streams`. valid is 0 on padding and in the corners that a rotation leaves.
        """
        geometry = self._draw_geometry(tf.shape(image)[:2], seed)
        view = self.views(image, label, geometry)[0]
        return {**view, **self._companions(companions, geometry, view["valid"])}

    def weak_and_strong(
        self,
        image: tf.Tensor,
        label: tf.Tensor,
        seed: tf.Tensor,
        *,
        companions: Companions | None = None,
        strong: int = 1,
    ) -> dict[str, tf.Tensor]:
        """Returns the weak view and, with the same geometry, strong ones.

        Args:
            image: See `weak`.
            label: See `weak`.
            seed: See `weak`.
            companions: See `weak`.
            strong: Number of strong views.

        Returns:
            - weak, strong: float32 [h, w, 3]; further strong views are strong_2, strong_3 and so on.
            - label: int32 [h, w, 1] of the weak view.
            - valid: float32 [h, w, 1], 0 on padding and in the CutOut hole; valid_2 and so on, of the further views.
            - not_padding: float32 [h, w, 1], 0 on padding only.
            - What follows from the companions, see `wss.data.streams`.
        """
        geometry_seed, *first = split_seed(seed, 3)
        geometry = self._draw_geometry(tf.shape(image)[:2], geometry_seed)
        # A view's draws do not depend on how many follow it.
        seeds = [first, *(split_seed(tf.random.fold_in(seed, number), 2) for number in range(1, strong))][:strong]
        jitters = [self._colors(jitter_seed) for jitter_seed, _ in seeds] if self._changes_colors else []
        view, jittered = self.views(image, label, geometry, jitters=jitters)
        images = jittered or [view["image"]] * strong
        views = {"weak": view["image"], "label": view["label"], "valid": view["valid"], "not_padding": view["valid"]}
        for number, (pixels, (_, cutout_seed)) in enumerate(zip(images, seeds, strict=True), 1):
            suffix = "" if number == 1 else f"_{number}"
            views[f"strong{suffix}"], views[f"valid{suffix}"] = self._cut_out(pixels, view["valid"], cutout_seed)
        return {**views, **self._companions(companions, geometry, view["valid"])}

    @property
    def _changes_colors(self) -> bool:
        return max(self.jitter_strength, self.grey_probability, self.strong_blur_probability) > 0

    def _colors(self, seed: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """Draws what happens to the colours of a strong view."""
        # From seeds of their own, so that a jitter is the same with and without what follows it.
        jittered, without_color, blurred, sigma = tf.unstack(
            tf.random.stateless_uniform([4], tf.random.fold_in(seed, 1))
        )
        least, most = self.strong_blur_sigmas
        jitter = random_jitter(
            seed, self.jitter_strength, hue=self.jitter_hue, kind=self.jitter_kind, rounded=self.jitter_rounded
        )

        def blur(image: tf.Tensor) -> tf.Tensor:
            return gaussian_blur(image, least + sigma * (most - least), largest=most)

        steps = (
            (jittered, self.jitter_probability if self.jitter_strength else 0.0, jitter),
            (without_color, self.grey_probability, lambda image: tf.repeat(grey(image), 3, axis=-1)),
            (blurred, self.strong_blur_probability, blur),
        )
        return functools.partial(_sometimes, steps=steps)

    def _cut_out(self, image: tf.Tensor, valid: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if not self.cutout_half_side:
            return image, valid
        center = random_position(seed, self.crop_size)
        image = cut_out(image, center, half_side=self.cutout_half_side, value=self._stored_pixel(self.mean_pixel))
        return image, cut_out(valid, center, half_side=self.cutout_half_side, value=[0.0])

    def _companions(self, companions: Companions | None, geometry: Geometry, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        found: dict[str, tf.Tensor] = {}
        if companions is None:
            return found
        if companions.second_label is not None:
            label = self._padded_label(companions.second_label, geometry)
            found["second_label"] = self._stored_label(label)
        if companions.boxes is not None:
            found |= boxes_in_view(companions, geometry, self.crop_size, valid=tf.cast(valid, tf.float32))
        return found

    def _draw_geometry(self, shape: tf.Tensor, seed: tf.Tensor) -> Geometry:
        scale_seed, offset_seed, flip_seed = split_seed(seed, 3)
        factor = random_scale_factor(scale_seed, minimum=self.min_scale, maximum=self.max_scale, step=self.scale_step)
        size = scaled_size(shape, factor)
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
        return Geometry(size=size, offset=offset, flip=flip, angle=angle, blur=blur)

    def views(
        self, image: tf.Tensor, label: tf.Tensor, geometry: Geometry, *, jitters: Sequence[Callable] = ()
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """Returns the weak view, see `weak`, and its image after each of the jitters.

        Args:
            image: See `weak`.
            label: See `weak`.
            geometry: Geometry of the views.
            jitters: Functions of images in 0 .. 255, one for each further image.
        """
        extent = tf.minimum(geometry.size, self.crop_size)
        pixels = self._pixels(image, geometry, geometry.offset, extent)

        def view(pixels: tf.Tensor, padding: Pixel) -> tf.Tensor:
            return pad(_mirrored(pixels, geometry), self.crop_size, padding, left=geometry.flip)

        stored = lambda pixels: view(self._stored(pixels), self._stored_pixel(self._padding))
        label = self._padded_label(label, geometry)
        weak = {
            "image": stored(pixels),
            "label": self._stored_label(label),
            "valid": tf.cast(label != NOTHING, tf.uint8 if self.eight_bits else tf.float32),
        }
        if self.jitter_scope == "crop":
            return weak, [stored(jitter(pixels)) for jitter in jitters]
        if self.jitter_scope == "view":
            whole = view(pixels, self._padding)
            return weak, [tf.ensure_shape(self._stored(jitter(whole)), whole.shape) for jitter in jitters]
        whole = self._pixels(image, geometry, tf.zeros_like(geometry.offset), geometry.size) if jitters else None
        return weak, [stored(crop(jitter(whole), geometry.offset, extent)) for jitter in jitters]

    @property
    def _padding(self) -> Pixel:
        return PADDINGS[self.padding] or self.mean_pixel

    def _stored(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns pixels in 0 .. 255 as they leave: rounded, or as they are."""
        return tf.cast(pixels + 0.5, tf.uint8) if self.eight_bits else pixels

    def _stored_pixel(self, pixel: Pixel) -> Pixel:
        return [math.floor(value + 0.5) for value in pixel] if self.eight_bits else pixel

    def _stored_label(self, label: tf.Tensor) -> tf.Tensor:
        """Returns a label as it leaves, with `NOTHING` as the ignore label."""
        label = tf.where(label != NOTHING, label, self.ignore_label)
        return tf.cast(label, tf.uint8) if self.eight_bits else label

    def _padded_label(self, label: tf.Tensor, geometry: Geometry) -> tf.Tensor:
        """Returns the label of a view, int32 [h, w, 1], `NOTHING` where the image has no pixel."""
        extent = tf.minimum(geometry.size, self.crop_size)
        label = self._labels(label, geometry, geometry.offset, extent)
        label = _mirrored(label[..., 0], geometry)[..., None]  # with a last side of 1 it takes four times as long
        return pad(label, self.crop_size, [NOTHING], left=geometry.flip)

    def _pixels(self, image: tf.Tensor, geometry: Geometry, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
        """Returns a crop of the scaled, rotated and blurred image, float32 [*extent, 3]."""
        size, blur = geometry.size, geometry.blur
        scaled = lambda offset, extent: resize_crop(image, size, offset=offset, extent=extent)
        rotated = functools.partial(self._rotated, scaled, geometry, interpolation="BILINEAR", fill=self._padding)
        if blur is None:
            return rotated(offset, extent)
        pixels = rotated(*with_margin(size, offset, extent, margin=BLUR_MARGIN * tf.cast(blur, tf.int32)))
        return tf.cond(blur, lambda: blur_crop(pixels, size, offset=offset, extent=extent), lambda: pixels)

    def _labels(self, label: tf.Tensor, geometry: Geometry, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
        """Returns a crop of the scaled and rotated label, int32 [*extent, 1], `NOTHING` in the corners."""

        def scaled(offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
            rows, columns = (
                nearest_sources(length, geometry.size[axis], self.label_align_corners)[offset[axis] :][: extent[axis]]
                for axis, length in enumerate(tf.unstack(tf.shape(label)[:2]))
            )
            # To transpose twice and gather rows takes a third of the time of gathering columns.
            return tf.gather(tf.transpose(tf.gather(tf.transpose(label[..., 0]), columns)), rows)[..., None]

        return self._rotated(scaled, geometry, offset, extent, interpolation="NEAREST", fill=NOTHING)

    def _rotated(
        self,
        crop_of: Callable,
        geometry: Geometry,
        offset: tf.Tensor,
        extent: tf.Tensor,
        *,
        interpolation: str,
        fill: Pixel | float,
    ) -> tf.Tensor:
        if geometry.angle is None:
            return crop_of(offset, extent)
        return rotate_crop(
            crop_of,
            geometry.size,
            angle=geometry.angle,
            offset=offset,
            extent=extent,
            interpolation=interpolation,
            fill=fill,
        )


def _mirrored(pixels: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    return tf.cond(geometry.flip, lambda: tf.reverse(pixels, [1]), lambda: pixels)


def _sometimes(image: tf.Tensor, *, steps: Sequence[tuple[tf.Tensor, float, Callable]]) -> tf.Tensor:
    """Applies those of the functions in `steps` whose draw in [0, 1) is below their probability, one after the other."""
    for draw, probability, function in steps:
        if probability >= 1:
            image = function(image)
        elif probability > 0:
            image = tf.cond(
                draw < probability, functools.partial(function, image), functools.partial(tf.identity, image)
            )
    return image


def random_position(seed: tf.Tensor, limit: tf.Tensor | Sequence[int]) -> tf.Tensor:
    """Draws int32 (y, x), each from 0 .. limit - 1."""
    return tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(limit, tf.float32), tf.int32)


def random_scale_factor(seed: tf.Tensor, *, minimum: float, maximum: float, step: float) -> tf.Tensor:
    """Draws from {minimum, minimum + step, ..., maximum}; from the interval if step is 0."""
    if step == 0:
        return tf.random.stateless_uniform([], seed, minimum, maximum)
    count = round((maximum - minimum) / step) + 1
    return tf.linspace(minimum, maximum, count)[tf.random.stateless_uniform([], seed, 0, count, dtype=tf.int32)]


def scaled_size(shape: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns the int32 (height, width) that an image of int32 `shape` is scaled to; sizes truncate, to no less than 1."""
    return tf.maximum(tf.cast(tf.cast(shape, tf.float32) * factor, tf.int32), 1)


def image_label_of(label: tf.Tensor, num_classes: int, has_background: bool = True) -> tf.Tensor:
    """Returns multi-hot float32 [K] of the classes that occur in a label map of 0 .. 255; K = C - has_background."""
    counts = tf.math.bincount(tf.cast(tf.reshape(label, [-1]), tf.int32), minlength=num_classes, maxlength=num_classes)
    return tf.cast(counts[int(has_background) :] > 0, tf.float32)
