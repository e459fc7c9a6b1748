"""Background-aware pooling: the features of a box, averaged with the weight 1 - attention to the background (Eq. 4).

All of it is linear in the features: the weight of every pixel for every vector comes from the edges of the boxes by products
of small matrices, so that no box is cut out and there is no loop over boxes.
"""

import tensorflow as tf

from wss.ops.resizing import sides

BINS = (1, 2)
EPSILON = 1e-12


def pool_boxes(
    features: tf.Tensor, weights: tf.Tensor, boxes: tf.Tensor, *, image_size: tuple[int, int], bins: int = 2
) -> tf.Tensor:
    """Returns the weighted mean features of boxes, float32 [B, N, bins ** 2, D].

    Args:
        features: float32 [B, h, w, D], whose corners are those of the image.
        weights: float32 [B, h, w, 1]: 1 - attention, or ones for global average pooling (GAP).
        boxes: float32 [B, N, 4], edges (ymin, xmin, ymax, xmax) in pixels of the image.
        image_size: (H, W) of the image.
        bins: 1 averages the pixels of the feature map whose middles lie in the box, as the paper writes; the nearest one
            if there is none. 2 is what the authors train with: the box is sampled bilinearly, in steps of about a pixel of
            the feature map, and averaged over 2 x 2 overlapping parts. So are the weights.

    Source: Oh et al., CVPR 2021, Eq. 4.
    """
    batch, height, width, depth = sides(features)
    edges = [
        _on_grid(boxes[..., axis], boxes[..., axis + 2], image_size[axis], side)
        for axis, side in enumerate((height, width))
    ]
    if bins == 1:
        rows, columns = (_inside(*pair, side)[:, :, None] for pair, side in zip(edges, (height, width), strict=True))
        shares = tf.einsum("bnry,bncx->bnrcyx", rows, columns) * weights[..., 0][:, None, None, None]
    else:
        (rows, row_bins), (columns, column_bins) = (
            _samples(*pair, side) for pair, side in zip(edges, (height, width), strict=True)
        )
        sampled = tf.einsum("bnsy,byx,bntx->bnst", rows, weights[..., 0], columns)
        # The part of a sample's weight that a pixel has, summed over the samples of each part of the box.
        across = tf.einsum("bnrs,bnst,bnsy->bnrty", row_bins, sampled, rows)
        shares = tf.einsum("bnrty,bnct,bntx->bnrcyx", across, column_bins, columns)
    number = boxes.shape[1] or tf.shape(boxes)[1]
    shares = tf.reshape(shares, [batch, number * bins**2, height * width])
    sums = tf.matmul(shares, tf.reshape(features, [batch, height * width, depth]))
    means = sums / (tf.reduce_sum(shares, -1, keepdims=True) + EPSILON)
    return tf.reshape(means, [batch, number, bins**2, depth])


def _on_grid(first: tf.Tensor, last: tf.Tensor, length: int, side: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the first and the last pixel of a box lie on a side of the feature map, 0 .. side - 1."""
    scale = tf.cast(side - 1, tf.float32) / max(length - 1, 1)
    limit = tf.cast(side - 1, tf.float32)
    low = tf.clip_by_value(first * scale, 0.0, limit)
    return low, tf.clip_by_value((last - 1) * scale, low, limit)


def _inside(low: tf.Tensor, high: tf.Tensor, side: int | tf.Tensor) -> tf.Tensor:
    """Returns which pixels of a side lie in low .. high, or the nearest one, float32 [B, N, side]."""
    pixel = tf.range(tf.cast(side, tf.float32))
    inside = (pixel >= low[..., None]) & (pixel <= high[..., None])
    nearest = pixel == tf.round((low + high) / 2)[..., None]
    return tf.cast(tf.where(tf.reduce_any(inside, -1, keepdims=True), inside, nearest), tf.float32)


def _samples(low: tf.Tensor, high: tf.Tensor, side: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how boxes are sampled along a side.

    Args:
        low: float32 [B, N], where a box begins.
        high: float32 [B, N], where it ends.
        side: Number of pixels of the side.

    Returns:
        float32 [B, N, side, side], share of each pixel in each sample, 0 past the number of samples; and
        float32 [B, N, 2, side], whether a part of the box has a sample.
    """
    count = tf.maximum(tf.math.ceil(high) - tf.floor(low), 1.0)[..., None]
    sample = tf.range(tf.cast(side, tf.float32))
    middle, distance = (low + high)[..., None] / 2, (high - low)[..., None] / tf.maximum(count - 1, 1.0)
    place = middle + (sample - (count - 1) / 2) * distance
    shares = tf.nn.relu(1 - tf.abs(place[..., None] - sample)) * tf.cast(sample < count, tf.float32)[..., None]
    # Two parts of count - floor(count / 2) samples each; a single sample is both.
    half = tf.floor(count / 2)
    parts = tf.stack([sample < count - half, (sample >= half) & (sample < count)], axis=2)
    return shares, tf.cast(parts, tf.float32)
