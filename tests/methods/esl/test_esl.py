"""ESL's step: what each part trains, the supervised step without its terms, one device and two, a run that is resumed."""

import functools

import gin
import numpy as np
import pytest
import tensorflow as tf
from networks import network_of, random_batch, take_steps, train_step
from stopped_runs import run_training

from wss import experiment
from wss.errors import UserError
from wss.methods.esl.esl import ESL
from wss.methods.esl.monitoring import part_colors, teacher_quality
from wss.methods.esl.passes import teacher_view
from wss.methods.supervised import Supervised
from wss.models.layers.dropout import dropout_seed
from wss.ops.losses import consistency_loss, segmentation_loss

SEED = tf.constant([1, 2], tf.int64)
SMALL_PARTS = {
    "PartContrast.parts": 2,
    "PartContrast.queue_capacity": 4,
    "PartContrast.negatives": 7,
    "PartContrast.max_anchors": 16,
    "PartContrast.anchor_confidence": 0.1,
    "build_projector.depth": 8,
    "build_projector.dimension": 6,
    "build_projector.dropout": 0.0,
}


@pytest.fixture(autouse=True)
def small_parts():
    for name, value in SMALL_PARTS.items():
        gin.bind_parameter(name, value)


def losses_of(method, network, batch, step: int = 9):
    with dropout_seed(SEED):
        return method.losses(network, batch, tf.constant(step, tf.int64))


@pytest.fixture
def filled():
    """A method and a network whose memory one step has filled."""
    method = ESL()
    network = network_of(method)
    network.state.parts.prototypes.values.assign(tf.random.stateless_normal([4, 2, 8], SEED))
    tensors = losses_of(method, network, random_batch()).tensors
    method.after_step(network, tensors, tf.constant(0, tf.int64))
    return method, network


