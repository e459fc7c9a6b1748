"""The formats by the names that users write."""

from wss.exports.formats.base import Format
from wss.exports.formats.keras_file import KERAS
from wss.exports.formats.onnx_file import ONNX
from wss.exports.formats.saved_model import SAVED_MODEL
from wss.exports.formats.tflite import TFLITE, TFLITE_FLOAT16, TFLITE_INT8

FORMATS: dict[str, Format] = {one.name: one for one in (SAVED_MODEL, KERAS, ONNX, TFLITE, TFLITE_FLOAT16, TFLITE_INT8)}
