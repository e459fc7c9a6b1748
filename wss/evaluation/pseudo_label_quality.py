"""Evaluates what pseudo labels of PseudoSeg are made of: decoder, SGC, ways to fuse them, and the gate of the CAM."""

import functools
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from wss.data.augment import image_label_of
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.evaluation.evaluator import no_masks, unknown_labels
from wss.evaluation.label_sources import Gate, LabelSources
from wss.evaluation.result import Result
from wss.inference.photos import Batch, Examples
from wss.inference.pipelining import one_behind
from wss.inference.prediction import valid_pixels
from wss.methods.base import Method
from wss.methods.pseudoseg.calibrated_fusion import CalibratedFusion
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.models.deeplab import DeepLab
from wss.ops import metrics
from wss.ops.resizing import resize_bilinear
from wss.progress import track


def default_fusions(method: PseudoSeg) -> dict[str, CalibratedFusion]:
    """Returns the sources to compare, by title, the telling ones first.

    Gamma and temperature are those of the run, and the labels are soft.
    """
    fusion = functools.partial(CalibratedFusion, gamma=method.gamma, temperature=method.temperature)
    own = f"T={method.temperature:g}"  # T=1 gives some sources twice, under one title
    return {
        "decoder": CalibratedFusion(temperature=1.0, source="decoder"),
        "SGC": CalibratedFusion(temperature=1.0, source="sgc"),
        "no norm, T=1": fusion(temperature=1.0, norm_scope="none"),
        f"no norm, {own}": fusion(norm_scope="none"),
        "norm of the batch, T=1": fusion(temperature=1.0, norm_scope="batch"),
        f"norm of the batch, {own}": fusion(norm_scope="batch"),
        f"norm of the image, {own}": fusion(norm_scope="image"),
        f"norm of the pixel, {own}": fusion(norm_scope="pixel"),
        f"sum over the image, {own}": fusion(norm_scope="image", norm_reduce="sum"),
    }


def evaluate_label_sources(
    model: DeepLab,
    method: Method,
    info: DatasetInfo,
    *,
    split: str,
    examples: Examples,
    fusions: Mapping[str, CalibratedFusion] | None = None,
) -> LabelSources:
    """Measures what pseudo labels come from as `PseudoSeg.explain` makes them: in inference mode, gated by the classifier.

    One pass of the network serves all sources. They are probabilities on the decoder's grid, with SGC's logits resized to
    it as in the fusion. They are brought to image size as probabilities. `Evaluator` brings logits there, so its numbers
    for the decoder differ a little at borders between classes.

    A fusion sees a batch as it is. So a norm of the batch or of an image is over the padding too, as in training. That of
    the batch depends on which images share one; the last batch is only of the images that are left.

    Args:
        model: Network of the run.
        method: Method of the run; it must be PseudoSeg.
        info: The data set.
        split: Name of the split that the examples come from.
        examples: Examples with masks.
        fusions: Sources to measure, by title; None for `default_fusions`.

    Returns:
        Counts of the labelled pixels inside the images. The gate counts a class as in an image if its labelled pixels show
        it. Images without such pixels count nowhere.

    Raises:
        UserError: The method is not PseudoSeg, there are no masks, or they have a value that is no class.
    """
    if not isinstance(method, PseudoSeg):
        raise UserError(
            f"train.method is {type(method).__name__}, which fuses no pseudo labels; expected a run of PseudoSeg, such as "
            "that of gin_configs/recipes/shapes/pseudoseg.gin. wss-eval evaluates runs of any method"
        )
    if fusions is None:
        fusions = default_fusions(method)
    start = time.monotonic()
    step = tf.function(functools.partial(_count, model, method, info, fusions))
    batches = track(iter(examples), f"evaluating {split}", unit="step")
    totals: dict = {}
    for counts in one_behind(step(*_named(batch, info, split)) for batch in batches):
        if counts["unknown"]:
            raise unknown_labels(info, split)
        arrays = tf.nest.map_structure(lambda tensor: tensor.numpy(), counts)
        totals = tf.nest.map_structure(np.add, totals, arrays) if totals else arrays
    images, seconds = int(totals["images"]), time.monotonic() - start
    results = {
        title: Result(info.name, split, info.class_names, confusion, calibration, images, seconds)
        for title, (confusion, calibration) in totals["sources"].items()
    }
    return LabelSources(results, Gate(info.class_names[int(info.has_background) :], totals["gate"]))


def _count(
    model: DeepLab,
    method: PseudoSeg,
    info: DatasetInfo,
    fusions: Mapping[str, CalibratedFusion],
    images: tf.Tensor,
    sizes: tf.Tensor,
    labels: tf.Tensor,
) -> dict:
    """Counts one batch, see `Batch`; its shapes are static."""
    num_classes, ignore = info.num_classes, info.ignore_label
    valid = valid_pixels(sizes, images.shape[1:3])
    labels = tf.where(valid[..., 0] > 0, labels, ignore)
    labeled = tf.reduce_any(labels != ignore, axis=[1, 2])
    features = model.features(images)
    decoder = model.segment(features)
    sgc, _, gated = method.infer(model, features, logits=decoder, valid=valid)
    sources: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}
    for title, fusion in fusions.items():
        # One after the other: at image size probabilities take much memory.
        with tf.control_dependencies([tensor for counts in sources.values() for tensor in counts]):
            probabilities = resize_bilinear(fusion(decoder, sgc)[0], images.shape[1:3])
            prediction = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
            sources[title] = (
                metrics.confusion_matrix(labels, prediction, num_classes, ignore_label=ignore),
                metrics.calibration_histogram(labels, probabilities, ignore_label=ignore),
            )
    return {
        "sources": sources,
        "gate": _count_gate((gated > 0) & labeled[:, None], labels, info),
        "images": tf.math.count_nonzero(labeled),
        "unknown": metrics.num_unknown_labels(labels, num_classes, ignore),
    }


def _count_gate(gated: tf.Tensor, labels: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """Returns the counts of a `Gate` from the classes that pass, bool [B, K], and masks [B, H, W]."""
    # The ignore label may lie among the classes.
    labels = tf.where(labels == info.ignore_label, info.num_classes, labels)
    classes = [image_label_of(label, info.num_classes, info.has_background) for label in tf.unstack(labels)]
    shown = tf.stack(classes) > 0
    cases = gated & shown, gated & ~shown, ~gated & shown
    return tf.stack([tf.math.count_nonzero(case, axis=0) for case in cases], axis=1)


def _named(batch: Batch, info: DatasetInfo, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images, sizes and labels without those that fill up a batch, which would move the norm of the batch."""
    if batch.labels is None:
        raise no_masks(info, split)
    number = len(batch.names)
    return batch.images[:number], batch.sizes[:number], batch.labels[:number]
