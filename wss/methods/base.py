"""What a training method is: it brings its own layers and state, and turns a batch into losses. It owns no loop."""

import abc
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import keras
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.streams import Views
from wss.data.training_data import TrainingData
from wss.methods.components.ema import ExponentialMovingAverage
from wss.models.deeplab import DeepLab, Features

Batch = Mapping[str, Mapping[str, tf.Tensor]]
Scalars = dict[str, tf.Tensor]


def is_any(count: tf.Tensor) -> tf.Tensor:
    """Returns 1 where a count is above 0, else 0, float32: what `Method.known_when` names."""
    return tf.cast(count > 0, tf.float32)


@dataclasses.dataclass(frozen=True)
class Losses:
    """The losses and metrics of one training step on one replica.

    Attributes:
        losses: Scalars by name; their sum, with the weight decay, is minimised.
        metrics: Further scalars by name, for progress and TensorBoard.
        tensors: Tensors that `Method.after_step` needs of the step, such as features for a memory bank.
    """

    losses: Scalars
    metrics: Scalars = dataclasses.field(default_factory=dict)
    tensors: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One column of a picture for people; TensorBoard, wss-vis and pages draw it alike.

    Attributes:
        title: Text above it.
        kind: Kind of the values: "image" [B, H, W, 3] in 0 .. 255, "label" [B, H, W, 1] of class ids, "probabilities"
            [B, h, w, C], or "heat" [B, h, w, K] in [0, 1]. Of heat the largest of K is shown.
        values: The tensor to draw.
    """

    title: str
    kind: Literal["image", "label", "probabilities", "heat"]
    values: tf.Tensor


class Method(abc.ABC):
    """A training method, such as `wss.methods.supervised.Supervised`; a subclass overrides what it needs.

    Attributes:
        streams: The streams of the batch that it reads, with the views that it asks of each.
        independent_passes: Number of passes of the network that do not wait for each other, see `set_cpu_threads`.
        weighs_classes: Whether its cross-entropy on masks takes the weights of `DeepLab.class_weights`.
        known_when: Metrics that compare with what a step may lack, such as masks of unlabelled images, and for each the
            metric that is 1 where it is there, else 0. The mean is over those steps, and nothing is shown without any.
    """

    streams: Mapping[str, Views]
    independent_passes: ClassVar[int] = 1
    weighs_classes: ClassVar[bool] = False
    known_when: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def build(self, network: DeepLab, info: DatasetInfo) -> keras.layers.Layer | None:
        """Builds the method's own layers, which are trained and saved as `network.branches`; None without any."""
        del network, info
        return None

    def build_state(self, network: DeepLab, info: DatasetInfo) -> tf.Module | None:
        """Builds what the method remembers besides weights, such as a teacher or a memory bank; None without any.

        It is kept in checkpoints as `network.state`, and has to be the same on all replicas.
        """
        del network, info
        return None

    def check(self, data: TrainingData) -> None:
        """Checks before anything is written what the method needs of the training data besides its `streams`.

        Raises:
            UserError: It is not there.
        """
        del data

    def prepare(self, network: DeepLab, data: TrainingData) -> None:
        """Does what is due before step 0 of a run, outside of any replica; a resumed run finds it in its checkpoint."""
        del network, data

    @abc.abstractmethod
    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Runs the passes of one training step on one replica.

        Args:
            network: The network, with the method's `branches` and `state`. Gradients of the losses are taken with respect
                to its trainable variables.
            batch: The streams that it asks for; `wss.data.streams` says what each holds.
            step: int64 scalar, the number of finished steps.
        """

    def after_step(self, network: DeepLab, tensors: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """Follows the optimizer's step on each replica: averages, queues.

        Args:
            network: The network with the new weights.
            tensors: The `Losses.tensors` of this step.
            step: int64 scalar, the number of steps that were finished before this one.
        """
        del network, tensors, step

    def evaluated(self, network: DeepLab) -> ExponentialMovingAverage | None:
        """Returns the weights to evaluate and export instead of the network's own, such as a teacher's; None for its own."""
        del network
        return None

    @abc.abstractmethod
    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns what a picture of a training batch shows; moves no statistics."""

    def intermediate_maps(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> list[Figure]:
        """Returns the maps behind a prediction, for wss-vis; all in inference mode.

        Args:
            network: The trained network.
            features: End points of the backbone for the images, see `DeepLab.features`.
            logits: Segmentation logits [B, h, w, C] of the images.
            valid: float32 [B, H, W, 1], 0 on padding.

        Returns:
            Figures of the kinds "probabilities" and "heat", without the prediction itself.
        """
        del network, features, logits, valid
        return []
