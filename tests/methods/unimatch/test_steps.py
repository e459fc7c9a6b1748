"""Steps of FixMatch, UniMatch and UniMatch V2: totals by hand, identities, modes of batch norm, replicas, a resumed run."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from networks import network_of, random_batch, take_steps, train_step
from stopped_runs import run_training

from wss import experiment
from wss.errors import UserError
from wss.methods.supervised import Supervised
from wss.methods.unimatch import consistency
from wss.methods.unimatch.consistency import PARTNERS, SAME_IMAGE, ConsistencyMethod
from wss.methods.unimatch.fixmatch import FixMatch
from wss.methods.unimatch.unimatch import UniMatch
from wss.methods.unimatch.unimatch_v2 import UniMatchV2
from wss.models.layers.dropout import dropout_seed
from wss.models.layers.normalization import BatchNorm

SEED = tf.constant([1, 2], tf.int64)
SURE = {"threshold": 0.0}  # so that untrained networks teach
METHODS = {
    "FixMatch": FixMatch,
    "FixMatch V2": functools.partial(FixMatch, teacher_decay=0.996),
    "UniMatch": UniMatch,
    "UniMatch by a teacher": functools.partial(UniMatch, teacher_decay=0.996),
    "UniMatch V2": UniMatchV2,
}
OF_V1 = ("UniMatch", "UniMatch by a teacher")
every_method = pytest.mark.parametrize("name", METHODS)


def losses_of(method, network, batch, step: int = 9):
    with dropout_seed(SEED):
        return method.losses(network, batch, tf.constant(step, tf.int64))


@pytest.mark.parametrize(
    ("method", "expected"),
    [(UniMatch(), 0.7), (UniMatchV2(), 0.8), (FixMatch(), 0.7)],
    ids=lambda value: str(value)[:8],
)
def test_totals_by_hand(method, expected, monkeypatch):
    """L_x = 1, L_s1 = .4, L_s2 = .8, L_fp = .2, of the spec."""
    values = iter([0.4, 0.8, 0.2] if method.number_of_views == 2 else [0.4])
    monkeypatch.setattr(ConsistencyMethod, "labeled_loss", lambda *_: tf.constant(1.0))
    monkeypatch.setattr(consistency.PseudoLabel, "loss", lambda *_: tf.constant(next(values)))
    total = sum(losses_of(method, network_of(method), random_batch()).losses.values())
    np.testing.assert_allclose(total, expected, rtol=1e-6)


@every_method
def test_without_confident_pixels_it_is_half_of_the_supervised_step(name):
    """Over steps with momentum: half the loss is half the rate."""
    batch, results = random_batch(), []
    options = {} if "V2" in name else {"join": False}
    # Dropped channels of labelled images count in the decoder's statistics.
    options |= {"channel_dropout": 0.0} if name in OF_V1 else {}
    quiet = METHODS[name](threshold=1.1, strong_statistics=False, **options)
    for method, factor in ((Supervised(), 0.5), (quiet, 1.0)):
        step = train_step(method, build=functools.partial(network_of, method), weight_decay=0.0)
        step.optimizer.learning_rate = 0.01 * factor
        take_steps(step, batch if method is quiet else {"labeled": batch["labeled"]}, 3)
        results.append([np.array(variable) for variable in step.model.trainable_variables])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_equal_views_without_perturbation_are_fixmatch():
    batch = random_batch()
    unlabeled = {**batch["unlabeled"], "strong_2": batch["unlabeled"]["strong"], "valid": batch["unlabeled"]["valid_2"]}
    options = {**SURE, "cut_mix_probability": 0.0}
    v2 = UniMatchV2(complementary_dropout=False, **options)
    one = FixMatch(teacher_decay=0.996, **options)
    batch = {**batch, "unlabeled": unlabeled}
    results = [losses_of(method, network_of(method), batch).losses for method in (v2, one)]
    for loss in ("segmentation", "consistency"):
        np.testing.assert_allclose(results[0][loss], results[1][loss], rtol=1e-5)
    assert results[0]["consistency"] > 0


@every_method
def test_each_loss_trains_the_student_and_none_the_teacher(name):
    method = METHODS[name](**SURE)
    network, batch = network_of(method), random_batch()
    unlabeled = batch["unlabeled"]
    parts = {
        "backbone": [v.value for v in network.backbone.trainable_variables],
        "head": [v.value for v in network.segmentation_head.trainable_variables],
    }
    teacher = [] if network.state is None else [v for v in network.state.averages if v.dtype == tf.float32]
    with tf.GradientTape(persistent=True) as tape, dropout_seed(SEED):
        tape.watch([unlabeled["weak"], *teacher])
        losses = method.losses(network, batch, tf.constant(9, tf.int64)).losses
        # Batch statistics are common to both, so that only a pass of its own shows that labels have no gradient.
        weak = method.logits_of(network, unlabeled["weak"])
        label = consistency.PseudoLabel.of(weak, unlabeled["valid"])
    for loss, value in losses.items():
        for part, variables in parts.items():
            gradients = tape.gradient(value, variables)
            assert any(g is not None and np.any(g) for g in gradients), (loss, part)
        assert all(g is None for g in tape.gradient(value, teacher)), loss
    assert tape.gradient(label.confidence, unlabeled["weak"]) is None


def test_the_perturbed_features_of_unlabelled_images_alone_are_learnt_from():
    """L_fp is that of the unlabelled half: other labelled images change it by batch statistics alone."""
    method = UniMatch(**SURE, join=False)
    network, batch = network_of(method), random_batch()
    other = {**batch, "labeled": random_batch(seed=5)["labeled"]}
    first, second = (losses_of(method, network, each).losses for each in (batch, other))
    np.testing.assert_array_equal(first["perturbation"], second["perturbation"])
    assert first["segmentation"] != second["segmentation"]


def statistics_after(method) -> list[np.ndarray]:
    network = network_of(method)
    before = moving_statistics(network)
    losses_of(method, network, random_batch())
    return [after - first for after, first in zip(moving_statistics(network), before, strict=True)]


def moving_statistics(network) -> list[np.ndarray]:
    layers = [*network.backbone._flatten_layers(), *network.segmentation_head._flatten_layers()]
    return [np.array(layer.moving_mean) for layer in layers if isinstance(layer, BatchNorm)]


@every_method
def test_which_passes_move_the_statistics(name):
    """With a pass of its own for labelled images, which alone moves them, they are the supervised ones."""
    supervised = statistics_after(Supervised())
    alone = {} if "V2" in name else {"join": False}
    quiet = statistics_after(METHODS[name](strong_statistics=False, **alone))
    if name not in OF_V1:  # whose decoder sees the perturbed features too
        for one, other in zip(supervised, quiet, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    moved = statistics_after(METHODS[name]())
    assert any(np.abs(one - other).max() > 1e-4 for one, other in zip(quiet, moved, strict=True))


@every_method
@pytest.mark.parametrize("partner", PARTNERS)
def test_eager_and_compiled_steps_agree(name, partner):
    method = METHODS[name](**SURE, cut_mix_partner=partner, cut_mix_probability=1.0)
    network, batch = network_of(method), random_batch()
    eager = losses_of(method, network, batch)
    compiled = tf.function(lambda: dict(losses_of(method, network, batch).losses))()
    for loss, value in eager.losses.items():
        np.testing.assert_allclose(compiled[loss], value, rtol=1e-4, err_msg=loss)
    assert 0 <= eager.metrics["pseudo_label/agreement"] <= 1 == eager.metrics["pseudo_label/mask_ratio"]
    assert 0.25 < eager.metrics["pseudo_label/confidence"] < 1


@every_method
def test_two_replicas_take_the_mean_of_their_steps(name, two_replicas):
    """Normalisers, pairs and draws are of a replica; with one batch for both and no draws the step is that of one device."""
    method = METHODS[name](**SURE, cut_mix_probability=0.0)
    if name in OF_V1:
        method = METHODS[name](**SURE, cut_mix_probability=0.0, channel_dropout=0.0)
    elif name == "UniMatch V2":
        method = UniMatchV2(**SURE, cut_mix_probability=0.0, complementary_dropout=False)
    batch = random_batch()
    doubled = tf.nest.map_structure(lambda value: tf.concat([value, value], 0), batch)
    results = []
    for strategy, of_step in ((None, batch), (two_replicas, doubled)):
        step = train_step(method, strategy, build=functools.partial(network_of, method))
        reports = take_steps(step, of_step, 3)
        results.append((reports, [np.array(v) for v in step.model.trainable_variables]))
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    for one, other in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_allclose(one["total"], other["total"], rtol=1e-3)


def test_a_rectangle_of_the_same_image_takes_views_and_labels_of_the_second_draw():
    method = FixMatch(cut_mix_partner=SAME_IMAGE, cut_mix_probability=1.0)
    assert method.streams["unlabeled"].again
    unlabeled = random_batch()["unlabeled"]
    label = consistency.PseudoLabel.of(tf.one_hot(unlabeled["label"][..., 0] % 4, 4), unlabeled["not_padding"])
    others = label._replace(classes=tf.fill(label.classes.shape, 3))
    with dropout_seed(SEED):
        (view,) = method.strong_views(unlabeled, label, others)
    inside = view.mix.inside
    np.testing.assert_array_equal(view.image, tf.where(inside, unlabeled["again/strong"], unlabeled["strong"]))
    np.testing.assert_array_equal(view.label.classes, tf.where(inside, 3, label.classes))
    network = network_of(method)
    found = method.others_of(network, unlabeled)
    expected = consistency.PseudoLabel.of(network(unlabeled["again/weak"]), unlabeled["again/not_padding"])
    np.testing.assert_allclose(found.confidence, expected.confidence, rtol=1e-6)
    assert FixMatch().others_of(network, unlabeled) is None


@every_method
def test_figures_show_both_strong_views_with_their_rectangles(name):
    method = METHODS[name](cut_mix_probability=1.0)
    network, batch = network_of(method), random_batch()
    before = [np.array(variable) for variable in network.variables]
    figures = {figure.title: figure for figure in method.training_figures(network, batch)}
    strong = ["strong 1", "strong 2"][: method.number_of_views]
    assert list(figures) == ["image", "label", "prediction", "confident", *strong]
    assert np.all(figures["confident"].values == 255)  # untrained, it is sure of nothing
    for title in strong:
        white = np.all(np.array(figures[title].values) == 255, axis=-1)
        assert white.any(axis=(1, 2)).all()
    for one, other in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["FixMatch", "UniMatch V2"])
def test_a_single_image_has_no_partner(small_parameters, tmp_path, name):
    method = name.replace(" ", "")
    parameters = [*small_parameters, f"train.method = @{method}()", "TrainingData.unlabeled_batch_size = 1"]
    with pytest.raises(
        UserError, match=f"unlabeled_batch_size = 1: CutMix .* or {method}.cut_mix_partner = 'same_image'"
    ):
        experiment.run([], parameters, tmp_path / "run")
    assert not list(tmp_path.glob("run/*"))


@every_method
def test_a_stopped_run_goes_on_bit_for_bit(name, small_parameters, tmp_path):
    method = {"FixMatch V2": "FixMatch", "UniMatch by a teacher": "UniMatch"}.get(name, name.replace(" ", ""))
    of_method = [f"train.method = @{method}()", f"{method}.threshold = 0.0", "train.num_steps = 6"]
    decay = [] if name in ("FixMatch", "UniMatch") else [f"{method}.teacher_decay = 0.9"]
    parameters = [*small_parameters, *of_method, *decay, "train.steps_per_loop = 1", "train.pictures_every = 3"]
    whole = run_training(tmp_path / "whole", parameters)
    assert run_training(tmp_path / "parts", parameters, stop=True).finished_steps == 3
    resumed = run_training(tmp_path / "parts", parameters)
    for one, other in zip(saved(whole), saved(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def saved(trainer) -> list[np.ndarray]:
    """All that a checkpoint keeps: weights, statistics, slots and the teacher's averages."""
    values = [np.array(variable) for _, variable in trainer.step.saved_variables()]
    state = trainer.step.model.state
    return [*values, *([] if state is None else [np.array(average) for average in state.averages])]
