"""CAM, self-attention Grad-CAM and calibrated fusion against the original's tensors and values worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.methods.pseudoseg.calibrated_fusion import CalibratedFusion, sharpen
from wss.methods.pseudoseg.grad_cam import GradCAM, pooled_linear_cam
from wss.methods.pseudoseg.self_attention_grad_cam import SelfAttentionGradCAM


def assert_close(actual, golden, **tolerance):
    np.testing.assert_allclose(actual, golden, **{"rtol": 1e-4, "atol": 1e-5 * np.abs(golden).max(), **tolerance})


# Grad-CAM


def hand_cam_inputs():
    features = tf.constant([[[[1.0, 0.0], [2.0, 1.0]], [[0.0, 3.0], [1.0, 1.0]]]])
    return features, tf.constant([[1.0], [-0.5]])


def test_cam_by_hand():
    features, kernel = hand_cam_inputs()
    cam = pooled_linear_cam(features, kernel, tf.ones([1, 1]))
    np.testing.assert_allclose(cam[0, ..., 0], [[2 / 3, 1], [0, 1 / 3]], rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_closed_form_equals_tape(compiled):
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(3, 5, 7, 16)), tf.float32)
    kernel, bias = tf.constant(rng.normal(size=(16, 6)), tf.float32), tf.constant(rng.normal(size=6), tf.float32)
    image_label = tf.constant(rng.integers(0, 2, (3, 6)), tf.float32)
    by_tape = GradCAM(lambda x: tf.reduce_mean(x, (1, 2)) @ kernel + bias)
    closed = lambda: pooled_linear_cam(features, kernel, image_label)
    tape = lambda: by_tape(features, image_label)
    if compiled:
        closed, tape = tf.function(closed), tf.function(tape)
    np.testing.assert_allclose(closed(), tape(), rtol=1e-5, atol=1e-6)


def test_tape_cam_of_a_head_that_is_not_linear():
    """For s = mean(A)^2 the weight is 2 mean(A) / (h w): twice the mean is divided out, its sign is not."""
    head = lambda x: tf.reduce_mean(x, (1, 2)) ** 2
    features = tf.constant([[[[-1.0], [-3.0]]]])
    np.testing.assert_allclose(GradCAM(head)(features, tf.ones([1, 1]))[0, 0, :, 0], [1 / 3, 1], rtol=1e-6)


def test_closed_form_does_not_loop_over_classes():
    def operations(num_classes):
        graph = tf.function(pooled_linear_cam).get_concrete_function(
            tf.TensorSpec([2, 9, 9, 32]), tf.TensorSpec([32, num_classes]), tf.TensorSpec([2, num_classes])
        )
        return len(graph.graph.get_operations())

    assert operations(80) == operations(4)


def test_cam_without_the_class_or_without_activation_is_zero():
    features, kernel = hand_cam_inputs()
    assert not np.any(pooled_linear_cam(features, kernel, tf.zeros([1, 1])))
    assert not np.any(pooled_linear_cam(features, -tf.ones([2, 1]), tf.ones([1, 1])))


# Self-attention Grad-CAM


@pytest.fixture(scope="module")
def sgc_golden(goldens):
    return dict(np.load(goldens / "sgc_unit.npz"))


def golden_sgc(golden, **kwargs):
    layer = SelfAttentionGradCAM(6, attention_dim=8, uniform_masked_queries=True, **kwargs)
    cam = pooled_linear_cam(golden["f16"], golden["cls_weights"], golden["cls_label"])
    inputs = tf.constant(golden["f16"]), tf.constant(golden["f15"]), cam, tf.constant(golden["valid_mask"])
    layer(*inputs)
    layer.key.kernel.assign(golden["var/hyper_column/key/weights"])
    layer.query.kernel.assign(golden["var/hyper_column/query/weights"])
    layer.projection.kernel.assign(golden["var/pixel_normalization/weights"])
    for name in ("beta", "moving_mean", "moving_variance"):
        getattr(layer.norm, name).assign(golden[f"var/pixel_normalization/BatchNorm/{name}"])
    return layer, inputs


@pytest.fixture
def check(sgc_golden, parity):
    return lambda quantity, actual, key: parity.check("sgc_unit", quantity, actual, sgc_golden[key], 1e-4, name=key)


def test_cam_equals_original(sgc_golden, check):
    _, (_, _, cam, _) = golden_sgc(sgc_golden)
    background = 1 - tf.reduce_max(cam, axis=-1, keepdims=True)
    check("CAM", tf.concat([background, cam], axis=-1), "compute_cam_v2/training_False/cam")


@pytest.mark.parametrize("training", [False, True])
def test_sgc_equals_original(sgc_golden, check, training):
    layer, inputs = golden_sgc(sgc_golden)
    prefix = f"compute_cam_v2/training_{training}/"
    last, previous, cam, valid = inputs
    check("attention", layer.attention(last, previous, valid, size=cam.shape[1:3]), prefix + "att_weights")
    score = layer.attended_score(*inputs)
    check("attended score", score, prefix + "att_score_with_bg")
    check("SGC logits", layer.projection(score), prefix + "pixel_normalization_conv")
    check("SGC logits", layer(*inputs, training=training), prefix + "att_logits")
    after = f"{prefix}after_update/pixel_normalization/BatchNorm/"
    for name in ("moving_mean", "moving_variance"):
        before = sgc_golden[f"var/pixel_normalization/BatchNorm/{name}"]
        moved = getattr(layer.norm, name).numpy()
        if training:
            check("moving statistics", moved, after + name)
        else:
            np.testing.assert_array_equal(moved, before)


def test_sgc_gradients_equal_original(sgc_golden, check):
    layer, inputs = golden_sgc(sgc_golden)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(*inputs, training=True) * sgc_golden["grad_probe"])
    variables = {
        "hyper_column/key/weights": layer.key.kernel,
        "hyper_column/query/weights": layer.query.kernel,
        "pixel_normalization/weights": layer.projection.kernel,
        "pixel_normalization/BatchNorm/beta": layer.norm.beta,
    }
    gradients = tape.gradient(loss, [variable.value for variable in variables.values()])
    for name, gradient in zip(variables, gradients, strict=True):
        check("gradients", gradient, f"grad/{name}")


def test_background_without_skip_equals_original_v1(sgc_golden, check):
    layer, inputs = golden_sgc(sgc_golden, background="no_skip")
    score = layer.attended_score(*inputs)
    check("attended score", score, "compute_cam/training_False/att_score_with_bg")
    # That version had a bias instead of the batch norm.
    logits = layer.projection(score) + sgc_golden["var/pixel_normalization/biases"]
    check("SGC logits", logits, "compute_cam/training_False/att_logits")


def two_pixel_score(query, **kwargs):
    """Attended score of two pixels with orthogonal features and cam [[1, 0], [.5, 0]]."""
    layer = SelfAttentionGradCAM(3, attention_dim=2, hypercolumn=False, **kwargs)
    features, valid = tf.constant([[[[1.0, 0.0], [0.0, 1.0]]]]), tf.ones([1, 1, 2, 1])
    cam = tf.constant([[[[1.0, 0.0], [0.5, 0.0]]]])
    layer(features, features, cam, valid)
    layer.query.kernel.assign(query * tf.eye(2)[None, None])
    layer.key.kernel.assign(tf.eye(2)[None, None])
    return layer.attended_score(features, features, cam, valid)[0, 0]


def test_sgc_by_hand():
    np.testing.assert_allclose(two_pixel_score(1e4), [[0, 2, 0], [1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(two_pixel_score(0.0), [[0.25, 1.75, 0], [0.75, 1.25, 0]], atol=1e-6)


def test_background_before_attention_by_hand():
    """The paper's form: background 1 - max cam = [0, .5], propagated like a class."""
    score = two_pixel_score(0.0, background="before")
    np.testing.assert_allclose(score, [[0.25, 1.75, 0], [0.75, 1.25, 0]], atol=1e-6)
    score = two_pixel_score(1e4, background="before")
    np.testing.assert_allclose(score, [[0, 2, 0], [1, 1, 0]], atol=1e-6)


