"""Learning rates of the original, momentum and weight averages worked out in numpy."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, pseudoseg_network, tiny_model

from wss.errors import UserError
from wss.methods.components.ema import ExponentialMovingAverage
from wss.training.optimizers import Momentum, build_optimizer
from wss.training.schedules import PolySchedule


@pytest.mark.parametrize(
    ("key", "kwargs"),
    [
        ("base_0.007_total_30000", {"total_steps": 30000}),
        ("base_0.007_total_200000", {"total_steps": 200000}),
        ("slow_start_500", {"total_steps": 30000, "slow_start_steps": 500}),
    ],
)
def test_poly_schedule_equals_original(goldens, parity, key, kwargs):
    golden = np.load(goldens / "preprocess_eval.npz")
    rates = [PolySchedule(0.007, **kwargs)(tf.constant(step)) for step in golden["poly_lr/steps"]]
    for rate, expected in zip(rates, golden[f"poly_lr/{key}"], strict=True):
        parity.check("preprocess_eval", "learning rates", rate, expected, 1e-4)


def momentum_by_hand(gradients, rates, start, momentum=0.9):
    accumulator, weight = 0.0, start
    for gradient, rate in zip(gradients, rates, strict=True):
        accumulator = momentum * accumulator + gradient
        weight = weight - rate * accumulator
    return weight


@pytest.mark.parametrize("replicas", [1, 2])
def test_momentum_by_hand_while_the_rate_changes(replicas, two_replicas):
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        variable = keras.Variable(tf.constant([1.0, -2.0]))
        optimizer = Momentum(PolySchedule(0.1, 4, power=1.0))
        optimizer.build([variable])

    @tf.function
    def step(gradient):
        strategy.run(lambda: optimizer.apply([gradient / replicas], [variable]))

    gradients = [np.float32([1, 2]), np.float32([-3, 0.5]), np.float32([0.25, 0])]
    for gradient in gradients:
        step(tf.constant(gradient))
    expected = momentum_by_hand(gradients, [0.1, 0.075, 0.05], np.float32([1, -2]))
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)
    assert int(optimizer.iterations.numpy()) == 3


def test_weight_decay_covers_what_the_original_decays(goldens):
    golden = json.loads((goldens / "bn_decay_and_weight_decay.json").read_text())["xception_65/weight_decayed"]
    model = pseudoseg_network(dataset_of(21), backbone="xception_65")
    names = {variable.path: name for name, variable in _tf1(model).items()}
    decayed = {names[variable.path] for variable in model.decayed_kernels()}
    assert decayed == {name for name in golden if not name.endswith("/logits/weights")} | {
        "logits/semantic/weights",
        "xception_65/logits/weights",
    }


def _tf1(model):
    from wss.models.tf1_names import tf1_variables

    return tf1_variables(model)


def test_last_layers_have_their_gradient_multipliers():
    model = tiny_model()
    names = {variable.path: name for name, variable in _tf1(model).items()}
    multipliers = {names[path]: factor for path, factor in model.rate_factors(last_layer=10.0).items()}
    assert multipliers == {
        "logits/semantic/weights": 10.0,
        "logits/semantic/biases": 20.0,
        "MobilenetV2/logits/weights": 10.0,
        "MobilenetV2/logits/biases": 20.0,
    }


def test_a_multiplier_of_all_biases_takes_the_place_of_those_of_the_last_layers():
    model = tiny_model(backbone="resnet_v1_50_keras", depth_multiplier=1.0)
    named = _tf1(model)
    names = {variable.path: name for name, variable in named.items()}
    factors = {names[path]: factor for path, factor in model.rate_factors(last_layer=3.0, head=10.0, bias=2.0).items()}
    biases = {name for name in named if name.endswith("/biases")}
    assert "resnet_v1_50/conv1/biases" in biases and factors["resnet_v1_50/conv1/biases"] == 2.0
    assert factors["logits/semantic/weights"] == 30.0 and factors["logits/semantic/biases"] == 60.0
    assert factors["aspp0/weights"] == factors["aspp0/BatchNorm/beta"] == 10.0
    assert {name for name in biases if factors[name] not in (2.0, 60.0)} == set()
    assert not any(name in factors for name in named if name.startswith("resnet_v1_50/block") and name not in biases)
    decayed = {names[variable.path] for variable in model.decayed_kernels()}
    assert not decayed & biases


def test_weight_average_by_hand():
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    average = ExponentialMovingAverage(model, decay=0.5)
    kernel = model.layers[0].kernel
    for step, value in enumerate([2.0, 4.0]):
        kernel.assign([[value]])
        average.update(tf.constant(step + 100, tf.int64))
    average.copy_into_network()
    np.testing.assert_allclose(kernel.numpy(), [[0.25 * 1 + 0.25 * 2 + 0.5 * 4]])


def test_first_steps_of_a_weight_average_follow_faster():
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    average = ExponentialMovingAverage(model, decay=0.999)
    model.layers[0].kernel.assign([[10.0]])
    average.update(tf.constant(0, tf.int64))
    average.copy_into_network()
    np.testing.assert_allclose(model.layers[0].kernel.numpy(), [[9.0]])  # decay (1 + 0) / (10 + 0)


def test_unknown_optimizer_names_the_nearest():
    with pytest.raises(UserError, match=r"'adamm'.*Did you mean 'adam'"):
        build_optimizer(10, name="adamm")


@pytest.mark.parametrize(("scaling", "rate"), [("none", 0.007), ("linear", 0.028), ("sqrt", 0.014)])
def test_learning_rate_scales_with_the_batch(scaling, rate):
    """Four times DeepLab's batch of 16; at the start of the schedule."""
    optimizer = build_optimizer(10, learning_rate=0.007, scaling=scaling, batch_size=64)
    np.testing.assert_allclose(float(optimizer.learning_rate), rate, rtol=1e-6)


