"""PSPNet: pyramid pooling and the auxiliary loss worked out by hand, its variables, and the methods on it."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, pseudoseg_network, random_batch, small_model, take_steps, tiny_model, train_step

from wss.config import parse_config
from wss.errors import UserError
from wss.methods.classification import Classification
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.methods.supervised import Supervised, segmentation_pass
from wss.models.deeplab import build_model
from wss.models.heads.pspnet import AdaptiveAveragePooling, build_pspnet_head
from wss.models.layers.dropout import SpatialDropout, dropout_seed
from wss.models.tf1_names import tf1_shapes, tf1_values, tf1_variables
from wss.models.weights.initial_weights import assign_weights, load_initial_weights
from wss.training.train import build_network

CLASSES, SIZE = 4, 33
STEP = tf.constant(0, tf.int64)


def tiny(seed=1, **options):
    return tiny_model(CLASSES, seed=seed, **{"head": "pspnet", "output_stride": 8, **options})


@pytest.fixture(scope="module")
def model():
    return tiny(dropout=0.0)


@pytest.fixture(scope="module")
def pspnet_50():
    parse_config(["gin_configs/models/pspnet_50.gin"], [])
    return pseudoseg_network(dataset_of(21))


# Pyramid pooling


def powers(number):
    return 2.0 ** np.arange(number, dtype=np.float32)


# Cells of 7 pixels in 3: 0-2, 2-4, 4-6; of 5 in 2: 0-2, 2-4; of 7 in 6: 0-1, 1-2, ..., 5-6; of 1 in 2: 0, 0.
AVERAGES = [
    (1, 3, [7 / 3]),
    (2, 1, [1, 1]),
    (2, 4, [1.5, 6]),
    (2, 5, [7 / 3, 28 / 3]),
    (3, 7, [7 / 3, 28 / 3, 112 / 3]),
    (6, 6, [1, 2, 4, 8, 16, 32]),
    (6, 7, [1.5, 3, 6, 12, 24, 48]),
]


@pytest.mark.parametrize("how", ["eager", "dynamic size", "XLA"])
@pytest.mark.parametrize(("bins", "side", "expected"), AVERAGES)
def test_averages_over_cells_by_hand(bins, side, expected, how):
    """Rows hold powers of 2, columns of 3 pixels 1, 10, 100; a cell's average is the product of both averages."""
    columns = np.float32([1, 10, 100])
    of_columns = {1: [37], 2: [5.5, 55], 3: [1, 10, 100], 6: [1, 1, 10, 10, 100, 100]}[bins]
    x = np.stack([np.outer(powers(side), columns), np.outer(powers(side), columns) * -2], -1)[None]
    pool = AdaptiveAveragePooling([4, bins])
    if how == "dynamic size":
        pool = tf.function(pool, input_signature=[tf.TensorSpec([None, None, None, 2])])
    if how == "XLA":
        pool = tf.function(pool, jit_compile=True)
    cells = np.outer(expected, of_columns)
    four, pooled = pool(tf.constant(x))
    assert four.shape == (1, 4, 4, 2)
    np.testing.assert_allclose(pooled[0], np.stack([cells, -2 * cells], -1), rtol=1e-6)


def test_averages_of_a_constant_are_the_constant_in_any_precision():
    for dtype, tolerance in (("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 1e-2)):
        x = tf.fill([2, 46, 91, 3], tf.constant(3.0, dtype))
        (pooled,) = AdaptiveAveragePooling([6], dtype=dtype)(x)
        assert pooled.shape == (2, 6, 6, 3) and pooled.dtype == dtype
        np.testing.assert_allclose(tf.cast(pooled, tf.float32), 3.0, rtol=tolerance)


def test_pyramid_of_a_constant_is_constant():
    """Without the border, which the padding of the 3x3 convolution changes."""
    head = build_pspnet_head(3, (None, None, 5))
    logits = head([tf.ones([1, 9, 13, 5])])
    assert logits.shape == (1, 9, 13, 3)
    inside = logits[:, 1:-1, 1:-1].numpy()
    np.testing.assert_allclose(inside, np.broadcast_to(inside[:, :1, :1], inside.shape), rtol=1e-4, atol=1e-5)
    assert np.any(logits[:, 0] != logits[:, 1])


def test_every_grid_starts_from_its_own_weights():
    head = build_pspnet_head(3, (None, None, 5))
    kernels = [tf1_values(head)[f"ppm/pool{bins}/weights"] for bins in (1, 2, 3, 6)]
    assert not any(np.array_equal(kernels[0], kernel) for kernel in kernels[1:])
    # PyTorch: uniform within 1 / sqrt(5), whose standard deviation is a root of 3 smaller.
    assert np.abs(kernels).max() <= 5**-0.5
    np.testing.assert_allclose(np.std(kernels), (5 * 3) ** -0.5, rtol=0.05)


def test_dropout_drops_whole_channels():
    layer, x = SpatialDropout(0.25), tf.ones([8, 3, 5, 64])
    assert layer(x) is x
    with dropout_seed(tf.constant([0, 1])):
        dropped = layer(x, training=True).numpy()
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:, :1, :1], dropped.shape))
    channels = dropped[:, 0, 0]
    assert set(np.unique(channels)) == {np.float32(0), np.float32(4 / 3)}
    assert 0.15 < np.mean(channels == 0) < 0.35 and np.any(channels[0] != channels[1])


