"""The methods on a tiny network: routing of gradients, and one step eagerly, compiled and on two replicas."""

import dataclasses

import networks
import numpy as np
import pytest
import tensorflow as tf
from networks import random_batch

from wss.methods.dars.self_training import SelfTraining
from wss.methods.pseudoseg.pseudo_label import pseudo_label_quality
from wss.methods.pseudoseg.pseudoseg import STATISTICS, PseudoSeg
from wss.methods.supervised import Supervised
from wss.models.layers.normalization import BatchNorm
from wss.models.tf1_names import tf1_shapes

CLASSES = 4


def tiny_model(**options):
    return networks.tiny_model(CLASSES, dropout=0.0, **options)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def weak_features(model, unlabeled):
    return {name: model.features(unlabeled["weak"], training=name == "batch") for name in STATISTICS}


PARTS = {
    "backbone": lambda model: model.backbone.trainable_variables,
    "decoder": lambda model: model.segmentation_head.trainable_variables,
    "classifier": lambda model: model.branches.classifier.trainable_variables,
    "sgc": lambda model: model.branches.sgc.trainable_variables,
}
ROUTES = {  # Figure 7 of the paper: which part each loss trains
    "segmentation": {"backbone", "decoder"},
    "consistency": {"backbone", "decoder"},
    "classification": {"backbone", "classifier"},
    "sgc": {"sgc"},
}


def parts_with_gradient(model, gradients_of):
    trained = set()
    for name, variables in PARTS.items():
        gradients = [g for g in gradients_of([v.value for v in variables(model)]) if g is not None]
        if any(np.any(gradient) for gradient in gradients):
            trained.add(name)
    return trained


@pytest.mark.parametrize("use_image_labels", [False, True])
def test_each_loss_trains_its_parts_only(model, use_image_labels):
    method = PseudoSeg(use_image_labels=use_image_labels)
    with tf.GradientTape(persistent=True) as tape:
        losses = method.losses(model, random_batch(), tf.constant(0, tf.int64)).losses
    assert losses.keys() == ROUTES.keys()
    for name, loss in losses.items():
        assert parts_with_gradient(model, lambda v, loss=loss: tape.gradient(loss, v)) == ROUTES[name], name


def test_joining_labelled_and_strong_changes_batch_norm_only():
    """With frozen statistics one batch of both gives the losses of two passes; with batch statistics it does not."""
    step = tf.constant(0, tf.int64)
    for fine_tune in (False, True):
        model = tiny_model(fine_tune_batch_norm=fine_tune)
        apart, joined = (
            PseudoSeg(join_strong=join).losses(model, random_batch(), step).losses for join in (False, True)
        )
        for name in ("segmentation", "consistency", "classification"):
            assert np.isclose(apart[name], joined[name], rtol=1e-5) == (not fine_tune), name


@pytest.mark.parametrize("join_strong", [False, True])
def test_the_labelled_pass_moves_the_statistics_of_backbone_and_decoder(join_strong):
    model = tiny_model()
    method = PseudoSeg(join_strong=join_strong, batch_norm_views=("labeled",))
    method.losses(model, random_batch(), tf.constant(0, tf.int64))
    for part in (model.backbone, model.segmentation_head):
        variances = [variable for variable in part.variables if variable.path.endswith("moving_variance")]
        assert variances
        assert not [variable.path for variable in variances if np.all(variable.numpy() == 1.0)]


def test_no_gradient_into_the_weak_view(model):
    batch = random_batch()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([batch["unlabeled"]["weak"], batch["unlabeled"]["strong"]])
        losses = PseudoSeg().losses(model, batch, tf.constant(0, tf.int64)).losses
    assert tape.gradient(losses["consistency"], batch["unlabeled"]["weak"]) is None
    assert np.any(tape.gradient(losses["consistency"], batch["unlabeled"]["strong"]))


def test_image_labels_train_the_classifier_on_the_weak_view(model):
    batch = random_batch()
    views = [batch["unlabeled"]["weak"], batch["labeled"]["image"]]
    for use_image_labels, trained in ((True, 0), (False, 1)):
        with tf.GradientTape() as tape:
            tape.watch(views)
            losses = PseudoSeg(use_image_labels=use_image_labels).losses(model, batch, tf.constant(0, tf.int64)).losses
        gradients = tape.gradient(losses["classification"], views)
        assert np.any(gradients[trained])
        assert gradients[1 - trained] is None


def test_image_labels_gate_the_cam(model):
    batch = random_batch()
    pseudo = PseudoSeg(use_image_labels=True).pseudo_label(
        model, weak_features(model, batch["unlabeled"]), batch["unlabeled"]
    )
    np.testing.assert_array_equal(pseudo.image_label, batch["unlabeled"]["image_label"])
    absent = pseudo.cam * (1 - batch["unlabeled"]["image_label"][:, None, None])
    assert not np.any(absent)


