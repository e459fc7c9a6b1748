"""The networks of some presets of keras-hub, to build them without their weights."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZES = {
    "small": {"num_layers": 12, "hidden_dim": 384, "num_heads": 6, "intermediate_dim": 1536},
    "base": {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "intermediate_dim": 3072},
    "large": {"num_layers": 24, "hidden_dim": 1024, "num_heads": 16, "intermediate_dim": 4096},
    "giant": {"num_layers": 40, "hidden_dim": 1536, "num_heads": 24, "intermediate_dim": 4096, "use_swiglu_ffn": True},
}


def _dinov2(size: str, registers: int) -> dict[str, Any]:
    of_registers = {"num_register_tokens": registers, "antialias_in_interpolation": True} if registers else {}
    common = {"patch_size": 14, "layer_scale_init_value": 1.0, "image_shape": (518, 518, 3)}
    return {
        "class_name": "DINOV2Backbone",
        "config": {**common, **_SIZES[size], **of_registers, "position_embedding_shape": (518, 518, 3)},
    }


def _dinov3(size: str, **options: Any) -> dict[str, Any]:
    common = {"patch_size": 16, "num_register_tokens": 4, "use_key_bias": False, "image_shape": (224, 224, 3)}
    return {"class_name": "DINOV3Backbone", "config": {**common, **_SIZES[size], **options}}


def _resnet(blocks: tuple[int, ...], block_type: str = "bottleneck_block") -> dict[str, Any]:
    return {
        "class_name": "ResNetBackbone",
        "config": {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": list(blocks),
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": block_type,
        },
    }


# {preset: {"class_name": class of keras_hub.models, "config": its arguments}}; all take ImageNet's mean and deviation.
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **{f"dinov2_{size}": _dinov2(size, 0) for size in _SIZES},
        **{f"dinov2_with_registers_{size}": _dinov2(size, 4) for size in _SIZES},
        **{f"dinov3_vit_{size}_lvd1689m": _dinov3(size) for size in ("small", "base", "large")},
        "dinov3_vit_small_plus_lvd1689m": _dinov3("small", use_gated_mlp=True, hidden_activation="silu"),
        "resnet_18_imagenet": _resnet((2, 2, 2, 2), "basic_block"),
        "resnet_50_imagenet": _resnet((3, 4, 6, 3)),
        "resnet_101_imagenet": _resnet((3, 4, 23, 3)),
        "resnet_152_imagenet": _resnet((3, 8, 36, 3)),
    }
)
