"""CutMix (Yun et al., ICCV 2019) of a batch: a rectangle of each image shows another one."""

import dataclasses

import tensorflow as tf

from wss.ops.draws import integer_below
from wss.ops.resizing import resize_nearest

# Of UniMatch's rectangles: the area in parts of the image, and the ratio height / width.
AREAS, RATIOS = (0.02, 0.4), (0.3, 1 / 0.3)
RATIO_BINS = 256


@dataclasses.dataclass(frozen=True)
class CutMix:
    """One rectangle for each image, for everything that has the image's geometry.

    Attributes:
        inside: bool [B, H, W, 1], the pixels that come from the other image.
    """

    inside: tf.Tensor

    @classmethod
    def draw(cls, seed: tf.Tensor, batch_size: int, size: tuple[int, int], probability: float = 1.0) -> "CutMix":
        """Draws the rectangles as U2PL does: half of the image, between half as wide and as wide as it, anywhere inside.

        Args:
            seed: Stateless seed, int [2].
            batch_size: B.
            size: (height, width) of the images, at least 2 x 2.
            probability: Share of the batches that are mixed; the others stay as they are.
        """
        height, width = size
        draws = tf.random.stateless_uniform([4, batch_size], seed)
        narrowest = width // 2 + 1
        columns = narrowest + integer_below(draws[0], width - narrowest)
        rows = tf.cast(tf.round(height * width / 2 / tf.cast(columns, tf.float32)), tf.int32)
        left, top = integer_below(draws[1], width - columns + 1), integer_below(draws[2], height - rows + 1)
        inside = _inside(left, top, columns, rows, size)
        return cls(inside & (draws[3, 0] < probability))

    @classmethod
    def draw_any_size(
        cls, seed: tf.Tensor, batch_size: int, size: tuple[int, int], probability: float = 0.5
    ) -> "CutMix":
        """Draws the rectangles as UniMatch does: 0.02 to 0.4 of the image, height / width 0.3 to 1 / 0.3, all of it inside.

        The original draws a ratio and a corner, and again until the rectangle fits. Given an area, a ratio fits as often as
        there are corners at which it does: here it is drawn in proportion to their number, and then one of them.

        Args:
            seed: Stateless seed, int [2].
            batch_size: B.
            size: (height, width) of the images.
            probability: Share of the images that are mixed.
        """
        draws = tf.random.stateless_uniform([6, batch_size], seed)
        area = draws[0] * (AREAS[1] - AREAS[0]) + AREAS[0]
        bins = tf.linspace(RATIOS[0], RATIOS[1], RATIO_BINS + 1)
        rows, columns = rectangle_sides(area[:, None], (bins[None, 1:] + bins[None, :-1]) / 2, size)
        corners = [
            tf.cast(tf.maximum(side - part + 1, 0), tf.float32)
            for side, part in zip(size, (rows, columns), strict=True)
        ]
        fitting = tf.cumsum(corners[0] * corners[1], axis=1)
        chosen = tf.reduce_sum(tf.cast(fitting <= draws[1, :, None] * fitting[:, -1:], tf.int32), axis=1)
        chosen = tf.minimum(chosen, RATIO_BINS - 1)
        ratio = tf.gather(bins, chosen) + draws[2] * (bins[1] - bins[0])
        rows, columns = rectangle_sides(area, ratio, size)
        rows, columns = tf.minimum(rows, size[0]), tf.minimum(columns, size[1])
        top, left = integer_below(draws[3], size[0] - rows + 1), integer_below(draws[4], size[1] - columns + 1)
        return cls(_inside(left, top, columns, rows, size) & (draws[5] < probability)[:, None, None, None])

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Returns values of any kind mixed with those of the next image, after the last one with the first's.

        Args:
            values: [B, h, w, n] or [B, h, w], whose grid may be a coarser one.
        """
        return self.of(values, tf.roll(values, -1, axis=0))

    def of(self, values: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Returns values with others inside the rectangles; both as in `__call__`."""
        inside = resize_nearest(self.inside, values.shape[1:3], align_corners=True)
        inside = inside if values.shape.rank == 4 else inside[..., 0]
        return tf.where(inside, others, values)


def rectangle_sides(area: tf.Tensor, ratio: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns rows and columns, int32, of rectangles of an area in parts of the image, and of a ratio height / width."""
    pixels = area * (size[0] * size[1])
    rows, columns = tf.sqrt(pixels * ratio), tf.sqrt(pixels / ratio)
    return tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)


def _inside(left: tf.Tensor, top: tf.Tensor, columns: tf.Tensor, rows: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns bool [B, H, W, 1], where rectangles of int32 [B] each lie."""
    x, y = tf.range(size[1])[None, None, :], tf.range(size[0])[None, :, None]
    left, top, columns, rows = (value[:, None, None] for value in (left, top, columns, rows))
    return ((x >= left) & (x < left + columns) & (y >= top) & (y < top + rows))[..., None]
