"""UniMatch (Yang et al., CVPR 2023): two strong views, and a stream of perturbed features, learn what a weak view says."""

import dataclasses
from typing import NamedTuple

import gin
import tensorflow as tf

from wss.methods.base import Batch, Losses
from wss.methods.components.passes import training_pass
from wss.methods.unimatch.consistency import COMMON_RANGES, ConsistencyMethod
from wss.methods.unimatch.perturbation import channel_dropout
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.models.deeplab import DeepLab, Features
from wss.parameter_ranges import in_ranges
from wss.ranges import Number, Switch


class PerturbedPass(NamedTuple):
    """What the student makes of labelled and then of weak views.

    Attributes:
        features: The end points, [B, h, w, D].
        logits: [B, h, w, C].
        perturbed: Logits of the perturbed features.
    """

    features: Features
    logits: tf.Tensor
    perturbed: tf.Tensor


@gin.configurable
@in_ranges(
    "UniMatch",
    **COMMON_RANGES,
    perturbation_share=Number(minimum=0, maximum=1),
    channel_dropout=Number(minimum=0, below=1),
    join=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class UniMatch(ConsistencyMethod):
    """The loss (L_x + unlabeled_weight * ((L_s1 + L_s2) / 4 + L_fp / 2)) / 2.

    Source: unimatch.py of UniMatch.

    Attributes:
        perturbation_share: Share of L_fp, that of the perturbed features, in the loss of unlabelled images.
        channel_dropout: See `channel_dropout`, its `rate`.
        join: See `training_pass`; of labelled and weak views.
    """

    perturbation_share: float = 0.5
    channel_dropout: float = 0.5
    join: bool = True

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`.

        The decoder sees clean and perturbed features in one batch. Of the perturbed ones the labelled half counts in its
        statistics alone.
        """
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        number, others = labeled["image"].shape[0], self.others_of(network, unlabeled)

        def run(images: tf.Tensor) -> PerturbedPass:
            features, names = network.features(images, training=True), network.decoded_features
            perturbed = channel_dropout(features, names, self.channel_dropout)
            both = {name: tf.concat([features[name], perturbed[name]], 0) for name in names}
            return PerturbedPass(features, *tf.split(network.segment(both, training=True), 2))

        clean = training_pass(run, (labeled["image"], unlabeled["weak"]), join=self.join)
        weak = clean.logits[number:] if network.state is None else self.logits_of(network, unlabeled["weak"])
        label = PseudoLabel.of(weak, unlabeled["not_padding"])

        views = self.strong_views(unlabeled, label, others)
        strong = self.strong_pass(network, views)
        share, weight = self.perturbation_share, self.unlabeled_weight / 2
        losses = {
            "segmentation": self.labeled_loss(network, clean.features, clean.logits, labeled["label"]) / 2,
            "consistency": weight * (1 - share) * self.loss_of(views, strong),
            "perturbation": weight * share * label.loss(clean.perturbed[number:], self.threshold),
        }
        return Losses(losses, self.metrics(unlabeled, weak, label, views=views, strong=strong))
