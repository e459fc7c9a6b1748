"""DeepLabv3+, PSPNet and DeepLabv2: a backbone, its segmentation head, and room for a method's own layers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import keras
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.models.backbones.registry import BACKBONES, OUTPUT_STRIDES, backbone_spec, build_backbone
from wss.models.heads.aspp_decoder import build_segmentation_head
from wss.models.heads.deeplab_v2 import build_deeplab_v2_head, freeze_scales_and_offsets
from wss.models.heads.pspnet import build_auxiliary_head, build_pspnet_head
from wss.models.heads.u2pl_decoder import build_u2pl_head
from wss.models.tf1_names import tf1_variables
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import LARGEST_WIDTH, Integer, Number, OneOf, OrNone, Several, Switch

Features = dict[str, tf.Tensor]
HEADS = ("deeplab_v3_plus", "deeplab_v3_plus_u2pl", "pspnet", "deeplab_v2")
LARGEST_RATE = 1024
SGC_SCOPES = ("hyper_column/", "pixel_normalization/")


@dataclasses.dataclass(frozen=True)
class BatchNormSettings:
    """The settings that all batch norms of a network share.

    Attributes:
        fine_tune: Whether training passes normalise by batch statistics and move the moving ones.
        synchronized: Whether batch statistics are taken over all replicas.
        momentum: Decay of the moving statistics; None keeps each part's own.
    """

    fine_tune: bool = True
    synchronized: bool = False
    momentum: float | None = None

    def arguments(self) -> dict:
        """Returns keyword arguments of `BatchNorm` that replace a layer's own."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


