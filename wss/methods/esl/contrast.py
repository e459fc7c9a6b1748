"""The contrast of pixels with parts: anchors of each class, and InfoNCE against a memory (ESL, Eqs. 9 and 10)."""

from typing import NamedTuple

import tensorflow as tf

RANDOM_BITS = 23  # of a sorting key; 8 bits are left for the class


class Anchors(NamedTuple):
    """The pixels of each class that are compared with parts.

    Attributes:
        index: int32 [C, A], numbers of pixels of the flat batch.
        chosen: bool [C, A], whether there is such an anchor.
        share: float32 scalar, the share of the candidates that are anchors.
    """

    index: tf.Tensor
    chosen: tf.Tensor
    share: tf.Tensor


def choose_anchors(
    seed: tf.Tensor, candidates: tf.Tensor, num_classes: int, *, share: float = 0.1, largest: int = 256
) -> Anchors:
    """Chooses a random share of the candidates of each class.

    Args:
        seed: Stateless seed, int [2].
        candidates: int32 [N], the class of each pixel, negative for pixels that are no candidates.
        num_classes: C, at most 255.
        share: Share of a class's candidates, rounded up.
        largest: A, the number of anchors that a class has at most.
    """
    number = tf.size(candidates)
    is_candidate = (candidates >= 0) & (candidates < num_classes)
    group = tf.where(is_candidate, candidates, num_classes)
    # Sorted by class and then by chance, the first ones of each class are the choice.
    chance = tf.random.stateless_uniform(tf.shape(candidates), seed, 0, 1 << RANDOM_BITS, tf.int32)
    order = tf.argsort(group * (1 << RANDOM_BITS) + chance, stable=True)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(group), group, num_classes + 1)[:-1]
    first = tf.cumsum(counts, exclusive=True)
    wanted = tf.minimum(tf.cast(tf.math.ceil(share * tf.cast(counts, tf.float32) - 1e-4), tf.int32), largest)
    place = tf.range(largest)[None]
    index = tf.gather(order, tf.minimum(first[:, None] + place, number - 1))
    total = tf.cast(tf.reduce_sum(counts), tf.float32)
    return Anchors(
        index,
        place < wanted[:, None],
        tf.math.divide_no_nan(tf.cast(tf.reduce_sum(wanted), tf.float32), total),
    )


def info_nce(
    anchors: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor, part: tf.Tensor, *, temperature: float = 0.5
) -> tf.Tensor:
    """Returns InfoNCE of each anchor, by cosines; no gradient flows into positives and negatives (Eq. 9).

    The anchors of one part share their negatives, so nothing of the size anchors x negatives x L is made.

    Args:
        anchors: float32 [C, A, L].
        positives: float32 [C, A, L].
        negatives: float32 [C, K, N, L], those of each part.
        part: int32 [C, A], the part of each anchor, 0 .. K - 1.
        temperature: Sigma, by which cosines are divided.

    Returns:
        float32 [C, A].
    """
    anchors = tf.math.l2_normalize(anchors, axis=-1)
    positives = tf.stop_gradient(tf.math.l2_normalize(positives, axis=-1))
    negatives = tf.stop_gradient(tf.math.l2_normalize(negatives, axis=-1))
    classes, parts, number, dimension = negatives.shape
    of_all_parts = tf.matmul(anchors, tf.reshape(negatives, [classes, parts * number, dimension]), transpose_b=True)
    of_all_parts = tf.reshape(of_all_parts, [classes, -1, parts, number])
    cosines = tf.concat(
        [tf.reduce_sum(anchors * positives, -1, keepdims=True), tf.gather(of_all_parts, part, batch_dims=2)], axis=-1
    )
    return -tf.nn.log_softmax(cosines / temperature, axis=-1)[..., 0]
