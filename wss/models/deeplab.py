"""DeepLabv3+ with the two branches of PseudoSeg: an image classifier and self-attention Grad-CAM."""

from collections.abc import Sequence

import gin
import keras
import tensorflow as tf

from wss.data.info import DatasetInfo
from wss.models.aspp_decoder import build_segmentation_head
from wss.models.backbones import backbone_spec, build_backbone
from wss.models.dropout import Dropout
from wss.models.grad_cam import pooled_linear_cam
from wss.models.sgc import SelfAttentionGradCAM
from wss.models.tf1_names import tf1_variables

Features = dict[str, tf.Tensor]


class DeepLab(keras.Model):
    """DeepLabv3+ (Chen et al., ECCV 2018); `__call__` is plain segmentation of raw images.

    Attributes:
        backbone: raw images [B, H, W, 3] in 0 .. 255 -> named end points, see `build_backbone`.
        segmentation_head: features and low-level features -> logits.
        classifier: pooled features -> one logit per image-level class.
        sgc: self-attention Grad-CAM.
    """

    def __init__(
        self,
        backbone: keras.Model,
        segmentation_head: keras.Model,
        sgc: SelfAttentionGradCAM,
        num_classes: int,
        classifier_dropout: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        spec = backbone_spec(backbone.name)
        self.num_classes = num_classes
        self.mean_pixel = spec.mean_pixel
        self.default_weight_decay = spec.weight_decay
        self.backbone = backbone
        self.segmentation_head = segmentation_head
        self.classifier_dropout = Dropout(classifier_dropout)
        self.classifier = keras.layers.Dense(
            num_classes - int(sgc.has_background), name=f"{spec.scope}.logits", dtype="float32"
        )
        self.classifier.tf1_scope = f"{spec.scope}/logits"
        self.sgc = sgc
        self._build()

    def _build(self):
        """Creates all variables on symbolic inputs, so that the model is complete before its first batch."""
        shapes = {name: tensor.shape[-1] for name, tensor in self.backbone.output.items()}
        self.classifier.build((None, shapes["cam_features"]))
        cam_channels = self.classifier.units
        zeros = lambda name: tf.zeros([1, 2, 2, shapes[name]])  # noqa: E731
        cam, valid = tf.zeros([1, 2, 2, cam_channels]), tf.ones([1, 2, 2, 1])
        self.sgc(zeros("hypercolumn_last"), zeros("hypercolumn_previous"), cam, valid)
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits [B, h4, w4, C] float32 of raw images [B, H, W, 3] in 0 .. 255; h4 = (H - 1) // 4 + 1 with decoder."""
        return self.segment(self.features(images, training), training)

    def features(self, images: tf.Tensor, training: bool = False) -> Features:
        """Named end points [B, h, w, D] of the backbone."""
        return self.backbone(images, training=training)

    def segment(self, features: Features, training: bool = False) -> tf.Tensor:
        """Decoder logits [B, h4, w4, C], float32."""
        return self.segmentation_head([features["features"], features["low_level"]], training=training)

    def classify(self, features: Features, training: bool = False) -> tf.Tensor:
        """Image-level logits [B, K], float32, of the globally pooled features."""
        pooled = tf.reduce_mean(tf.cast(features["cam_features"], tf.float32), axis=(1, 2))
        return self.classifier(self.classifier_dropout(pooled, training=training))

    def cam(self, features: Features, image_label: tf.Tensor) -> tf.Tensor:
        """Grad-CAM [B, h, w, K] in [0, 1] of the classes in `image_label` [B, K], without gradient or dropout."""
        return pooled_linear_cam(features["cam_features"], self.classifier.kernel, image_label)

    def refine_cam(self, features: Features, cam: tf.Tensor, valid: tf.Tensor, training: bool = False) -> tf.Tensor:
        """SGC logits [B, h, w, C] from a CAM [B, h, w, K] and a valid mask [B, H, W, 1]."""
        return self.sgc(features["hypercolumn_last"], features["hypercolumn_previous"], cam, valid, training=training)

    def decayed_kernels(self) -> list[keras.Variable]:
        """What DeepLab's L2 loss covers: convolution kernels but depthwise and SGC ones (reference_code: weight decay)."""
        return [
            variable
            for name, variable in tf1_variables(self).items()
            if name.endswith("/weights") and not name.startswith(("hyper_column", "pixel_normalization"))
        ]

    def gradient_multipliers(self, last_layer: float = 1.0, bias: float = 2.0) -> dict[str, float]:
        """{variable path: factor} of the last layers, DeepLab's get_model_gradient_multipliers; 1 elsewhere."""
        names = tf1_variables(self)
        factors = {"weights": last_layer, "biases": bias * last_layer}
        scopes = ("logits/semantic", self.classifier.tf1_scope)
        return {names[f"{scope}/{kind}"].path: factor for scope in scopes for kind, factor in factors.items()}


@gin.configurable
def build_model(
    info: DatasetInfo,
    backbone: str = "xception_65",
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    depth_multiplier: float = 1.0,
    depth_divisor: int = 8,
    aspp_rates: Sequence[int] = (6, 12, 18),
    use_decoder: bool = True,
    head_depth: int = 256,
    dropout: float = 0.1,
    classifier_dropout: float | None = None,
    attention_dim: int = 128,
    sgc_background: str = "after",
    sgc_uniform_masked_queries: bool = False,
    sgc_projection_init: str = "glorot_uniform",
    sgc_hypercolumn: bool = True,
    fine_tune_batch_norm: bool = True,
    synchronized_batch_norm: bool = False,
    batch_norm_momentum: float | None = None,
) -> DeepLab:
    """Builds DeepLabv3+ for a data set, under the current Keras dtype policy.

    Args:
        info: gives the number of classes and whether there is a background.
        backbone: one of `wss.models.backbones.BACKBONES`.
        output_stride: 8, 16 or 32.
        multi_grid: unit rates of the last block; DeepLab's ResNets take (1, 2, 4).
        depth_multiplier: width of MobileNetV2.
        depth_divisor: what its channels are a multiple of: 8, or 1 for DeepLab's checkpoints of a multiplier below 1.
        aspp_rates: at output stride 16; empty for ASPP without atrous branches.
        use_decoder: refine at stride 4 by low-level features.
        head_depth: channels of ASPP and decoder.
        dropout: after ASPP.
        classifier_dropout: before the image classifier; None keeps DeepLab's (0.5 for Xception, else 0).
        attention_dim: width of SGC's queries and keys.
        sgc_background, sgc_uniform_masked_queries, sgc_projection_init, sgc_hypercolumn: see `SelfAttentionGradCAM`.
        fine_tune_batch_norm: False freezes the statistics (small batches).
        synchronized_batch_norm: statistics over all replicas, SGC's too; the original's are per replica.
        batch_norm_momentum: of the moving statistics in backbone and head; None keeps DeepLab's (0.9997, ResNet 0.95),
            which need tens of thousands of steps. For a run of n steps take about 1 - 10 / n.

    Raises:
        UserError: an unknown backbone or output stride.
    """
    batch_norm: dict[str, float] = {"fine_tune": fine_tune_batch_norm, "synchronized": synchronized_batch_norm}
    if batch_norm_momentum is not None:
        batch_norm["momentum"] = batch_norm_momentum
    network = build_backbone(
        backbone,
        output_stride,
        multi_grid,
        batch_norm,
        depth_multiplier=depth_multiplier,
        depth_divisor=depth_divisor,
    )
    head = build_segmentation_head(
        info.num_classes,
        network.output["features"].shape[1:],
        network.output["low_level"].shape[1:],
        output_stride,
        aspp_rates,
        use_decoder,
        dropout=dropout,
        batch_norm=batch_norm,
        depth=head_depth,
    )
    sgc = SelfAttentionGradCAM(
        info.num_classes,
        info.has_background,
        attention_dim,
        sgc_background,
        sgc_uniform_masked_queries,
        projection_init=sgc_projection_init,
        hypercolumn=sgc_hypercolumn,
        synchronized=synchronized_batch_norm,
        name="sgc",
    )
    if classifier_dropout is None:
        classifier_dropout = backbone_spec(backbone).classifier_dropout
    return DeepLab(network, head, sgc, info.num_classes, classifier_dropout, name="deeplab")
