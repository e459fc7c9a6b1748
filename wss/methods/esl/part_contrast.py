"""The pixel-to-part contrast of ESL: what it remembers, and its loss on a batch."""

import dataclasses
from collections.abc import Mapping

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import evaluation_batches
from wss.data.record_damage import damage_told
from wss.data.training_data import TrainingData
from wss.methods.base import Figure, Scalars
from wss.methods.components.cut_mix import CutMix
from wss.methods.components.teacher import Teacher
from wss.methods.esl.contrast import choose_anchors, info_nce
from wss.methods.esl.monitoring import part_colors
from wss.methods.esl.part_memory import DRAWS, PartMemory
from wss.methods.esl.parts import (
    NO_CLASS,
    PartPrototypes,
    coarse_classes,
    nearest_part,
    part_means_by_image,
    part_sums,
)
from wss.methods.esl.passes import View
from wss.methods.esl.projector import Projector
from wss.methods.esl.prototypes import METRICS, FeatureSample, k_means
from wss.models.deeplab import DeepLab
from wss.models.layers.dropout import next_seed
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.parameter_ranges import in_ranges
from wss.progress import track
from wss.ranges import Integer, Number, OneOf

AVERAGES = ("all", "present")
LARGEST_QUEUE = 2**16


class PartState(tf.Module):
    """What the contrast remembers: prototypes and memory."""

    def __init__(self, prototypes: PartPrototypes, memory: PartMemory, info: DatasetInfo):
        super().__init__()
        self.prototypes, self.memory = prototypes, memory
        self.class_names, self.colors = info.class_names, info.colors


