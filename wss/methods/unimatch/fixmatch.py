"""FixMatch for segmentation, as UniMatch and UniMatch V2 compare with it: a strong view learns what a weak one says."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.methods.base import Batch, Losses
from wss.methods.components.passes import training_pass
from wss.methods.components.teacher import Teacher
from wss.methods.unimatch.consistency import COMMON_RANGES, ConsistencyMethod
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.models.deeplab import DeepLab, Features
from wss.parameter_ranges import in_ranges
from wss.ranges import Number, OrNone, Switch


class CleanPass(NamedTuple):
    """What the student makes of labelled and then of weak views.

    Attributes:
        features: The end points, [B, h, w, D].
        logits: [B, h, w, C].
    """

    features: Features
    logits: tf.Tensor


@gin.configurable
@in_ranges(
    "FixMatch",
    **COMMON_RANGES,
    teacher_decay=OrNone(Number(minimum=0, maximum=1)),
    join=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class FixMatch(ConsistencyMethod):
    """The loss (L_x + unlabeled_weight * L_s) / 2.

    Source: fixmatch.py of UniMatch and of UniMatch V2.

    Attributes:
        threshold: See `ConsistencyMethod`.
        unlabeled_weight: See `ConsistencyMethod`.
        cut_mix_probability: See `ConsistencyMethod`.
        cut_mix_partner: See `ConsistencyMethod`.
        hard_examples: See `ConsistencyMethod`.
        least_hard_examples: See `ConsistencyMethod`.
        auxiliary_weight: See `ConsistencyMethod`.
        strong_statistics: See `ConsistencyMethod`.
        teacher_decay: Largest share of a mean teacher that a step keeps; the teacher labels the weak views and is evaluated
            (UniMatch V2: 0.996). With None the student labels them itself, in training mode (UniMatch).
        join: See `training_pass`; without a teacher, of labelled and weak views.
    """

    number_of_views = 1

    teacher_decay: float | None = None
    join: bool = True

    def build_state(self, network: DeepLab, info: DatasetInfo) -> Teacher | None:
        """Builds the teacher, if there is one."""
        return None if self.teacher_decay is None else Teacher(network, decay=self.teacher_decay)

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]

        def run(images: tf.Tensor) -> CleanPass:
            features = network.features(images, training=True)
            return CleanPass(features, network.segment(features, training=True))

        if network.state is None:
            clean = training_pass(run, (labeled["image"], unlabeled["weak"]), join=self.join)
            weak = clean.logits[labeled["image"].shape[0] :]
        else:
            clean, weak = run(labeled["image"]), network.state.predict(unlabeled["weak"])
        label = PseudoLabel.of(weak, unlabeled["not_padding"])

        views = self.strong_views(unlabeled, label, self.labels_of(network))
        strong = self.strong_pass(network, views)
        losses = {
            "segmentation": self.labeled_loss(network, clean.features, clean.logits, labeled["label"]) / 2,
            "consistency": self.unlabeled_weight * self.loss_of(views, strong) / 2,
        }
        return Losses(losses, self.metrics(unlabeled, weak, label, views=views, strong=strong))

    def after_step(self, network: DeepLab, tensors: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """Moves the teacher."""
        if network.state is not None:
            network.state.update(step)

    def evaluated(self, network: DeepLab) -> Teacher | None:
        """Returns the teacher, if there is one."""
        return network.state

    def labels_of(self, network: DeepLab) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the prediction of the teacher, or else of the student."""
        return super().labels_of(network) if network.state is None else network.state.predict
