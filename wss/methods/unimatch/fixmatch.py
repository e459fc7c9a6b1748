"""FixMatch for segmentation, as UniMatch and UniMatch V2 compare with it: a strong view learns what a weak one says."""

import dataclasses
from typing import NamedTuple

import gin
import tensorflow as tf

from wss.methods.base import Batch, Losses
from wss.methods.components.passes import training_pass
from wss.methods.unimatch.consistency import COMMON_RANGES, ConsistencyMethod
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.models.deeplab import DeepLab, Features
from wss.parameter_ranges import in_ranges
from wss.ranges import Switch


class CleanPass(NamedTuple):
    """What the student makes of labelled and then of weak views.

    Attributes:
        features: The end points, [B, h, w, D].
        logits: [B, h, w, C].
    """

    features: Features
    logits: tf.Tensor


@gin.configurable
@in_ranges("FixMatch", **COMMON_RANGES, join=Switch())
@dataclasses.dataclass(frozen=True, kw_only=True)
class FixMatch(ConsistencyMethod):
    """The loss (L_x + unlabeled_weight * L_s) / 2.

    Source: fixmatch.py of UniMatch, and with a teacher of UniMatch V2.

    Attributes:
        join: See `training_pass`; of labelled and weak views, without a teacher.
    """

    number_of_views = 1

    join: bool = True

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        others = self.others_of(network, unlabeled)

        def run(images: tf.Tensor) -> CleanPass:
            features = network.features(images, training=True)
            return CleanPass(features, network.segment(features, training=True))

        if network.state is None:
            clean = training_pass(run, (labeled["image"], unlabeled["weak"]), join=self.join)
            weak = clean.logits[labeled["image"].shape[0] :]
        else:
            clean, weak = run(labeled["image"]), self.logits_of(network, unlabeled["weak"])
        label = PseudoLabel.of(weak, unlabeled["not_padding"])

        views = self.strong_views(unlabeled, label, others)
        strong = self.strong_pass(network, views)
        losses = {
            "segmentation": self.labeled_loss(network, clean.features, clean.logits, labeled["label"]) / 2,
            "consistency": self.unlabeled_weight * self.loss_of(views, strong) / 2,
        }
        return Losses(losses, self.metrics(unlabeled, weak, label, views=views, strong=strong))
