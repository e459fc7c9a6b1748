"""ESL (Ma et al., ICCV 2023): a mean teacher's enhanced soft labels under CutMix, and a contrast of pixels with parts.

The authors released no code. What the paper leaves open is a parameter whose default is said to be a choice.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.streams import MASKS, NO_MASKS, Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.base import Batch, Figure, Losses
from wss.methods.components.cut_mix import CutMix
from wss.methods.components.labeled_loss import RANGES_OF_MASKS, LearnsFromMasks
from wss.methods.components.teacher import STATISTICS, Teacher
from wss.methods.esl.monitoring import KNOWN_WHEN, teacher_quality
from wss.methods.esl.part_contrast import PartContrast, PartState
from wss.methods.esl.passes import run, student_view, teacher_view
from wss.methods.esl.projector import Projector, build_projector
from wss.methods.esl.soft_label import KINDS, entropy, soft_label
from wss.methods.supervised import decoder_figures
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.dropout import next_seed
from wss.ops.losses import consistency_loss
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.parameter_ranges import in_ranges
from wss.ranges import Integer, Number, OneOf, Switch

RESOLUTIONS = ("image", "logits")


class ESLState(tf.Module):
    """What ESL remembers: the teacher, and what the contrast does."""

    def __init__(self, teacher: Teacher, parts: PartState | None):
        super().__init__()
        self.teacher, self.parts = teacher, parts
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync


@gin.configurable
@in_ranges(
    "ESL",
    **RANGES_OF_MASKS,
    label=OneOf(KINDS),
    eta=Number(minimum=0, maximum=1),
    top_k=Integer(1, 256),
    sorted_classes=Integer(1, 256),
    resolution=OneOf(RESOLUTIONS),
    soft_label_weight=Number(minimum=0),
    contrast_weight=Number(minimum=0),
    cut_mix_probability=Number(minimum=0, maximum=1),
    supervised_epochs=Number(minimum=0),
    teacher_decay=Number(minimum=0, maximum=1),
    teacher_warm_up=Switch(),
    teacher_statistics=OneOf(STATISTICS),
    join=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class ESL(LearnsFromMasks):
    """The loss L_CE + soft_label_weight * L_SCE + contrast_weight * L_CTR (Eq. 11).

    Attributes:
        label: See `soft_label`, its `kind`.
        eta: See `soft_label`.
        top_k: See `soft_label`.
        sorted_classes: See `soft_label`.
        resolution: Grid of the soft labels and of their loss, that of the "image" or that of the "logits". The second
            takes a sixteenth of the memory and changes the result.
        soft_label_weight: Weight lambda_1 of L_SCE, on unlabelled images.
        contrast_weight: Weight lambda_2 of L_CTR, see `PartContrast`; with 0 there is no projector.
        cut_mix_probability: Share of the batches whose unlabelled images are mixed; a choice, as in U2PL.
        supervised_epochs: Passes over the unlabelled images before the student learns from the teacher, which until then
            copies it; a choice, as U2PL on VOC.
        teacher_decay: Largest share of the teacher that a step keeps; a choice, as in U2PL.
        teacher_warm_up: See `Teacher`, its `warm_up`.
        teacher_statistics: See `Teacher`, its `statistics`; "refresh" takes a pass more.
        join: See `training_pass`; as in U2PL.
    """

    known_when = KNOWN_WHEN

    label: str = "dynamic"
    eta: float = 0.95
    top_k: int = 5
    sorted_classes: int = 10
    resolution: str = "image"
    soft_label_weight: float = 0.2
    contrast_weight: float = 0.1
    cut_mix_probability: float = 0.5
    supervised_epochs: float = 1.0
    teacher_decay: float = 0.99
    teacher_warm_up: bool = True
    teacher_statistics: str = "average"
    join: bool = True

    def __post_init__(self):
        self.contrast  # noqa: B018  # read now, so that a mistake shows before the network is built

    @property
    def streams(self) -> Mapping[str, Views]:  # type: ignore[override]
        """Labelled images, and unlabelled ones in a weak view; these only if something is learnt from them."""
        return {"labeled": MASKS, **({"unlabeled": NO_MASKS} if self._learns_from_unlabeled else {})}

    @functools.cached_property
    def contrast(self) -> PartContrast:
        """The settings of the contrast."""
        return PartContrast()

    @property
    def _learns_from_unlabeled(self) -> bool:
        return self.soft_label_weight > 0 or self.contrast_weight > 0

    def build(self, network: DeepLab, info: DatasetInfo) -> Projector | None:
        """Builds the projector, if there is a contrast."""
        return build_projector(network) if self.contrast_weight else None

    def build_state(self, network: DeepLab, info: DatasetInfo) -> ESLState:
        """Builds the teacher, prototypes and memory."""
        teacher = Teacher(
            network,
            decay=self.teacher_decay,
            warm_up=self.teacher_warm_up,
            statistics=self.teacher_statistics,
        )
        parts = self.contrast.build_state(network, info) if self.contrast_weight else None
        return ESLState(teacher, parts)

    def check(self, data: TrainingData) -> None:
        """Checks that CutMix has another image to mix in.

        Raises:
            UserError: A replica's batch has a single unlabelled image.
        """
        mixes = self._learns_from_unlabeled and self.cut_mix_probability > 0
        if mixes and data.batch_sizes["unlabeled"] < 2:
            raise UserError(
                "TrainingData.unlabeled_batch_size = 1: CutMix needs another image of a replica's batch; expected 2 or "
                "more, or ESL.cut_mix_probability = 0.0"
            )

    def prepare(self, network: DeepLab, data: TrainingData) -> None:
        """Says at which step the teacher starts, and finds the first prototypes."""
        if not self._learns_from_unlabeled:
            return
        state = network.state
        images = data.infos["unlabeled"].split(data.splits["unlabeled"]).num_examples
        steps = images / (data.batch_sizes["unlabeled"] * state.replicas)
        state.teacher.start.assign(math.ceil(self.supervised_epochs * steps))
        if state.parts is not None:
            self.contrast.prepare(state.parts, network, data)

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`.

        There are two passes: the teacher's on the weak views, the student's on labelled and mixed images (see `join`).
        """
        labeled, projector = batch["labeled"], self._projector(network)
        if not self._learns_from_unlabeled:
            student = run(network, projector, labeled["image"], training=True)
            return Losses(
                {"segmentation": self.labeled_loss(network, student.features, student.logits, labeled["label"])}
            )
        unlabeled, state, number = batch["unlabeled"], network.state, labeled["image"].shape[0]
        weak = unlabeled["weak"]
        # The contrast needs the teacher's view of the labelled images too.
        images = weak if projector is None else tf.concat([labeled["image"], weak], 0)
        teacher = teacher_view(state.teacher, network, projector, images, refresh=True)
        unlabeled_logits = teacher.logits[-weak.shape[0] :]
        label, valid = self._soft_label(unlabeled_logits, unlabeled["valid"])

        mix = CutMix.draw(next_seed(), weak.shape[0], (weak.shape[1], weak.shape[2]), self.cut_mix_probability)
        student = student_view(network, projector, labeled["image"], mix(weak), join=self.join)
        mixed_logits = resize_bilinear(student.logits[number:], label.shape[1:3])
        started = tf.cast(state.teacher.has_started(step), tf.float32)
        losses = {
            "segmentation": self.labeled_loss(network, student.features, student.logits, labeled["label"]),
            "consistency": started * self.soft_label_weight * consistency_loss(mixed_logits, mix(label), mix(valid)),
        }
        metrics = teacher_quality(unlabeled_logits, unlabeled, label, valid)
        tensors: dict[str, tf.Tensor] = {}
        if state.parts is not None:
            contrast, of_contrast, tensors = self.contrast.loss(
                state.parts,
                network.branches,
                label=labeled["label"],
                teacher=state.teacher,
                view=teacher,
                valid=unlabeled["valid"],
                student=student.hidden,
                mix=mix,
            )
            losses["contrast"] = started * self.contrast_weight * contrast
            metrics |= of_contrast
        return Losses(losses, metrics, tensors)

    def after_step(self, network: DeepLab, tensors: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """Moves the teacher, then memory and prototypes, which the step has used as they were."""
        network.state.teacher.update(step)
        if network.state.parts is not None:
            self.contrast.after_step(network.state.parts, tensors)

    def evaluated(self, network: DeepLab) -> Teacher:
        """Returns the teacher."""
        return network.state.teacher

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns the weak view, its held label, what the teacher says, and parts; the labelled stream where all is 0."""
        if not self._learns_from_unlabeled:
            return decoder_figures(network, batch["labeled"])
        unlabeled, parts = batch["unlabeled"], network.state.parts
        size = unlabeled["weak"].shape[1:3]
        teacher = teacher_view(network.state.teacher, network, None, unlabeled["weak"])
        logits = resize_bilinear(teacher.logits, size)
        probabilities = tf.nn.softmax(logits)
        label = soft_label(probabilities, **self._label_settings)
        figures = [
            Figure("image", "image", unlabeled["weak"]),
            Figure("label", "label", unlabeled["label"]),
            Figure("teacher", "probabilities", probabilities),
            Figure("soft label's entropy", "heat", entropy(label)[..., None]),
        ]
        if parts is not None:
            figures.append(self.contrast.figure(parts, teacher.encoded, logits, unlabeled["valid"]))
        return figures

    def intermediate_maps(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> list[Figure]:
        """Returns the soft label that the prediction would give, and its entropy."""
        label = soft_label(tf.nn.softmax(logits), **self._label_settings)
        return [
            Figure("soft label's entropy", "heat", entropy(label)[..., None]),
            Figure("soft label", "probabilities", label),
        ]

    @property
    def _label_settings(self) -> dict:
        return {"kind": self.label, "eta": self.eta, "top_k": self.top_k, "sorted_classes": self.sorted_classes}

    def _projector(self, network: DeepLab) -> Projector | None:
        return network.branches if self.contrast_weight else None

    def _soft_label(self, logits: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the soft label [B, h, w, C] and valid [B, h, w, 1] on the grid of `resolution`."""
        size = valid.shape[1:3] if self.resolution == "image" else logits.shape[1:3]
        probabilities = tf.nn.softmax(resize_bilinear(logits, size))
        return soft_label(probabilities, **self._label_settings), resize_nearest(valid, size, align_corners=True)
