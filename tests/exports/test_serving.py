"""Photos in, classes and probabilities out: what an evaluation computes, at any size, in each format."""

import gc
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, small_model
from zoo import LARGE, network_with_statistics

from wss.data.resize import ResizeToRange
from wss.exports.comparison import network_probabilities
from wss.exports.formats.base import Export
from wss.exports.formats.registry import FORMATS
from wss.exports.quantization import bias_corrected, convolutions, parts
from wss.inference.serving import serving_model
from wss.inference.serving_layers import MostProbable
from wss.models.deeplab import build_model

ABOUT = json.dumps({"classes": [{"id": 0, "name": "a"}]})
MOBILENET = {"backbone": "mobilenet_v2", "depth_multiplier": 0.25}
SIZES = [(1, 49, 65), (2, 50, 70), (1, 97, 33), (3, 1, 1), (1, 200, 7)]
RESIZES = [ResizeToRange(), ResizeToRange(min_size=40), ResizeToRange(min_size=33, max_size=65, factor=16)]


@pytest.fixture(autouse=True)
def memory_for_the_next():
    """Graphs of whole networks and their converters take gigabytes."""
    yield
    keras.utils.clear_session()
    gc.collect()


def photos_of(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


def opened(name, network, tmp_path, *, resize=RESIZES[0], size=None, batch=None, calibration=()):
    model = serving_model(network, resize=resize, size=size, batch=batch)
    path = tmp_path / FORMATS[name].file
    FORMATS[name].write(Export(model, ABOUT, lambda: iter(calibration)), path)
    return FORMATS[name].open(path)


def check(segment, network, resize, photos, *, atol=2e-5):
    classes, probabilities = segment(photos)
    assert classes.shape == photos.shape[:3] and classes.dtype == np.int32 and probabilities.dtype == np.float32
    np.testing.assert_array_equal(classes, probabilities.argmax(-1))
    for photo, found in zip(photos, probabilities, strict=True):
        np.testing.assert_allclose(found, network_probabilities(network, resize, photo), atol=atol)


@pytest.mark.parametrize("resize", RESIZES, ids=["own size", "shorter side", "range"])
@pytest.mark.parametrize("name", ["saved_model", "keras", "onnx", "tflite"])
def test_photos_of_any_size_and_number(tmp_path, name, resize):
    network = small_model()
    segment = opened(name, network, tmp_path, resize=resize)
    for size in SIZES:
        check(segment, network, resize, photos_of(*size))


@pytest.mark.parametrize("size", [(49, 65), (50, 70), (64, 321)])
@pytest.mark.parametrize("name", ["saved_model", "keras", "onnx", "tflite"])
def test_photos_of_one_size(tmp_path, name, size):
    network = small_model()
    segment = opened(name, network, tmp_path, resize=RESIZES[1], size=size, batch=2)
    check(segment, network, RESIZES[1], photos_of(2, *size))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "tflite"])
@pytest.mark.parametrize("options", LARGE.values(), ids=LARGE)
def test_every_network(tmp_path, options, name):
    photos = photos_of(2, 80, 97)
    network = network_with_statistics(options, photos.astype(np.float32))
    segment = opened(name, network, tmp_path)
    # Random networks of these depths have logits of thousands, whose float32 differ by a thousandth of them.
    check(segment, network, RESIZES[0], photos, atol=2e-3)


def test_atrous_rates_of_every_kind(tmp_path):
    keras.utils.set_random_seed(0)
    photos = photos_of(1, 70, 97)
    network = network_with_statistics({**MOBILENET, "output_stride": 8}, photos.astype(np.float32))
    for name in ("onnx", "tflite"):
        check(opened(name, network, tmp_path), network, RESIZES[0], photos, atol=1e-4)


def test_half_precision_and_eight_bits_are_near(tmp_path):
    network, photos = small_model(), photos_of(4, 50, 70)
    for name, atol in (("tflite_float16", 5e-3), ("tflite_int8", 0.1)):
        segment = opened(name, network, tmp_path, calibration=photos)
        check(segment, network, RESIZES[0], photos[:1], atol=atol)


def test_what_rounded_weights_add_on_average_is_taken_back():
    photos = photos_of(4, 49, 65)
    network = network_with_statistics(MOBILENET, photos.astype(np.float32))
    model = serving_model(network, resize=RESIZES[0])
    corrected = bias_corrected(model, photos)
    trunk = parts(model)[0]
    # Those of one pixel see no padding, so that the mean of what they give is exact.
    layers = [layer for layer in convolutions(trunk) if layer.kernel_size == (1, 1)]
    inputs = keras.Model(trunk.input, [layer.input for layer in layers])(model.get_layer("photo_to_network")(photos))
    before = after = 0.0
    for layer, x in zip(layers, inputs, strict=True):
        kernel, bias = layer.get_weights()
        step = np.abs(kernel).max((0, 1, 2), keepdims=True) / 127
        mean = lambda kernel, bias, x=x: np.mean(x @ kernel[0, 0], (0, 1, 2)) + bias
        expected, rounded = mean(kernel, bias), np.round(kernel / step) * step
        before = max(before, np.abs(mean(rounded, bias) - expected).max())
        own = parts(corrected)[0].get_layer(layer.name).get_weights()
        np.testing.assert_array_equal(own[0], kernel)
        after = max(after, np.abs(mean(rounded, own[1]) - expected).max())
    assert after < 1e-4 < 1e-3 < before


def test_integers_of_a_fixed_batch_and_any_size(tmp_path):
    network, photos = small_model(), photos_of(3, 50, 70)
    segment = opened("tflite_int8", network, tmp_path, batch=2, calibration=photos)
    check(segment, network, RESIZES[0], photos_of(2, 41, 33), atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [LARGE["pspnet"], {**MOBILENET, "classifier": "cosine"}, MOBILENET], ids=["pspnet", "cosine", "plain"]
)
def test_a_keras_file_needs_no_more_than_its_example_imports(tmp_path, options):
    keras.utils.set_random_seed(0)
    opened("keras", build_model(dataset_of(3), **options), tmp_path, size=(33, 33), batch=1)
    program = "import keras, wss.inference.serving_layers\nkeras.models.load_model('model.keras')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_classes_are_not_rounded_by_a_mixed_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = MostProbable()
        probabilities = tf.constant([[[[0.5, 0.5001, 0.0]]]])
        assert layer(probabilities).numpy().tolist() == [[[1]]]
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_data_set_of_a_file_has_the_classes_of_the_network():
    model = serving_model(small_model(dataset_of(5).num_classes), resize=RESIZES[0], size=(33, 49), batch=1)
    assert model.output["probabilities"].shape == (1, 33, 49, 5)
    assert model.output["classes"].shape == (1, 33, 49)
