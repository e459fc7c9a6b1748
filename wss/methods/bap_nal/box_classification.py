"""Stage 1 of BAP: a network that tells the classes of boxes from features pooled without their background."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import gin
import keras
import tensorflow as tf

from wss.data.companions import NO_BOX
from wss.data.dataset_info import DatasetInfo
from wss.data.streams import Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.bap_nal.background import Queries, background_attention, background_queries
from wss.methods.bap_nal.pooling import BINS, pool_boxes
from wss.methods.base import Batch, Figure, Losses, Method
from wss.models.deeplab import DeepLab, Features
from wss.ops.losses import pixel_cross_entropy, weighted_mean
from wss.ops.resizing import resize_nearest
from wss.parameter_ranges import in_ranges
from wss.ranges import Integer, Number, OneOf, Switch

POOLINGS = ("background_aware", "average")


class BoxClassifier(keras.layers.Layer):
    """A linear classifier without bias, of pooled features and of single pixels.

    Args:
        num_classes: C, the background included.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_classes = num_classes

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Creates the weights for features [..., D]."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(shape[-1], self.num_classes),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
            dtype="float32",
        )

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Returns logits [..., C], float32."""
        return tf.matmul(tf.cast(features, tf.float32), self.kernel)


class Pooled(NamedTuple):
    """What a batch gives the classifier.

    Attributes:
        boxes: float32 [B, N, V, D], V pooled vectors of each box.
        queries: The background queries.
        attention: float32 [B, h, w, 1], attention to the background, as it was used: 0 where it was not.
        used: bool [B], whether the attention of an image was used.
    """

    boxes: tf.Tensor
    queries: Queries
    attention: tf.Tensor
    used: tf.Tensor


@gin.configurable
@in_ranges(
    "BoxClassification",
    pooling=OneOf(POOLINGS),
    grid=Integer(1, 64),
    roi_bins=OneOf(BINS),
    least_background=Number(minimum=0, maximum=1),
    max_boxes=Integer(1, 1000),
    color_jitter=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxClassification(Method):
    """The cross-entropy of box features and background queries, on images with boxes and no masks.

    Its network is for `wss-label --policy=boxes`; the segmentation head is not trained.

    Attributes:
        pooling: "background_aware" (BAP), or "average" (GAP): all pixels of a box count alike.
        grid: See `background_queries`.
        roi_bins: See `pool_boxes`, its `bins`; 1 is the paper's formula, 2 what its authors train with.
        least_background: Share of definite background in a view below which its boxes are pooled by GAP.
        max_boxes: Number of boxes of a view that are learned from, the largest ones.
        color_jitter: Whether the network sees the strong view, of which colour jitter is a part.
    """

    pooling: str = "background_aware"
    grid: int = 4
    roi_bins: int = 2
    least_background: float = 0.125
    max_boxes: int = 40
    color_jitter: bool = True

    @property
    def streams(self) -> Mapping[str, Views]:  # type: ignore[override]
        """Images with boxes, in one view."""
        return {"unlabeled": Views(strong=int(self.color_jitter), boxes=self.max_boxes, masks=False)}

    def check(self, data: TrainingData) -> None:
        """Checks that there is a background.

        Raises:
            UserError: All classes are objects.
        """
        if not data.info.has_background:
            raise UserError(
                f"{data.info.directory}: class 0 ({data.info.class_names[0]}) is an object, and BAP learns what lies "
                "outside of all boxes as class 0; build the records with a background"
            )

    def build(self, network: DeepLab, info: DatasetInfo) -> BoxClassifier:
        """Builds the classifier on the features that image classifiers pool."""
        classifier = BoxClassifier(info.num_classes, name="box_classifier")
        classifier.build((None, network.feature_channels["cam_features"]))
        return classifier

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`.

        A box smaller than a pixel of the features may have no weight. As in the formulas its vectors are 0, which adds a
        constant to the loss.
        """
        unlabeled = batch["unlabeled"]
        features = network.features(self._images(unlabeled), training=True)["cam_features"]
        pooled = self.pool(features, unlabeled)
        labels = unlabeled["box_labels"][:, :, None]
        classified = [
            (network.branches(pooled.boxes), tf.broadcast_to(labels, tf.shape(pooled.boxes)[:3])),
            (network.branches(pooled.queries.vectors), tf.where(pooled.queries.valid, 0, NO_BOX)),
        ]
        logits = tf.concat([tf.reshape(values, [-1, values.shape[-1]]) for values, _ in classified], 0)
        labels = tf.concat([tf.reshape(numbers, [-1]) for _, numbers in classified], 0)
        loss, accuracy = _cross_entropy(logits, labels)
        of_boxes = tf.shape(labels)[0] - tf.size(pooled.queries.valid)
        metrics = {
            "accuracy": accuracy,
            "box_accuracy": _cross_entropy(logits[:of_boxes], labels[:of_boxes])[1],
            "background_share": tf.reduce_mean(unlabeled["outside_boxes"]),
            "attention_used": tf.reduce_mean(tf.cast(pooled.used, tf.float32)),
        }
        return Losses({"box_classification": loss}, metrics)

    def pool(self, features: tf.Tensor, stream: Mapping[str, tf.Tensor]) -> Pooled:
        """Returns what the classifier sees of a batch.

        Args:
            features: [B, h, w, D] of its images.
            stream: The boxes of the images, see `wss.data.streams`.
        """
        outside = stream["outside_boxes"]
        if self.color_jitter:
            outside *= stream["valid"]  # a CutOut hole shows nothing
        image_size = tuple(outside.shape[1:3])
        features = tf.cast(features, tf.float32)
        background = resize_nearest(outside, features.shape[1:3], align_corners=True)
        queries = background_queries(features, background, self.grid)
        attention = background_attention(features, queries, background)
        used = tf.reduce_any(queries.valid, -1) & (tf.reduce_mean(outside, (1, 2, 3)) >= self.least_background)
        used &= self.pooling == "background_aware"
        attention = tf.where(used[:, None, None, None], attention, 0.0)
        boxes = pool_boxes(features, 1 - attention, stream["boxes"], image_size=image_size, bins=self.roi_bins)
        return Pooled(boxes, queries, attention, used)

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns the view, its held label, the attention to the background and the class maps inside of the boxes."""
        unlabeled = batch["unlabeled"]
        images = self._images(unlabeled)
        features = network.features(images)["cam_features"]
        pooled = self.pool(features, unlabeled)
        inside = 1 - resize_nearest(unlabeled["outside_boxes"], features.shape[1:3], align_corners=True)
        return [
            Figure("image", "image", images),
            Figure("label", "label", unlabeled["label"]),
            Figure("attention to the background", "heat", pooled.attention),
            Figure("class maps", "heat", class_maps(network.branches(features)) * inside),
        ]

    def intermediate_maps(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> list[Figure]:
        """Returns the class maps, as if the whole image were a box of every class."""
        return [Figure("class maps", "heat", class_maps(network.branches(features["cam_features"])))]

    def _images(self, stream: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return stream["strong" if self.color_jitter else "weak"]


def class_maps(logits: tf.Tensor) -> tf.Tensor:
    """Returns the logits [B, h, w, C] of objects, without the background, as maps [B, h, w, C - 1] in 0 .. 1."""
    maps = tf.nn.relu(logits[..., 1:])
    return tf.math.divide_no_nan(maps, tf.reduce_max(maps, (1, 2), keepdims=True))


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean cross-entropy and the accuracy of logits [S, C] whose labels [S] are not `NO_BOX`; 0 without any."""
    counted = tf.cast(labels != NO_BOX, tf.float32)
    loss = pixel_cross_entropy(logits, labels, ignore_label=NO_BOX)
    right = tf.cast(tf.argmax(logits, -1, output_type=labels.dtype) == labels, tf.float32)
    return weighted_mean(loss, counted), weighted_mean(right, counted)
