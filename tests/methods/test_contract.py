"""The contract of methods, by a toy that uses all of it: a strong view pair, an own layer, an EMA teacher, a memory bank."""

import signal

import gin
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from wss import config, experiment
from wss.data.streams import MASKS, Views
from wss.errors import UserError
from wss.methods.base import Figure, Losses, Method
from wss.methods.components.ema import ExponentialMovingAverage
from wss.ops.losses import consistency_loss, segmentation_loss
from wss.ops.resizing import resize_nearest
from wss.run_directory import RunDirectory

DIMENSION, CAPACITY = 3, 12
SIGTERM_AT_FIGURES = []  # not empty: a picture for TensorBoard is when the run is stopped


class ToyState(tf.Module):
    """A teacher and the last vectors of all replicas."""

    def __init__(self, network):
        super().__init__()
        self.teacher = ExponentialMovingAverage(network, decay=0.5)
        self.bank = tf.Variable(
            tf.zeros([CAPACITY, DIMENSION]), trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.pushed = tf.Variable(0, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


@gin.configurable
class ToyMethod(Method):
    """CE on labelled images, consistency of two strong views with a teacher, projected vectors near those in a bank."""

    streams = {"labeled": MASKS, "unlabeled": Views(strong=2, masks=False)}

    def build(self, network, info):
        projector = keras.layers.Dense(DIMENSION, name="projector")
        projector.build((None, network.feature_channels["features"]))
        return projector

    def build_state(self, network, info):
        return ToyState(network)

    def prepare(self, network, data):
        network.state.bank.assign(tf.ones([CAPACITY, DIMENSION]))

    def losses(self, network, batch, step):
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        features = network.features(labeled["image"], training=True)
        vectors = network.branches(tf.reduce_mean(features["features"], axis=(1, 2)))
        pseudo_label = tf.nn.softmax(network.state.teacher.predict(unlabeled["weak"]))
        consistency = [
            consistency_loss(logits, pseudo_label, resize_nearest(valid, logits.shape[1:3]))
            for logits, valid in (
                (network(unlabeled["strong"], training=True), unlabeled["valid"]),
                (network(unlabeled["strong_2"], training=True), unlabeled["valid_2"]),
            )
        ]
        center = tf.reduce_mean(network.state.bank, axis=0)
        losses = {
            "segmentation": segmentation_loss(network.segment(features, training=True), labeled["label"]),
            "consistency": tf.add_n(consistency) / 2,
            "contrast": tf.reduce_mean(tf.square(vectors - center)),
        }
        views_differ = tf.reduce_mean(tf.abs(unlabeled["strong"] - unlabeled["strong_2"]))
        return Losses(losses, {"views_differ": views_differ}, {"vectors": tf.stop_gradient(vectors)})

    def after_step(self, network, tensors, step):
        state = network.state
        state.teacher.update(step)
        vectors = tf.distribute.get_replica_context().all_gather(tensors["vectors"], axis=0)
        state.bank.assign(tf.concat([vectors, state.bank], axis=0)[:CAPACITY])
        state.pushed.assign_add(tf.shape(vectors)[0])

    def evaluated(self, network):
        return network.state.teacher

    def training_figures(self, network, batch):
        if SIGTERM_AT_FIGURES:
            signal.raise_signal(signal.SIGTERM)
        return [Figure("image", "image", batch["labeled"]["image"])]


STEPS = 8


@pytest.fixture
def parameters(small_parameters):
    """Gin bindings of a run of the toy."""
    of_toy = {"train.method": "@ToyMethod()", "train.num_steps": STEPS, "train.steps_per_loop": 2}
    return [*small_parameters, *(f"{name} = {value}" for name, value in {**of_toy, "train.pictures_every": 4}.items())]


def train(run_dir, parameters, strategy=None):
    """Runs the toy and returns its trainer, whose network has been trained."""
    config.parse_config([], parameters)
    from wss.training.train import Training

    trainer = Training().trainer(RunDirectory(run_dir), strategy or tf.distribute.MirroredStrategy(["CPU:0"]))
    trainer.run()
    return trainer


def values_of(trainer):
    """All weights, averages and the bank of a run."""
    network = trainer.step.model
    variables = [*network.variables, *network.state.teacher.averages, network.state.bank]
    return [np.array(variable.numpy()) for variable in variables]


def exported(run_dir):
    values = {}
    with h5py.File(run_dir / "model.weights.h5") as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


@pytest.mark.slow
def test_a_run_that_is_stopped_resumes_to_the_same_bits(tmp_path, parameters, monkeypatch):
    whole = train(tmp_path / "whole", parameters)
    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}.SIGTERM_AT_FIGURES", [True])
        stopped = train(tmp_path / "parts", parameters)
    assert stopped.finished_steps == 4 and not (tmp_path / "parts/model.weights.h5").exists()
    resumed = train(tmp_path / "parts", parameters)
    assert resumed.finished_steps == STEPS
    for one, other in zip(values_of(whole), values_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(resumed.step.model.state.pushed.numpy()) == 2 * STEPS
    files = exported(tmp_path / "whole"), exported(tmp_path / "parts")
    assert files[0].keys() == files[1].keys() and any("branches" in name for name in files[0])
    for name, value in files[0].items():
        np.testing.assert_array_equal(value, files[1][name], err_msg=name)


def test_the_method_says_what_is_prepared_evaluated_and_exported(tmp_path, parameters):
    trainer = train(tmp_path, parameters)
    network = trainer.step.model
    scalars = trainer.step.results(1)
    assert scalars["views_differ"] > 0 and np.isfinite(list(scalars.values())).all()
    assert 0 < np.sum(np.all(network.state.bank.numpy() != 1, axis=1)) <= CAPACITY  # it was ones before the first step
    own = {variable.path: variable.numpy() for variable in network.trainable_variables}
    opened = experiment.open_run(str(tmp_path), [], tf.distribute.MirroredStrategy(["CPU:0"]))
    average = dict(
        zip((v.path for v in network.variables if "float" in v.dtype), network.state.teacher.averages, strict=True)
    )
    moved = 0
    for mine, theirs in zip(network.trainable_variables, opened.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(theirs.numpy(), average[mine.path].numpy(), err_msg=mine.path)
        moved += np.any(theirs.numpy() != own[mine.path])
    assert moved > len(own) // 2


@pytest.mark.slow
def test_an_unfinished_run_opens_with_the_teacher(tmp_path, parameters, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SIGTERM_AT_FIGURES", [True])
    network = train(tmp_path, parameters).step.model
    opened = experiment.open_run(str(tmp_path), [], tf.distribute.MirroredStrategy(["CPU:0"]))
    assert opened.step == 4 and "step 4" in opened.weights
    for average, theirs in zip(
        network.state.teacher.averages, (v for v in opened.model.variables if "float" in v.dtype), strict=True
    ):
        np.testing.assert_array_equal(theirs.numpy(), average.numpy(), err_msg=theirs.path)


@pytest.mark.slow
def test_state_is_the_same_on_two_replicas(tmp_path, parameters, two_replicas):
    trainer = train(tmp_path, parameters, two_replicas)
    network, results = trainer.step.model, two_replicas.experimental_local_results
    first, second = (np.array(value) for value in results(network.state.bank))
    np.testing.assert_array_equal(first, second)
    assert int(network.state.pushed.numpy()) == 2 * 2 * STEPS  # the vectors of both replicas
    assert not np.array_equal(first[:2], first[2:4])
    trained = {variable.path for variable in network.trainable_variables}
    for average, variable in zip(
        network.state.teacher.averages, (v for v in network.variables if "float" in v.dtype), strict=True
    ):
        if variable.path in trained:  # statistics are per replica, as the network's are
            one, other = (value.numpy() for value in results(average))
            np.testing.assert_array_equal(one, other, err_msg=variable.path)


def test_a_second_average_is_refused(tmp_path, parameters):
    with pytest.raises(UserError, match="train.ema_decay = 0.9: ToyMethod evaluates averaged weights of its own"):
        train(tmp_path, [*parameters, "train.ema_decay = 0.9"])