def test_without_its_terms_it_is_the_supervised_step():
    """Bit for bit, weights and statistics, over several steps with dropout."""
    batch = random_batch()
    options = {"dropout": 0.3}
    weights = []
    for method in (Supervised(), ESL(soft_label_weight=0.0, contrast_weight=0.0)):
        step = train_step(method, build=functools.partial(network_of, method), model_options=options)
        take_steps(step, {"labeled": batch["labeled"]}, 3)
        weights.append([np.array(variable) for variable in step.model.variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_losses_and_their_weights(filled):
    _, network = filled
    batch = random_batch()
    plain = losses_of(ESL(), network, batch).losses
    assert plain.keys() == {"segmentation", "consistency", "contrast"} and min(plain.values()) > 0
    twice = losses_of(ESL(soft_label_weight=0.4, contrast_weight=0.3), network, batch).losses
    np.testing.assert_allclose(twice["segmentation"], plain["segmentation"], rtol=1e-5)
    np.testing.assert_allclose(twice["consistency"], 2 * plain["consistency"], rtol=1e-5)
    np.testing.assert_allclose(twice["contrast"], 3 * plain["contrast"], rtol=1e-5)


def test_before_the_teacher_starts_only_masks_teach(filled):
    method, network = filled
    network.state.teacher.start.assign(10)
    losses = losses_of(method, network, random_batch(), step=9).losses
    assert losses["consistency"] == losses["contrast"] == 0 < losses["segmentation"]
    assert min(losses_of(method, network, random_batch(), step=10).losses.values()) > 0


def test_an_empty_memory_teaches_nothing_and_one_step_fills_it():
    method = ESL()
    network = network_of(method)
    result = losses_of(method, network, random_batch())
    assert result.losses["contrast"] == 0 and result.metrics["contrast/skipped"] == 1
    method.after_step(network, result.tensors, tf.constant(0, tf.int64))
    sizes = network.state.parts.memory.sizes.numpy()
    assert sizes.sum() > 4 and sizes.max() <= 4  # two labelled and two unlabelled images
    again = losses_of(method, network, random_batch())
    assert again.losses["contrast"] > 0 and again.metrics["contrast/skipped"] < 1


def test_each_loss_trains_its_parts(filled):
    method, network = filled
    parts = {
        "backbone": network.backbone.trainable_variables,
        "logits": [v for v in network.segmentation_head.trainable_variables if "logits" in v.path],
        "projector": network.branches.trainable_variables,
    }
    with tf.GradientTape(persistent=True) as tape, dropout_seed(SEED):
        losses = method.losses(network, random_batch(), tf.constant(9, tf.int64)).losses
    trained = {
        loss: {
            part
            for part, variables in parts.items()
            if any(g is not None and np.any(g) for g in tape.gradient(value, [v.value for v in variables]))
        }
        for loss, value in losses.items()
    }
    assert trained == {
        "segmentation": {"backbone", "logits"},
        "consistency": {"backbone", "logits"},
        "contrast": {"backbone", "projector"},
    }


def test_gradient_flows_through_the_mixed_view_alone(filled):
    """The weak view is mixed into the student's input; the teacher's pass over it takes no gradient."""
    _, network = filled
    unlabeled = random_batch()["unlabeled"]
    with tf.GradientTape() as tape:
        tape.watch(unlabeled["weak"])
        view = teacher_view(network.state.teacher, network, network.branches, unlabeled["weak"])
        total = tf.add_n([tf.reduce_sum(value) for value in (view.encoded, view.logits, view.hidden)])
    assert tape.gradient(total, unlabeled["weak"]) is None


@pytest.mark.parametrize("options", [{}, {"teacher_statistics": "refresh", "resolution": "logits", "label": "hard"}])
def test_eager_and_compiled_steps_agree(filled, options):
    _, network = filled
    method, batch = ESL(**options), random_batch()
    eager = losses_of(method, network, batch)
    compiled = tf.function(lambda: dict(losses_of(method, network, batch).losses))()
    for name, value in eager.losses.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_step_compiles_under_xla(filled):
    method, network = filled
    batch = random_batch()
    eager = losses_of(method, network, batch).losses
    compiled = tf.function(lambda: dict(losses_of(method, network, batch).losses), jit_compile=True)()
    for name, value in eager.items():
        # XLA rounds otherwise, so that a pixel may be nearest to another part.
        np.testing.assert_allclose(compiled[name], value, rtol=0.05 if name == "contrast" else 1e-3, err_msg=name)


def test_prototypes_and_memory_are_the_same_on_two_replicas(two_replicas):
    method = ESL()
    step = train_step(method, two_replicas, build=functools.partial(network_of, method))
    with two_replicas.scope():
        step.model.state.parts.prototypes.values.assign(tf.random.stateless_normal([4, 2, 8], SEED))
    take_steps(step, random_batch(batch_size=4), 3)
    parts = step.model.state.parts
    for variable in (parts.prototypes.values, parts.memory.vectors, parts.memory.pushed):
        first, second = two_replicas.experimental_local_results(variable)
        np.testing.assert_array_equal(first[:-1], second[:-1])
    assert parts.memory.pushed.numpy().max() > 4  # from both
    for average, variable in zip(step.model.state.teacher.averages, step.model.state.teacher._followed(), strict=True):
        if variable.trainable:
            np.testing.assert_array_equal(*two_replicas.experimental_local_results(average))


@pytest.mark.parametrize("label", ["dynamic", "hard", "top_k"])
def test_without_contrast_there_is_no_projector(label):
    method = ESL(contrast_weight=0.0, label=label)
    network = network_of(method)
    result = losses_of(method, network, random_batch())
    assert network.branches is None and network.state.parts is None
    assert result.losses.keys() == {"segmentation", "consistency"} and result.losses["consistency"] > 0
    method.after_step(network, result.tensors, tf.constant(0, tf.int64))
    figures = method.training_figures(network, random_batch())
    assert [figure.title for figure in figures] == ["image", "label", "teacher", "soft label's entropy"]
    kinds = {
        "dynamic": 1 < result.metrics["soft_label/classes"] <= 4,
        "hard": result.metrics["soft_label/one_hot"] == 1,
    }
    assert kinds.get(label, True)


def test_an_auxiliary_head_learns_from_masks_alone():
    method = ESL()
    network = network_of(method, auxiliary_head=True)
    labeled, more = losses_of(method, network, random_batch()).losses, {}
    with_two = ESL(auxiliary_weight=0.8)
    more = losses_of(with_two, network, random_batch()).losses
    none = losses_of(ESL(auxiliary_weight=0.0), network, random_batch()).losses
    np.testing.assert_allclose(
        more["segmentation"] - labeled["segmentation"], labeled["segmentation"] - none["segmentation"], rtol=1e-3
    )
    assert labeled["segmentation"] > none["segmentation"]
    np.testing.assert_allclose(more["consistency"], none["consistency"], rtol=1e-4)


def test_two_passes_differ_in_batch_norm_alone():
    """With frozen statistics the losses are the same; otherwise labelled images alone move the averages."""
    batch = random_batch()
    for fine_tune in (False, True):
        together, apart = ESL(), ESL(join=False)
        network = network_of(together, fine_tune_batch_norm=fine_tune)
        together.after_step(network, losses_of(together, network, batch).tensors, tf.constant(0, tf.int64))
        one, two = losses_of(together, network, batch).losses, losses_of(apart, network, batch).losses
        for name in one:
            assert np.isclose(one[name], two[name], rtol=1e-5) == (not fine_tune), name
    moved = []
    for method in (Supervised(), ESL(join=False, contrast_weight=0.0)):
        network = network_of(method)
        losses_of(method, network, batch)
        moved.append([np.array(variable) for variable in network.non_trainable_variables])
    for one, two in zip(*moved, strict=True):
        np.testing.assert_array_equal(one, two)


def test_hard_examples_are_an_option():
    method = ESL(hard_examples=0.7, least_hard_examples=5, auxiliary_weight=0.0)
    network = network_of(method)
    batch = random_batch()
    plain = losses_of(ESL(auxiliary_weight=0.0), network, batch).losses["segmentation"]
    assert losses_of(method, network, batch).losses["segmentation"] >= plain


def test_the_contrast_can_be_a_mean_over_present_classes(filled):
    _, network = filled
    batch = random_batch()
    # All labels are of class 1, and no unlabelled pixel is sure.
    batch["labeled"]["label"] = tf.ones_like(batch["labeled"]["label"])
    gin.bind_parameter("PartContrast.anchor_confidence", 0.999)
    every = losses_of(ESL(), network, batch).losses["contrast"]
    gin.bind_parameter("PartContrast.average", "present")
    present = losses_of(ESL(), network, batch).losses["contrast"]
    np.testing.assert_allclose(present, 4 * every, rtol=1e-5)


def test_consistency_with_one_hot_labels_is_cross_entropy():
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.normal(size=[1, 5, 4, 3]), dtype=tf.float32)
    classes = tf.constant(rng.integers(0, 3, [1, 5, 4, 1]))
    valid = tf.ones([1, 5, 4, 1])
    one_hot = tf.one_hot(classes[..., 0], 3)
    np.testing.assert_allclose(consistency_loss(logits, one_hot, valid), segmentation_loss(logits, classes), rtol=1e-5)
    # Its least value is the label's entropy, where the prediction is the label; its gradient is (p - y) / N.
    label = tf.nn.softmax(tf.constant(rng.normal(size=[1, 5, 4, 3]), tf.float32))
    least = consistency_loss(tf.math.log(label), label, valid)
    np.testing.assert_allclose(least, -tf.reduce_mean(tf.reduce_sum(label * tf.math.log(label), -1)), rtol=1e-5)
    with tf.GradientTape() as tape:
        loss = consistency_loss(logits, label, valid)
    assert loss > least
    np.testing.assert_allclose(tape.gradient(loss, logits), (tf.nn.softmax(logits) - label) / 20, atol=1e-6)


def test_quality_is_of_the_soft_label_and_of_the_teacher():
    """Two pixels of three are right, with certainty; of four soft labels one counts not, three have 1, 1 and 2 classes."""
    logits = tf.constant([[[[50.0, 0], [50.0, 0]], [[0.0, 50], [0.0, 50]]]])
    unlabeled = {"label": tf.constant([[[[0], [1]], [[1], [255]]]])}
    label = tf.constant([[[[1.0, 0], [1.0, 0]], [[0.5, 0.5], [0.5, 0.5]]]])
    found = teacher_quality(logits, unlabeled, label, tf.constant([[[[1.0], [1.0]], [[1.0], [0.0]]]]))
    np.testing.assert_allclose(found["soft_label/classes"], 4 / 3)
    np.testing.assert_allclose(found["soft_label/one_hot"], 2 / 3)
    np.testing.assert_allclose(found["teacher/ece"], 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(found["teacher/mean_iou"], (1 / 2 + 1 / 2) / 2)
    assert found["known/masks"] == 1
    nothing = teacher_quality(logits, {"label": tf.fill([1, 2, 2, 1], 255)}, label, tf.ones([1, 2, 2, 1]))
    assert nothing["known/masks"] == 0


def test_parts_are_shades_of_their_class():
    colors = part_colors(tf.constant([[[0, 1, 1, -1]]]), tf.constant([[[0, 0, 1, 0]]]), ((0, 0, 0), (200, 0, 100)), 2)
    np.testing.assert_allclose(colors[0, 0], [[0, 0, 0], [200, 0, 100], [238.5, 178.5, 208.5], [255] * 3])


def test_figures_show_label_entropy_and_parts(filled):
    _, network = filled
    method = ESL(teacher_statistics="refresh")
    network.state.teacher.statistics = "refresh"
    before = [np.array(average) for average in network.state.teacher.averages]
    figures = method.training_figures(network, random_batch())
    for average, value in zip(network.state.teacher.averages, before, strict=True):
        np.testing.assert_array_equal(average, value)  # a picture moves no statistics
    titles = ["image", "label", "teacher", "soft label's entropy", "parts"]
    assert [figure.title for figure in figures] == titles
    assert 0 <= figures[3].values.numpy().min() <= figures[3].values.numpy().max() <= 1
    features = network.features(random_batch()["unlabeled"]["weak"])
    logits = network.segment(features)
    maps = method.intermediate_maps(network, features, logits=logits, valid=random_batch()["unlabeled"]["valid"])
    assert [figure.title for figure in maps] == ["soft label's entropy", "soft label"]


def test_a_single_unlabelled_image_cannot_be_mixed(tmp_path, small_parameters):
    parameters = [*small_parameters, "train.method = @ESL()", "TrainingData.unlabeled_batch_size = 1"]
    with pytest.raises(UserError, match="TrainingData.unlabeled_batch_size = 1: CutMix needs another image"):
        run_training(tmp_path / "run", parameters)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_a_network_without_a_decoder_is_refused():
    with pytest.raises(UserError, match="ESL.contrast_weight: .* has no decoder; set build_model.use_decoder"):
        network_of(ESL(), use_decoder=False)
    network_of(ESL(contrast_weight=0.0), use_decoder=False)


STEPS = 8


@pytest.fixture
def parameters(small_parameters):
    """Gin bindings of a run of ESL whose teacher starts at step 4 of 8."""
    of_run = {"train.method": "@ESL()", "train.num_steps": STEPS, "train.steps_per_loop": 2, "train.pictures_every": 4}
    bindings = {**of_run, **SMALL_PARTS, "ESL.supervised_epochs": 0.25}
    return [*small_parameters, *(f"{name} = {value}" for name, value in bindings.items())]


@pytest.mark.slow
def test_a_run_that_is_stopped_resumes_to_the_same_bits(tmp_path, parameters):
    whole = run_training(tmp_path / "whole", parameters)
    stopped = run_training(tmp_path / "parts", parameters, stop=True)
    assert stopped.finished_steps == 4
    resumed = run_training(tmp_path / "parts", parameters)
    states = []
    for trainer in (whole, resumed):
        assert trainer.finished_steps == STEPS
        network = trainer.step.model
        states.append([np.array(value) for value in (*network.variables, *network.state.variables)])
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)
    state = whole.step.model.state
    assert int(state.teacher.start.numpy()) == 4 and (state.parts.memory.pushed.numpy() > 0).sum() > 2
    # The first prototypes are directions, which later steps have moved.
    assert np.abs(np.linalg.norm(state.parts.prototypes.values, axis=-1) - 1).max() < 0.2
    opened = experiment.open_run(str(tmp_path / "whole"), [], tf.distribute.MirroredStrategy(["CPU:0"]))
    averages = dict(zip((v.path for v in state.teacher._followed()), state.teacher.averages, strict=True))
    for variable in opened.model.trainable_variables:
        np.testing.assert_array_equal(variable, averages[variable.path], err_msg=variable.path)


@pytest.mark.slow
def test_a_run_cannot_go_on_with_other_parts(tmp_path, parameters):
    few = [*parameters, "train.num_steps = 2"]
    run_training(tmp_path, few)
    with pytest.raises(UserError, match="does not fit.*PartContrast.parts was 2, is 3"):
        run_training(tmp_path, [*parameters, "PartContrast.parts = 3"])