def random_sgc(seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    layer = SelfAttentionGradCAM(4, attention_dim=8, **kwargs)
    normal = lambda *shape: tf.constant(rng.normal(size=shape), tf.float32)
    inputs = [normal(1, 3, 4, 6), normal(1, 3, 4, 5), tf.nn.sigmoid(normal(1, 3, 4, 3)), tf.ones([1, 3, 4, 1])]
    layer(*inputs)
    return layer, inputs


@pytest.mark.parametrize("uniform_masked_queries", [False, True])
def test_masked_pixels_do_not_reach_valid_ones(uniform_masked_queries):
    layer, (last, previous, cam, valid) = random_sgc(uniform_masked_queries=uniform_masked_queries)
    hidden = np.zeros((1, 3, 4, 1), np.float32)
    hidden[0, 0] = 1
    score = lambda cam: layer.attended_score(last, previous, cam, valid * (1 - hidden)).numpy()[:, 1:]
    np.testing.assert_array_equal(score(cam), score(cam * (1 - hidden)))


def test_attention_is_equivariant_to_permuting_pixels():
    layer, inputs = random_sgc()
    order = np.random.default_rng(1).permutation(12)
    permute = lambda x: tf.reshape(tf.gather(tf.reshape(x, [1, 12, -1]), order, axis=1), x.shape)
    assert_close(layer.attended_score(*map(permute, inputs)), permute(layer.attended_score(*inputs)).numpy())


def test_sgc_trains_only_itself():
    layer, (last, previous, cam, valid) = random_sgc()
    with tf.GradientTape() as tape:
        tape.watch([last, previous, cam])
        loss = tf.reduce_sum(layer(last, previous, cam, valid, training=True) ** 3)
    gradients = tape.gradient(loss, [last, previous, cam, *(v.value for v in layer.trainable_variables)])
    assert gradients[:3] == [None, None, None]
    assert len(gradients) == 3 + 4
    assert all(np.any(gradient) for gradient in gradients[3:])


def test_identity_projection_starts_from_the_score():
    layer, inputs = random_sgc(projection_init="identity")
    assert_close(layer(*inputs), layer.attended_score(*inputs).numpy() / np.sqrt(1.001))


def test_sgc_in_half_precision_returns_float32():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = SelfAttentionGradCAM(4, attention_dim=8)
        logits = layer(*(tf.cast(x, tf.bfloat16) for x in random_sgc()[1]))
    finally:
        keras.config.set_dtype_policy(policy)
    assert logits.dtype == tf.float32


# Calibrated fusion

FUSION_GOLDENS = {
    "default": {},
    "no_logit_norm": {"norm_scope": "none"},
    "temperature_1": {"temperature": 1.0},
    "src_att": {"source": "sgc"},
    "hard": {"label": "hard"},
    "threshold_0.4": {"threshold": 0.4},
}


@pytest.mark.parametrize("name", FUSION_GOLDENS)
def test_fusion_equals_original(goldens, parity, name):
    golden = dict(np.load(goldens / "fusion_losses_unit.npz"))
    fusion = CalibratedFusion(**FUSION_GOLDENS[name])
    label, _ = fusion(tf.constant(golden["in/logits_weak"]), tf.constant(golden["in/sgc_logits_weak"]))
    if name == "hard":
        label, key, rule = tf.reshape(tf.argmax(label, -1), [-1]), "pseudo_label_flat", (0, "different")
    elif name == "temperature_1":
        label, key, rule = tf.reduce_max(label, -1), "max_prob_avg", (1e-4,)
    else:
        key, rule = "pseudo_label", (1e-4,)
    parity.check("fusion_losses_unit", "pseudo label", label, golden[f"{name}/{key}"], *rule, name=name)


P, M = tf.constant([[[[2.0, 0.0]]]]), tf.constant([[[[0.0, 1.0]]]])


@pytest.mark.parametrize("scope", ["batch", "image", "pixel"])
def test_fusion_by_hand(scope):
    fuse = lambda **kwargs: CalibratedFusion(norm_scope=scope, **kwargs)(P, M)[0][0, 0, 0]
    np.testing.assert_allclose(fuse(temperature=1.0), [0.573492, 0.426508], atol=1e-6)
    np.testing.assert_allclose(fuse(), [0.643875, 0.356125], atol=1e-6)
    np.testing.assert_allclose(fuse(norm_reduce="sum"), [0.598841, 0.401159], atol=1e-6)
    np.testing.assert_allclose(fuse(source="decoder", temperature=1.0), [0.880797, 0.119203], atol=1e-6)
    np.testing.assert_allclose(fuse(source="sgc", temperature=1.0), [0.268941, 0.731059], atol=1e-6)


def test_fusion_invariances():
    rng = np.random.default_rng(0)
    p, m = (tf.constant(rng.normal(size=(2, 3, 4, 5)), tf.float32) for _ in range(2))
    fuse = lambda p, m, **kwargs: CalibratedFusion(**kwargs)(p, m)[0].numpy()
    label = fuse(p, m)
    np.testing.assert_allclose(fuse(7 * p, 7 * m), label, rtol=1e-4)
    np.testing.assert_allclose(fuse(tf.tile(p, [2, 1, 1, 1]), tf.tile(m, [2, 1, 1, 1]))[:2], label, rtol=1e-4)
    np.testing.assert_allclose(fuse(m, p, gamma=0.3), fuse(p, m, gamma=0.7), rtol=1e-4)
    np.testing.assert_allclose(fuse(p[..., ::-1], m[..., ::-1]), label[..., ::-1], rtol=1e-4)
    np.testing.assert_allclose(label.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(fuse(0 * p + 3, 0 * m - 1), 0.2, rtol=1e-5)
    alone = fuse(p[:1], m[:1], norm_scope="image")
    np.testing.assert_allclose(fuse(p, m, norm_scope="image")[:1], alone, rtol=1e-4)
    assert np.abs(fuse(p, m)[:1] - fuse(p[:1], m[:1])).max() > 1e-3  # batch scope does depend on the batch
    assert np.abs(fuse(p + 5, m) - label).max() > 1e-2  # a constant added to the logits changes the norm


def test_sharpen_by_hand():
    probabilities = tf.constant([0.6, 0.4])
    np.testing.assert_array_equal(sharpen(probabilities, 1.0), probabilities)
    np.testing.assert_allclose(sharpen(probabilities, 0.1)[0], 0.982954, atol=1e-6)
    np.testing.assert_allclose(sharpen(probabilities, 0.01), [1, 0], atol=1e-6)
    np.testing.assert_allclose(sharpen(probabilities, 1e6), [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(sharpen(tf.constant([0.4, 0.4, 0.2]), 0.01), [0.5, 0.5, 0], atol=1e-6)


def test_hard_labels_are_not_sharpened_before_the_threshold():
    """As in the original: 0.6 stays below 0.65, though T = .5 would make it 0.69."""
    logits = tf.math.log(tf.constant([[[[0.6, 0.4]]]]))
    confident = lambda label: CalibratedFusion(source="decoder", label=label, threshold=0.65)(logits, logits)[1]
    assert confident("hard") == 0 and confident("soft") == 1


def test_confident_pixels():
    _, confident = CalibratedFusion(threshold=0.7)(tf.constant([[[[9.0, 0.0], [0.1, 0.0]]]]), tf.zeros([1, 1, 2, 2]))
    np.testing.assert_array_equal(confident[0, 0, :, 0], [1, 0])


@pytest.mark.parametrize("wrong", [{"gamma": 2.0}, {"temperature": 0.0}, {"norm_scope": "world"}, {"label": "mushy"}])
def test_wrong_fusion_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CalibratedFusion(**wrong)
