"""VGG16's weights: fully connected layers decimated by hand, files with and without them, and what Keras downloads."""

import keras
import numpy as np
import pytest
from networks import dataset_of

from wss.errors import UserError
from wss.models.deeplab import build_model
from wss.models.tf1_names import tf1_shapes, tf1_values
from wss.models.weights.initial_weights import load_initial_weights
from wss.models.weights.keras_layouts import keras_application_values
from wss.models.weights.vgg_classifier import decimated

BACKBONE = "vgg16_large_fov"


def network():
    keras.utils.set_random_seed(5)
    return build_model(dataset_of(3), backbone=BACKBONE, head="large_fov", output_stride=8)


@pytest.mark.parametrize("as_convolution", [False, True])
def test_fc6_keeps_every_third_pixel_and_every_fourth_output(as_convolution):
    """A kernel that says where each number stood: its row first, then its column."""
    rows = np.arange(7 * 7 * 512, dtype=np.float32)[:, None]
    shape = (7, 7, 512, 4096) if as_convolution else (7 * 7 * 512, 4096)
    kernel = decimated(np.broadcast_to(rows, (7 * 7 * 512, 4096)).reshape(shape), "fc6/weights")
    assert kernel.shape == (3, 3, 512, 1024)
    for i in range(3):
        for j in range(3):
            for channel in (0, 1, 511):
                assert set(kernel[i, j, channel]) == {(3 * i * 7 + 3 * j) * 512 + channel}
    columns = np.broadcast_to(np.arange(4096, dtype=np.float32), (7 * 7 * 512, 4096)).reshape(shape)
    kernel = decimated(columns, "fc6/weights")
    assert (kernel == np.arange(0, 4096, 4)).all()


def test_fc7_takes_the_outputs_that_fc6_keeps():
    kernel = decimated(np.arange(4096.0)[:, None] * 10_000 + np.arange(4096), "fc7/weights")
    assert kernel.shape == (1, 1, 1024, 1024)
    assert kernel[0, 0, 3, 5] == 12 * 10_000 + 20 and kernel[0, 0, 1023, 0] == 4092 * 10_000
    for name in ("fc6/biases", "fc7/biases"):
        np.testing.assert_array_equal(decimated(np.arange(4096), name), np.arange(0, 4096, 4))


def test_a_classifier_for_images_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"fc6/weights has shape \(4608, 4096\), expected VGG16's \(25088, 4096\)"):
        decimated(np.zeros([3 * 3 * 512, 4096], np.int8), "fc6/weights")


@pytest.fixture(scope="module")
def notop(tmp_path_factory):
    keras.utils.set_random_seed(0)
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    path = tmp_path_factory.mktemp("vgg") / "vgg16_notop.h5"
    theirs.save(path)
    return theirs, path


def assert_convolutions(values, theirs):
    for layer in theirs.layers:
        if "_conv" not in layer.name:
            continue
        block, number = layer.name.removeprefix("block").split("_conv")
        for kind, weight in zip(("weights", "biases"), layer.weights, strict=True):
            np.testing.assert_array_equal(values[f"vgg_16/conv{block}/conv{block}_{number}/{kind}"], weight.numpy())


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_without_the_classifier_fc6_and_fc7_stay_and_the_table_says_so(notop, tmp_path, kind):
    theirs, path = notop
    if kind == "npz":
        path = tmp_path / "vgg16.npz"
        np.savez(path, **{f"{layer.name}__{w.name}": w.numpy() for layer in theirs.layers for w in layer.weights})
    model = network()
    before = tf1_values(model)
    report = load_initial_weights(model, str(path))
    after = tf1_values(model)
    assert_convolutions(after, theirs)
    fc = {f"vgg_16/{name}/{kind}" for name in ("fc6", "fc7") for kind in ("weights", "biases")}
    assert report.initial >= fc and all(np.array_equal(before[name], after[name]) for name in fc)
    row = next(line for line in str(report).splitlines() if line.startswith("  backbone"))
    assert row.split() == ["backbone", "26", "0", "4"]


def test_a_file_without_a_convolution_is_refused(notop, tmp_path):
    theirs, _ = notop
    values = {f"{layer.name}__{w.name}": w.numpy() for layer in theirs.layers for w in layer.weights}
    del values["block4_conv2__bias"]
    np.savez(tmp_path / "part.npz", **values)
    with pytest.raises(UserError, match=r"has no vgg_16/conv4/conv4_2/biases \(1 of 30 variables of the backbone"):
        load_initial_weights(network(), str(tmp_path / "part.npz"))


def test_the_file_does_not_fit_another_backbone(notop):
    model = build_model(dataset_of(3), backbone="mobilenet_v2", depth_multiplier=0.25)
    with pytest.raises(
        UserError, match="VGG16, which do not fit mobilenet_v2; set build_model.backbone = 'vgg16_la"
    ) as e:
        load_initial_weights(model, str(notop[1]))
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_with_the_classifier_everything_is_loaded_from_a_file_and_as_imagenet(tmp_path, monkeypatch):
    keras.utils.set_random_seed(1)
    theirs = keras.applications.VGG16(weights=None, include_top=True)
    for layer in theirs.layers:
        if layer.weights:
            layer.weights[1].assign(keras.random.normal(layer.weights[1].shape, seed=2))
    path = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
    theirs.save(path)
    large = {name: [w.numpy() for w in theirs.get_layer(name).weights] for name in ("fc1", "fc2")}
    model = network()
    report = load_initial_weights(model, str(path))
    values = tf1_values(model)
    assert_convolutions(values, theirs)
    assert report.loaded == set(tf1_shapes(model.backbone)) and len(report.loaded) == 30
    assert report.unknown == ["predictions/bias", "predictions/kernel"]
    fc6 = large["fc1"][0].reshape(7, 7, 512, 4096)[[0, 3, 6]][:, [0, 3, 6]][..., range(0, 4096, 4)]
    np.testing.assert_array_equal(values["vgg_16/fc6/weights"], fc6)
    np.testing.assert_array_equal(values["vgg_16/fc6/biases"], large["fc1"][1][::4])
    np.testing.assert_array_equal(values["vgg_16/fc7/weights"][0, 0], large["fc2"][0][::4, ::4])
    np.testing.assert_array_equal(values["vgg_16/fc7/biases"], large["fc2"][1][::4])
    del theirs, large, fc6
    requested = []

    def get_file(name, *args, **kwargs):
        requested.append(name)
        return str(path)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    downloaded = keras_application_values(BACKBONE)
    assert requested == [path.name] and downloaded["fc1/kernel"].shape == (25088, 4096)
    del downloaded
    other = network()
    load_initial_weights(other, "imagenet")
    assert all(np.array_equal(value, values[name]) for name, value in tf1_values(other.backbone).items())
