"""The original's tensors by `wss.parity.golden_tensors` against its goldens, with the tolerances of their measured noise."""

import json
from pathlib import Path

import gin
import numpy as np
import pytest

from wss.errors import UserError
from wss.models.backbones.registry import backbone_spec
from wss.models.tf1_names import only_classifies, tf1_shapes
from wss.parity import OriginalFlags, golden_tensors, original
from wss.parity.original import _crops

SMALL_GOLDENS = Path(__file__).parents[1] / "goldens"
BACKBONES = [
    "xception_65_65x97",
    pytest.param("xception_65_129x129", marks=pytest.mark.slow),
    "resnet_v1_50_97x97",
    "resnet_v1_50_beta_97x97",
    pytest.param("resnet_v1_101_65x65", marks=pytest.mark.slow),
    "mobilenet_v2_97x97",
    "mobilenet_v2_decoder_97x97",
]
STEPS = {
    "xception_65_65x97": {},
    "xception_65_129x129": {},
    "xception_65_65x97_weakly": {"weakly": True},
    "xception_65_65x97_frozenbn": {"fine_tune_batch_norm": False},
}
INPUTS = ("input", "cls_label", "valid_mask", "dropout_mask", "keep_prob")


@pytest.fixture(autouse=True, scope="module")
def built_once():
    """A network that two in a row ask for is built once; `golden_tensors` sets all variables that it reads."""
    build, built = original.build_original, {}

    def once(backbone, num_classes=21, flags=None):
        key = backbone, num_classes, repr(flags or OriginalFlags())
        if key not in built:
            built.clear()
            built[key] = build(backbone, num_classes, flags)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original, "build_original", once)
        yield


def weights_of(goldens, make_weight, variables):
    listed = json.loads((goldens / variables).read_text())
    listed = listed["variables"] if isinstance(listed, dict) else listed
    return {variable["name"]: make_weight(variable["name"], variable["shape"]) for variable in listed}


def compare(parity, golden, actual, expected, rules):
    """Checks all tensors of a golden but its inputs. `rules`: name -> [(quantity, tolerance, measure)]."""
    for name in expected.files:
        if name in INPUTS or name.startswith(("seg/", "unl/", "grad_norm")):
            continue
        for quantity, *rule in rules(name):
            parity.check(golden, quantity, actual[name], expected[name], *rule, name=name)


@pytest.mark.parametrize("golden", BACKBONES)
def test_inference(goldens, make_weight, parity, golden):
    """Every end point, ASPP, decoder, logits and prediction."""
    variant = golden.rsplit("_", 1)[0]
    backbone = variant.removesuffix("_decoder")
    plain = {"atrous_rates": None, "decoder_output_stride": None} if variant == "mobilenet_v2" else {}
    flags = OriginalFlags(**plain)
    weights = weights_of(goldens, make_weight, f"variables_{variant}.json")
    expected = np.load(goldens / f"backbone_{golden}.npz")

    def rules(name):
        if name == "prediction":
            return [("prediction", 1e-3, "different")]
        return [("end points" if name.startswith("end_point:") else "image, ASPP, decoder, logits", 1e-4, "max")]

    actual = golden_tensors(backbone, weights, expected, flags=flags)
    compare(parity, f"backbone_{golden}", actual, expected, rules)
    model = original.build_original(backbone, flags=flags)
    shapes = tf1_shapes(model.backbone) | tf1_shapes(model.segmentation_head)
    known = {name: value.shape for name, value in weights.items() if name != "global_step"}
    assert {name: shape for name, shape in shapes.items() if not only_classifies(name)} == known


@pytest.mark.slow
def test_classification_branch(goldens, make_weight, parity):
    """CAM and SGC of a real backbone, in inference and in training mode."""
    expected = np.load(goldens / "sgc_xception_65_129x129.npz")
    weights = weights_of(goldens, make_weight, "variables_cls_sgc_xception_65.json")

    def rules(name):
        if name.endswith("/predicted_label"):
            return [("predicted image label", 0, "different")]
        if name.startswith("net_training_True"):
            return [("end points, classifier, CAM, SGC, training batch norm", 5e-3, "L2")]
        return [("end points, classifier, CAM, SGC, inference", 1e-4, "max")]

    actual = golden_tensors("xception_65", weights, expected)
    compare(parity, "sgc_xception_65_129x129", actual, expected, rules)


