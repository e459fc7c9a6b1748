"""Pyramids of keras-hub: dilation changes where, not what; batch norms follow build_model; checkpoints are complete."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of

from wss.errors import UserError
from wss.models.backbones.hub.presets import build_backbone
from wss.models.backbones.hub.pyramid import LEVELS, Pyramid, dilated
from wss.models.deeplab import build_model
from wss.models.layers.normalization import batch_norm_updates

keras_hub = pytest.importorskip("keras_hub")
_RESNET = {
    "input_conv_filters": [8],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 8, 8, 8],
    "stackwise_num_blocks": [1, 2, 2, 3],
    "stackwise_num_strides": [1, 2, 2, 2],
}
RESNETS = {
    "bottleneck": {**_RESNET, "block_type": "bottleneck_block"},
    "basic": {**_RESNET, "block_type": "basic_block", "input_conv_filters": [64]},
}
HGNET = {
    "depths": [1, 1, 2, 1],
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "stem_channels": [3, 8, 8],
    "hidden_act": "relu",
    "use_learnable_affine_block": False,
    "stackwise_stage_filters": [(8, 8, 8, 1, 3, 3), (8, 8, 8, 1, 3, 3), (8, 8, 16, 2, 3, 5), (16, 8, 16, 1, 3, 5)],
    "apply_downsample": [False, True, True, True],
    "use_lightweight_conv_block": [False, False, True, True],
}
KINDS = {
    "resnet": ("ResNetBackbone", RESNETS["bottleneck"], 16),
    "hgnetv2": ("HGNetV2Backbone", HGNET, 32),
}
IMAGES = tf.random.stateless_uniform([2, 65, 97, 3], [1, 2], -2.0, 2.0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def pyramid_of(kind: str, **options) -> Pyramid:
    class_name, config, output_stride = KINDS[kind]
    return Pyramid(**{"class_name": class_name, "config": config, "output_stride": output_stride, **options})


@pytest.mark.parametrize("block", RESNETS)
@pytest.mark.parametrize(("output_stride", "finer"), [(16, {"P5": 2}), (8, {"P4": 2, "P5": 4})])
def test_dilation_keeps_what_the_levels_say(block, output_stride, finer):
    """The level at every second place is the strided one; what is before it stays as it is."""
    backbone = build_backbone("ResNetBackbone", RESNETS[block])
    strided = keras.Model(backbone.inputs, backbone.pyramid_outputs)
    levels, expected = dilated(strided, "ResNetBackbone", output_stride)(IMAGES), strided(IMAGES)
    for level in LEVELS:
        step = finer.get(level, 1)
        np.testing.assert_allclose(levels[level][:, ::step, ::step], expected[level], atol=1e-5)
        assert levels[level].shape[1] == (expected[level].shape[1] - 1) * step + 1


@pytest.mark.parametrize("kind", KINDS)
def test_levels_and_any_size(kind):
    pyramid = pyramid_of(kind)
    levels = pyramid(IMAGES)
    assert list(levels) == list(LEVELS)
    assert [levels[level].shape[1] for level in LEVELS] == [17, 9, 5, 5 if kind == "resnet" else 3]
    unknown = tf.function(pyramid, input_signature=[tf.TensorSpec([None, None, None, 3])])(IMAGES)
    for level in LEVELS:
        np.testing.assert_allclose(unknown[level], levels[level], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_the_network_alone_has_all(kind, presets, tmp_path):
    network = network_of(presets[kind], kind)
    for variable in network.variables:
        variable.assign_add(tf.fill(variable.shape, 0.05))
    prefix = tf.train.Checkpoint(model=network).write(str(tmp_path / "ckpt"))
    assert len(tf.train.list_variables(prefix)) >= len(network.variables)
    other = network_of(presets[kind], kind, encoder_weights=False)
    tf.train.Checkpoint(model=other).read(prefix).assert_consumed()
    for one, two in zip(network.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=one.path)


def moved(kind: str, *, updates: bool = True, **batch_norm) -> bool:
    """Whether a training pass moves moving statistics; its output has to be that of batch statistics or not."""
    pyramid = pyramid_of(kind, batch_norm=batch_norm)
    before = [np.array(variable) for variable in pyramid.non_trainable_variables]

    @tf.function
    def step():
        with batch_norm_updates(updates):
            return pyramid(IMAGES, training=True)["P5"]

    trained = step()
    after = [np.array(variable) for variable in pyramid.non_trainable_variables]
    by_batch = not np.allclose(trained, pyramid(IMAGES, training=False)["P5"], atol=1e-3)
    assert by_batch == batch_norm.get("fine_tune", True)
    return any(np.any(one != other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_batch_norms_follow_the_settings(kind):
    assert moved(kind)
    assert not moved(kind, updates=False)
    assert not moved(kind, fine_tune=False)
    layers = [
        layer
        for layer in pyramid_of(kind, batch_norm={"synchronized": True, "momentum": 0.5})._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) > 5 and all(layer.synchronized and layer.momentum == 0.5 for layer in layers)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_do_not_depend_on_whether_statistics_move(kind):
    pyramid = pyramid_of(kind)
    variables, results = [variable.value for variable in pyramid.trainable_variables], []
    for updates in (True, False):

        @tf.function
        def step(updates=updates):
            with tf.GradientTape(watch_accessed_variables=False) as tape, batch_norm_updates(updates):
                tape.watch(variables)
                loss = tf.reduce_mean(tf.square(pyramid(IMAGES, training=True)["P5"]))
            return tape.gradient(loss, variables)

        results.append(step())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folders = {}
    for kind, (class_name, config, _) in KINDS.items():
        folders[kind] = tmp_path_factory.mktemp("presets") / kind
        build_backbone(class_name, config).save_to_preset(str(folders[kind]))
        converter = getattr(keras_hub.layers, class_name.replace("Backbone", "ImageConverter"))
        converter(scale=[0.01, 0.02, 0.03], offset=[-1.0, -1.5, -2.0]).save_to_preset(str(folders[kind]))
    return folders


def network_of(preset, kind: str, **options):
    settings = {"output_stride": KINDS[kind][2], "head_depth": 8, **options}
    return build_model(dataset_of(4), backbone="keras_hub", encoder_preset=str(preset), **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_has_deeplabs_roles(kind, presets):
    network = network_of(presets[kind], kind)
    images = tf.random.stateless_uniform([1, 65, 65, 3], [1, 2], 0.0, 255.0)
    features = network.features(images)
    roles = {"features", "low_level", "cam_features", "hypercolumn_last", "hypercolumn_previous"}
    assert features.keys() == {*roles, *LEVELS}
    assert features["low_level"].shape[1] == 17 and features["features"] is not features["low_level"]
    assert network(images).shape == (1, 17, 17, 4)
    assert network.padding.multiple == 16 and not network.padding.strict


@pytest.mark.parametrize("output_stride", [8, 16])
def test_hgnet_has_one_output_stride(presets, output_stride):
    with pytest.raises(UserError, match=f"build_model.output_stride = {output_stride}: HGNetV2Backbone .* has only 32"):
        network_of(presets["hgnetv2"], "hgnetv2", output_stride=output_stride)
