"""Calibrated fusion of two segmentations into one pseudo label: PseudoSeg, Eq. 4."""

import keras
import tensorflow as tf

from wss.errors import UserError
from wss.ops.resizing import resize_bilinear

NORM_AXES = {"batch": (0, 1, 2, 3), "image": (1, 2, 3), "pixel": (3,), "none": None}
NORM_REDUCTIONS = ("mean", "sum")
SOURCES = ("fusion", "decoder", "sgc")
LABELS = ("soft", "hard")


class CalibratedFusion(keras.layers.Layer):
    """The pseudo label Sharpen(gamma softmax(p / n) + (1 - gamma) softmax(m / n), T).

    Decoder logits p and SGC logits m are put on one scale by n = Norm(p, m). The original code takes one root mean square
    over all elements of both, over the whole batch of the replica. The paper's formula reads as a root of the sum of
    squares, which over a whole map would make both softmaxes uniform.

    Args:
        gamma: Weight of the decoder, 0 .. 1 (paper and code: 0.5; 0.3 in the high-data regime).
        temperature: Temperature T above 0; below 1 sharpens, 1 leaves as it is.
        norm_scope: Elements that share one n: "batch" (original code), "image" (does not depend on the batch size),
            "pixel", or "none" (n = 1).
        norm_reduce: Reduction of the squares: "mean" (original code) or "sum" (paper).
        source: Inputs that are used: "fusion" of both, or only one, not normalised, "decoder" or "sgc".
        label: Kind of the label: "soft" probabilities, sharpened, or "hard" one-hot of the probabilities as they are.
        threshold: Largest probability from which a pixel is confident; 0 keeps all.
        epsilon: Number that is added to the reduced squares.
    """

    def __init__(
        self,
        *,
        gamma: float = 0.5,
        temperature: float = 0.5,
        norm_scope: str = "batch",
        norm_reduce: str = "mean",
        source: str = "fusion",
        label: str = "soft",
        threshold: float = 0.0,
        epsilon: float = 1e-8,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value, choices in (
            ("norm_scope", norm_scope, tuple(NORM_AXES)),
            ("norm_reduce", norm_reduce, NORM_REDUCTIONS),
            ("source", source, SOURCES),
            ("label", label, LABELS),
        ):
            if value not in choices:
                raise UserError(f"{name}={value!r}, expected one of {choices}")
        if not (0 <= gamma <= 1 and temperature > 0 and 0 <= threshold < 1):
            raise UserError(
                f"gamma={gamma}, temperature={temperature}, threshold={threshold}; expected 0 <= gamma <= 1, "
                "temperature > 0, 0 <= threshold < 1"
            )
        self.gamma, self.temperature = gamma, temperature
        self.norm_scope, self.norm_reduce = norm_scope, norm_reduce
        self.source, self.label, self.threshold, self.epsilon = source, label, threshold, epsilon

    def call(self, decoder_logits: tf.Tensor, sgc_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Fuses logits of the weak view, without gradient.

        Args:
            decoder_logits: [B, h, w, C].
            sgc_logits: [B, h', w', C]; resized bilinearly to [h, w].

        Returns:
            pseudo_label: [B, h, w, C] float32, sums to 1 over classes.
            confident: [B, h, w, 1] float32 in {0, 1}.
        """
        decoder = tf.stop_gradient(tf.cast(decoder_logits, tf.float32))
        sgc = tf.stop_gradient(tf.cast(sgc_logits, tf.float32))
        sgc = resize_bilinear(sgc, tf.shape(decoder)[1:3])
        probabilities = self.mix(decoder, sgc)
        if self.label == "soft":
            probabilities = sharpen(probabilities, self.temperature)
        confident = tf.reduce_max(probabilities, axis=-1, keepdims=True) >= self.threshold
        if self.label == "hard":
            probabilities = tf.one_hot(tf.argmax(probabilities, axis=-1), probabilities.shape[-1])
        return probabilities, tf.cast(confident, tf.float32)

    def mix(self, decoder: tf.Tensor, sgc: tf.Tensor) -> tf.Tensor:
        """Returns q = gamma softmax(p / n) + (1 - gamma) softmax(m / n), or the one softmax that `source` names."""
        if self.source != "fusion":
            return tf.nn.softmax({"decoder": decoder, "sgc": sgc}[self.source])
        norm = self.norm(decoder, sgc)
        return self.gamma * tf.nn.softmax(decoder / norm) + (1.0 - self.gamma) * tf.nn.softmax(sgc / norm)

    def norm(self, decoder: tf.Tensor, sgc: tf.Tensor) -> tf.Tensor:
        """Returns Norm(p, m), broadcastable to [B, h, w, C]."""
        axes = NORM_AXES[self.norm_scope]
        if axes is None:
            return tf.ones([1, 1, 1, 1])
        if self.norm_reduce == "mean":
            squares = (
                tf.reduce_mean(tf.square(decoder), axes, keepdims=True)
                + tf.reduce_mean(tf.square(sgc), axes, keepdims=True)
            ) / 2
        else:
            squares = tf.reduce_sum(tf.square(decoder) + tf.square(sgc), axes, keepdims=True)
        return tf.sqrt(squares + self.epsilon)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        names = ("gamma", "temperature", "norm_scope", "norm_reduce", "source", "label", "threshold", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def sharpen(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns p_c^(1/T) / sum_j p_j^(1/T) over the last axis, in log space. T = 1 is the identity."""
    if temperature == 1.0:
        return probabilities
    return tf.nn.softmax(tf.math.log(probabilities + 1e-30) / temperature)
