"""DeepLabv3+, PSPNet and DeepLabv2: a backbone, its segmentation head, and room for a method's own layers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import keras
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.models.backbones.hub.encoder import KERAS_HUB, build_hub_backbone
from wss.models.backbones.hub.presets import Preset
from wss.models.backbones.registry import (
    BACKBONES,
    DEFAULT_OUTPUT_STRIDE,
    OUTPUT_STRIDES,
    BackboneSpec,
    backbone_spec,
    build_backbone,
)
from wss.models.heads.deeplab_v2 import freeze_scales_and_offsets
from wss.models.heads.registry import HEADS, SUMS, build_heads
from wss.models.layers.classifier import CLASSIFIERS, COSINE_SCALE, Classifier, FinalClassifier
from wss.models.layers.recomputing import Recomputing
from wss.models.variable_factors import decayed_kernels, rate_factors
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import LARGEST_WIDTH, Integer, Number, OneOf, OrNone, Several, Switch, Text

Features = dict[str, tf.Tensor]
LARGEST_RATE = 1024


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
        spec: What the backbone is; None looks it up by name.
        recompute: Whether the backward pass computes each block of a convolutional backbone once more.

    Attributes:
        padding: How images are padded for it.
        branches: The method's own layers, see `Method.build`; trained and saved with the network. None without any.
        state: What the method remembers, see `Method.build_state`; kept in checkpoints. None without any.
        class_weights: Weights of the C classes in the cross-entropy on masks, `train.class_weights`; None for none.
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
        spec: BackboneSpec | None = None,
        recompute: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        spec = spec or backbone_spec(backbone.name)
        self.num_classes = num_classes
        self.spec, self.padding = spec, spec.padding
        self.default_weight_decay = spec.weight_decay
        self.classifier_scope = f"{spec.scope}/logits/"
        self.backbone = backbone
        self._recomputing = Recomputing(backbone) if recompute else None
        self.segmentation_head = segmentation_head
        self.final_classifier = FinalClassifier.of(segmentation_head)
        self.auxiliary_head = auxiliary_head
        self.bias_multiplier = bias_multiplier
        self.batch_norm = batch_norm
        self.branches: Any = None  # the method knows which layer it is
        self.state: Any = None
        self.class_weights: tuple[float, ...] | None = None
        self.built = True  # the parts are
        self.hidden_weights = HiddenWeights.of(self)

    @property
    def feature_channels(self) -> dict[str, int]:
        """Number of channels of each end point of the backbone, by name."""
        return {name: tensor.shape[-1] for name, tensor in self.backbone.output.items()}

    @property
    def decoded_features(self) -> list[str]:
        """Names of the end points of the backbone that the segmentation head reads."""
        return [tensor.name for tensor in self.segmentation_head.inputs]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits [B, h, w, C] float32 of raw images [B, H, W, 3] in 0 .. 255.

        With a decoder h = (H - 1) // 4 + 1.
        """
        return self.segment(self.features(images, training), training)

    def features(self, images: tf.Tensor, training: bool = False) -> Features:
        """Returns the named end points [B, h, w, D] of the backbone."""
        if training and self._recomputing is not None:
            return self._recomputing(images)
        return self.backbone(images, training=training)

    def segment(self, features: Features, training: bool = False) -> tf.Tensor:
        """Returns logits [B, h, w, C], float32."""
        return _apply(self.segmentation_head, features, training)

    def segment_with_cosines(self, features: Features, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the logits of `segment` and cos(phi, W_c), both [B, h, w, C], float32, by one pass.

        phi is what the last layer of the head takes, W_c the kernel of a class. With `build_model.classifier = "cosine"`
        the logits are the cosines times the scale.

        Raises:
            UserError: The head does not end in one classifier.
        """
        if self.final_classifier is None:
            raise UserError(
                "build_model.head: the cosines of features and classes need a head that ends in one classifier, found a sum "
                f"of several; set one of {', '.join(head for head in HEADS if head not in SUMS)}"
            )
        phi = _apply(self.final_classifier.before, features, training)
        return self.final_classifier.logits_and_cosines(phi)

    def auxiliary(self, features: Features, training: bool = False) -> tf.Tensor | None:
        """Returns logits [B, h, w, C], float32, of the auxiliary head; None if there is none."""
        return None if self.auxiliary_head is None else _apply(self.auxiliary_head, features, training)

    def decayed_kernels(self) -> list[keras.Variable]:
        """Returns what DeepLab's L2 loss covers: kernels, but depthwise and SGC's."""
        return decayed_kernels(self)

    def rate_factors(
        self, *, last_layer: float = 1.0, head: float = 1.0, sgc: float = 1.0, bias: float | None = None
    ) -> dict[str, float]:
        """Returns {variable path: factor of the learning rate}; it is 1 elsewhere.

        Args:
            last_layer: Factor of the layers whose size is the number of classes, DeepLab's get_model_gradient_multipliers;
                with that of their biases twice as large in DeepLabv3+.
            head: Factor of everything but the backbone and SGC, over that of the last layers.
            sgc: Factor of self-attention Grad-CAM.
            bias: Factor of every bias, over those above. None is `bias_multiplier` for those of the last layers, else 1.
        """
        return rate_factors(self, last_layer=last_layer, head=head, sgc=sgc, bias=bias)


class HiddenWeights(tf.Module):
    """Weights that TensorFlow's checkpoints do not find in a network, as layers keep them in lists; kept with it.

    Attributes:
        values: The variables.
    """

    def __init__(self, values: Sequence[tf.Variable]):
        super().__init__()
        self.values = list(values)

    @classmethod
    def of(cls, network: keras.Model) -> "HiddenWeights | None":
        """Returns those of a network; None if there are none, so that its checkpoints are as they were."""
        found = {id(part) for part in tf.train.TrackableView(network).descendants()}
        hidden = [variable.value for variable in network.variables if id(variable) not in found]
        return cls(hidden) if hidden else None


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
    Relation(
        ("head", "classifier"),
        lambda head, classifier: classifier == "linear" or head not in SUMS,
        "classifier = 'linear', or another head than deeplab_v2, which sums four classifiers; deeplab_v2_features has one",
    ),
    Relation(
        ("backbone", "encoder_preset"),
        lambda backbone, preset: (backbone == KERAS_HUB) == (preset is not None),
        "an encoder_preset with backbone = 'keras_hub', and none with another",
    ),
    Relation(
        ("encoder_weights", "encoder_preset"),
        lambda weights, preset: weights or preset is not None,
        "encoder_weights = True without an encoder_preset",
    ),
    *(
        Relation(
            (name, "encoder_preset"),
            lambda value, preset, default=default: value == default or preset is None,
            f"{name} = {default} with an encoder_preset, whose network has none",
        )
        for name, default in (("multi_grid", None), ("depth_multiplier", 1.0), ("depth_divisor", 8), ("fc6_rate", None))
    ),
    backbone=OneOf((*BACKBONES, KERAS_HUB)),
    encoder_preset=OrNone(Text("a preset of keras-hub, or its folder", paths=True)),
    encoder_weights=Switch(),
    freeze_encoder=Switch(),
    recompute=Switch(),
    head=OneOf(HEADS),
    classifier=OneOf(CLASSIFIERS),
    cosine_scale=Number(above=0),
    auxiliary_head=Switch(),
    output_stride=OneOf(OUTPUT_STRIDES),
    multi_grid=OrNone(Several(Integer(1, LARGEST_RATE), 3, 3)),
    depth_multiplier=Number(above=0, maximum=16),
    depth_divisor=Number(minimum=1, maximum=LARGEST_WIDTH),
    fc6_rate=OrNone(Integer(1, LARGEST_RATE)),
    aspp_rates=Several(Number(above=0, maximum=LARGEST_RATE), 0),
    use_decoder=Switch(),
    head_depth=Integer(1, LARGEST_WIDTH),
    separable_head=Switch(),
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
        backbone: One of `wss.models.backbones.registry.BACKBONES`, or "keras_hub" for an encoder of that library.
        encoder_preset: Encoder of "keras_hub": name of a preset, such as 'dinov2_small', or its folder.
        encoder_weights: Whether training begins with the weights of the preset; False builds its network at random.
        freeze_encoder: Whether the backbone stays as it is, statistics of batch norm included.
        recompute: Whether the backward pass computes each block of the backbone once more: less memory, more time.
        head: "deeplab_v3_plus" (Chen et al., ECCV 2018), the same as U2PL builds it, "deeplab_v3_plus_u2pl", "pspnet" (Zhao
            et al., CVPR 2017), with an auxiliary head, or "deeplab_v2" (Chen et al., 2016). "deeplab_v2_features" has
            its sum of features before one classifier, "large_fov" (Chen et al., ICLR 2015) the classifier alone. "dpt"
            (Ranftl et al., ICCV 2021) is for a ViT of "keras_hub". With
            "deeplab_v2" alone gamma and beta of the backbone's batch norms do not train. All but "dpt" and the first two
            are for output stride 8 and crops of 8 n + 1 pixels.
        classifier: Last layer of the head: "linear" (with a bias), "dot_product" (without) or "cosine", whose logits are
            cosine_scale cos(phi, W_c). "deeplab_v2" has "linear" only.
        cosine_scale: Scale tau of "cosine".
        auxiliary_head: Whether DeepLabv3+ has PSPNet's auxiliary head too, on the stage before the last.
        output_stride: Ratio of image to feature resolution: 8, 16 or 32; that of a ViT is its patch.
        multi_grid: Unit rates of the last block; DeepLab's ResNets take (1, 2, 4).
        depth_multiplier: Width of MobileNetV2.
        depth_divisor: Number of whose multiples its channels are: 8, or 1 for DeepLab's checkpoints of a multiplier below 1.
        fc6_rate: Atrous rate of fc6 in VGG16-LargeFOV, 1 or more; None for 12 at output stride 8, 6 at 16 and 3 at 32.
        aspp_rates: Atrous rates of DeepLabv3+ at output stride 16; empty for ASPP without atrous branches.
        use_decoder: Whether DeepLabv3+ refines at stride 4 by low-level features.
        head_depth: Channels of its ASPP and decoder.
        separable_head: Whether the 3x3 convolutions of "deeplab_v3_plus" are separable.
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
    encoder_preset: str | None = None
    encoder_weights: bool = True
    freeze_encoder: bool = False
    recompute: bool = False
    head: str = "deeplab_v3_plus"
    classifier: str = "linear"
    cosine_scale: float = COSINE_SCALE
    auxiliary_head: bool = False
    output_stride: int = DEFAULT_OUTPUT_STRIDE
    multi_grid: Sequence[int] | None = None
    depth_multiplier: float = 1.0
    depth_divisor: int = 8
    fc6_rate: int | None = None
    aspp_rates: Sequence[int] = (6, 12, 18)
    use_decoder: bool = True
    head_depth: int = 256
    separable_head: bool = True
    aspp_first_two_only: bool = False
    dropout: float = 0.1
    fine_tune_batch_norm: bool = True
    synchronized_batch_norm: bool = False
    batch_norm_momentum: float | None = None

    @property
    def batch_norm(self) -> BatchNormSettings:
        """The settings that all batch norms of the network share."""
        return BatchNormSettings(self.fine_tune_batch_norm, self.synchronized_batch_norm, self.batch_norm_momentum)

    def _backbone(self, kept_encoder: Path | None) -> tuple[keras.Model, BackboneSpec]:
        batch_norm = self.batch_norm.arguments()
        if self.freeze_encoder:
            batch_norm |= {"fine_tune": False}
        if self.encoder_preset is not None:
            preset = (
                Preset.of(self.encoder_preset, weights=self.encoder_weights)
                if kept_encoder is None
                else Preset.kept(kept_encoder, self.encoder_preset)
            )
            backbone, spec = build_hub_backbone(
                preset,
                output_stride=self.output_stride,
                batch_norm=batch_norm,
                recompute=self.recompute,
            )
        else:
            spec = backbone_spec(self.backbone)
            backbone = build_backbone(
                self.backbone,
                self.output_stride,
                multi_grid=self.multi_grid,
                batch_norm=batch_norm,
                depth_multiplier=self.depth_multiplier,
                depth_divisor=self.depth_divisor,
                ceil_pool=self.head.startswith("deeplab_v2"),
                fc6_rate=self.fc6_rate,
            )
        backbone.trainable = not self.freeze_encoder
        return backbone, spec

    @property
    def last_layer(self) -> Classifier:
        """The last layer of the head."""
        return Classifier(self.classifier, self.cosine_scale)

    def build(self, info: DatasetInfo, *, kept_encoder: Path | None = None) -> DeepLab:
        """Builds the network for a data set, under the current Keras dtype policy.

        Args:
            info: The data set; it gives the number of classes.
            kept_encoder: Folder of a run that says what its encoder of keras-hub is; None takes the preset.

        Raises:
            UserError: An unknown backbone or output stride.
        """
        backbone, spec = self._backbone(kept_encoder)
        shapes = {role: tensor.shape[1:] for role, tensor in backbone.output.items()}
        segmentation_head, auxiliary_head = build_heads(self, info.num_classes, shapes)
        if self.head == "deeplab_v2":
            freeze_scales_and_offsets(backbone)
        return DeepLab(
            backbone,
            segmentation_head,
            num_classes=info.num_classes,
            auxiliary_head=auxiliary_head,
            bias_multiplier=2.0 if self.head == "deeplab_v3_plus" else 1.0,
            batch_norm=self.batch_norm,
            spec=spec,
            recompute=self.recompute and self.encoder_preset is None and not self.freeze_encoder,
            name="deeplab",
        )


def build_model(info: DatasetInfo, *, kept_encoder: Path | None = None, **settings) -> DeepLab:
    """Builds a network for a data set.

    Args:
        info: See `NetworkSettings.build`.
        kept_encoder: See there.
        **settings: Fields of `NetworkSettings`, over those of gin.
    """
    return NetworkSettings(**settings).build(info, kept_encoder=kept_encoder)
