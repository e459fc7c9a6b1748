"""The heads that `build_model` knows, by name, and a function that builds those of a network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from wss.errors import UserError
from wss.models.heads.aspp_decoder import build_segmentation_head
from wss.models.heads.deeplab_v2 import build_deeplab_v2_features_head, build_deeplab_v2_head
from wss.models.heads.dpt import block_names, build_dpt_head
from wss.models.heads.large_fov import build_large_fov_head
from wss.models.heads.pspnet import build_auxiliary_head, build_pspnet_head
from wss.models.heads.u2pl_decoder import build_u2pl_head

if TYPE_CHECKING:
    from wss.models.deeplab import NetworkSettings

HEADS = ("deeplab_v3_plus", "deeplab_v3_plus_u2pl", "pspnet", "deeplab_v2", "deeplab_v2_features", "large_fov", "dpt")
# Without one layer at the end that classifies.
SUMS = ("deeplab_v2",)


def build_heads(
    settings: "NetworkSettings", num_classes: int, shapes: Mapping[str, tuple]
) -> tuple[keras.Model, keras.Model | None]:
    """Returns the segmentation head of a network and its auxiliary one, if there is one.

    Args:
        settings: The settings of the network.
        num_classes: C, the background included if there is one.
        shapes: (h, w, D) of the backbone's end points, by role.

    Raises:
        UserError: The backbone lacks end points that the head needs.
    """
    auxiliary = None
    if settings.auxiliary_head or settings.head == "pspnet":
        auxiliary = build_auxiliary_head(num_classes, shapes["hypercolumn_previous"], **_regularised(settings))
    return _segmentation_head(settings, num_classes, shapes), auxiliary


def _segmentation_head(settings: "NetworkSettings", num_classes: int, shapes: Mapping[str, tuple]) -> keras.Model:
    features = shapes["features"]
    classifier: dict = {"classifier": settings.last_layer}
    match settings.head:
        case "dpt":
            return build_dpt_head(num_classes, _four_blocks(shapes), **classifier)
        case "deeplab_v2":
            return build_deeplab_v2_head(num_classes, features, settings.aspp_first_two_only)
        case "deeplab_v2_features":
            return build_deeplab_v2_features_head(num_classes, features, **classifier)
        case "large_fov":
            return build_large_fov_head(num_classes, features, **classifier)
        case "pspnet":
            return build_pspnet_head(num_classes, features, **_regularised(settings), **classifier)
    aspp: dict = {
        "output_stride": settings.output_stride,
        "aspp_rates": settings.aspp_rates,
        "depth": settings.head_depth,
        **_regularised(settings),
        **classifier,
    }
    low_level = _low_level(settings, shapes)
    if settings.head == "deeplab_v3_plus_u2pl":
        return build_u2pl_head(num_classes, features, low_level, **aspp)
    aspp |= {"use_decoder": settings.use_decoder, "separable": settings.separable_head}
    return build_segmentation_head(num_classes, features, low_level, **aspp)


def _regularised(settings: "NetworkSettings") -> dict:
    return {"dropout": settings.dropout, "batch_norm": settings.batch_norm.arguments()}


def _four_blocks(shapes: Mapping[str, tuple]) -> dict[str, tuple]:
    blocks = block_names(list(shapes))
    if len(blocks) != 4:
        raise UserError(
            f"build_model.head = 'dpt' needs four blocks of a ViT, found {len(blocks)}; take a ViT of four blocks or more "
            "(build_model.backbone = 'keras_hub'), or head = 'deeplab_v3_plus', on a ViT with use_decoder = False"
        )
    return {name: shapes[name] for name in blocks}


def _low_level(settings: "NetworkSettings", shapes: Mapping[str, tuple]) -> Any:
    if "low_level" not in shapes and (settings.use_decoder or settings.head == "deeplab_v3_plus_u2pl"):
        raise UserError(
            f"build_model.head = {settings.head!r} needs features at stride 4, which a ViT does not have; set "
            "build_model.head = 'dpt', or 'deeplab_v3_plus' with use_decoder = False"
        )
    return shapes.get("low_level")