def test_unknown_image_labels_fall_back_to_the_classifier(model):
    unlabeled = random_batch()["unlabeled"]
    unlabeled["image_label_known"] = tf.constant([1.0, 0.0])
    weak = weak_features(model, unlabeled)
    gate = lambda method: method.pseudo_label(model, weak, unlabeled).image_label.numpy()
    known, predicted = gate(PseudoSeg(use_image_labels=True)), gate(PseudoSeg())
    np.testing.assert_array_equal(known[0], unlabeled["image_label"][0])
    np.testing.assert_array_equal(known[1], predicted[1])


@pytest.mark.parametrize("cam_statistics", STATISTICS)
@pytest.mark.parametrize("decoder_statistics", STATISTICS)
def test_each_part_of_the_pseudo_label_has_its_statistics(model, cam_statistics, decoder_statistics):
    unlabeled = random_batch()["unlabeled"]
    weak = weak_features(model, unlabeled)
    chosen = {"cam_statistics": cam_statistics, "decoder_statistics": decoder_statistics}
    pseudo = PseudoSeg(class_threshold=0.0, **chosen).pseudo_label(model, weak, unlabeled)
    gate = tf.ones([2, CLASSES - 1])
    np.testing.assert_allclose(pseudo.cam, model.branches.cam(weak[cam_statistics], gate), atol=1e-5)
    decoder = model.segment(weak[decoder_statistics], training=decoder_statistics == "batch")
    np.testing.assert_allclose(pseudo.decoder, decoder, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "weak_passes"),
    [
        ({}, [False, True]),
        ({"decoder_statistics": "moving"}, [False]),
        ({"cam_statistics": "batch"}, [True]),
        ({"decoder_statistics": "moving", "use_image_labels": True}, [False, True]),  # the classifier learns from it
    ],
)
def test_only_the_passes_that_are_asked_for(settings, weak_passes, monkeypatch):
    model, batch = tiny_model(), random_batch()
    passes = []
    features = model.features

    def counted(images, training=False):
        if images is batch["unlabeled"]["weak"]:
            passes.append(training)
        return features(images, training=training)

    monkeypatch.setattr(model, "features", counted)
    losses = PseudoSeg(**settings).losses(model, batch, tf.constant(0, tf.int64)).losses
    assert passes == weak_passes
    assert all(np.isfinite(loss) for loss in losses.values())


def test_a_hidden_hole_changes_attention_only_if_asked(model):
    unlabeled = random_batch()["unlabeled"]
    whole = {**unlabeled, "valid": unlabeled["not_padding"]}
    weak = weak_features(model, unlabeled)
    sgc = lambda method, stream: method.pseudo_label(model, weak, stream).sgc.numpy()
    cam_everywhere = {"class_threshold": 0.0}
    separate = PseudoSeg(hole_in_attention=False, **cam_everywhere)
    np.testing.assert_array_equal(sgc(separate, unlabeled), sgc(separate, whole))
    together = PseudoSeg(hole_in_attention=True, **cam_everywhere)
    assert np.any(sgc(together, unlabeled) != sgc(together, whole))


def test_only_named_views_move_batch_norm():
    def moved(views):
        model = tiny_model()
        before = [[v.numpy() for v in part.non_trainable_variables] for part in (model.backbone, model.branches.sgc)]
        PseudoSeg(batch_norm_views=views).losses(model, random_batch(), tf.constant(0, tf.int64))
        after = [[v.numpy() for v in part.non_trainable_variables] for part in (model.backbone, model.branches.sgc)]
        return [any(np.any(x != y) for x, y in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)]

    assert moved(()) == [False, False]
    assert moved(("strong",)) == [True, False]
    assert moved(("weak",)) == moved(("labeled",)) == [True, True]


def test_training_figures_move_no_statistics():
    """Only one host draws them."""
    model = tiny_model()
    before = [variable.numpy() for variable in model.variables]
    PseudoSeg().training_figures(model, random_batch())
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, variable.path)


def test_one_momentum_for_all_batch_norms():
    model = tiny_model(batch_norm_momentum=0.5)
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, BatchNorm)]
    assert model.branches.sgc.norm in layers and {layer.momentum for layer in layers} == {0.5}


@pytest.mark.parametrize("method", [Supervised(), SelfTraining()])
def test_a_network_without_pseudoseg_has_neither_classifier_nor_sgc(method):
    network = networks.build_network(
        networks.dataset_of(CLASSES), method, backbone="mobilenet_v2", depth_multiplier=0.25
    )
    assert network.branches is None and network.state is None
    scopes = {name.split("/")[0] for name in tf1_shapes(network)}
    assert not scopes & {"hyper_column", "pixel_normalization"} and "logits" in scopes
    assert "MobilenetV2/logits/weights" not in tf1_shapes(network)


