"""Stage 3 of BAP + NAL: segmentation on two masks of each image, with a loss that bears their mistakes."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import gin
import tensorflow as tf

from wss.data.companions import second_mask_of
from wss.data.dataset_info import DatasetInfo
from wss.data.record_files import split_records
from wss.data.streams import Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.bap_nal import noise_losses
from wss.methods.base import Batch, Figure, Losses, Method
from wss.methods.supervised import decoder_figures
from wss.models.deeplab import DeepLab
from wss.ops.losses import pixel_cross_entropy, weighted_mean
from wss.ops.resizing import resize_bilinear
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import LARGEST_STEP, Integer, Number, OneOf, OrNone, Switch

IGNORE = 255
LOSSES = ("noise_aware", "agreement", "entropy", "bootstrap", "first_mask", "second_mask")


class _Images(NamedTuple):
    """The images of a step with both masks, int32 [B, H, W]."""

    pixels: tf.Tensor
    label: tf.Tensor
    second: tf.Tensor


@gin.configurable
@in_ranges(
    "NoiseAware",
    Relation(("gamma",), lambda gamma: gamma == 0 or gamma >= 1, "0, or 1 or more"),
    loss=OneOf(LOSSES),
    weight=Number(minimum=0),
    gamma=Number(minimum=0),
    auxiliary_weight=Number(minimum=0),
    sigma_stop_gradient=Switch(),
    bootstrap_steps=OrNone(Integer(1, LARGEST_STEP)),
    bootstrap_power=Number(minimum=0),
    use_labeled=Switch(),
    color_jitter=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseAware(Method):
    """The cross-entropy where two masks agree, and a loss where they do not, on the pseudo-labelled stream.

    Attributes:
        loss: What pixels add whose masks differ, by their first mask: "noise_aware" (NAL, Eq. 14), "agreement" (nothing, the
            paper's baseline), "entropy" (entropy regularisation) or "bootstrap". "first_mask" and "second_mask" are the
            cross-entropy on one mask alone: Y_crf or Y_ret.
        weight: Weight lambda of that loss.
        gamma: Exponent of NAL, see `confidence`.
        sigma_stop_gradient: Whether the weights sigma are constants for the gradient. In the authors' code they are not;
            the paper does not tell.
        bootstrap_steps: Number of steps over which the share of the label falls from 1 to 0; None takes `train.num_steps`.
        bootstrap_power: Power of that fall.
        auxiliary_weight: Weight of an auxiliary head's cross-entropy where the masks agree, if the network has one.
        use_labeled: Whether images with true masks are in each step too, whose masks agree everywhere.
        color_jitter: Whether the network sees the strong view, of which colour jitter is a part.
    """

    loss: str = "noise_aware"
    weight: float = 0.1
    gamma: float = 7.0
    sigma_stop_gradient: bool = False
    bootstrap_steps: int | None = None
    bootstrap_power: float = 0.9
    auxiliary_weight: float = 0.4
    use_labeled: bool = False
    color_jitter: bool = True

    @property
    def streams(self) -> Mapping[str, Views]:  # type: ignore[override]
        """Pseudo-labelled images with both masks, in one view, and labelled ones."""
        strong = int(self.color_jitter)
        labeled = {"labeled": Views(strong=strong)} if self.use_labeled else {}
        return {"pseudo": Views(strong=strong, second_mask=True), **labeled}

    def check(self, data: TrainingData) -> None:
        """Checks that there is a second mask.

        Raises:
            UserError: The first record has none.
        """
        if self.loss == "bootstrap":
            self._beta(tf.constant(0))
        info, split = data.infos["pseudo"], data.splits["pseudo"]
        for record in split_records(info, split).take(1):
            if not second_mask_of(record).numpy():
                raise UserError(
                    f"TrainingData.pseudo_directory = {info.directory!r}: its records have one mask, expected two; label "
                    "the images with wss-label --policy=boxes, or take train.method = @SelfTraining()"
                )

    def build(self, network: DeepLab, info: DatasetInfo) -> None:
        """Checks that the network has the cosines that the loss needs; there are no layers of its own.

        Raises:
            UserError: The head does not end in one classifier.
        """
        if self.loss == "noise_aware" and network.final_classifier is None:
            raise no_classifier()

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        images = self._images(batch)
        features = network.features(images.pixels, training=True)
        upsampled = lambda logits: resize_bilinear(logits, images.label.shape[1:3])
        if self.loss == "noise_aware":
            logits, cosines = map(upsampled, network.segment_with_cosines(features, training=True))
        else:
            logits, cosines = upsampled(network.segment(features, training=True)), None
        where = noise_losses.agreement(images.label, images.second)
        # L_ce, where both masks agree or on one of them
        label, counted = self._certain(images, where)
        certain = lambda logits: weighted_mean(pixel_cross_entropy(logits, label), counted)
        losses = {"segmentation": certain(logits)}
        auxiliary = network.auxiliary(features, training=True) if self.auxiliary_weight else None
        if auxiliary is not None:
            losses["segmentation"] += self.auxiliary_weight * certain(upsampled(auxiliary))
        metrics = {"agreement": weighted_mean(where.same, where.same + where.different)}
        # What they disagree on
        values, weights = None, where.different
        if self.loss == "noise_aware":
            sigma = noise_losses.confidence(cosines, images.label, gamma=self.gamma)
            metrics["sigma"] = weighted_mean(sigma, where.different)
            weights = weights * (tf.stop_gradient(sigma) if self.sigma_stop_gradient else sigma)
            values = pixel_cross_entropy(logits, images.label)
        elif self.loss == "entropy":
            values = noise_losses.entropy(logits)
        elif self.loss == "bootstrap":
            values = noise_losses.bootstrap_loss(logits, images.label, self._beta(step))
        if values is not None:
            losses[self.loss] = self.weight * weighted_mean(values, weights)
        return Losses(losses, metrics)

    def _certain(self, images: _Images, where: noise_losses.Agreement) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the label of the cross-entropy, and which pixels count in it, both [B, H, W]."""
        if self.loss in ("first_mask", "second_mask"):
            label = images.label if self.loss == "first_mask" else images.second
            return label, tf.cast(label != IGNORE, tf.float32)
        return images.label, where.same

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns a pseudo-labelled image, its two masks and the prediction."""
        stream = batch["pseudo"]
        image, label, prediction = decoder_figures(network, stream)
        second = Figure("second mask", "label", stream["second_label"])
        return [image, dataclasses.replace(label, title="first mask"), second, prediction]

    def _images(self, batch: Batch) -> _Images:
        """Returns all images of a step; the masks of labelled ones agree."""
        view = "strong" if self.color_jitter else "image"
        parts = []
        for stream in batch.values():
            label = stream["label"]
            if self.color_jitter:
                label = tf.where(stream["valid"] > 0, label, IGNORE)  # a CutOut hole shows nothing
            parts.append((stream[view], label, stream.get("second_label", label)))
        pixels, label, second = (tf.concat(part, 0) for part in zip(*parts, strict=True))
        return _Images(pixels, label[..., 0], second[..., 0])

    def _beta(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the share of the label in the bootstrapped target."""
        steps = self.bootstrap_steps or gin.get_bindings("train").get("num_steps")
        if steps is None:
            raise UserError("NoiseAware.bootstrap_steps = None: train.num_steps is not set either; set one of them")
        return tf.maximum(1 - tf.cast(step, tf.float32) / steps, 0.0) ** self.bootstrap_power


def no_classifier() -> UserError:
    """Returns the error for a head without the cosines of the noise-aware loss."""
    return UserError(
        "NoiseAware.loss = 'noise_aware' needs a head that ends in one classifier; set build_model.head to another than "
        "deeplab_v2, which sums four, such as deeplab_v2_features"
    )
