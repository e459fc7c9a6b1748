"""Self-attention Grad-CAM (SGC): PseudoSeg, Eq. 3 and Appendix A."""

from collections.abc import Callable

import keras
import tensorflow as tf

from wss.errors import UserError
from wss.models.layers.normalization import BatchNorm
from wss.ops.resizing import resize_bilinear, resize_nearest

BACKGROUND_MODES = ("after", "before", "no_skip")
PROJECTION_INITS = ("glorot_uniform", "identity")


class SelfAttentionGradCAM(keras.layers.Layer):
    """The self-attention over a hypercolumn that refines a CAM, and the class logits of that.

    The hypercolumn H gives queries q = H Wq and keys k = H Wk. Then Att = softmax(q k^T / sqrt(d)) over the valid keys,
    and m~ = Att m + m for the CAM m. With background = 2 - max_c m~ the logits are BN(conv1x1([background, m~])).

    The hypercolumn and the CAM are under stop_gradient: a loss on the logits trains only this layer.

    Args:
        num_classes: C, the background included if there is one.
        has_background: Whether the CAM has C - 1 channels and the background is added; else the CAM has C.
        attention_dim: Width d of queries and keys.
        background: Way to the background: "after" (original code: 2 - max after attention and skip), "before" (paper,
            App. A: 1 - max of the CAM is propagated like a class), or "no_skip" (the original's unused v1: no skip,
            1 - max after attention).
        uniform_masked_queries: Whether a masked pixel attends to every pixel alike, padding included, as in the original.
            Otherwise it attends to the valid pixels like any other.
        projection_init: Initializer of the 1x1 convolution: "glorot_uniform" as in the original, or "identity", which
            starts from the refined CAM itself.
        hypercolumn: Whether the last but one stage is in the hypercolumn; without it is the paper's ablation.
        synchronized: Whether the batch norm's statistics are of all replicas.
        batch_norm_momentum: Decay of the batch norm's moving statistics.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        has_background: bool = True,
        attention_dim: int = 128,
        background: str = "after",
        uniform_masked_queries: bool = False,
        projection_init: str = "glorot_uniform",
        hypercolumn: bool = True,
        synchronized: bool = False,
        batch_norm_momentum: float = 0.999,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if background not in BACKGROUND_MODES:
            raise UserError(f"background={background!r}, expected one of {BACKGROUND_MODES}")
        self.num_classes = num_classes
        self.has_background = has_background
        self.attention_dim = attention_dim
        self.background = background
        self.uniform_masked_queries = uniform_masked_queries
        self.projection_init = projection_init
        self.hypercolumn = hypercolumn
        self.synchronized = synchronized
        self.batch_norm_momentum = batch_norm_momentum

        def conv(filters: int, scope: str, init: str | Callable = "glorot_uniform") -> keras.layers.Conv2D:
            layer = keras.layers.Conv2D(
                filters, 1, use_bias=False, kernel_initializer=init, name=scope.replace("/", "."), dtype="float32"
            )
            layer.tf1_scope = scope
            return layer

        self.query = conv(attention_dim, "hyper_column/query")
        self.key = conv(attention_dim, "hyper_column/key")
        init = _identity_1x1 if projection_init == "identity" else projection_init
        self.projection = conv(num_classes, "pixel_normalization", init)
        self.norm = BatchNorm(
            momentum=batch_norm_momentum,
            epsilon=1e-3,
            scale=False,
            synchronized=synchronized,
            dtype="float32",
            name="pixel_normalization.BatchNorm",
        )
        self.norm.tf1_scope = "pixel_normalization/BatchNorm"

    def call(
        self, last: tf.Tensor, previous: tf.Tensor, cam: tf.Tensor, valid: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns logits [B, h, w, C], float32.

        Args:
            last: [B, h', w', D1], the last stage of the backbone.
            previous: [B, h'', w'', D2], the stage before.
            cam: [B, h, w, K] in [0, 1], K = C - has_background.
            valid: [B, H, W, 1] in {0, 1}, resized nearest to [h, w]; masked pixels are no keys.
            training: Whether the batch norm takes batch statistics, as in every training pass of the original.
        """
        score = self.attended_score(last, previous, cam, valid)
        return self.norm(self.projection(score), training=training)

    def attended_score(self, last: tf.Tensor, previous: tf.Tensor, cam: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Returns the refined CAM with background, [B, h, w, C], before the 1x1 convolution; arguments as in `call`."""
        cam = tf.stop_gradient(tf.cast(cam, tf.float32))
        if self.has_background and self.background == "before":
            cam = tf.concat([1.0 - tf.reduce_max(cam, axis=-1, keepdims=True), cam], axis=-1)
        score = self._attend(last, previous, cam, valid)
        if self.background != "no_skip":
            score += cam
        if self.has_background and self.background != "before":
            top = 1.0 if self.background == "no_skip" else 2.0
            score = tf.concat([top - tf.reduce_max(score, axis=-1, keepdims=True), score], axis=-1)
        return score

    def _attend(self, last: tf.Tensor, previous: tf.Tensor, cam: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        height, width = cam.shape[1] or tf.shape(cam)[1], cam.shape[2] or tf.shape(cam)[2]
        attention = self.attention(last, previous, valid, size=(height, width))
        return tf.reshape(tf.matmul(attention, _flat(cam, height * width)), tf.shape(cam))

    def attention(
        self, last: tf.Tensor, previous: tf.Tensor, valid: tf.Tensor, *, size: tuple[tf.Tensor | int, tf.Tensor | int]
    ) -> tf.Tensor:
        """Returns Att [B, h w, h w] on the grid `size` = (h, w); rows are queries. Other arguments as in `call`."""
        height, width = size
        stages = [last, previous] if self.hypercolumn else [last]
        hypercolumn = tf.concat(
            [tf.stop_gradient(resize_bilinear(tf.cast(stage, tf.float32), (height, width))) for stage in stages], -1
        )
        flat = lambda x: _flat(x, height * width)
        valid = flat(tf.cast(resize_nearest(tf.cast(valid, tf.float32), (height, width)), tf.float32))
        similarity = tf.matmul(flat(self.query(hypercolumn)), flat(self.key(hypercolumn)), transpose_b=True)
        # The mask as a bias per key: no L x L mask, and a masked query still reads only valid pixels.
        key_bias = (1.0 - tf.transpose(valid, [0, 2, 1])) * -1e9
        similarity /= self.attention_dim**0.5
        if self.uniform_masked_queries:
            # The original adds -1e9 to the whole row of a masked query: rounding leaves no similarity, but its gradient.
            similarity -= tf.stop_gradient((1.0 - valid) * similarity)
            key_bias *= valid
        return tf.nn.softmax(similarity + key_bias)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        names = (
            *("num_classes", "has_background", "attention_dim", "background", "uniform_masked_queries"),
            *("projection_init", "hypercolumn", "synchronized", "batch_norm_momentum"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _flat(x: tf.Tensor, pixels) -> tf.Tensor:
    return tf.reshape(x, [tf.shape(x)[0], pixels, x.shape[-1]])


def _identity_1x1(shape, dtype=None):
    return tf.reshape(tf.eye(shape[2], shape[3], dtype=dtype or tf.float32), shape)