def test_supervised_reads_the_labelled_stream_only(model):
    losses = Supervised().losses(model, {"labeled": random_batch()["labeled"]}, tf.constant(0, tf.int64)).losses
    assert losses.keys() == {"segmentation"}


def test_quality_of_a_perfect_pseudo_label(model):
    """Accuracy and ECE of the fused label against a held mask that agrees with it everywhere."""
    unlabeled = random_batch()["unlabeled"]
    method = PseudoSeg(source="decoder", label="hard")
    pseudo = method.pseudo_label(model, weak_features(model, unlabeled), unlabeled)
    held = tf.cast(tf.argmax(pseudo.probabilities, -1)[..., None], tf.int32)
    valid = tf.ones_like(held, tf.float32)
    metrics = pseudo_label_quality(pseudo, {**unlabeled, "label": held}, valid)
    assert metrics["fusion/accuracy"] == 1 and metrics["decoder/accuracy"] == 1
    np.testing.assert_allclose(metrics["fusion/ece"], 0, atol=1e-6)
    np.testing.assert_allclose(metrics["fusion/max_probability"], 1, atol=1e-6)
    assert metrics["mask_ratio"] == 1 and metrics["known/masks"] == 1


def test_quality_says_what_it_did_not_know(model):
    """No image has a mask, and of one the classes are known: it shows one, and no prediction passes."""
    unlabeled = random_batch()["unlabeled"]
    pseudo = PseudoSeg().pseudo_label(model, weak_features(model, unlabeled), unlabeled)
    pseudo = dataclasses.replace(pseudo, image_label=tf.constant([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    held = {
        **unlabeled,
        "label": tf.fill(unlabeled["label"].shape, 255),
        "image_label": tf.constant([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
        "image_label_known": tf.constant([1.0, 0.0]),
    }
    metrics = pseudo_label_quality(pseudo, held, tf.ones([2, *pseudo.decoder.shape[1:3], 1]))
    known = {name: float(metrics[f"known/{name}"]) for name in ("masks", "classes", "predictions")}
    assert known == {"masks": 0, "classes": 1, "predictions": 0}
    for name, when in PseudoSeg.known_when.items():
        assert metrics[name] == 0 and when in metrics


def test_quality_of_a_gate_by_hand(model):
    """Two of the three classes that are present pass, and one that is not; then the second image's labels are not known."""
    unlabeled = random_batch()["unlabeled"]
    pseudo = PseudoSeg().pseudo_label(model, weak_features(model, unlabeled), unlabeled)
    pseudo = dataclasses.replace(pseudo, image_label=tf.constant([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    valid = tf.ones([2, *pseudo.decoder.shape[1:3], 1])
    for known, share in (((1.0, 1.0), 2 / 3), ((1.0, 0.0), 1 / 2)):
        held = {**unlabeled, "image_label_known": tf.constant(known)}
        metrics = pseudo_label_quality(pseudo, held, valid)
        found = [metrics[f"gate/{name}"] for name in ("classes", "recall", "precision")]
        np.testing.assert_allclose(found, [1.5, share, share], rtol=1e-6)


METHODS = [Supervised(), PseudoSeg(), PseudoSeg(use_image_labels=True)]


@pytest.mark.parametrize("method", METHODS)
def test_step_is_the_same_eagerly_compiled_and_on_two_replicas(method, two_replicas):
    assert_same_eagerly_compiled_and_on_two_replicas(method, networks.small_model, two_replicas)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_step_of_mobilenet_is_the_same_eagerly_compiled_and_on_two_replicas(method, two_replicas):
    assert_same_eagerly_compiled_and_on_two_replicas(method, tiny_model, two_replicas)


def assert_same_eagerly_compiled_and_on_two_replicas(method, build, two_replicas):
    def eager():
        return method.losses(build(), random_batch(), tf.constant(0, tf.int64)).losses

    def compiled():
        model = build()
        return tf.function(lambda batch: method.losses(model, batch, tf.constant(0, tf.int64)).losses)(random_batch())

    def mirrored():
        with two_replicas.scope():
            model = build()
        losses_of = lambda batch: method.losses(model, batch, tf.constant(0, tf.int64)).losses
        run = tf.function(lambda batch: two_replicas.run(losses_of, (batch,)))
        losses = run(random_batch())  # both replicas get the whole batch, so both must agree with one device
        return {name: two_replicas.experimental_local_results(loss) for name, loss in losses.items()}

    reference, graph, replicas = eager(), compiled(), mirrored()
    for name, value in reference.items():
        np.testing.assert_allclose(graph[name], value, rtol=1e-4)
        assert len(replicas[name]) == 2
        np.testing.assert_allclose(replicas[name], [value, value], rtol=1e-4)