# The network


def test_parameters_of_pspnet_50_by_hand(pspnet_50):
    norm = lambda channels: 4 * channels
    pools = 4 * (2048 * 512 + norm(512))
    expected = pools + 9 * 4096 * 512 + norm(512) + 512 * 21 + 21
    assert pspnet_50.segmentation_head.count_params() == expected
    assert pspnet_50.auxiliary_head.count_params() == 9 * 1024 * 256 + norm(256) + 256 * 21 + 21


def test_stride_8_by_atrous_rates_2_and_4(pspnet_50):
    convs = [layer for layer in pspnet_50.backbone.layers if layer.name.endswith("bottleneck_v1.conv2")]
    rates = [(layer.name.split(".")[1], layer.dilation_rate[0]) for layer in convs]
    assert rates == [("block1", 1)] * 3 + [("block2", 1)] * 4 + [("block3", 2)] * 6 + [("block4", 4)] * 3


@pytest.mark.parametrize(("size", "logits"), [((65, 97), (9, 13)), ((64, 50), (8, 7))])
def test_logits_and_auxiliary_logits_at_stride_8(pspnet_50, size, logits):
    features = pspnet_50.features(tf.zeros([1, *size, 3]))
    assert features["features"].shape == (1, *logits, 2048)
    assert pspnet_50.segment(features).shape == (1, *logits, 21)
    assert pspnet_50.auxiliary(features).shape == (1, *logits, 21)


def test_decay_covers_the_kernels_of_all_heads(pspnet_50):
    names = {variable.path: name for name, variable in tf1_variables(pspnet_50).items()}
    decayed = {names[variable.path] for variable in pspnet_50.decayed_kernels()}
    in_backbone = {name for name in tf1_shapes(pspnet_50.backbone) if name.endswith("/weights")}
    assert decayed - in_backbone == {
        *(f"ppm/pool{bins}/weights" for bins in (1, 2, 3, 6)),
        "pspnet/conv/weights",
        "logits/semantic/weights",
        "auxiliary/conv/weights",
        "logits/auxiliary/weights",
        "resnet_v1_50/logits/weights",
    }
    assert pspnet_50.default_weight_decay == 1e-4


def test_unknown_head_names_the_nearest():
    with pytest.raises(UserError, match=r"build_model.head = 'pspnt'.*Did you mean 'pspnet'"):
        build_model(dataset_of(CLASSES), head="pspnt")


def test_mixed_precision_ends_in_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny(dropout=0.0)
        features = model.features(tf.ones([2, SIZE, SIZE, 3]), training=True)
        logits = [model.segment(features, training=True), model.auxiliary(features, training=True)]
    finally:
        keras.config.set_dtype_policy(before)
    assert features["features"].dtype == tf.bfloat16
    assert {tensor.dtype for tensor in logits} == {tf.float32}
    assert all(np.all(np.isfinite(tensor)) for tensor in logits)


# Losses and learning rates


def set_logits(model, name, biases):
    variables = tf1_variables(model)
    variables[f"logits/{name}/weights"].assign(tf.zeros_like(variables[f"logits/{name}/weights"]))
    variables[f"logits/{name}/biases"].assign(biases)


