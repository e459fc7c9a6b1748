"""What FixMatch, UniMatch and UniMatch V2 share: strong views under CutMix that learn what a weak view says."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import tensorflow as tf

from wss.data.streams import MASKS, Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.base import Batch, Figure, Method, Scalars
from wss.methods.components.cut_mix import CutMix
from wss.methods.components.label_quality import KNOWN_MASKS, label_quality
from wss.methods.components.labeled_loss import labeled_loss
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.dropout import dropout_seed, next_seed
from wss.models.layers.normalization import batch_norm_updates
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.ranges import Integer, Number, OneOf, OrNone, Switch

REVERSED_BATCH, SAME_IMAGE = "reversed_batch", "same_image"
PARTNERS = (REVERSED_BATCH, SAME_IMAGE)
EDGE = 2  # pixels, of the rectangles in a picture
COMMON_RANGES: Mapping = MappingProxyType(
    {
        "threshold": Number(minimum=0),
        "unlabeled_weight": Number(minimum=0),
        "cut_mix_probability": Number(minimum=0, maximum=1),
        "cut_mix_partner": OneOf(PARTNERS),
        "hard_examples": OrNone(Number(above=0, maximum=1)),
        "least_hard_examples": Integer(1, 2**30),
        "auxiliary_weight": Number(minimum=0),
        "strong_statistics": Switch(),
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
class ConsistencyMethod(Method):
    """A loss (L_x + unlabeled_weight * L_u) / 2, where L_u compares strong views with the label of the weak one.

    Attributes:
        threshold: Confidence tau from which on a pixel of the pseudo label counts; above 1 none does.
        unlabeled_weight: Weight of L_u.
        cut_mix_probability: Share of the strong views that are mixed, each with a rectangle of its own.
        cut_mix_partner: Image that a rectangle shows: "reversed_batch", that of the batch in reverse order (UniMatch V2), or
            "same_image", other views of the image itself (UniMatch).
        hard_examples: Probability of the true class up to which labelled pixels count in L_x; None counts all.
        least_hard_examples: See `hard_example_loss`, its `least`.
        auxiliary_weight: Weight of an auxiliary head's L_x, if the network has one.
        strong_statistics: Whether the pass over the strong views moves the statistics of batch norm.
    """

    known_when = MappingProxyType({f"pseudo_label/{name}": KNOWN_MASKS for name in ("ece", "mean_iou")})
    number_of_views: ClassVar[int] = 2

    threshold: float = 0.95
    unlabeled_weight: float = 1.0
    cut_mix_probability: float = 0.5
    cut_mix_partner: str = REVERSED_BATCH
    hard_examples: float | None = None
    least_hard_examples: int = 200_000
    auxiliary_weight: float = 0.4
    strong_statistics: bool = True

    @property
    def weighs_classes(self) -> bool:  # type: ignore[override]
        """Whether L_x takes weights of classes; it does not with `hard_examples`."""
        return self.hard_examples is None

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

    def labeled_loss(self, network: DeepLab, features: Features, logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Returns L_x, see `wss.methods.components.labeled_loss`."""
        return labeled_loss(
            network,
            features,
            logits,
            label,
            hard_examples=self.hard_examples,
            least=self.least_hard_examples,
            auxiliary_weight=self.auxiliary_weight,
        )

    def strong_views(
        self, unlabeled: Mapping[str, tf.Tensor], label: PseudoLabel, predict: Callable[[tf.Tensor], tf.Tensor]
    ) -> list[StrongView]:
        """Returns the strong views of a batch after CutMix.

        Args:
            unlabeled: The unlabelled stream.
            label: The pseudo label of its weak views.
            predict: Function from images [B, H, W, 3] to logits, which labels the other views of "same_image".
        """
        names = [("strong", "valid"), ("strong_2", "valid_2")][: self.number_of_views]
        if not self.cut_mix_probability:
            nothing = CutMix(tf.zeros_like(label.valid, tf.bool))
            return [
                StrongView(unlabeled[image], label._replace(valid=unlabeled[valid]), nothing) for image, valid in names
            ]
        if self.cut_mix_partner == SAME_IMAGE:
            others = {name: unlabeled[f"again/{name}"] for name in (*sum(names, ()), "weak", "not_padding")}
            of_others = PseudoLabel.of(predict(others["weak"]), others["not_padding"])
        else:
            others = {name: tf.reverse(unlabeled[name], [0]) for name in sum(names, ())}
            of_others = label.reversed()
        views = []
        for image, valid in names:
            batch, *size, _ = label.valid.shape
            mix = CutMix.draw_any_size(next_seed(), batch, (size[0], size[1]), self.cut_mix_probability)
            mixed = label._replace(valid=unlabeled[valid]).mixed(mix, of_others._replace(valid=others[valid]))
            views.append(StrongView(mix.of(unlabeled[image], others[image]), mixed, mix))
        return views

    def strong_pass(
        self, network: DeepLab, views: list[StrongView], perturb: Callable[[Features], Features] = lambda x: x
    ) -> list[tf.Tensor]:
        """Returns logits [B, h, w, C] of each view, by one training pass over all of them.

        Args:
            network: The network.
            views: The views.
            perturb: What happens to the encoder's features.
        """
        with batch_norm_updates(self.strong_statistics):
            features = network.features(tf.concat([view.image for view in views], 0), training=True)
            return tf.split(network.segment(perturb(features), training=True), len(views))

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

    def labels_of(self, network: DeepLab) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the function from images [B, H, W, 3] to logits that labels them outside of a step, in inference mode."""
        return lambda images: network(images, training=False)

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns the weak view, its held label, the confident pseudo label, and the strong views with their rectangles."""
        unlabeled, predict = batch["unlabeled"], self.labels_of(network)
        logits = predict(unlabeled["weak"])
        label = PseudoLabel.of(logits, unlabeled["not_padding"])
        confident = (label.confidence >= self.threshold) & (label.valid > 0)
        with dropout_seed(tf.constant([0, 0], tf.int64)):  # the same rectangles each time
            views = self.strong_views(unlabeled, label, predict)
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
