"""Inference of one photo by each exported format and by the network itself, with random weights."""

from benchmarks.measure import Case, Workload

NETWORK = "network"
FORMATS = ("saved_model", "keras", "onnx", "tflite", "tflite_float16", "tflite_int8")


def cases() -> list[Case]:
    """Returns both networks at 513 x 513, with 21 classes, by each format."""
    return [
        Case(f"{backbone}, {name}", build, {"backbone": backbone, "name": name})
        for backbone in ("mobilenet_v2", "xception_65")
        for name in (NETWORK, *FORMATS)
    ]


def build(backbone: str, name: str, size: int = 513, num_classes: int = 21) -> Workload:
    """Builds classes and probabilities of one photo.

    Args:
        backbone: One of `wss.models.backbones.registry.BACKBONES`.
        name: One of `FORMATS`, whose file takes photos of one size, or "network".
        size: Side of the photo.
        num_classes: Number of classes with the background.
    """
    import tempfile
    from pathlib import Path

    import keras
    import numpy as np
    import tensorflow as tf

    from benchmarks.step import dataset_of
    from wss.data.resize import ResizeToRange
    from wss.exports.formats.base import Export
    from wss.exports.formats.registry import FORMATS
    from wss.inference.prediction import predict
    from wss.inference.serving import serving_model
    from wss.models.deeplab import build_model

    keras.utils.set_random_seed(0)
    network = build_model(dataset_of(num_classes), backbone=backbone)
    photo = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    if name == NETWORK:

        @tf.function
        def segment(photos: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            probabilities = predict(network, tf.cast(photos, tf.float32))
            return tf.argmax(probabilities, axis=-1, output_type=tf.int32), probabilities

        return Workload(lambda: [values.numpy() for values in segment(photo)], 1)
    model = serving_model(network, resize=ResizeToRange(), size=(size, size), batch=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FORMATS[name].file
        FORMATS[name].write(Export(model, '{"classes": []}', lambda: iter(photo)), path)
        run = FORMATS[name].open(path)
        run(photo)
    return Workload(lambda: run(photo), 1)
