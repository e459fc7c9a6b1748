"""What a training method is: it names the streams it needs and turns a batch into losses. It owns no loop."""

from typing import Protocol

import tensorflow as tf

from wss.models.deeplab import DeepLab

Batch = dict[str, dict[str, tf.Tensor]]
Scalars = dict[str, tf.Tensor]


class Method(Protocol):
    """A training method, e.g. `wss.methods.supervised.Supervised`.

    Attributes:
        streams: which parts of the batch it reads: "labeled", and perhaps "unlabeled" or "pseudo".
        independent_passes: how many passes of the network do not wait for each other, see `set_cpu_threads`.
    """

    streams: tuple[str, ...]
    independent_passes: int = 1

    def losses(self, model: DeepLab, batch: Batch, step: tf.Tensor) -> tuple[Scalars, Scalars]:
        """Runs the passes of one training step on one replica.

        Args:
            model: the network; gradients of the losses are taken with respect to its trainable variables.
            batch: {"labeled": {image [B, H, W, 3] in 0 .. 255, label [B, H, W, 1], valid [B, H, W, 1],
                image_label [B, K]}, "unlabeled": {weak, strong [B, H, W, 3], valid, not_padding [B, H, W, 1],
                label [B, H, W, 1] (of a held mask, for monitoring), image_label [B, K], image_label_known [B]},
                "pseudo": as "labeled", with pseudo labels}; of the method's streams.
            step: int64 scalar, number of finished steps.

        Returns:
            Losses by name, whose sum (with the weight decay) is minimised, and metrics by name; all scalars.
        """

    def pictures(self, model: DeepLab, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns what a picture of the first image of a batch shows: see `wss.training.summaries`."""

    def explain(self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns maps by title for wss-vis, "prediction" first: probabilities [B, h, w, C] or heat [B, h, w, 1]."""
