"""The passes of an ESL step: the teacher's over the weak views, the student's over labelled and mixed images."""

from typing import NamedTuple

import tensorflow as tf

from wss.methods.components.passes import training_pass
from wss.methods.components.teacher import Teacher
from wss.methods.esl.projector import Projector
from wss.models.deeplab import DeepLab, Features


class View(NamedTuple):
    """What a network says of images.

    Attributes:
        features: The end points of the backbone.
        logits: float32 [B, h, w, C].
        hidden: float32 [B, h4, w4, depth], what `Projector.project` takes; None without a projector.
    """

    features: Features
    logits: tf.Tensor
    hidden: tf.Tensor | None

    @property
    def encoded(self) -> tf.Tensor:
        """The encoder's last features, float32 [B, h', w', D]."""
        return tf.cast(self.features["features"], tf.float32)


def run(network: DeepLab, projector: Projector | None, images: tf.Tensor, *, training: bool) -> View:
    """Runs a network, and its projector if there is one, over raw images [B, H, W, 3]."""
    features = network.features(images, training=training)
    if projector is None:
        return View(features, network.segment(features, training=training), None)
    return View(features, *projector(features, training=training))


def teacher_view(
    teacher: Teacher, network: DeepLab, projector: Projector | None, images: tf.Tensor, *, refresh: bool = False
) -> View:
    """Returns the teacher's view of weak views, in inference mode and without gradient.

    Args:
        teacher: The teacher of the network.
        network: The network.
        projector: Its projector; None without one.
        images: [B, H, W, 3] in 0 .. 255.
        refresh: Whether a training pass may move the teacher's statistics afterwards, see `Teacher.refresh`.
    """
    view = teacher.run(lambda: run(network, projector, images, training=False))
    if refresh:
        teacher.refresh(lambda: run(network, projector, images, training=True))
    return view


def student_view(
    network: DeepLab, projector: Projector | None, labeled: tf.Tensor, mixed: tf.Tensor, *, join: bool
) -> View:
    """Returns the student's view of labelled and then of mixed images, in training mode.

    Args:
        network: The network.
        projector: Its projector; None without one.
        labeled: [B, H, W, 3] in 0 .. 255.
        mixed: [b, H, W, 3].
        join: See `training_pass`.
    """
    return training_pass(lambda images: run(network, projector, images, training=True), (labeled, mixed), join=join)