def test_loss_is_main_and_weighted_auxiliary_by_hand():
    """Equal probabilities: log 4. The auxiliary head's are 3/6, 1/6, ...: log 2 for class 0, log 6 for class 1."""
    model = tiny()
    set_logits(model, "semantic", [0.0] * 4)
    set_logits(model, "auxiliary", [math.log(3), 0.0, 0.0, 0.0])
    images, label = tf.zeros([1, SIZE, SIZE, 3]), np.zeros((1, SIZE, SIZE, 1), np.int32)
    label[:, :5] = 255
    weights = lambda value: {} if value is None else {"auxiliary_weight": value}
    loss = lambda label, weight=None: float(segmentation_pass(model, images, tf.constant(label), **weights(weight))[0])
    np.testing.assert_allclose(loss(label), math.log(4) + 0.4 * math.log(2), rtol=1e-5)
    np.testing.assert_allclose(loss(label, 0.0), math.log(4), rtol=1e-5)
    label[:, 5:] = 1
    np.testing.assert_allclose(loss(label, 2.0), math.log(4) + 2 * math.log(6), rtol=1e-5)
    assert loss(np.full_like(label, 255)) == 0


def test_supervised_weighs_the_auxiliary_head_by_its_parameter(model):
    batch = random_batch(CLASSES)
    plain, usual, double = (
        float(Supervised(auxiliary_weight=weight).losses(model, batch, STEP).losses["segmentation"])
        for weight in (0, 0.4, 0.8)
    )
    np.testing.assert_allclose(double - plain, 2 * (usual - plain), rtol=1e-4)
    assert usual > plain
    assert float(Supervised().losses(model, batch, STEP).losses["segmentation"]) == usual


def test_a_network_without_auxiliary_head_has_the_main_loss_alone():
    model = tiny(head="deeplab_v3_plus", output_stride=16)
    assert model.auxiliary({}) is None
    set_logits(model, "semantic", [0.0] * 4)
    loss, _ = segmentation_pass(model, tf.zeros([1, SIZE, SIZE, 3]), tf.zeros([1, SIZE, SIZE, 1], tf.int32))
    np.testing.assert_allclose(loss, math.log(4), rtol=1e-5)


def multipliers(model, **kwargs):
    names = {variable.path: name for name, variable in tf1_variables(model).items()}
    return {names[path]: factor for path, factor in model.rate_factors(**kwargs).items()}


def test_new_layers_have_their_multiplier_and_biases_no_other(model):
    factors = multipliers(model, head=10.0)
    convs = [*(f"ppm/pool{bins}" for bins in (1, 2, 3, 6)), "pspnet/conv", "auxiliary/conv"]
    new = {f"{conv}/{kind}" for conv in convs for kind in ("weights", "BatchNorm/gamma", "BatchNorm/beta")}
    new |= {f"logits/{head}/{kind}" for head in ("semantic", "auxiliary") for kind in ("weights", "biases")}
    new |= {"MobilenetV2/logits/weights", "MobilenetV2/logits/biases"}
    assert factors == dict.fromkeys(new, 10.0)
    both = multipliers(model, head=10.0, last_layer=2.0)
    assert both["ppm/pool1/weights"] == 10.0 and both["logits/auxiliary/biases"] == 20.0


def test_multipliers_of_deeplab_v3_plus_multiply():
    model = tiny(head="deeplab_v3_plus", output_stride=16)
    factors = multipliers(model, head=10.0, last_layer=3.0)
    assert factors["aspp0/weights"] == factors["decoder/feature_projection0/BatchNorm/beta"] == 10.0
    assert factors["logits/semantic/weights"] == 30.0 and factors["logits/semantic/biases"] == 60.0
    assert factors["MobilenetV2/logits/weights"] == 30.0 and factors["MobilenetV2/logits/biases"] == 60.0
    assert "MobilenetV2/Conv/weights" not in factors


PSPNET = {"head": "pspnet", "output_stride": 8}


def moves_of_one_step(head_multiplier, jit_compile):
    step = train_step(Supervised(), model_options=PSPNET, jit_compile=jit_compile, head_multiplier=head_multiplier)
    before = tf1_values(step.model)
    take_steps(step, random_batch(CLASSES), 1)
    after = tf1_values(step.model)
    return {name: after[name] - before[name] for name in before}