def test_slow_start_is_not_scaled():
    optimizer = build_optimizer(
        10, learning_rate=0.1, slow_start_steps=2, slow_start_rate=0.01, power=1.0, scaling="linear", batch_size=8,
        reference_batch_size=4,
    )  # fmt: skip
    rates = [float(optimizer._learning_rate(tf.constant(step))) for step in (0, 1, 2, 6)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.2, 0.1], rtol=1e-6)


@pytest.mark.parametrize(("rounds_before", "factor"), [(0, 1.0), (1, 0.535887), (2, 0.372041)])
def test_a_round_starts_where_the_one_before_stopped(rounds_before, factor):
    """Rounds of 100 steps: (1 - 1/2)^0.9 and (1 - 2/3)^0.9 of the rate; all end at 0."""
    optimizer = build_optimizer(100, learning_rate=0.01, steps_before=100 * rounds_before)
    np.testing.assert_allclose(float(optimizer.learning_rate), 0.01 * factor, rtol=1e-5)
    assert float(optimizer._learning_rate(tf.constant(100))) == 0


def test_slow_start_is_over_after_the_first_round():
    rates = lambda before: [
        float(
            build_optimizer(
                10, learning_rate=0.1, slow_start_steps=2, slow_start_rate=0.01, power=1.0, steps_before=before
            )._learning_rate(tf.constant(step))
        )
        for step in (0, 1, 2)
    ]
    np.testing.assert_allclose(rates(0), [0.01, 0.01, 0.1], rtol=1e-6)
    # 20 steps, of which 18 decay: at step 11 half of them are over.
    np.testing.assert_allclose(rates(10), [0.1 * 10 / 18, 0.05, 0.1 * 8 / 18], rtol=1e-6)


def test_steps_by_hand():
    """The paper's first stage, a tenth from step 5000 of 8000 on; and two milestones after a slow start."""
    rates = lambda optimizer, steps: [float(optimizer._learning_rate(tf.constant(step))) for step in steps]
    optimizer = build_optimizer(8000, learning_rate=1e-3, schedule="step", milestones=(5000,))
    np.testing.assert_allclose(rates(optimizer, (0, 4999, 5000, 7999)), [1e-3, 1e-3, 1e-4, 1e-4], rtol=1e-6)
    optimizer = build_optimizer(
        10, learning_rate=1.0, schedule="step", milestones=[4, 8], step_factor=0.5, slow_start_steps=2,
        slow_start_rate=0.01,
    )  # fmt: skip
    np.testing.assert_allclose(rates(optimizer, (0, 1, 2, 3, 4, 7, 8, 100)), [0.01, 0.01, 1, 1, 0.5, 0.5, 0.25, 0.25])


def test_the_steps_of_a_round_count_those_of_the_one_before():
    optimizer = build_optimizer(10, learning_rate=1.0, schedule="step", milestones=(8, 12), steps_before=10)
    rates = [float(optimizer._learning_rate(tf.constant(step))) for step in (0, 1, 2)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01], rtol=1e-6)


def test_the_papers_poly_schedule():
    """23 805 steps with power 0.9: half the way 0.5^0.9."""
    optimizer = build_optimizer(23805, learning_rate=1e-3, power=0.9)
    np.testing.assert_allclose(optimizer._learning_rate(tf.constant(11902.5)), 1e-3 * 0.5**0.9, rtol=1e-5)