@gin.configurable
@in_ranges(
    "PartContrast",
    parts=Integer(1, 256),
    prototype_decay=Number(minimum=0, maximum=1),
    prototype_metric=OneOf(METRICS),
    prototype_sample=Integer(1, 2**20),
    queue_capacity=Integer(1, LARGEST_QUEUE),
    memory_confidence=Number(minimum=0, below=1),
    anchor_share=Number(above=0, maximum=1),
    max_anchors=Integer(1, LARGEST_QUEUE),
    anchor_confidence=Number(minimum=0, below=1),
    negatives=Integer(1, LARGEST_QUEUE),
    negatives_uniform_over=OneOf(DRAWS),
    temperature=Number(above=0),
    average=OneOf(AVERAGES),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class PartContrast:
    """The settings of the pixel-to-part contrast, and what they do.

    Attributes:
        parts: K, the number of parts of a class; 1 compares pixels with regions.
        prototype_decay: Share theta of a prototype that a step keeps.
        prototype_metric: Distance of the K-means that finds the first prototypes, "cosine" or "euclidean". The paper does
            not say; parts are assigned by cosines.
        prototype_sample: Number of pixels of each class that K-means sees.
        queue_capacity: Number q of vectors in the queue of a part; the paper does not say.
        memory_confidence: Least confidence of the teacher for an unlabelled pixel to count in a part's mean; the paper has
            none.
        anchor_share: Share of a class's candidates that are anchors.
        max_anchors: Largest number of anchors of a class, which bounds the memory; the paper has no limit.
        anchor_confidence: Confidence zeta of the teacher above which an unlabelled pixel is a candidate.
        negatives: Number N_s of negatives.
        negatives_uniform_over: See `PartMemory.draw_others`; the paper does not say.
        temperature: Sigma, by which cosines are divided.
        average: Classes over which the loss is a mean, "all" as in the paper or those "present" in the batch.
    """

    parts: int = 5
    prototype_decay: float = 0.99
    prototype_metric: str = "cosine"
    prototype_sample: int = 4096
    queue_capacity: int = 256
    memory_confidence: float = 0.0
    anchor_share: float = 0.1
    max_anchors: int = 256
    anchor_confidence: float = 0.95
    negatives: int = 255
    negatives_uniform_over: str = "entries"
    temperature: float = 0.5
    average: str = "all"

    def build_state(self, network: DeepLab, info: DatasetInfo) -> PartState:
        """Builds prototypes and queues, both empty."""
        channels = network.feature_channels["features"]
        prototypes = PartPrototypes(
            info.num_classes,
            self.parts,
            channels,
            decay=self.prototype_decay,
            unit=self.prototype_metric == "cosine",
        )
        memory = PartMemory(info.num_classes * self.parts, self.queue_capacity, network.branches.dimension)
        return PartState(prototypes, memory, info)

    def prepare(self, state: PartState, network: DeepLab, data: TrainingData) -> None:
        """Finds the first prototypes by K-means over the encoder's features of the labelled images."""
        info, split = data.infos["labeled"], data.splits["labeled"]
        sample = FeatureSample(info.num_classes, self.prototype_sample, data.seed)

        @tf.function
        def encode(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features = network.features(image)["features"]
            return tf.cast(features, tf.float32), coarse_classes(label, features.shape[1:3], info.num_classes)

        batches = evaluation_batches(info, split, 1, padding=network.padding)
        with damage_told((info, split)):
            for number, batch in enumerate(track(batches, "features for prototypes", info.split(split).num_examples)):
                features, classes = (values.numpy() for values in encode(batch["image"], batch["label"]))
                sample.add(number, features.reshape(-1, features.shape[-1]), classes.reshape(-1))
        values = state.prototypes.values.numpy()
        for number, name in enumerate(track(info.class_names, "prototypes", unit="set")):
            points = sample.of_class(number)
            if len(points):
                values[number] = k_means(points, self.parts, metric=self.prototype_metric, seed=data.seed)
            else:
                print(f"class {name!r}: no labelled pixel, so its parts are found while training")
        state.prototypes.values.assign(values)

    def loss(
        self,
        state: PartState,
        projector: Projector,
        *,
        label: tf.Tensor,
        teacher: Teacher,
        view: View,
        valid: tf.Tensor,
        student: tf.Tensor,
        mix: CutMix,
    ) -> tuple[tf.Tensor, Scalars, dict[str, tf.Tensor]]:
        """Returns L_CTR (Eqs. 9 and 10), metrics, and what `after_step` takes.

        Args:
            state: Prototypes and memory.
            projector: The student's.
            label: int32 [B, H, W, 1] of the labelled images.
            teacher: The teacher, whose projector makes the vectors of the memory.
            view: What it says of the labelled and the unlabelled weak views.
            valid: float32 [b, H, W, 1] of the unlabelled weak views.
            student: float32 [B + b, h4, w4, depth], the projector's hidden features of labelled and mixed images.
            mix: The CutMix of the unlabelled images.
        """
        grid = tuple(student.shape[1:3])
        labeled = label.shape[0]
        of_labeled = coarse_classes(label, grid, len(state.class_names))
        of_unlabeled, confidence = predicted_classes(view.logits[labeled:], valid, grid)
        classes = tf.concat([of_labeled, of_unlabeled], 0)
        part = nearest_part(view.encoded, classes, tf.convert_to_tensor(state.prototypes.values))

        # What follows the step: means of z^t for the memory, of E^t for the prototypes (Eqs. 8 and 12).
        number = len(state.class_names) * self.parts
        sure = tf.concat([tf.ones_like(of_labeled, tf.bool), confidence >= self.memory_confidence], 0)
        pooled = tf.where((classes != NO_CLASS) & sure, classes * self.parts + part, -1)
        means, present = part_means_by_image(view.hidden, pooled, number)
        sums, counts = part_sums(view.encoded, pooled, number)
        vectors = teacher.run(lambda: projector.project(means))
        tensors = {"vectors": vectors, "present": present, "sums": sums, "counts": counts}

        candidates = tf.where(confidence > self.anchor_confidence, of_unlabeled, NO_CLASS)
        loss, metrics = self._contrast(
            state,
            projector,
            student,
            candidates=tf.concat([of_labeled, mix(candidates)], 0),
            part=tf.concat([part[:labeled], mix(part[labeled:])], 0),
        )
        return loss, metrics, tensors

    def after_step(self, state: PartState, tensors: Mapping[str, tf.Tensor]) -> None:
        """Pushes the means of a step into the memory and moves the prototypes; in a replica context."""
        state.memory.push(tensors["vectors"], tensors["present"])
        state.prototypes.update(tensors["sums"], tensors["counts"])

    def figure(self, state: PartState, features: tf.Tensor, logits: tf.Tensor, valid: tf.Tensor) -> Figure:
        """Returns a picture of the parts that the teacher sees.

        Args:
            state: Prototypes and memory.
            features: float32 [B, h', w', D] of the teacher's encoder.
            logits: float32 [B, h, w, C] of the teacher, on whose grid the parts are shown.
            valid: float32 [B, H, W, 1].
        """
        classes, _ = predicted_classes(logits, valid, tuple(logits.shape[1:3]))
        part = nearest_part(features, classes, tf.convert_to_tensor(state.prototypes.values))
        return Figure("parts", "image", part_colors(classes, part, state.colors, self.parts))

    def _contrast(
        self, state: PartState, projector: Projector, student: tf.Tensor, *, candidates: tf.Tensor, part: tf.Tensor
    ) -> tuple[tf.Tensor, Scalars]:
        """Returns the loss and its metrics for the class and the part of each pixel, int32 [B + b, h4, w4]."""
        names, memory = state.class_names, state.memory
        anchors = choose_anchors(
            next_seed(), tf.reshape(candidates, [-1]), len(names), share=self.anchor_share, largest=self.max_anchors
        )
        vectors = projector.project(tf.gather(tf.reshape(student, [-1, student.shape[-1]]), anchors.index))
        part = tf.gather(tf.reshape(part, [-1]), anchors.index)
        group = tf.range(len(names))[:, None] * self.parts + part
        positives, has_positive = memory.draw_own(next_seed(), group)
        negatives, has_negatives = memory.draw_others(next_seed(), self.negatives, self.negatives_uniform_over)
        negatives = tf.reshape(negatives, [len(names), self.parts, self.negatives, -1])
        usable = tf.cast(anchors.chosen & has_positive & tf.gather(has_negatives, group), tf.float32)
        losses = info_nce(vectors, positives, negatives, part, temperature=self.temperature)
        by_class = tf.math.divide_no_nan(tf.reduce_sum(losses * usable, -1), tf.reduce_sum(usable, -1))
        with_anchors = tf.reduce_sum(tf.cast(tf.reduce_any(usable > 0, -1), tf.float32))
        divisor = len(names) if self.average == "all" else with_anchors
        chosen = tf.reduce_sum(tf.cast(anchors.chosen, tf.float32))
        metrics = {
            "contrast/anchors": chosen,
            "contrast/skipped": tf.math.divide_no_nan(chosen - tf.reduce_sum(usable), chosen),
            "contrast/queue_fill": tf.reduce_mean(tf.cast(memory.sizes, tf.float32)) / self.queue_capacity,
            **{f"contrast_by_class/{name}": value for name, value in zip(names, tf.unstack(by_class), strict=True)},
        }
        return tf.math.divide_no_nan(tf.reduce_sum(by_class), divisor), metrics


def predicted_classes(logits: tf.Tensor, valid: tf.Tensor, grid: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the likeliest class of each pixel of a grid, `NO_CLASS` where it is not valid, and its probability.

    Args:
        logits: float32 [B, h, w, C].
        valid: float32 [B, H, W, 1].
        grid: (height, width) of the results [B, height, width].
    """
    probabilities = tf.nn.softmax(resize_bilinear(logits, grid))
    is_valid = resize_nearest(valid, grid, align_corners=True)[..., 0] > 0
    classes = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    return tf.where(is_valid, classes, NO_CLASS), tf.reduce_max(probabilities, axis=-1)
