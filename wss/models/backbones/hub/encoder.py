"""Encoders of keras-hub as `build_backbone` has them: raw images to end points by name, with DeepLab's roles."""

from collections.abc import Mapping
from typing import Any

import keras

from wss.errors import UserError
from wss.models.backbones.hub.presets import Preset
from wss.models.backbones.hub.pyramid import Pyramid
from wss.models.backbones.hub.vision_transformer import VisionTransformer
from wss.models.backbones.registry import DEFAULT_OUTPUT_STRIDE, BackboneSpec
from wss.models.layers.convolution import Preprocess

KERAS_HUB = "keras_hub"
_NUMBER_OF_TAPS = 4


def taps_of(depth: int) -> tuple[int, ...]:
    """Returns the numbers, from 1, of four blocks of a ViT: at each quarter, as DINOv2's reference and UniMatch V2.

    24 blocks have 5, 12, 18, 24 there, 40 have 10, 20, 30, 40.
    """
    if depth == 24:
        return (5, 12, 18, 24)
    return tuple(sorted({max(1, depth * quarter // _NUMBER_OF_TAPS) for quarter in range(1, _NUMBER_OF_TAPS + 1)}))


def build_hub_backbone(
    preset: Preset,
    *,
    output_stride: int,
    batch_norm: Mapping[str, Any],
    recompute: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> tuple[keras.Model, BackboneSpec]:
    """Builds an encoder of keras-hub.

    Args:
        preset: The encoder.
        output_stride: Stride of the last level of a pyramid; that of a ViT is its patch, and the default stays here.
        batch_norm: See `Pyramid`.
        recompute: See `VisionTransformer`.
        input_shape: Static image shape.

    Returns:
        A model as that of `build_backbone`, and its spec. A ViT has the end points block<k> of `taps_of` and no role
        "low_level"; a pyramid has P2 to P5.

    Raises:
        UserError: The preset cannot be loaded, or has no such output stride.
    """
    images = keras.Input(input_shape, dtype="float32", name="images")
    x = Preprocess(preset.scale, preset.offset)(images)
    common: dict = {"class_name": preset.class_name, "config": preset.config, "backbone": preset.backbone()}
    if preset.is_vision_transformer:
        taps = taps_of(int(preset.config["num_layers"]))
        encoder = VisionTransformer(taps=taps, recompute=recompute, **common)
        if output_stride != DEFAULT_OUTPUT_STRIDE:
            raise UserError(
                f"build_model.output_stride = {output_stride}: that of a ViT is its patch, {encoder.patch}; leave it out"
            )
        previous, last = (f"block{number}" for number in (taps[-2 if len(taps) > 1 else -1], taps[-1]))
        roles = {"hypercolumn_previous": previous}
    else:
        if recompute:
            raise UserError("build_model.recompute = True: of keras-hub only a ViT recomputes its blocks; leave it out")
        encoder = Pyramid(output_stride=output_stride, batch_norm=dict(batch_norm), **common)
        last, roles = "P5", {"low_level": "P2", "hypercolumn_previous": "P4"}
    roles |= dict.fromkeys(("features", "cam_features", "hypercolumn_last"), last)
    points = encoder(x)
    mean_pixel = tuple(-offset / scale for scale, offset in zip(preset.scale, preset.offset, strict=True))
    spec = BackboneSpec(
        KERAS_HUB,
        KERAS_HUB,
        roles,
        mean_pixel=(mean_pixel[0], mean_pixel[1], mean_pixel[2]),
        weight_decay=0.0 if preset.is_vision_transformer else 1e-4,
        multi_grid=False,
        patch=encoder.patch if preset.is_vision_transformer else None,
        preset=preset,
    )
    model = keras.Model(images, {**points, **{role: points[point] for role, point in roles.items()}}, name=KERAS_HUB)
    return model, spec