def test_cam_with_dropout(goldens, make_weight, parity):
    """Needs `GradCAM(average_over_batch=True)`: the original averages Grad-CAM's weights over batch and height."""
    golden = "cam_dropout_xception_65_65x97"
    expected = np.load(goldens / f"{golden}.npz")
    weights = weights_of(goldens, make_weight, "variables_cls_sgc_xception_65.json")
    rules = lambda name: [("Grad-CAM with dropout, training batch norm", 5e-3, "L2")]
    compare(parity, golden, golden_tensors("xception_65", weights, expected), expected, rules)


@pytest.mark.slow
@pytest.mark.parametrize("golden", STEPS)
def test_training_step(goldens, make_weight, parity, golden):
    """One step by PseudoSeg.losses, TrainStep and Momentum.

    Needs `uniform_masked_queries`: in the original a masked pixel attends to every pixel alike. Batch norms whose input
    noise is amplified (one pooled pixel per image) make logits and gradients of training noisy: see the tolerances.
    """
    expected = np.load(goldens / f"step_{golden}.npz")
    described = json.loads((goldens / f"step_{golden}.json").read_text())
    flags = OriginalFlags(**described["flags"], **STEPS[golden])
    frozen = not flags.fine_tune_batch_norm
    weights = weights_of(goldens, make_weight, f"step_{golden}.json")
    actual = golden_tensors("xception_65", weights, expected, flags=flags)
    compare(parity, f"step_{golden}", actual, expected, lambda name: step_rules(name, frozen))
    check_gradient_norms(parity, f"step_{golden}", actual, expected, frozen)


HEADS = ("logits/semantic/", "hyper_column/", "pixel_normalization/", "xception_65/logits/")


def step_rules(name, frozen):
    """[(quantity, tolerance, measure)] of a tensor of a step."""
    if name == "valid_mask":
        return [("valid mask", 0, "different")]
    if "loss" in name or name == "learning_rate_step0":
        return [("losses, weight decay, learning rate", 1e-4, "max")]
    if name in ("cam_weak", "att_logits_weak"):
        return [("CAM and SGC of the weak view", 1e-4, "max")]
    if name.startswith("grad/"):
        if frozen:
            return [("gradients", 1e-2, "L2")]
        if name.removeprefix("grad/").startswith(HEADS):
            return [("gradients of the last layers and SGC", 5e-3, "L2")]
        return [("deep gradients", 0.2, "L2"), ("deep gradients", 0.02, "1 - cosine")]
    if name.startswith("bn_batch_"):
        return [("batch statistics", 5e-3, "L2")]
    if name.startswith("after_step_racy/"):
        return [("moving statistics, every pass counted", 1e-3, "L2")]
    if name.startswith("after_step/"):
        return [("variables after the step", 1e-3, "L2")]
    return [("logits, pseudo label", *((1e-4, "max") if frozen else (5e-3, "L2")))]


def check_gradient_norms(parity, golden, actual, expected, frozen):
    """Some true gradients are 0, above all of a shift before a 1x1 convolution with batch norm: near 0 in both is equal."""
    norms = dict(zip(actual["grad_norm_names"], actual["grad_norms"], strict=True))
    theirs = dict(zip(expected["grad_norm_names"], expected["grad_norms"], strict=True))
    assert norms.keys() == theirs.keys()
    floor = 1e-5 * max(theirs.values())
    for name, norm in theirs.items():
        if norm < floor:
            assert norms[name] < floor, name
            continue
        head = name.startswith(HEADS)
        quantity = "norms of all gradients" if frozen or not head else "gradient norms of the last layers and SGC"
        tolerance = 1e-2 if frozen else (5e-3 if head else 0.2)
        parity.check(golden, quantity, norms[name], norm, tolerance, name=name)


