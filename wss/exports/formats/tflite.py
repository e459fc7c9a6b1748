"""TensorFlow Lite, today LiteRT: phones, single-board computers, microprocessors."""

import contextlib
import dataclasses
import functools
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.exports.formats.base import Export, Format, Run, add_about
from wss.exports.quantization import bias_corrected, sensitive_tensors
from wss.inference.serving import PHOTOS
from wss.models.layers.convolution import convolutions_as_such
from wss.quiet_tensorflow import caught_stderr


def _float32(export: Export) -> bytes:
    with _converter(export) as converter:
        return converter().convert()


def _float16(export: Export) -> bytes:
    """Keeps the weights in float16; processors compute in float32, GPUs in float16."""
    with _converter(export) as converter:
        return _optimized(converter(), supported_types=[tf.float16]).convert()


def _int8(export: Export) -> bytes:
    """Keeps weights and activations in int8, by ranges that the calibration photos show, but for the first layers."""
    corrected = dataclasses.replace(export, model=bias_corrected(export.model, export.calibration()))
    batch = export.signature.shape[0] or 1
    photos = lambda: ({PHOTOS: np.repeat(photo[None], batch, axis=0)} for photo in export.calibration())
    with _converter(corrected) as converter, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        tensors = _interpreter(model_content=converter().convert()).get_tensor_details()
        float_tensors = sensitive_tensors(export.model, [tensor["name"] for tensor in tensors])
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=_optimized(converter(), representative_dataset=photos),
            debug_dataset=photos,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=float_tensors),
        )
        return debugger.get_nondebug_quantized_model()


def _optimized(converter: tf.lite.TFLiteConverter, *, supported_types=(), representative_dataset=None):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = list(supported_types)
    converter.representative_dataset = representative_dataset
    return converter


def _write(export: Export, path: Path, *, convert: Callable[[Export], bytes]) -> None:
    path.write_bytes(convert(export))
    add_about(path, export.about, labels="".join(f"{one['name']}\n" for one in json.loads(export.about)["classes"]))


@contextlib.contextmanager
def _converter(export: Export) -> Iterator[Callable[[], tf.lite.TFLiteConverter]]:
    """Yields a maker of converters; what they and their C++ print is left out."""
    with _frozen(export) as folder, caught_stderr():
        yield lambda: tf.lite.TFLiteConverter.from_saved_model(folder)


@contextlib.contextmanager
def _frozen(export: Export) -> Iterator[str]:
    """Yields a SavedModel with constants: the converter would keep variables as such."""
    # There is no public function for it.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with convolutions_as_such():
        frozen = convert_variables_to_constants_v2(export.function().get_concrete_function())
    module = tf.Module()
    names = sorted(export.model.output)  # the order in which TensorFlow flattens a dict
    module.serve = tf.function(
        lambda photos: dict(zip(names, frozen(photos), strict=True)), input_signature=[export.signature]
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.serve)
        yield folder


def _interpreter(**arguments):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(num_threads=os.cpu_count(), **arguments)


def _open(path: Path) -> Run:
    segment = _interpreter(model_path=str(path)).get_signature_runner()

    def run(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with caught_stderr():  # a line when it starts
            outputs = segment(photos=photos)
        return outputs["classes"], outputs["probabilities"]

    return run


def _format(name: str, file: str, limit: float, largest: float, convert: Callable[[Export], bytes]) -> Format:
    return Format(
        name=name,
        file=file,
        limit=limit,
        largest=largest,
        write=functools.partial(_write, convert=convert),
        open=_open,
        packages={"ai_edge_litert": "ai-edge-litert"},
        imports=[],
        example="""\
from ai_edge_litert.interpreter import Interpreter

segment = Interpreter(FILE).get_signature_runner()
about = json.load(zipfile.ZipFile(FILE).open("wss.json"))
outputs = segment(photos=photos)
classes, probabilities = outputs["classes"], outputs["probabilities"]
""",
    )


TFLITE = _format("tflite", "model.tflite", 0.001, 0.01, _float32)
TFLITE_FLOAT16 = _format("tflite_float16", "model_float16.tflite", 0.005, 0.3, _float16)
TFLITE_INT8 = _format("tflite_int8", "model_int8.tflite", 0.05, 1.0, _int8)
