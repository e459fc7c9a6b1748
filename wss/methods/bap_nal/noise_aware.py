"""Stage 3 of BAP + NAL: segmentation on two masks of each image, with a loss that bears their mistakes."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import gin
import tensorflow as tf

from wss.data.companions import second_mask_of
from wss.data.record_files import split_records
from wss.data.streams import Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.bap_nal import noise_losses
from wss.methods.base import Batch, Figure, Losses, Method
from wss.methods.supervised import decoder_figures
from wss.models.deeplab import DeepLab
from wss.ops.resizing import resize_bilinear
from wss.parameter_ranges import in_ranges
from wss.ranges import LARGEST_STEP, Integer, Number, OneOf, OrNone, Switch

LOSSES = ("noise_aware", "agreement", "entropy", "bootstrap", "first_mask", "second_mask")


class _Images(NamedTuple):
    """The images of a step with both masks, int32 [B, H, W]."""

    pixels: tf.Tensor
    label: tf.Tensor
    second: tf.Tensor


@gin.configurable
@in_ranges(
    "NoiseAware",
    loss=OneOf(LOSSES),
    weight=Number(minimum=0),
    gamma=Number(minimum=0),
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
        use_labeled: Whether images with true masks are in each step too, whose masks agree everywhere.
        color_jitter: Whether the network sees the strong view, of which colour jitter is a part.
    """

    loss: str = "noise_aware"
    weight: float = 0.1
    gamma: float = 7.0
    sigma_stop_gradient: bool = False
    bootstrap_steps: int | None = None
    bootstrap_power: float = 0.9
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
        info, split = data.infos["pseudo"], data.splits["pseudo"]
        for record in split_records(info, split).take(1):
            if not second_mask_of(record).numpy():
                raise UserError(
                    f"TrainingData.pseudo_directory = {info.directory!r}: its records have one mask, expected two; label "
                    "the images with wss-label --policy=boxes, or take train.method = @SelfTraining()"
                )

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        images = self._images(batch)
        features = network.features(images.pixels, training=True)
        size = images.label.shape[1:3]
        if self.loss == "noise_aware":
            logits, cosines = (resize_bilinear(x, size) for x in network.segment_with_cosines(features, training=True))
        else:
            logits, cosines = resize_bilinear(network.segment(features, training=True), size), None
        where = noise_losses.agreement(images.label, images.second)
        loss = noise_losses.cross_entropy(logits, images.label)
        if self.loss in ("first_mask", "second_mask"):
            label = images.label if self.loss == "first_mask" else images.second
            known = tf.cast(label != 255, tf.float32)
            loss = noise_losses.cross_entropy(logits, label)
            return Losses({"segmentation": noise_losses.weighted_mean(loss, known)}, _metrics(where))
        losses = {"segmentation": noise_losses.weighted_mean(loss, where.same)}
        metrics = _metrics(where)
        if self.loss == "noise_aware":
            sigma = noise_losses.confidence(cosines, images.label, gamma=self.gamma)
            metrics["sigma"] = noise_losses.weighted_mean(sigma, where.different)
            sigma = tf.stop_gradient(sigma) if self.sigma_stop_gradient else sigma
            losses["noise_aware"] = self.weight * noise_losses.weighted_mean(loss, sigma * where.different)
        elif self.loss == "entropy":
            spread = noise_losses.entropy(logits)
            losses["entropy"] = self.weight * noise_losses.weighted_mean(spread, where.different)
        elif self.loss == "bootstrap":
            pulled = noise_losses.bootstrap_loss(logits, images.label, self._beta(step))
            losses["bootstrap"] = self.weight * noise_losses.weighted_mean(pulled, where.different)
        return Losses(losses, metrics)

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns a pseudo-labelled image, its two masks and the prediction."""
        stream = batch["pseudo"]
        image, label, prediction = decoder_figures(network, stream)
        second = Figure("second mask", "label", stream["second_label"])
        return [image, dataclasses.replace(label, title="first mask"), second, prediction]

    def _images(self, batch: Batch) -> _Images:
        """Returns all images of a step; the masks of labelled ones agree."""
        view = "strong" if self.color_jitter else "image"
        parts = [
            (stream[view], stream["label"], stream.get("second_label", stream["label"])) for stream in batch.values()
        ]
        pixels, label, second = (tf.concat(part, 0) for part in zip(*parts, strict=True))
        return _Images(pixels, label[..., 0], second[..., 0])

    def _beta(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the share of the label in the bootstrapped target."""
        steps = self.bootstrap_steps or gin.get_bindings("train").get("num_steps")
        if steps is None:
            raise UserError("NoiseAware.bootstrap_steps = None: train.num_steps is not set either; set one of them")
        return tf.maximum(1 - tf.cast(step, tf.float32) / steps, 0.0) ** self.bootstrap_power


def _metrics(where: noise_losses.Agreement) -> dict[str, tf.Tensor]:
    known = where.same + where.different
    return {"agreement": noise_losses.weighted_mean(where.same, known)}
