"""ViTs of keras-hub: PyTorch's goldens, keras-hub's own outputs, any size, and that nothing is lost when they are saved."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of

from wss.errors import UserError
from wss.models.backbones.hub.presets import build_backbone
from wss.models.backbones.hub.vision_transformer import VisionTransformer
from wss.models.deeplab import DeepLab, build_model
from wss.models.heads.dpt import build_dpt_head
from wss.models.weights.weights_file import load_weights, write_weights

keras_hub = pytest.importorskip("keras_hub")
GOLDENS = Path(__file__).parents[3] / "goldens"
_spec = importlib.util.spec_from_file_location("make_dinov2", GOLDENS / "make_dinov2.py")
rule = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule)

SIDE = rule.GRID * rule.PATCH
TINY = {
    "patch_size": rule.PATCH,
    "num_layers": rule.BLOCKS,
    "hidden_dim": rule.DEPTH,
    "num_heads": rule.HEADS,
    "intermediate_dim": 2 * rule.DEPTH,
    "image_shape": (SIDE, SIDE, 3),
}
DINOV2 = {**TINY, "position_embedding_shape": (SIDE, SIDE, 3)}
REGISTERS = {**DINOV2, "num_register_tokens": 4, "antialias_in_interpolation": True}
DINOV3 = {**TINY, "num_register_tokens": 2}
KINDS = {
    "dinov2": ("DINOV2Backbone", DINOV2),
    "registers": ("DINOV2Backbone", REGISTERS),
    "dinov3": ("DINOV3Backbone", DINOV3),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
ALL_BLOCKS = tuple(range(1, rule.BLOCKS + 1))


def by_the_rule(layer) -> None:
    """Sets all weights as the golden's."""
    for variable in layer.variables:
        variable.assign(rule.weight(variable.path.removeprefix("segmentation_head/"), tuple(variable.shape)))


def vit_of(kind: str, **options) -> VisionTransformer:
    class_name, config = KINDS[kind]
    return VisionTransformer(class_name=class_name, config=config, taps=ALL_BLOCKS, **options)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "dinov2_tiny.npz") as values:
        return dict(values)


@pytest.mark.parametrize("run", [lambda function: function, tf.function], ids=["eager", "graph"])
@pytest.mark.parametrize("size", rule.SIZES, ids=str)
@pytest.mark.parametrize("kind", ["dinov2", "registers"])
def test_blocks_equal_the_reference(golden, kind, size, run):
    vit = vit_of(kind)
    by_the_rule(vit)
    outputs = run(lambda: vit(tf.constant(rule.image(size))))()
    for number in ALL_BLOCKS:
        expected = golden[f"registers_{4 if kind == 'registers' else 0}/{size[0]}x{size[1]}/block{number}"]
        np.testing.assert_allclose(outputs[f"block{number}"][0], expected, atol=1e-5)


@pytest.mark.parametrize("size", rule.SIZES, ids=str)
def test_the_head_equals_the_reference(golden, size):
    vit = vit_of("dinov2")
    head = build_dpt_head(rule.CLASSES, {f"block{number}": (None, None, rule.DEPTH) for number in ALL_BLOCKS})
    by_the_rule(vit)
    by_the_rule(head)
    outputs = vit(tf.constant(rule.image(size)))
    logits = head([outputs[tensor.name] for tensor in head.inputs])
    expected = golden[f"dpt/{size[0]}x{size[1]}"]
    np.testing.assert_allclose(logits[0], expected, atol=2e-5 * np.abs(expected).max())