def test_a_step_moves_the_heads_ten_times_as_far_also_under_xla():
    plain, fast = moves_of_one_step(1.0, jit_compile=False), moves_of_one_step(10.0, jit_compile=True)
    for name in ("MobilenetV2/one/weights", "ppm/pool3/weights", "auxiliary/conv/weights", "logits/semantic/biases"):
        assert np.any(plain[name]), name
        factor = 1 if name.startswith("MobilenetV2") else 10
        # The 1 x 1 grid's batch norm sees two values, so rounding shows.
        assert np.linalg.norm(fast[name] - factor * plain[name]) < 0.01 * np.linalg.norm(fast[name]), name


# Methods and weights


def test_pseudoseg_and_classification_run_on_pspnet(model):
    batch = random_batch(CLASSES)
    variables = tf1_variables(model)
    kernel = lambda scope: variables[f"{scope}/weights"].value
    with tf.GradientTape(persistent=True) as tape:
        result = PseudoSeg().losses(model, batch, STEP)
    losses = result.losses
    assert all(np.isfinite(value) for value in {**losses, **result.metrics}.values())
    for name in ("segmentation", "consistency"):
        for scope in ("MobilenetV2/Conv", "ppm/pool6", "pspnet/conv", "logits/semantic"):
            assert np.any(tape.gradient(losses[name], kernel(scope))), (name, scope)
    assert np.any(tape.gradient(losses["sgc"], kernel("pixel_normalization")))
    model = build_network(
        dataset_of(CLASSES), Classification(), backbone="mobilenet_v2", depth_multiplier=0.25, **PSPNET
    )
    assert np.isfinite(Classification().losses(model, batch, STEP).losses["classification"])


def test_two_replicas_have_the_loss_of_one(two_replicas):
    """Both get the whole batch, so statistics over all replicas are those of one."""
    batch = random_batch(CLASSES)
    expected = Supervised().losses(small_model(CLASSES, **PSPNET), batch, STEP).losses["segmentation"]
    with two_replicas.scope():
        model = small_model(CLASSES, synchronized_batch_norm=True, **PSPNET)
    loss = lambda batch: Supervised().losses(model, batch, STEP).losses["segmentation"]
    found = tf.function(lambda batch: two_replicas.run(loss, (batch,)))(batch)
    np.testing.assert_allclose(two_replicas.experimental_local_results(found), [expected] * 2, rtol=1e-3)


def test_a_run_gives_its_weights_to_the_next(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    other = tiny(seed=2)
    report = load_initial_weights(other, str(tmp_path))
    assert report.loaded == set(tf1_shapes(other))
    loaded = tf1_values(other)
    for name, value in tf1_values(model).items():
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)


def test_last_layers_can_be_left_out(model):
    report = assign_weights(tiny(seed=2), tf1_values(model), [], source="another", last_layer=False)
    scopes = {name.rsplit("/", 1)[0] for name in report.skipped if "BatchNorm" not in name}
    assert scopes == {"logits/semantic", "logits/auxiliary", "MobilenetV2/logits", "pixel_normalization"}
    assert "pspnet/conv/weights" in report.loaded


def test_imagenet_weights_of_keras_fill_the_backbone(tmp_path):
    parse_config(["gin_configs/models/pspnet_50_keras.gin"], [])
    model = pseudoseg_network(dataset_of(CLASSES))
    network = keras.applications.ResNet50(include_top=False, weights=None)
    weights = [(layer.name, weight) for layer in network.layers for weight in layer.weights]
    values = {f"{name}/{w.name}": np.full(w.shape, i, np.float16) for i, (name, w) in enumerate(weights)}
    np.savez_compressed(tmp_path / "keras.npz", **{name.replace("/", "__"): value for name, value in values.items()})
    report = load_initial_weights(model, str(tmp_path / "keras.npz"))
    assert report.loaded == set(tf1_shapes(model.backbone)) and not report.unknown
    assert {part: len(names) for part, names in report.parts.items()} == {
        "backbone": 318,
        "pyramid pooling": 25,
        "auxiliary head": 5,
        "logits": 4,
        "classifier": 2,
        "self-attention": 6,
    }
    kernel = tf1_variables(model)["resnet_v1_50/block3/unit_6/bottleneck_v1/conv2/weights"]
    np.testing.assert_array_equal(kernel.numpy(), values["conv4_block6_2_conv/kernel"])
