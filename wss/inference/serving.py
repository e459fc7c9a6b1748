"""The network that is exported: a functional Keras model from a raw photo to its classes and probabilities."""

import dataclasses

import keras

from wss.data.resize import ResizeToRange
from wss.inference.serving_layers import MostProbable, NetworkToPhoto, PhotoToNetwork
from wss.models.deeplab import DeepLab
from wss.models.folding import folded_copy

PHOTOS, CLASSES, PROBABILITIES = "photos", "classes", "probabilities"


def serving_model(
    network: DeepLab, *, resize: ResizeToRange, size: tuple[int, int] | None = None, batch: int | None = None
) -> keras.Model:
    """Returns a network with everything that an evaluation does before and after it.

    Args:
        network: The trained network.
        resize: Size at which it sees photos.
        size: (height, width) of all photos; None for any.
        batch: Number of photos of one call; None for any.

    Returns:
        A model from photos, uint8 [B, H, W, 3] in RGB, to {"classes": int32 [B, H, W], "probabilities": float32
        [B, H, W, C]}.
    """
    settings = dataclasses.asdict(resize)
    photos = keras.Input(batch_shape=(batch, *(size or (None, None)), 3), dtype="uint8", name=PHOTOS)
    images = PhotoToNetwork(resize=settings, padding=dataclasses.asdict(network.padding), name="photo_to_network")(
        photos
    )
    logits = folded_copy(network)(images)
    probabilities = NetworkToPhoto(
        resize=settings, padding=dataclasses.asdict(network.padding), name="network_to_photo"
    )([logits, photos])
    outputs = {CLASSES: MostProbable(name="most_probable")(probabilities), PROBABILITIES: probabilities}
    return keras.Model(photos, outputs, name="segmentation")
