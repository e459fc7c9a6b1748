"""CutMix (Yun et al., ICCV 2019) of a batch: a rectangle of each image shows the next one."""

import dataclasses

import tensorflow as tf

from wss.ops.draws import integer_below
from wss.ops.resizing import resize_nearest


@dataclasses.dataclass(frozen=True)
class CutMix:
    """One rectangle for each image, for everything that has the image's geometry.

    Attributes:
        inside: bool [B, H, W, 1], the pixels that come from the next image of the batch; the last one's next is the first.
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
        x, y = tf.range(width)[None, None, :], tf.range(height)[None, :, None]
        left, top, columns, rows = (value[:, None, None] for value in (left, top, columns, rows))
        inside = (x >= left) & (x < left + columns) & (y >= top) & (y < top + rows)
        return cls((inside & (draws[3, 0] < probability))[..., None])

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Returns mixed values of any kind: [B, h, w, n] or [B, h, w], whose grid may be a coarser one."""
        inside = resize_nearest(self.inside, values.shape[1:3], align_corners=True)
        inside = inside if values.shape.rank == 4 else inside[..., 0]
        return tf.where(inside, tf.roll(values, -1, axis=0), values)
