"""Last layers of heads: LargeFOV's, DeepLabv2 with features, and logits together with cosines for every head."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, random_batch, take_steps, train_step

from wss.config import parse_config
from wss.errors import UserError
from wss.methods.supervised import Supervised
from wss.models.deeplab import build_model
from wss.models.heads.deeplab_v2 import build_deeplab_v2_features_head
from wss.models.heads.large_fov import build_large_fov_head
from wss.models.layers.classifier import Classifier, CosineClassifier
from wss.models.layers.dropout import dropout_seed
from wss.models.tf1_names import tf1_shapes, tf1_values, tf1_variables

CLASSES = 5
SETTINGS = {
    "deeplab_v3_plus": {"aspp_rates": (6,), "head_depth": 16},
    "deeplab_v3_plus_u2pl": {"aspp_rates": (6,), "head_depth": 16},
    "pspnet": {"output_stride": 8},
    "deeplab_v2_features": {"output_stride": 8},
    "large_fov": {"output_stride": 8},
}


def network_of(head, **options):
    keras.utils.set_random_seed(3)
    settings = {"backbone": "mobilenet_v2", "depth_multiplier": 0.25, "head": head, "dropout": 0.5}
    return build_model(dataset_of(CLASSES), **{**settings, **SETTINGS.get(head, {}), **options})


def images_of(side=33):
    return tf.random.stateless_uniform([2, side, side, 3], [0, 1], 0, 255)


def cosines_by_hand(phi, kernel):
    lengths = np.linalg.norm(phi, axis=-1, keepdims=True) * np.linalg.norm(kernel, axis=0)
    return np.divide(phi @ kernel, lengths, out=np.zeros([*phi.shape[:-1], kernel.shape[1]]), where=lengths > 0)


@pytest.mark.parametrize("classifier", ["linear", "dot_product", "cosine"])
@pytest.mark.parametrize("head", SETTINGS)
def test_logits_and_cosines_come_from_one_pass(head, classifier):
    network = network_of(head, classifier=classifier, cosine_scale=7.0)
    last = network.segmentation_head.layers[-1]
    assert isinstance(last, CosineClassifier) == (classifier == "cosine")
    expected_names = {"logits/semantic/weights"} | ({"logits/semantic/biases"} if classifier == "linear" else set())
    assert {name for name in tf1_shapes(network.segmentation_head) if name.startswith("logits/")} == expected_names
    features = network.features(images_of())
    expected = network.segment(features)
    for run in (network.segment_with_cosines, tf.function(network.segment_with_cosines)):
        logits, cosines = run(features)
        assert logits.dtype == cosines.dtype == "float32" and logits.shape == cosines.shape == expected.shape
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
        phi = keras.Model(network.segmentation_head.inputs, last.input)(
            [features[tensor.name] for tensor in network.segmentation_head.inputs]
        )
        by_hand = cosines_by_hand(phi.numpy(), last.kernel.numpy()[0, 0])
        np.testing.assert_allclose(cosines, by_hand, atol=1e-5)
        if classifier == "cosine":
            np.testing.assert_allclose(logits, 7.0 * by_hand, atol=1e-4)
        if classifier == "dot_product":
            np.testing.assert_allclose(logits, phi.numpy() @ last.kernel.numpy()[0, 0], rtol=1e-4, atol=1e-4)


def test_a_decoder_takes_what_vgg_has_at_stride_4():
    network = network_of("deeplab_v3_plus", backbone="vgg16_large_fov", depth_multiplier=1.0, output_stride=8)
    assert network(images_of()).shape == (2, 9, 9, CLASSES)


@pytest.mark.parametrize("head", ["deeplab_v3_plus", "pspnet"])
def test_both_ways_drop_the_same_in_training(head):
    network, outputs = network_of(head, classifier="cosine"), []
    features = network.features(images_of())
    for segment in (network.segment, lambda *args: network.segment_with_cosines(*args)[0]):
        with dropout_seed(tf.constant([5, 6])):
            outputs.append(segment(features, True).numpy())
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)


def test_gradients_reach_everything_by_logits_and_by_cosines():
    network = network_of("large_fov", classifier="cosine")
    with tf.GradientTape(persistent=True) as tape:
        logits, cosines = network.segment_with_cosines(network.features(images_of()))
        losses = tf.reduce_sum(tf.square(logits)), tf.reduce_sum(tf.square(cosines))
    kernel = network.segmentation_head.layers[-1].kernel.value
    of_logits, of_cosines = (tape.gradient(loss, kernel) for loss in losses)
    np.testing.assert_allclose(of_logits, 400 * of_cosines, rtol=1e-3, atol=1e-4)
    assert np.any(of_logits)


def test_a_step_learns_with_a_cosine_under_xla():
    options = {"head": "large_fov", "classifier": "cosine"}
    step = train_step(Supervised(), model_options=options, jit_compile=True)
    losses = [report["segmentation"] for report in take_steps(step, random_batch(), 12)]
    assert np.isfinite(losses).all() and losses[-1] < 0.9 * losses[0], losses


def test_the_cut_head_is_saved_once(tmp_path):
    network = network_of("large_fov", classifier="cosine")
    assert len({id(variable) for variable in network.variables}) == len(network.variables)
    network.save_weights(tmp_path / "one.weights.h5")
    other = network_of("large_fov", classifier="cosine")
    other.segmentation_head.layers[-1].kernel.assign(tf.ones([1, 1, 80, CLASSES]))
    other.load_weights(tmp_path / "one.weights.h5")
    expected = tf1_values(network)
    assert all(np.array_equal(value, expected[name]) for name, value in tf1_values(other).items())


def test_a_sum_of_classifiers_has_no_cosines():
    network = network_of("deeplab_v2", output_stride=8)
    with pytest.raises(
        UserError, match=r"build_model.head: .* ends in one classifier.*; set one of .*large_fov"
    ) as error:
        network.segment_with_cosines(network.features(images_of()))
    assert "\n" not in str(error.value)
    for classifier in ("cosine", "dot_product"):
        with pytest.raises(UserError, match="classifier = 'linear', or another head than deeplab_v2"):
            network_of("deeplab_v2", classifier=classifier)
    with pytest.raises(UserError, match=r"classifier = 'cosin'.*Did you mean 'cosine'"):
        network_of("large_fov", classifier="cosin")


@pytest.mark.parametrize(
    ("head", "kernel"),
    [("large_fov", 0.01), ("deeplab_v2_features", 0.01)],
)
def test_new_heads_start_small(head, kernel):
    build = {"large_fov": build_large_fov_head, "deeplab_v2_features": build_deeplab_v2_features_head}[head]
    for classifier in ("linear", "dot_product", "cosine"):
        values = tf1_values(build(21, (None, None, 256), classifier=Classifier(classifier)))
        for name, value in values.items():
            if name.endswith("/weights"):
                np.testing.assert_allclose(value.std(), kernel, rtol=0.1)
            else:
                assert not np.any(value)


def test_features_of_deeplab_v2_are_the_sum_of_atrous_convolutions():
    head = build_deeplab_v2_features_head(3, (None, None, 4))
    values, x = tf1_values(head), np.random.default_rng(0).normal(size=(2, 27, 31, 4)).astype(np.float32)
    assert {name: value.shape for name, value in values.items()} == {
        **{f"aspp{i}/weights": (3, 3, 4, 256) for i in (1, 2, 3, 4)},
        "logits/semantic/weights": (1, 1, 256, 3),
        "logits/semantic/biases": (3,),
    }
    total = 0.0
    for i, rate in enumerate((6, 12, 18, 24), 1):
        padded = np.pad(x, [(0, 0), (rate, rate), (rate, rate), (0, 0)])
        for row in range(3):
            for column in range(3):
                window = padded[:, row * rate : row * rate + 27, column * rate : column * rate + 31]
                total = total + window @ values[f"aspp{i}/weights"][row, column]
    logits = np.maximum(total, 0) @ values["logits/semantic/weights"][0, 0]
    np.testing.assert_allclose(head([x]), logits, rtol=1e-4, atol=1e-6)


def test_rates_and_decay_of_caffe():
    """The paper's: weights once, biases twice, the new layer ten times, its bias twenty times; no bias decays."""
    parse_config(["gin_configs/models/large_fov_vgg16.gin"], [])
    network = build_model(dataset_of(21))
    assert network.default_weight_decay == 5e-4
    names = {variable.path: name for name, variable in tf1_variables(network).items()}
    decayed = {names[variable.path] for variable in network.decayed_kernels()}
    assert decayed == {name for name in names.values() if name.endswith("/weights")} and len(decayed) == 16
    factors = {names[path]: factor for path, factor in network.rate_factors(head=10.0, bias=2.0).items()}
    expected = {name: 2.0 for name in names.values() if name.endswith("/biases")}
    assert factors == expected | {"logits/semantic/weights": 10.0, "logits/semantic/biases": 20.0}
    assert network(tf.zeros([1, 321, 321, 3])).shape == (1, 41, 41, 21)


def test_the_papers_second_network():
    parse_config(["gin_configs/models/deeplab_v2_cosine_resnet_101.gin"], [])
    network = build_model(dataset_of(21))
    assert network.segmentation_head.count_params() == 4 * 9 * 2048 * 256 + 256 * 21
    assert all(variable.trainable for variable in network.backbone.trainable_variables)
    trained = {variable.path for variable in network.backbone.trainable_variables}
    assert any(path.endswith("/gamma") for path in trained)
    logits, cosines = network.segment_with_cosines(network.features(tf.zeros([1, 64, 65, 3])))
    assert logits.shape == cosines.shape == (1, 9, 9, 21)
    np.testing.assert_allclose(logits, 20 * cosines, rtol=1e-6)