@pytest.mark.parametrize("options", [{"schedule": "step"}, {"milestones": (5,)}])
def test_milestones_and_the_schedule_in_steps_go_together(options):
    with pytest.raises(
        UserError, match=r"build_optimizer.schedule = .* and build_optimizer.milestones = .*, expected mil"
    ):
        build_optimizer(10, **options)


def test_unknown_scaling_names_the_nearest():
    with pytest.raises(UserError, match=r"scaling = 'liner'.*Did you mean 'linear'"):
        build_optimizer(10, scaling="liner", batch_size=8)


def test_scaling_needs_batch_sizes():
    with pytest.raises(UserError, match="needs a batch_size above 0, found None"):
        build_optimizer(10, scaling="linear")


@pytest.mark.parametrize("name", ["momentum", "adam", "adamw"])
def test_a_factor_multiplies_the_rate_of_every_optimizer(name):
    """Adam divides by the size of the gradient, so that a multiplied gradient would do nothing."""
    plain, fast = keras.Variable([1.0], name="plain"), keras.Variable([1.0], name="fast")
    optimizer = build_optimizer(10, name=name, learning_rate=0.01)
    optimizer.rate_factors = {fast.path: 10.0}
    optimizer.apply([tf.constant([0.5]), tf.constant([0.5])], [plain, fast])
    step = 0.01 * (0.5 if name == "momentum" else 1.0)
    np.testing.assert_allclose([1.0 - plain.numpy()[0], 1.0 - fast.numpy()[0]], [step, 10 * step], rtol=1e-4)


def test_the_rate_of_unimatch_v2_is_a_step_behind():
    """The spec's oracle: rate_0 (1 - max(i - 1, 0) / T)^0.9, and 40 times that for the head."""
    rate = build_optimizer(100, name="adamw", learning_rate=5e-6, lag=1)._learning_rate
    np.testing.assert_allclose([rate(step) for step in (0, 1, 2)], [5e-6, 5e-6, 4.954977e-6], rtol=1e-6)
    np.testing.assert_allclose([rate(51), 40 * rate(51)], [2.679434e-6, 1.071773e-4], rtol=1e-6)


@pytest.mark.parametrize("replicas", [1, 2])
def test_decay_follows_the_rate_of_a_variable(replicas, two_replicas):
    """Without gradients Adam moves nothing, so that w (1 - rate_i wd)^steps is left."""
    strategy = tf.distribute.OneDeviceStrategy("CPU:0") if replicas == 1 else two_replicas
    for with_rate, of_fast in ((True, (1 - 40 * 0.01 * 0.1) ** 3), (False, (1 - 0.01 * 0.1) ** 3)):
        with strategy.scope():
            plain, fast = keras.Variable([1.0], name="plain"), keras.Variable([1.0], name="fast")
            optimizer = build_optimizer(
                10, name="adamw", learning_rate=0.01, power=0.0, decoupled_weight_decay=0.1, decay_with_rate=with_rate
            )
            optimizer.rate_factors = {fast.path: 40.0}
            optimizer.build([plain, fast])
        step = tf.function(lambda: optimizer.apply([tf.zeros([1])] * 2, [plain, fast]))  # noqa: B023
        for _ in range(3):
            strategy.run(step)
        np.testing.assert_allclose([plain.numpy()[0], fast.numpy()[0]], [(1 - 0.001) ** 3, of_fast], rtol=1e-6)


def test_adamw_equals_pytorchs_numbers():
    """AdamW of torch 2, betas .9 and .999, eps 1e-8, wd .1, by hand: w - rate wd w, then - rate m' / (sqrt(v') + eps)."""
    variable = keras.Variable([2.0])
    optimizer = build_optimizer(
        10, name="adamw", learning_rate=0.1, power=0.0, epsilon=1e-8, decoupled_weight_decay=0.1, decay_with_rate=True
    )
    weight, mean, square = 2.0, 0.0, 0.0
    for number, gradient in enumerate([1e-3, -3e-3, 2e-3], 1):
        optimizer.apply([tf.constant([gradient])], [variable])
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9**number), (square / (1 - 0.999**number)) ** 0.5
        weight = weight * (1 - 0.1 * 0.1) - 0.1 * corrected[0] / (corrected[1] + 1e-8)
        np.testing.assert_allclose(variable.numpy()[0], weight, rtol=3e-5)


def test_self_attention_has_its_multiplier():
    model = tiny_model()
    names = {variable.path: name for name, variable in _tf1(model).items()}
    fast = {names[path] for path, factor in model.rate_factors(sgc=7.0).items() if factor == 7.0}
    assert fast == {
        *(f"{scope}/weights" for scope in ("hyper_column/query", "hyper_column/key", "pixel_normalization")),
        "pixel_normalization/BatchNorm/beta",
    }
