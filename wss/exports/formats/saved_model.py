"""TensorFlow's SavedModel: TensorFlow, TensorFlow Serving, TensorFlow.js, Java, C++, Go."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.exports.formats.base import ABOUT, Export, Format, Run

EXTRA = "assets.extra"  # SavedModel's folder for what is no asset of the graph


def _write(export: Export, path: Path) -> None:
    # `keras.Model.export` would write every variable twice.
    module = tf.Module()
    module.serve = export.function()
    module.weights = [variable.value for variable in export.model.variables]
    tf.saved_model.save(module, str(path), signatures=module.serve)
    extra = path / EXTRA
    extra.mkdir()
    (extra / ABOUT).write_text(export.about)


def _open(path: Path) -> Run:
    model = tf.saved_model.load(str(path))

    def run(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = model.serve(tf.constant(photos))
        return outputs["classes"].numpy(), outputs["probabilities"].numpy()

    return run


SAVED_MODEL = Format(
    name="saved_model",
    file="saved_model",
    limit=0.001,
    largest=0.01,
    write=_write,
    open=_open,
    imports=["import tensorflow as tf"],
    example="""\
model = tf.saved_model.load(FILE)
about = json.load(open(f"{FILE}/assets.extra/wss.json"))
outputs = model.serve(photos)
classes, probabilities = outputs["classes"].numpy(), outputs["probabilities"].numpy()
""",
)
