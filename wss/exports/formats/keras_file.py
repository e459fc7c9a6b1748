"""Keras' own file: the network with its layers, to look into and to train further."""

from pathlib import Path

import keras
import numpy as np

from wss.exports.formats.base import Export, Format, Run, add_about


def _write(export: Export, path: Path) -> None:
    export.model.save(path)
    add_about(path, export.about)


def _open(path: Path) -> Run:
    model = keras.models.load_model(path, compile=False)

    def run(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = model.predict_on_batch(photos)
        return outputs["classes"], outputs["probabilities"]

    return run


KERAS = Format(
    name="keras",
    file="model.keras",
    limit=0.001,
    largest=0.01,
    write=_write,
    open=_open,
    imports=["import keras", "import wss.inference.serving_layers  # the layers that Keras does not have"],
    example="""\
model = keras.models.load_model(FILE)
about = json.load(zipfile.ZipFile(FILE).open("wss.json"))
outputs = model.predict_on_batch(photos)
classes, probabilities = outputs["classes"], outputs["probabilities"]
""",
)
