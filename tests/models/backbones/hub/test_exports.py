"""A ViT leaves as a file: the same probabilities at any size of a photo, in TensorFlow and in ONNX."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of

from wss.data.resize import ResizeToRange
from wss.exports.comparison import network_probabilities
from wss.exports.formats.onnx_file import _erfc_by_erf
from wss.inference.serving import serving_model
from wss.models.deeplab import build_model

SIZES = [(42, 56), (45, 50), (70, 29)]


@pytest.fixture
def network(vit):
    keras.utils.set_random_seed(0)
    network = build_model(dataset_of(4), head="dpt", **vit)
    for variable in network.segmentation_head.variables:
        variable.assign(variable * 3)  # so that classes differ
    return network


def photo(size) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)


def test_photos_are_padded_to_patches(network):
    model = serving_model(network, resize=ResizeToRange())
    for size in SIZES:
        outputs = model(photo(size)[None])
        expected = network_probabilities(network, ResizeToRange(), photo(size))
        np.testing.assert_allclose(outputs["probabilities"][0], expected, atol=1e-5)
        np.testing.assert_array_equal(outputs["classes"][0], expected.argmax(-1))


def test_a_keras_file_has_the_encoder(network, tmp_path):
    model = serving_model(network, resize=ResizeToRange())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for size in SIZES:
        one, other = (each(photo(size)[None])["probabilities"] for each in (model, loaded))
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_onnx_has_its_gelu(network):
    onnx, tf2onnx, runtime = (pytest.importorskip(name) for name in ("onnx", "tf2onnx", "onnxruntime"))
    model = serving_model(network, resize=ResizeToRange())
    function = tf.function(lambda photos: model(photos)["probabilities"])
    written, _ = tf2onnx.convert.from_function(
        function, [tf.TensorSpec([None, None, None, 3], tf.uint8, "photos")], opset=18
    )
    assert any(node.op_type == "Erfc" for node in written.graph.node)
    _erfc_by_erf(written.graph, onnx)
    session = runtime.InferenceSession(written.SerializeToString())
    for size in SIZES:
        (probabilities,) = session.run(None, {"photos": photo(size)[None]})
        np.testing.assert_allclose(probabilities, model(photo(size)[None])["probabilities"], atol=1e-4)