@pytest.mark.slow
@pytest.mark.parametrize("weakly", [False, True])
def test_other_settings_run(make_weight, weakly):
    """Another backbone, batch, crop and number of classes, and flags that no golden has; values by what they must obey."""
    rng = np.random.default_rng(0)
    flags = OriginalFlags(
        weakly=weakly, multi_grid=(1, 2, 4), att_strides=("16",), attention_dim=16, unlabeled_weight=0.5, momentum=0.8
    )
    batch, height, width, classes = 3, 49, 33, 5
    images = lambda: rng.integers(0, 256, (batch, height, width, 3)).astype(np.float32)
    label = rng.integers(0, classes, (batch, height, width, 1))
    ones = np.ones((batch, height, width, 1), np.uint8)
    image_label = rng.integers(0, 2, (batch, classes - 1)).astype(np.float32)
    inputs = {"seg/image": images(), "seg/label": label, "seg/valid": ones, "seg/cls_label": image_label}
    inputs |= {"unl/image": images(), "unl/strong": images(), "unl/label": label, "unl/valid": ones}
    inputs["unl/cls_label"] = image_label
    shapes = tf1_shapes(original.build_original("resnet_v1_50_beta", classes, flags))
    weights = {name: make_weight(name, shape) for name, shape in shapes.items()}
    tensors = golden_tensors("resnet_v1_50_beta", weights, inputs, classes, flags)
    strong = tensors["logits_strong"]
    assert strong.shape == (batch, 13, 9, classes)
    log_probability = strong - strong.max(-1, keepdims=True)
    log_probability -= np.log(np.exp(log_probability).sum(-1, keepdims=True))
    cross_entropy = -(tensors["merged_logits"] * log_probability).sum(-1).mean()
    np.testing.assert_allclose(tensors["loss_consistency"], 0.5 * cross_entropy, rtol=1e-4)
    parts = [value for name, value in tensors.items() if name.startswith("loss_collection/")]
    np.testing.assert_allclose(tensors["total_loss"], sum(parts) + tensors["regularization_loss"], rtol=1e-5)
    scope = backbone_spec("resnet_v1_50_beta").scope
    labelled = f"{scope}_1" if weakly else scope
    assert f"bn_batch_mean/{labelled}/conv1_1/BatchNorm/FusedBatchNormV3" in tensors
    name = f"{scope}/logits/biases"
    np.testing.assert_allclose(
        tensors[f"after_step/{name}"], weights[name] - 0.007 * tensors[f"grad/{name}"], rtol=1e-5
    )


def test_what_is_missing_is_said(make_weight):
    shapes = tf1_shapes(original.build_original("mobilenet_v2"))
    weights = {name: make_weight(name, shape) for name, shape in shapes.items()}
    image = {"input": np.zeros((1, 33, 33, 3), np.uint8)}
    with pytest.raises(UserError, match="expected 'input' or 'seg/image'"):
        golden_tensors("mobilenet_v2", weights, {"image": image["input"]})
    del weights["decoder/feature_projection0/weights"]
    with pytest.raises(UserError, match="no value for decoder/feature_projection0/weights"):
        golden_tensors("mobilenet_v2", weights, image)
    with pytest.raises(UserError, match="'cls_label' without 'valid_mask'"):
        golden_tensors("mobilenet_v2", weights, {**image, "cls_label": np.zeros((1, 20))})
    with pytest.raises(UserError, match="att_strides"):
        OriginalFlags(att_strides=("8",))


def test_flags_are_the_originals():
    """Atrous rates are those of the network as it is; gin bindings of the caller's do not reach the original."""
    gin.bind_parameter("build_model.head_depth", 64)
    flags = OriginalFlags(output_stride=8, atrous_rates=(5, 24), decoder_output_stride=[4], att_strides="16,15")
    assert flags == OriginalFlags(output_stride=8, atrous_rates=(5, 24), decoder_output_stride=[4])
    head = original.build_original("mobilenet_v2", flags=flags).segmentation_head
    assert [head.get_layer(f"aspp{number}_depthwise").dilation_rate for number in (1, 2)] == [(5, 5), (24, 24)]
    assert head.get_layer("concat_projection").filters == 256


def test_parts_of_tensors():
    whole = {"logits": np.arange(24).reshape(2, 3, 4)}
    crops = _crops(whole, ["logits@[:, :2, 1]", "logits@[0,1:3,:]", "other@[0]", "logits"])
    assert crops.keys() == {"logits@[:, :2, 1]", "logits@[0,1:3,:]"}
    np.testing.assert_array_equal(crops["logits@[:, :2, 1]"], whole["logits"][:, :2, 1])
    np.testing.assert_array_equal(crops["logits@[0,1:3,:]"], whole["logits"][0, 1:3])


def test_small_goldens_are_those_of_the_full_set(shared):
    """What holds beside the tests without the shared folder is part of what holds with it."""
    # Not of the original: DINOv2's, see make_dinov2.py.
    for small in set(SMALL_GOLDENS.glob("*.npz")) - {SMALL_GOLDENS / "dinov2_tiny.npz"}:
        tensors, full = np.load(small), np.load(shared / "goldens" / small.name)
        for name in tensors.files:
            np.testing.assert_array_equal(tensors[name], full[name], err_msg=f"{small.name} {name}")
    assert sum(file.stat().st_size for file in SMALL_GOLDENS.rglob("*")) < 5e6
