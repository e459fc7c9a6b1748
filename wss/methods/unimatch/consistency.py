"""What FixMatch, UniMatch and UniMatch V2 share: strong views under CutMix that learn what a weak view says."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.streams import MASKS, Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.base import Batch, Figure, Scalars
from wss.methods.components.cut_mix import CutMix
from wss.methods.components.label_quality import KNOWN_MASKS, label_quality
from wss.methods.components.labeled_loss import RANGES_OF_MASKS, LearnsFromMasks
from wss.methods.components.teacher import Teacher
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.dropout import dropout_seed, next_seed
from wss.models.layers.normalization import batch_norm_updates
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.ranges import Number, OneOf, OrNone, Switch

REVERSED_BATCH, SAME_IMAGE = "reversed_batch", "same_image"
PARTNERS = (REVERSED_BATCH, SAME_IMAGE)
EDGE = 2  # pixels, of the rectangles in a picture
COMMON_RANGES: Mapping = MappingProxyType(
    {
        **RANGES_OF_MASKS,
        "threshold": Number(minimum=0),
        "unlabeled_weight": Number(minimum=0),
        "cut_mix_probability": Number(minimum=0, maximum=1),
        "cut_mix_partner": OneOf(PARTNERS),
        "strong_statistics": Switch(),
        "teacher_decay": OrNone(Number(minimum=0, maximum=1)),
    }
)


class StrongView(NamedTuple):
    """A strong view after CutMix, with the label that it learns.

    Attributes:
        image: float32 [B, H, W, 3] in 0 .. 255.
        label: Its pseudo label, mixed alike.
        mix: The rectangles.
    """

    image: tf.Tensor
    label: PseudoLabel
    mix: CutMix


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyMethod(LearnsFromMasks):
    """A loss (L_x + unlabeled_weight * L_u) / 2, where L_u compares strong views with the label of the weak one.

    Attributes:
        threshold: Confidence tau from which on a pixel of the pseudo label counts; above 1 none does.
        unlabeled_weight: Weight of L_u.
        cut_mix_probability: Share of the strong views that are mixed, each with a rectangle of its own.
        cut_mix_partner: Image that a rectangle shows: "reversed_batch", that of the batch in reverse order (UniMatch V2), or
            "same_image", other views of the image itself (UniMatch).
        strong_statistics: Whether the pass over the strong views moves the statistics of batch norm.
        teacher_decay: Largest share of a mean teacher that a step keeps; it begins as the mean of all students. The teacher
            labels the weak views and is evaluated (UniMatch V2: 0.996). With None the student labels them itself, in
            training mode (UniMatch).
    """

    known_when = MappingProxyType({f"pseudo_label/{name}": KNOWN_MASKS for name in ("ece", "mean_iou")})
    number_of_views: ClassVar[int] = 2

    threshold: float = 0.95
    unlabeled_weight: float = 1.0
    cut_mix_probability: float = 0.5
    cut_mix_partner: str = REVERSED_BATCH
    least_hard_examples: int = 200_000
    strong_statistics: bool = True
    teacher_decay: float | None = None

    @property
    def streams(self) -> Mapping[str, Views]:  # type: ignore[override]
        """Labelled images, and unlabelled ones with strong views; a second time for the rectangles of the same image."""
        again = self.cut_mix_probability > 0 and self.cut_mix_partner == SAME_IMAGE
        return {"labeled": MASKS, "unlabeled": Views(strong=self.number_of_views, again=again, masks=False)}

    def check(self, data: TrainingData) -> None:
        """Checks that CutMix has another image to mix in.

        Raises:
            UserError: A replica's batch has a single unlabelled image.
        """
        mixes = self.cut_mix_probability > 0 and self.cut_mix_partner == REVERSED_BATCH
        if mixes and data.batch_sizes["unlabeled"] < 2:
            name = type(self).__name__
            raise UserError(
                "TrainingData.unlabeled_batch_size = 1: CutMix needs another image of a replica's batch; expected 2 or "
                f"more, or {name}.cut_mix_partner = 'same_image', or {name}.cut_mix_probability = 0.0"
            )

    def build_state(self, network: DeepLab, info: DatasetInfo) -> Teacher | None:
        """Builds the teacher, if there is one."""
        return None if self.teacher_decay is None else Teacher(network, decay=self.teacher_decay)

    def after_step(self, network: DeepLab, tensors: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """Moves the teacher."""
        if network.state is not None:
            network.state.update(step)

    def evaluated(self, network: DeepLab) -> Teacher | None:
        """Returns the teacher, if there is one."""
        return network.state

    def logits_of(self, network: DeepLab, images: tf.Tensor) -> tf.Tensor:
        """Returns the logits [B, h, w, C] that label images in inference mode: the teacher's, or the student's."""
        if network.state is None:
            return network(images, training=False)
        return network.state.predict(images)

    def others_of(self, network: DeepLab, unlabeled: Mapping[str, tf.Tensor]) -> PseudoLabel | None:
        """Returns the label of the second views of each image; None unless "same_image" needs it.

        It comes before the step's other passes, which move statistics.
        """
        if not self.streams["unlabeled"].again:
            return None
        return PseudoLabel.of(self.logits_of(network, unlabeled["again/weak"]), unlabeled["again/not_padding"])

    def strong_views(
        self, unlabeled: Mapping[str, tf.Tensor], label: PseudoLabel, others: PseudoLabel | None
    ) -> list[StrongView]:
        """Returns the strong views of a batch after CutMix.

        Args:
            unlabeled: The unlabelled stream.
            label: The pseudo label of its weak views.
            others: What `others_of` returns.
        """
        if others is None:
            others, of_other = label.reversed(), lambda name: tf.reverse(unlabeled[name], [0])
        else:
            of_other = lambda name: unlabeled[f"again/{name}"]
        batch, height, width, _ = label.valid.shape
        views = []
        for image, valid in [("strong", "valid"), ("strong_2", "valid_2")][: self.number_of_views]:
            mix = CutMix.draw_any_size(next_seed(), batch, (height, width), self.cut_mix_probability)
            own, other = label._replace(valid=unlabeled[valid]), others._replace(valid=of_other(valid))
            views.append(StrongView(mix.of(unlabeled[image], of_other(image)), own.mixed(mix, other), mix))
        return views

    def strong_pass(
        self, network: DeepLab, views: list[StrongView], perturb: Callable[[Features], Features] | None = None
    ) -> list[tf.Tensor]:
        """Returns logits [B, h, w, C] of each view, by one training pass over all of them.

        Args:
            network: The network.
            views: The views.
            perturb: What happens to the encoder's features; None for nothing.
        """
        with batch_norm_updates(self.strong_statistics):
            features = network.features(tf.concat([view.image for view in views], 0), training=True)
            features = features if perturb is None else perturb(features)
            return tf.split(network.segment(features, training=True), len(views))

    def loss_of(self, views: list[StrongView], logits: list[tf.Tensor]) -> tf.Tensor:
        """Returns L_s, the mean loss of the strong views."""
        losses = [view.label.loss(of_view, self.threshold) for view, of_view in zip(views, logits, strict=True)]
        return tf.add_n(losses) / len(losses)

    def metrics(
        self,
        unlabeled: Mapping[str, tf.Tensor],
        logits: tf.Tensor,
        label: PseudoLabel,
        *,
        views: list[StrongView],
        strong: list[tf.Tensor],
    ) -> Scalars:
        """Returns what TensorBoard shows of the pseudo labels.

        Args:
            unlabeled: The unlabelled stream.
            logits: Logits [B, h, w, C] of the weak views.
            label: Their pseudo label.
            views: The strong views.
            strong: Their logits.

        Returns:
            Means over the pixels that are no padding, by name: "mask_ratio", the share of confident ones; "confidence"; and
            "agreement", the share where the first strong view is predicted as its label. And `label_quality`.
        """
        quality = label_quality(tf.stop_gradient(tf.cast(logits, tf.float32)), unlabeled["label"])
        of_view, size = views[0].label, strong[0].shape[1:3]
        predicted = tf.argmax(strong[0], axis=-1, output_type=tf.int32)[..., None]
        coarse = PseudoLabel(*(resize_nearest(value, size, align_corners=True) for value in of_view))
        return {
            "pseudo_label/mask_ratio": label.share(label.confidence >= self.threshold),
            "pseudo_label/confidence": label.share(label.confidence),
            "pseudo_label/agreement": coarse.share(predicted == coarse.classes),
            "pseudo_label/ece": quality["ece"],
            "pseudo_label/mean_iou": quality["mean_iou"],
            KNOWN_MASKS: quality[KNOWN_MASKS],
        }

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns the weak view, its held label, the confident pseudo label, and the strong views with their rectangles."""
        unlabeled = batch["unlabeled"]
        logits = self.logits_of(network, unlabeled["weak"])
        label = PseudoLabel.of(logits, unlabeled["not_padding"])
        confident = (label.confidence >= self.threshold) & (label.valid > 0)
        with dropout_seed(tf.constant([0, 0], tf.int64)):  # the same rectangles each time
            views = self.strong_views(unlabeled, label, self.others_of(network, unlabeled))
        return [
            Figure("image", "image", unlabeled["weak"]),
            Figure("label", "label", unlabeled["label"]),
            Figure("prediction", "probabilities", tf.nn.softmax(resize_bilinear(logits, label.valid.shape[1:3]))),
            Figure("confident", "label", tf.where(confident, label.classes, 255)),
            *(Figure(f"strong {number}", "image", outlined(view)) for number, view in enumerate(views, 1)),
        ]

    def intermediate_maps(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> list[Figure]:
        """Returns the confidence, and where it reaches the threshold."""
        del network, features
        label = PseudoLabel.of(logits, valid)
        confident = tf.cast(label.confidence >= self.threshold, tf.float32)
        return [Figure("confidence", "heat", label.confidence), Figure("confident", "heat", confident * valid)]


def outlined(view: StrongView) -> tf.Tensor:
    """Returns the image of a strong view, float32 [B, H, W, 3] in 0 .. 255, with white edges of its rectangles."""
    outside = tf.cast(~view.mix.inside, tf.float32)
    edge = view.mix.inside & (tf.nn.max_pool2d(outside, 2 * EDGE + 1, 1, "SAME") > 0)
    return tf.where(edge, 255.0, view.image)
