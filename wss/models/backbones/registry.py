"""The registry of backbones: what each is, its numbers in DeepLab, and a function to build any."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import keras

from wss.data.padding import Padding
from wss.errors import UserError, did_you_mean
from wss.models.backbones.mobilenet_v2 import mobilenet_v2
from wss.models.backbones.resnet import resnet_v1
from wss.models.backbones.vgg import SCOPE as VGG_SCOPE
from wss.models.backbones.vgg import vgg16_large_fov
from wss.models.backbones.xception import xception
from wss.models.layers.convolution import Preprocess

if TYPE_CHECKING:
    from wss.models.backbones.hub.presets import Preset

OUTPUT_STRIDES = (8, 16, 32)
DEFAULT_OUTPUT_STRIDE = 16


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """A backbone and the numbers that DeepLab uses with it.

    Attributes:
        name: Name that users write.
        scope: Root of its TensorFlow 1 variable scopes.
        roles: End point of each role, see `build_backbone`.
        normalization: "symmetric" (x * 2 / 255 - 1), "mean" (x - mean_pixel), or "mean_bgr", the same with the channels
            in the order BGR.
        mean_pixel: RGB, 0 .. 255, the colour that normalises to 0, with which images are padded.
        weight_decay: Default factor of sum(w^2) / 2.
        momentum: Momentum of its batch normalisation, if it has any.
        epsilon: Epsilon of its batch normalisation, if it has any.
        classifier_dropout: Drop rate before the image classifier.
        multi_grid: Whether it takes unit rates for its last block.
        patch: Side of the patches of a ViT, whose images have multiples of it; None without patches.
        preset: The preset of keras-hub that it is; None for one of this project.
    """

    name: str
    scope: str
    roles: Mapping[str, str]
    normalization: str = "symmetric"
    mean_pixel: tuple[float, float, float] = (127.5, 127.5, 127.5)
    weight_decay: float = 4e-5
    momentum: float = 0.9997
    epsilon: float = 1e-3
    classifier_dropout: float = 0.0
    multi_grid: bool = True
    patch: int | None = None
    preset: "Preset | None" = None

    @property
    def padding(self) -> Padding:
        """How images are padded for it."""
        if self.patch is None:
            return Padding(self.mean_pixel)
        return Padding(self.mean_pixel, self.patch, 0, strict=True)


def _xception_spec(name: str, low_level_block: int) -> BackboneSpec:
    block = f"{name}/exit_flow/block"
    low_level = f"{name}/entry_flow/block{low_level_block}/unit_1/xception_module/separable_conv2_pointwise"
    return BackboneSpec(name, name, _roles(f"{block}2", f"{block}1", low_level), classifier_dropout=0.5)


def _resnet_spec(name: str) -> BackboneSpec:
    scope = name.removesuffix("_beta").removesuffix("_keras")
    roles = _roles(f"{scope}/block4", f"{scope}/block3", f"{scope}/block1/unit_2/bottleneck_v1/conv3")
    numbers: dict = {"weight_decay": 1e-4, "momentum": 0.95, "epsilon": 1e-5}
    if name == scope:
        numbers |= {"normalization": "mean", "mean_pixel": (123.15, 115.90, 103.06)}
    elif name.endswith("_keras"):
        numbers |= {"normalization": "mean_bgr", "mean_pixel": (123.68, 116.779, 103.939), "epsilon": 1.001e-5}
    return BackboneSpec(name, scope, roles, **numbers)


def _roles(last: str, previous: str, low_level: str) -> dict[str, str]:
    return {
        "features": last,
        "low_level": low_level,
        "cam_features": last,
        "hypercolumn_last": last,
        "hypercolumn_previous": previous,
    }


_MOBILENET_V2 = BackboneSpec(
    "mobilenet_v2",
    "MobilenetV2",
    {**_roles("Conv_1", "layer_18", "layer_4/depthwise_output"), "features": "layer_18"},
    momentum=0.997,
    multi_grid=False,
)
_VGG16_LARGE_FOV = BackboneSpec(
    "vgg16_large_fov",
    VGG_SCOPE,
    _roles(f"{VGG_SCOPE}/fc7", f"{VGG_SCOPE}/conv5/conv5_3", f"{VGG_SCOPE}/conv3/conv3_3"),
    normalization="mean_bgr",
    mean_pixel=(122.675, 116.669, 104.008),
    weight_decay=5e-4,
    multi_grid=False,
)
BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _xception_spec("xception_41", low_level_block=2),
        _xception_spec("xception_65", low_level_block=2),
        _xception_spec("xception_71", low_level_block=3),
        *map(
            _resnet_spec,
            (
                "resnet_v1_50",
                "resnet_v1_101",
                "resnet_v1_50_beta",
                "resnet_v1_101_beta",
                "resnet_v1_50_keras",
                "resnet_v1_101_keras",
            ),
        ),
        _MOBILENET_V2,
        _VGG16_LARGE_FOV,
    )
}


def backbone_spec(name: str) -> BackboneSpec:
    """Returns the specification of a backbone; an unknown name raises a `UserError`."""
    if name not in BACKBONES:
        raise UserError(f"backbone: {name!r} is none of {', '.join(BACKBONES)}.{did_you_mean(name, BACKBONES)}")
    return BACKBONES[name]


def build_backbone(
    name: str,
    output_stride: int = DEFAULT_OUTPUT_STRIDE,
    *,
    multi_grid: Sequence[int] | None = None,
    batch_norm: Mapping | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    depth_multiplier: float = 1.0,
    depth_divisor: int = 8,
    ceil_pool: bool = False,
    fc6_rate: int | None = None,
) -> keras.Model:
    """Builds a backbone as a functional model under the current Keras dtype policy.

    Args:
        name: A key of `BACKBONES`.
        output_stride: Ratio of image to feature resolution by atrous convolution: 8, 16 or 32.
        multi_grid: Three unit rates of the last block (Xception, ResNet); None for 1, 1, 1.
        batch_norm: Keyword arguments of `BatchNorm` that replace the backbone's own.
        input_shape: Shape (H, W, 3) of the images; None for any size.
        depth_multiplier: Factor of the width of MobileNetV2.
        depth_divisor: Number of whose multiples MobileNetV2's widths are: 8 as in ImageNet weights. DeepLab's own
            checkpoints with a multiplier below 1 need 1.
        ceil_pool: Whether max pools (ResNet, VGG) are padded by one pixel and keep a last window that is not full. So do
            Caffe and PyTorch's ceil_mode. It matters only if the pooled side is even, as for images of 8 n rows.
        fc6_rate: Atrous rate of VGG16-LargeFOV's fc6; None for 12 at output stride 8, 6 at 16 and 3 at 32.

    Returns:
        A model from raw RGB images `[B, H, W, 3]`, float 0 .. 255, to a dict of tensors `[B, h, w, C]`. It normalises the
        images itself. The dict has every end point under DeepLab's name, and the roles

        - "features": the last block, for ASPP;
        - "low_level": stride 4, for the decoder;
        - "cam_features": what the image classifier pools;
        - "hypercolumn_last", "hypercolumn_previous": the two last stages, for self-attention; the latter also for an
          auxiliary head.

        In MobileNetV2 cam_features and hypercolumn_last are Conv_1 (1280 channels), not the features. In VGG16-LargeFOV
        the last stage is fc7 (1024 channels), the one before conv5_3.

    Raises:
        UserError: An unknown name, output stride, multi grid, depth or rate of fc6.
    """
    spec = backbone_spec(name)
    _check(spec, output_stride, multi_grid, depth_multiplier=depth_multiplier, fc6_rate=fc6_rate)
    norm = {"momentum": spec.momentum, "epsilon": spec.epsilon, **(batch_norm or {})}
    images = keras.Input(input_shape, dtype="float32", name="images")
    x = _preprocess(spec)(images)
    common: dict = {"output_stride": output_stride, "batch_norm": norm}
    unit_rates = tuple(multi_grid or (1, 1, 1))
    if name == "mobilenet_v2":
        points = mobilenet_v2(x, depth_multiplier=depth_multiplier, depth_divisor=depth_divisor, **common)
    elif name.startswith("xception"):
        points = xception(x, name, multi_grid=unit_rates, **common)
    elif name == "vgg16_large_fov":
        points = vgg16_large_fov(x, output_stride=output_stride, fc6_rate=fc6_rate, ceil_pool=ceil_pool)
    else:
        layout = name.removeprefix(spec.scope).removeprefix("_") or "slim"
        points = resnet_v1(x, spec.scope, layout=layout, multi_grid=unit_rates, ceil_pool=ceil_pool, **common)
    roles = {role: points[point] for role, point in spec.roles.items()}
    return keras.Model(images, {**points, **roles}, name=name)


def _preprocess(spec: BackboneSpec) -> Preprocess:
    if spec.normalization == "symmetric":
        return Preprocess(2.0 / 255.0, (-1.0, -1.0, -1.0))
    return Preprocess(1.0, tuple(-value for value in spec.mean_pixel), bgr=spec.normalization == "mean_bgr")


def _check(
    spec: BackboneSpec,
    output_stride: int,
    multi_grid: Sequence[int] | None,
    *,
    depth_multiplier: float,
    fc6_rate: int | None,
) -> None:
    if output_stride not in OUTPUT_STRIDES:
        raise UserError(f"output_stride: {output_stride!r} for {spec.name}, expected one of {OUTPUT_STRIDES}")
    if multi_grid and not spec.multi_grid:
        raise UserError(f"multi_grid: {tuple(multi_grid)} given, but {spec.name} has none; remove it")
    if multi_grid and len(multi_grid) != 3:
        raise UserError(f"multi_grid: {tuple(multi_grid)} has {len(multi_grid)} rates, expected 3")
    if depth_multiplier != 1.0 and spec.name != "mobilenet_v2":
        raise UserError(f"depth_multiplier: {depth_multiplier} given, but {spec.name} has none; remove it")
    if depth_multiplier <= 0:
        raise UserError(f"depth_multiplier: {depth_multiplier}, expected a number above 0")
    if fc6_rate is not None and spec.name != "vgg16_large_fov":
        raise UserError(f"fc6_rate: {fc6_rate} given, but {spec.name} has no fc6; remove it, or take vgg16_large_fov")
    if fc6_rate is not None and fc6_rate < 1:
        raise UserError(f"fc6_rate: {fc6_rate}, expected an integer, 1 or more")