class DeepLab(keras.Model):
    """A backbone and its heads, see `NetworkSettings`; `__call__` is plain segmentation of raw images.

    Args:
        backbone: Model from raw images [B, H, W, 3] in 0 .. 255 to named end points, see `build_backbone`.
        segmentation_head: Model from the end points that its inputs are named after to logits.
        num_classes: C, the background included if there is one.
        auxiliary_head: Such a model for a loss in training alone; None without one.
        bias_multiplier: Factor of the learning rate of the last layers' biases, over that of their kernels.
        batch_norm: Settings that the batch norms of the network were built with.

    Attributes:
        branches: The method's own layers, see `Method.build`; trained and saved with the network. None without any.
        state: What the method remembers, see `Method.build_state`; kept in checkpoints. None without any.
    """

    def __init__(
        self,
        backbone: keras.Model,
        segmentation_head: keras.Model,
        *,
        num_classes: int,
        auxiliary_head: keras.Model | None = None,
        bias_multiplier: float = 2.0,
        batch_norm: BatchNormSettings = BatchNormSettings(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        spec = backbone_spec(backbone.name)
        self.num_classes = num_classes
        self.mean_pixel = spec.mean_pixel
        self.default_weight_decay = spec.weight_decay
        self.classifier_scope = f"{spec.scope}/logits/"
        self.backbone = backbone
        self.segmentation_head = segmentation_head
        self.auxiliary_head = auxiliary_head
        self.bias_multiplier = bias_multiplier
        self.batch_norm = batch_norm
        self.branches: Any = None  # the method knows which layer it is
        self.state: Any = None
        self.built = True  # the parts are

    @property
    def feature_channels(self) -> dict[str, int]:
        """Number of channels of each end point of the backbone, by name."""
        return {name: tensor.shape[-1] for name, tensor in self.backbone.output.items()}

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits [B, h, w, C] float32 of raw images [B, H, W, 3] in 0 .. 255.

        With a decoder h = (H - 1) // 4 + 1.
        """
        return self.segment(self.features(images, training), training)

    def features(self, images: tf.Tensor, training: bool = False) -> Features:
        """Returns the named end points [B, h, w, D] of the backbone."""
        return self.backbone(images, training=training)

    def segment(self, features: Features, training: bool = False) -> tf.Tensor:
        """Returns logits [B, h, w, C], float32."""
        return _apply(self.segmentation_head, features, training)

    def auxiliary(self, features: Features, training: bool = False) -> tf.Tensor | None:
        """Returns logits [B, h, w, C], float32, of the auxiliary head; None if there is none."""
        return None if self.auxiliary_head is None else _apply(self.auxiliary_head, features, training)

    def decayed_kernels(self) -> list[keras.Variable]:
        """Returns what DeepLab's L2 loss covers: kernels, but depthwise and SGC's."""
        named = tf1_variables(self)
        kernels = [
            variable
            for name, variable in named.items()
            if name.endswith("/weights") and not name.startswith(SGC_SCOPES)
        ]
        known = {id(variable) for variable in named.values()}
        return kernels + [
            variable
            for variable in self._own_variables()
            if id(variable) not in known and variable.path.endswith("/kernel")
        ]

    def rate_factors(self, *, last_layer: float = 1.0, head: float = 1.0, sgc: float = 1.0) -> dict[str, float]:
        """Returns {variable path: factor of the learning rate}; it is 1 elsewhere.

        Args:
            last_layer: Factor of the layers whose size is the number of classes, DeepLab's get_model_gradient_multipliers;
                with that of their biases twice as large in DeepLabv3+.
            head: Factor of everything but the backbone and SGC, over that of the last layers.
            sgc: Factor of self-attention Grad-CAM.
        """
        named = tf1_variables(self)
        of_sgc = {variable.path for name, variable in named.items() if name.startswith(SGC_SCOPES)}
        heads = [part.trainable_variables for part in (self.segmentation_head, self.auxiliary_head) if part is not None]
        factors = {
            variable.path: sgc if variable.path in of_sgc else head
            for variables in (*heads, self._own_variables())
            for variable in variables
        }
        for name, variable in named.items():
            if name.startswith(("logits/", self.classifier_scope)):
                bias = self.bias_multiplier if name.endswith("/biases") else 1.0
                factors[variable.path] = factors.get(variable.path, 1.0) * last_layer * bias
        return {path: factor for path, factor in factors.items() if factor != 1.0}

    def _own_variables(self) -> list[keras.Variable]:
        """Returns the trainable variables of the method's own layers."""
        return [] if self.branches is None else self.branches.trainable_variables


def _apply(head: keras.Model, features: Features, training: bool) -> tf.Tensor:
    return head([features[tensor.name] for tensor in head.inputs], training=training)


@gin.configurable("build_model")
@in_ranges(
    "build_model",
    Relation(
        ("head", "use_decoder"),
        lambda head, use_decoder: use_decoder or head != "deeplab_v3_plus_u2pl",
        "a head other than deeplab_v3_plus_u2pl, which always has a decoder",
    ),
    backbone=OneOf(BACKBONES),
    head=OneOf(HEADS),
    auxiliary_head=Switch(),
    output_stride=OneOf(OUTPUT_STRIDES),
    multi_grid=OrNone(Several(Integer(1, LARGEST_RATE), 3, 3)),
    depth_multiplier=Number(above=0, maximum=16),
    depth_divisor=Number(minimum=1, maximum=LARGEST_WIDTH),
    aspp_rates=Several(Number(above=0, maximum=LARGEST_RATE), 0),
    use_decoder=Switch(),
    head_depth=Integer(1, LARGEST_WIDTH),
    aspp_first_two_only=Switch(),
    dropout=Number(minimum=0, below=1),
    fine_tune_batch_norm=Switch(),
    synchronized_batch_norm=Switch(),
    batch_norm_momentum=OrNone(Number(minimum=0, below=1)),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The settings of a network; gin calls it `build_model`.

    Attributes:
        backbone: One of `wss.models.backbones.registry.BACKBONES`.
        head: "deeplab_v3_plus" (Chen et al., ECCV 2018), the same as U2PL builds it, "deeplab_v3_plus_u2pl", "pspnet" (Zhao
            et al., CVPR 2017), with an auxiliary head, or "deeplab_v2" (Chen et al., 2016). With the last, gamma and beta of
            the backbone's batch norms do not train. The last two are for output stride 8 and crops of 8 n + 1 pixels.
        auxiliary_head: Whether DeepLabv3+ has PSPNet's auxiliary head too, on the stage before the last.
        output_stride: Ratio of image to feature resolution: 8, 16 or 32.
        multi_grid: Unit rates of the last block; DeepLab's ResNets take (1, 2, 4).
        depth_multiplier: Width of MobileNetV2.
        depth_divisor: Number of whose multiples its channels are: 8, or 1 for DeepLab's checkpoints of a multiplier below 1.
        aspp_rates: Atrous rates of DeepLabv3+ at output stride 16; empty for ASPP without atrous branches.
        use_decoder: Whether DeepLabv3+ refines at stride 4 by low-level features.
        head_depth: Channels of its ASPP and decoder.
        aspp_first_two_only: See `build_deeplab_v2_head`.
        dropout: Drop rate after ASPP; in PSPNet, of whole channels, before the last convolutions.
        fine_tune_batch_norm: Whether batch norms train with batch statistics; False freezes them (small batches).
        synchronized_batch_norm: Whether statistics are over all replicas, SGC's too; the original's are per replica.
        batch_norm_momentum: Decay of all moving statistics; None keeps DeepLab's (0.9997, ResNet 0.95) and SGC's (0.999),
            which need tens of thousands of steps. For a run of n steps take about 1 - 10 / n.

    Raises:
        UserError: An unknown head.
    """

    backbone: str = "xception_65"
    head: str = "deeplab_v3_plus"
    auxiliary_head: bool = False
    output_stride: int = 16
    multi_grid: Sequence[int] | None = None
    depth_multiplier: float = 1.0
    depth_divisor: int = 8
    aspp_rates: Sequence[int] = (6, 12, 18)
    use_decoder: bool = True
    head_depth: int = 256
    aspp_first_two_only: bool = False
    dropout: float = 0.1
    fine_tune_batch_norm: bool = True
    synchronized_batch_norm: bool = False
    batch_norm_momentum: float | None = None

    @property
    def batch_norm(self) -> BatchNormSettings:
        """The settings that all batch norms of the network share."""
        return BatchNormSettings(self.fine_tune_batch_norm, self.synchronized_batch_norm, self.batch_norm_momentum)

    def build(self, info: DatasetInfo) -> DeepLab:
        """Builds the network for a data set, under the current Keras dtype policy.

        Raises:
            UserError: An unknown backbone or output stride.
        """
        backbone = build_backbone(
            self.backbone,
            self.output_stride,
            multi_grid=self.multi_grid,
            batch_norm=self.batch_norm.arguments(),
            depth_multiplier=self.depth_multiplier,
            depth_divisor=self.depth_divisor,
            ceil_pool=self.head == "deeplab_v2",
        )
        shapes = {role: tensor.shape[1:] for role, tensor in backbone.output.items()}
        segmentation_head, auxiliary_head = self._heads(info.num_classes, shapes)
        if self.head == "deeplab_v2":
            freeze_scales_and_offsets(backbone)
        return DeepLab(
            backbone,
            segmentation_head,
            num_classes=info.num_classes,
            auxiliary_head=auxiliary_head,
            bias_multiplier=2.0 if self.head == "deeplab_v3_plus" else 1.0,
            batch_norm=self.batch_norm,
            name="deeplab",
        )

    def _heads(self, num_classes: int, shapes: Mapping[str, tuple]) -> tuple[keras.Model, keras.Model | None]:
        """Returns the segmentation head and the auxiliary one, if there is one."""
        common: dict = {"dropout": self.dropout, "batch_norm": self.batch_norm.arguments()}
        auxiliary = None
        if self.auxiliary_head or self.head == "pspnet":
            auxiliary = build_auxiliary_head(num_classes, shapes["hypercolumn_previous"], **common)
        if self.head == "pspnet":
            return build_pspnet_head(num_classes, shapes["features"], **common), auxiliary
        if self.head == "deeplab_v2":
            return build_deeplab_v2_head(num_classes, shapes["features"], self.aspp_first_two_only), auxiliary
        common |= {"output_stride": self.output_stride, "aspp_rates": self.aspp_rates, "depth": self.head_depth}
        shapes_of_inputs = shapes["features"], shapes["low_level"]
        if self.head == "deeplab_v3_plus":
            return build_segmentation_head(
                num_classes, *shapes_of_inputs, use_decoder=self.use_decoder, **common
            ), auxiliary
        return build_u2pl_head(num_classes, *shapes_of_inputs, **common), auxiliary


def build_model(info: DatasetInfo, **settings) -> DeepLab:
    """Builds a network for a data set.

    Args:
        info: The data set; it gives the number of classes.
        **settings: Fields of `NetworkSettings`, over those of gin.
    """
    return NetworkSettings(**settings).build(info)