@every_kind
def test_at_its_native_size_it_is_the_backbone(kind):
    class_name, config = KINDS[kind]
    backbone = build_backbone(class_name, {**config, "apply_layernorm": True})
    for variable in backbone.weights:
        variable.assign(rule.weight(variable.path, tuple(variable.shape)))
    if kind != "dinov3":
        of_hub = backbone.embeddings
        of_hub.interpolated_position_embeddings.assign(of_hub.position_embeddings)
    images = tf.constant(rule.image((SIDE, SIDE)))
    expected = keras.Model(backbone.inputs, backbone.pyramid_outputs)(images)
    outputs = vit_of(kind, backbone=backbone)(images)
    prefix = 1 + config.get("num_register_tokens", 0)
    for number in ALL_BLOCKS:
        of_hub = np.reshape(expected[f"stage{number}"][:, prefix:], outputs[f"block{number}"].shape)
        np.testing.assert_allclose(outputs[f"block{number}"], of_hub, atol=0 if kind != "dinov3" else 1e-6)


@every_kind
@pytest.mark.parametrize("size", [(28, 84), (126, 14)])
def test_any_multiple_of_the_patch_known_or_not(kind, size):
    vit = vit_of(kind)
    by_the_rule(vit)
    images = tf.constant(np.repeat(rule.image(size), 2, axis=0))
    known = vit(images)["block4"]
    assert known.shape == (2, size[0] // 14, size[1] // 14, rule.DEPTH)
    unknown = tf.function(vit, input_signature=[tf.TensorSpec([None, None, None, 3])])(images)["block4"]
    np.testing.assert_allclose(known, unknown, atol=1e-5)
    compiled = tf.function(vit, jit_compile=True)(images)["block4"]
    np.testing.assert_allclose(known, compiled, atol=1e-4)


@every_kind
@pytest.mark.parametrize("size", [(30, 28), (28, 80)])
def test_other_sides_are_an_error(kind, size):
    vit = vit_of(kind)
    with pytest.raises(
        UserError, match=rf"{size[0]} x {size[1]} pixels: .* multiples of its patch of 14; set TrainingData"
    ):
        vit(tf.zeros([1, *size, 3]))
    unknown = tf.function(vit, input_signature=[tf.TensorSpec([None, None, None, 3])])
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiples of its patch of 14"):
        unknown(tf.zeros([1, *size, 3]))


@every_kind
def test_every_weight_has_a_gradient_with_and_without_recomputation(kind):
    class_name, config = KINDS[kind]
    backbone, results = build_backbone(class_name, config), []
    for recompute in (False, True):
        vit = vit_of(kind, backbone=backbone, recompute=recompute)
        by_the_rule(vit)
        variables = [variable.value for variable in vit.trainable_variables]

        @tf.function
        def step(vit=vit, variables=variables):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                loss = tf.reduce_sum(tf.square(vit(tf.constant(rule.image((28, 42))), training=True)["block4"]))
            return loss, tape.gradient(loss, variables)

        results.append(step())
        paths = [
            v.path for v, gradient in zip(vit.trainable_variables, results[-1][1], strict=True) if gradient is None
        ]
        assert not paths
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Folders as a user has them, by kind."""
    folders = {}
    for kind, (class_name, config) in KINDS.items():
        folders[kind] = tmp_path_factory.mktemp("presets") / kind
        backbone = build_backbone(class_name, config)
        for variable in backbone.weights:
            variable.assign(rule.weight(variable.path, tuple(variable.shape)))
        backbone.save_to_preset(str(folders[kind]))
        converter = getattr(keras_hub.layers, class_name.replace("Backbone", "ImageConverter"))
        converter(scale=[0.01, 0.02, 0.03], offset=[-1.0, -1.5, -2.0]).save_to_preset(str(folders[kind]))
    return folders


def network_of(preset, **options) -> DeepLab:
    settings = {"backbone": "keras_hub", "encoder_preset": str(preset), "head": "dpt", **options}
    return build_model(dataset_of(4), **settings)


@every_kind
def test_a_folder_has_weights_and_normalisation(presets, kind):
    class_name, config = KINDS[kind]
    network = network_of(presets[kind])
    expected = build_backbone(class_name, config)
    for variable in expected.weights:
        variable.assign(rule.weight(variable.path, tuple(variable.shape)))
    images = np.random.default_rng(0).uniform(0, 255, (1, 70, 70, 3)).astype(np.float32)
    normalised = tf.constant(images * np.float32([0.01, 0.02, 0.03]) + np.float32([-1.0, -1.5, -2.0]))
    np.testing.assert_allclose(
        network.features(images)["features"], vit_of(kind, backbone=expected)(normalised)["block4"], atol=2e-5
    )
    np.testing.assert_allclose(network.padding.color, [100, 75, 2 / 0.03], rtol=1e-6)
    assert (network.padding.multiple, network.padding.more, network.padding.strict) == (14, 0, True)


@every_kind
@pytest.mark.parametrize("frozen", [False, True])
def test_a_checkpoint_of_the_network_alone_has_all(presets, kind, frozen, tmp_path):
    network = network_of(presets[kind], freeze_encoder=frozen)
    assert bool(network.backbone.trainable_variables) != frozen
    for number, variable in enumerate(network.variables):
        variable.assign_add(tf.fill(variable.shape, 0.08 if number % 2 else -0.08))
    prefix = tf.train.Checkpoint(model=network).write(str(tmp_path / "ckpt"))
    assert len(tf.train.list_variables(prefix)) >= len(network.variables)
    other = network_of(presets[kind], freeze_encoder=frozen, encoder_weights=False)
    tf.train.Checkpoint(model=other).read(prefix).assert_consumed()
    same_everywhere(network, other)


@every_kind
@pytest.mark.parametrize("change", [0.08, -0.08])
def test_a_file_of_weights_has_trained_position_embeddings(presets, kind, change, tmp_path):
    network = network_of(presets[kind])
    for variable in network.variables:
        variable.assign_add(tf.fill(variable.shape, change))
    write_weights(network, tmp_path / "model.weights.h5")
    other = network_of(presets[kind], encoder_weights=False)
    load_weights(other, tmp_path / "model.weights.h5")
    same_everywhere(network, other)


def same_everywhere(network: DeepLab, other: DeepLab) -> None:
    for one, two in zip(network.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=one.path)
    images = tf.constant(np.random.default_rng(1).uniform(0, 255, (1, 42, 56, 3)), tf.float32)
    np.testing.assert_array_equal(network(images), other(images))


@every_kind
def test_mixed_precision_keeps_weights_and_logits(presets, kind):
    exact = network_of(presets[kind])
    images = tf.constant(np.random.default_rng(1).uniform(0, 255, (1, 42, 56, 3)), tf.float32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = network_of(presets[kind])
        features, logits = network.features(images)["features"], network(images)
    finally:
        keras.config.set_dtype_policy("float32")
    assert features.dtype == tf.bfloat16 and logits.dtype == tf.float32
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    np.testing.assert_allclose(tf.cast(features, tf.float32), exact.features(images)["features"], atol=0.25)


@pytest.mark.parametrize(("depth", "parameters"), [(384, 2_739_061), (768, 10_948_309)], ids=["small", "base"])
def test_parameters_of_the_head(depth, parameters):
    head = build_dpt_head(21, {f"block{number}": (None, None, depth) for number in ALL_BLOCKS})
    assert head.count_params() == parameters
    grids = [tensor.shape[1] for tensor in build_dpt_head(21, {f"b{n}": (37, 37, 384) for n in ALL_BLOCKS}).outputs]
    assert grids == [296]


def test_the_small_network_has_the_originals_parameters():
    network = build_model(
        dataset_of(21), backbone="keras_hub", encoder_preset="dinov2_small", encoder_weights=False, head="dpt"
    )
    assert network.backbone.count_params() == 22_056_576 - 384  # without the mask token
    assert {name for name in network.feature_channels if name.startswith("block")} == {
        f"block{number}" for number in (3, 6, 9, 12)
    }
