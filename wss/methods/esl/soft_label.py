"""The soft label of ESL: of each pixel the likeliest classes that hold a share of the probability, renormalised."""

import tensorflow as tf

KINDS = ("dynamic", "hard", "top_k")
TOLERANCE = 1e-6  # 0.475 + 0.475 is 0.95, which float32 misses


def soft_label(
    probabilities: tf.Tensor, kind: str = "dynamic", *, eta: float = 0.95, top_k: int = 5, sorted_classes: int = 10
) -> tf.Tensor:
    """Returns the label of each pixel; no gradient flows through it.

    Args:
        probabilities: float32 [..., C], a teacher's.
        kind: "dynamic" keeps the fewest likeliest classes that together reach `eta` (Eqs. 3 to 5), "hard" the likeliest
            one, and "top_k" always `top_k` of them. Classes as likely as the last that is kept are kept too.
        eta: Share of the probability that is reached, 0 .. 1. From 1 on every class is kept.
        top_k: Number of classes of "top_k".
        sorted_classes: Number of classes of a pixel that are sorted at first. All are sorted where these do not reach
            `eta`, image by image, so that the result is the same for every number.

    Returns:
        float32 [..., C], the kept probabilities over their sum.
    """
    probabilities = tf.stop_gradient(probabilities)
    classes = probabilities.shape[-1]
    if kind == "hard":
        return tf.one_hot(tf.argmax(probabilities, axis=-1), classes)
    if kind == "top_k":
        last = tf.math.top_k(probabilities, min(top_k, classes)).values[..., -1:]
    else:
        last = _least_kept(probabilities, eta, sorted_classes)
    kept = tf.where(probabilities >= last, probabilities, 0.0)
    return kept / tf.reduce_sum(kept, axis=-1, keepdims=True)


def support_size(label: tf.Tensor) -> tf.Tensor:
    """Returns the number of classes of each pixel's label [..., C]: int32 [...]."""
    return tf.math.count_nonzero(label, axis=-1, dtype=tf.int32)


def entropy(label: tf.Tensor) -> tf.Tensor:
    """Returns the entropy of each pixel's label [..., C] in parts of that of C equal classes: float32 [...], 0 .. 1."""
    bits = -tf.reduce_sum(tf.math.xlogy(label, label), axis=-1)
    return tf.clip_by_value(bits / tf.math.log(tf.cast(max(label.shape[-1], 2), tf.float32)), 0.0, 1.0)


def _least_kept(probabilities: tf.Tensor, eta: float, sorted_classes: int) -> tf.Tensor:
    """Returns the probability [..., 1] of the last class that is needed to reach `eta`."""
    classes = probabilities.shape[-1]
    if classes <= sorted_classes:
        return _among_largest(probabilities, eta, classes)[0]

    def of_image(image: tf.Tensor) -> tf.Tensor:
        last, reached = _among_largest(image, eta, sorted_classes)
        return tf.cond(reached, lambda: last, lambda: _among_largest(image, eta, classes)[0])

    shape = [*probabilities.shape[:-1], 1]
    return tf.reshape(tf.map_fn(of_image, probabilities), shape)


def _among_largest(probabilities: tf.Tensor, eta: float, number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the last class that is needed, if it is among the `number` largest, and whether it is for all pixels."""
    largest = tf.math.top_k(probabilities, number).values
    before = tf.cumsum(largest, axis=-1, exclusive=True)
    # The first one is needed always; none is when eta is reached before it.
    last = tf.reduce_min(tf.where(before < max(eta - TOLERANCE, TOLERANCE), largest, 1.0), axis=-1, keepdims=True)
    reached = tf.reduce_all(before[..., -1] + largest[..., -1] >= eta - TOLERANCE)
    return last, reached
