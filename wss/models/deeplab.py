"""DeepLabv3+, PSPNet and DeepLabv2, with the two branches of PseudoSeg: an image classifier and self-attention Grad-CAM."""

from collections.abc import Sequence

import gin
import keras
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError, did_you_mean
from wss.methods.pseudoseg.grad_cam import pooled_linear_cam
from wss.methods.pseudoseg.self_attention_grad_cam import SelfAttentionGradCAM
from wss.models.backbones.registry import backbone_spec, build_backbone
from wss.models.heads.aspp_decoder import build_segmentation_head
from wss.models.heads.deeplab_v2 import build_deeplab_v2_head, freeze_scales_and_offsets
from wss.models.heads.pspnet import build_auxiliary_head, build_pspnet_head
from wss.models.layers.dropout import Dropout
from wss.models.tf1_names import tf1_variables

Features = dict[str, tf.Tensor]
HEADS = ("deeplab_v3_plus", "pspnet", "deeplab_v2")


class DeepLab(keras.Model):
    """A backbone and its heads, see `build_model`; `__call__` is plain segmentation of raw images.

    Attributes:
        backbone: raw images [B, H, W, 3] in 0 .. 255 -> named end points, see `build_backbone`.
        segmentation_head: a list of end points, those that its inputs are named after -> logits.
        auxiliary_head: the same for a loss in training alone; or None.
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
        auxiliary_head: keras.Model | None = None,
        bias_multiplier: float = 2.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        spec = backbone_spec(backbone.name)
        self.num_classes = num_classes
        self.mean_pixel = spec.mean_pixel
        self.default_weight_decay = spec.weight_decay
        self.backbone = backbone
        self.segmentation_head = segmentation_head
        self.auxiliary_head = auxiliary_head
        self.bias_multiplier = bias_multiplier
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
        """Logits [B, h, w, C] float32 of raw images [B, H, W, 3] in 0 .. 255; h = (H - 1) // 4 + 1 with a decoder."""
        return self.segment(self.features(images, training), training)

    def features(self, images: tf.Tensor, training: bool = False) -> Features:
        """Named end points [B, h, w, D] of the backbone."""
        return self.backbone(images, training=training)

    def segment(self, features: Features, training: bool = False) -> tf.Tensor:
        """Logits [B, h, w, C], float32."""
        return _apply(self.segmentation_head, features, training)

    def auxiliary(self, features: Features, training: bool = False) -> tf.Tensor | None:
        """Logits [B, h, w, C], float32, of the auxiliary head; None if there is none."""
        return None if self.auxiliary_head is None else _apply(self.auxiliary_head, features, training)

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

    def gradient_multipliers(self, last_layer: float = 1.0, head: float = 1.0, sgc: float = 1.0) -> dict[str, float]:
        """{variable path: factor of the learning rate}; 1 elsewhere.

        Args:
            last_layer: of the layers whose size is the number of classes, DeepLab's get_model_gradient_multipliers;
                with that of their biases twice as large in DeepLabv3+.
            head: of segmentation and auxiliary head and classifier, on top of that.
            sgc: of self-attention Grad-CAM.
        """
        parts = (self.segmentation_head, head), (self.auxiliary_head, head), (self.classifier, head), (self.sgc, sgc)
        factors = {
            variable.path: factor
            for part, factor in parts
            if part is not None and factor != 1.0
            for variable in part.trainable_variables
        }
        for name, variable in tf1_variables(self).items():
            if name.startswith(("logits/", f"{self.classifier.tf1_scope}/")):
                bias = self.bias_multiplier if name.endswith("/biases") else 1.0
                factors[variable.path] = factors.get(variable.path, 1.0) * last_layer * bias
        return factors


def _apply(head: keras.Model, features: Features, training: bool) -> tf.Tensor:
    return head([features[tensor.name] for tensor in head.inputs], training=training)


@gin.configurable
def build_model(
    info: DatasetInfo,
    backbone: str = "xception_65",
    head: str = "deeplab_v3_plus",
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    depth_multiplier: float = 1.0,
    depth_divisor: int = 8,
    aspp_rates: Sequence[int] = (6, 12, 18),
    use_decoder: bool = True,
    head_depth: int = 256,
    aspp_first_two_only: bool = False,
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
    """Builds a network for a data set, under the current Keras dtype policy.

    Args:
        info: gives the number of classes and whether there is a background.
        backbone: one of `wss.models.backbones.registry.BACKBONES`.
        head: "deeplab_v3_plus" (Chen et al., ECCV 2018); "pspnet" (Zhao et al., CVPR 2017), with an auxiliary head; or
            "deeplab_v2" (Chen et al., 2016), where gamma and beta of the backbone's batch norms do not train. The last
            two are for output stride 8 and crops of 8 n + 1 pixels.
        output_stride: 8, 16 or 32.
        multi_grid: unit rates of the last block; DeepLab's ResNets take (1, 2, 4).
        depth_multiplier: width of MobileNetV2.
        depth_divisor: what its channels are a multiple of: 8, or 1 for DeepLab's checkpoints of a multiplier below 1.
        aspp_rates: of DeepLabv3+, at output stride 16; empty for ASPP without atrous branches.
        use_decoder: of DeepLabv3+: refine at stride 4 by low-level features.
        head_depth: channels of its ASPP and decoder.
        aspp_first_two_only: see `build_deeplab_v2_head`.
        dropout: after ASPP; in PSPNet, of whole channels, before the last convolutions.
        classifier_dropout: before the image classifier; None keeps DeepLab's (0.5 for Xception, else 0).
        attention_dim: width of SGC's queries and keys.
        sgc_background, sgc_uniform_masked_queries, sgc_projection_init, sgc_hypercolumn: see `SelfAttentionGradCAM`.
        fine_tune_batch_norm: False freezes the statistics (small batches).
        synchronized_batch_norm: statistics over all replicas, SGC's too; the original's are per replica.
        batch_norm_momentum: of all moving statistics; None keeps DeepLab's (0.9997, ResNet 0.95) and SGC's (0.999), which
            need tens of thousands of steps. For a run of n steps take about 1 - 10 / n.

    Raises:
        UserError: an unknown backbone, head or output stride.
    """
    if head not in HEADS:
        raise UserError(f"build_model.head = {head!r}, expected one of {', '.join(HEADS)}.{did_you_mean(head, HEADS)}")
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
        ceil_pool=head == "deeplab_v2",
    )
    shapes = {role: tensor.shape[1:] for role, tensor in network.output.items()}
    auxiliary_head = None
    if head == "pspnet":
        segmentation_head = build_pspnet_head(info.num_classes, shapes["features"], dropout, batch_norm)
        auxiliary_head = build_auxiliary_head(info.num_classes, shapes["hypercolumn_previous"], dropout, batch_norm)
    elif head == "deeplab_v2":
        segmentation_head = build_deeplab_v2_head(info.num_classes, shapes["features"], aspp_first_two_only)
        freeze_scales_and_offsets(network)
    else:
        segmentation_head = build_segmentation_head(
            info.num_classes,
            shapes["features"],
            shapes["low_level"],
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
        batch_norm_momentum=0.999 if batch_norm_momentum is None else batch_norm_momentum,
        name="sgc",
    )
    if classifier_dropout is None:
        classifier_dropout = backbone_spec(backbone).classifier_dropout
    return DeepLab(
        network,
        segmentation_head,
        sgc,
        info.num_classes,
        classifier_dropout,
        auxiliary_head,
        bias_multiplier=2.0 if head == "deeplab_v3_plus" else 1.0,
        name="deeplab",
    )
