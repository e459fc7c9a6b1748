"""The losses, each one scalar per replica: a mean over the pixels (or labels) that count, 0 where none does."""

from collections.abc import Sequence

import tensorflow as tf

from wss.ops.resizing import resize_bilinear, resize_nearest


def segmentation_loss(
    logits: tf.Tensor,
    label: tf.Tensor,
    *,
    ignore_label: int = 255,
    upsample_logits: bool = True,
    class_weights: Sequence[float] | None = None,
) -> tf.Tensor:
    """Returns the pixel cross-entropy at the label's resolution (L_s and L_sa of PseudoSeg).

    Args:
        logits: [B, h, w, C].
        label: Integer [B, H, W, 1], 0 .. C-1 or `ignore_label`.
        ignore_label: Label of pixels that count neither in the sum nor in the number of pixels.
        upsample_logits: Whether the logits are resized to the label (bilinear, aligned corners). Otherwise the label is
            resized to them (nearest, aligned corners), which costs less memory.
        class_weights: Weight of each of the C classes; None weighs all alike.

    Returns:
        Scalar float32, the mean over the batch's labelled pixels by the weights of their classes; 0 if there are none.
    """
    if upsample_logits:
        logits = resize_bilinear(tf.cast(logits, tf.float32), tf.shape(label)[1:3])
    else:
        logits = tf.cast(logits, tf.float32)
        label = resize_nearest(label, logits.shape[1:3], align_corners=True)
    label = tf.squeeze(tf.cast(label, tf.int32), -1)
    counted = tf.cast(label != ignore_label, tf.float32)
    if class_weights is not None:
        counted *= tf.gather(tf.constant(class_weights, tf.float32), tf.where(label != ignore_label, label, 0))
    return weighted_mean(pixel_cross_entropy(logits, label, ignore_label=ignore_label), counted)


def pixel_cross_entropy(logits: tf.Tensor, label: tf.Tensor, *, ignore_label: int = 255) -> tf.Tensor:
    """Returns the cross-entropy of each pixel, float32 [...], for logits [..., C] and integer labels [...].

    Pixels with `ignore_label` have that of class 0: 255 raises on CPU and is NaN on GPU.
    """
    legal = tf.where(label != ignore_label, tf.cast(label, tf.int32), 0)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=legal, logits=logits)


def weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the mean of values by weights, scalar float32; 0 without weight."""
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def hard_example_loss(
    logits: tf.Tensor, label: tf.Tensor, *, threshold: float = 0.7, least: int = 100_000, ignore_label: int = 255
) -> tf.Tensor:
    """Returns the pixel cross-entropy over hard pixels alone (online hard example mining, as U2PL's on Cityscapes).

    Args:
        logits: [B, h, w, C], resized to the label (bilinear, aligned corners).
        label: Integer [B, H, W, 1], 0 .. C-1 or `ignore_label`.
        threshold: Probability of the true class up to which a pixel is hard.
        least: Number of pixels that are hard at least, those with the smallest probabilities; all if there are fewer.
        ignore_label: Label of pixels that do not count.

    Returns:
        Scalar float32, the mean over the hard pixels; 0 if there are none.
    """
    logits = resize_bilinear(tf.cast(logits, tf.float32), tf.shape(label)[1:3])
    label = tf.reshape(tf.cast(label, tf.int32), [-1])
    counted = label != ignore_label
    loss = pixel_cross_entropy(tf.reshape(logits, [-1, logits.shape[-1]]), label, ignore_label=ignore_label)
    probability = tf.where(counted, tf.exp(-tf.stop_gradient(loss)), 2.0)  # past every probability
    enough = tf.math.count_nonzero(probability <= threshold) >= least
    sorted_limit = lambda: -tf.math.top_k(-probability, tf.minimum(least, tf.size(label))).values[-1]
    limit = tf.cond(enough, lambda: tf.constant(threshold), sorted_limit)  # to sort millions of pixels takes long
    hard = tf.cast(counted & (probability <= tf.maximum(threshold, limit)), tf.float32)
    return weighted_mean(loss, hard)


def consistency_loss(
    logits: tf.Tensor, pseudo_label: tf.Tensor, valid: tf.Tensor, *, confident: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the cross-entropy of the strong view against the pseudo label (L_u of PseudoSeg).

    Args:
        logits: [B, h, w, C] of the strong view.
        pseudo_label: [B, h, w, C] probabilities; no gradient flows into them.
        valid: [B, h, w, 1] in {0, 1}; its sum is the normaliser.
        confident: [B, h, w, 1] in {0, 1}, pixels that count in the sum; None counts all. As in the original code
            (train_wss.py:506-517) the others stay in the normaliser.

    Returns:
        Scalar float32; 0 if no pixel is valid.
    """
    loss = tf.nn.softmax_cross_entropy_with_logits(
        labels=tf.stop_gradient(pseudo_label), logits=tf.cast(logits, tf.float32)
    )
    valid = tf.squeeze(tf.cast(valid, tf.float32), -1)
    weight = valid if confident is None else valid * tf.squeeze(confident, -1)
    return tf.math.divide_no_nan(tf.reduce_sum(loss * weight), tf.reduce_sum(valid))


def confident_loss(
    logits: tf.Tensor, label: tf.Tensor, confidence: tf.Tensor, valid: tf.Tensor, *, threshold: float
) -> tf.Tensor:
    """Returns the cross-entropy against hard pseudo labels where they are confident (FixMatch, UniMatch).

    Args:
        logits: [B, h, w, C], resized to the label (bilinear, aligned corners).
        label: int32 [B, H, W, 1], 0 .. C-1.
        confidence: float32 [B, H, W, 1], the probability of the label.
        valid: float32 [B, H, W, 1] in {0, 1}; its sum is the normaliser.
        threshold: Confidence from which on a pixel counts in the sum. The others stay in the normaliser.

    Returns:
        Scalar float32; 0 if no pixel is valid.
    """
    logits = resize_bilinear(tf.cast(logits, tf.float32), label.shape[1:3])
    loss = pixel_cross_entropy(logits, label[..., 0])
    counted = tf.cast(confidence >= threshold, tf.float32) * valid
    return tf.math.divide_no_nan(tf.reduce_sum(loss * counted[..., 0]), tf.reduce_sum(valid))


def image_label_loss(logits: tf.Tensor, image_label: tf.Tensor, known: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the mean sigmoid cross-entropy over images and classes (L_x of PseudoSeg).

    Args:
        logits: [B, K].
        image_label: [B, K] multi-hot.
        known: [B] in {0, 1}, images whose labels are known; None counts all.

    Returns:
        Scalar float32; 0 if no image counts.
    """
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=image_label, logits=tf.cast(logits, tf.float32))
    loss = tf.reduce_mean(loss, axis=-1)
    known = tf.ones_like(loss) if known is None else tf.cast(known, tf.float32)
    return weighted_mean(loss, known)


def weight_decay_loss(kernels: Sequence, weight_decay: float) -> tf.Tensor:
    """Returns DeepLab's regularisation, weight_decay * sum(w^2) / 2 over the given kernels."""
    return weight_decay * tf.add_n([tf.nn.l2_loss(tf.cast(kernel, tf.float32)) for kernel in kernels])
