"""A ViT of keras-hub that takes no time, under a name."""

import pytest

from wss.models.backbones.hub import presets
from wss.models.backbones.hub.architectures import ARCHITECTURES

SMALL = {
    "num_layers": 4,
    "hidden_dim": 24,
    "num_heads": 2,
    "intermediate_dim": 48,
    "image_shape": (70, 70, 3),
    "position_embedding_shape": (70, 70),
}


@pytest.fixture
def vit(monkeypatch) -> dict:
    """Parameters of `build_model` for a small DINOv2 of random weights."""
    pytest.importorskip("keras_hub")
    config = {**ARCHITECTURES["dinov2_small"]["config"], **SMALL}
    monkeypatch.setattr(presets, "ARCHITECTURES", {"tiny": {"class_name": "DINOV2Backbone", "config": config}})
    return {"backbone": "keras_hub", "encoder_preset": "tiny", "encoder_weights": False}
