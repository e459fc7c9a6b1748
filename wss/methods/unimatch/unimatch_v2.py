"""UniMatch V2 (Yang et al., TPAMI 2025): two strong views with complementary features learn what a mean teacher says."""

import dataclasses
import functools

import gin
import tensorflow as tf

from wss.methods.base import Batch, Losses
from wss.methods.unimatch.consistency import COMMON_RANGES, ConsistencyMethod
from wss.methods.unimatch.perturbation import complementary_dropout
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.models.deeplab import DeepLab
from wss.parameter_ranges import in_ranges
from wss.ranges import Number, Switch


@gin.configurable
@in_ranges(
    "UniMatchV2",
    **COMMON_RANGES,
    complementary_dropout=Switch(),
    kept_share=Number(minimum=0, maximum=1),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class UniMatchV2(ConsistencyMethod):
    """The loss (L_x + unlabeled_weight * (L_s1 + L_s2) / 2) / 2.

    Source: unimatch_v2.py of UniMatch V2.

    Attributes:
        complementary_dropout: Whether the two views of an image see complementary halves of the encoder's channels.
        kept_share: See `complementary_dropout`.
    """

    complementary_dropout: bool = True
    kept_share: float = 0.5
    teacher_decay: float | None = 0.996

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        others, weak = self.others_of(network, unlabeled), self.logits_of(network, unlabeled["weak"])
        label = PseudoLabel.of(weak, unlabeled["not_padding"])

        features = network.features(labeled["image"], training=True)
        logits = network.segment(features, training=True)
        views = self.strong_views(unlabeled, label, others)
        perturb = functools.partial(complementary_dropout, names=network.decoded_features, kept_share=self.kept_share)
        strong = self.strong_pass(network, views, perturb if self.complementary_dropout else None)
        losses = {
            "segmentation": self.labeled_loss(network, features, logits, labeled["label"]) / 2,
            "consistency": self.unlabeled_weight * self.loss_of(views, strong) / 2,
        }
        return Losses(losses, self.metrics(unlabeled, weak, label, views=views, strong=strong))
