"""The compiled step: XLA against TensorFlow's own graph, on a network of two convolutions."""

import numpy as np
import pytest
import tensorflow as tf
from networks import random_batch, take_steps, train_step

from wss.errors import UserError
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.methods.supervised import Supervised


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 2])
def test_xla_takes_the_same_steps(batches):
    options = {"accumulated_batches": batches}
    plain, compiled = (
        take_steps(train_step(PseudoSeg(), jit_compile=jit_compile, **options), random_batch(), 3)
        for jit_compile in (False, True)
    )
    assert plain[0]["total"] != plain[2]["total"]
    for expected, found in zip(plain, compiled, strict=True):
        assert expected.keys() == found.keys()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-4, atol=1e-5)


def test_xla_wants_one_device(two_replicas):
    with pytest.raises(UserError, match="expected one device, found 2"):
        train_step(PseudoSeg(), two_replicas, jit_compile=True)


def two_halves(batch):
    """A batch as two, one after the other."""
    size = batch["labeled"]["image"].shape[0] // 2
    cut = lambda part: {stream: {name: x[part] for name, x in values.items()} for stream, values in batch.items()}
    return tf.nest.map_structure(lambda a, b: tf.stack([a, b]), cut(slice(0, size)), cut(slice(size, None)))


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.01}])
def test_two_halves_of_a_batch_step_as_the_whole(options):
    """With batch norm at rest the gradient of a mean over 8 images is the mean of those over 4 and 4."""
    frozen = {"model_options": {"fine_tune_batch_norm": False}, "method": Supervised(), **options}
    batch = random_batch(batch_size=8)
    whole, halves = train_step(**frozen), train_step(**frozen, accumulated_batches=2)
    reports = take_steps(whole, batch, 3)
    batches = tf.data.Dataset.from_tensor_slices(two_halves(batch)).repeat()
    iterator = iter(halves.strategy.experimental_distribute_dataset(batches))
    for expected in reports:
        halves.run(iterator, 1)
        assert halves.results(1) == pytest.approx(expected, rel=1e-4)
    assert int(halves.optimizer.iterations) == 3
    for expected, found in zip(whole.model.trainable_variables, halves.model.trainable_variables, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-6)


def test_two_replicas_accumulate_as_one(two_replicas):
    """Four batches of two images: two a step on one device, or on two replicas."""
    frozen = {"model_options": {"fine_tune_batch_norm": False}, "method": Supervised()}
    one, two = (
        train_step(**frozen, accumulated_batches=4),
        train_step(**frozen, strategy=two_replicas, accumulated_batches=2),
    )
    parts = [random_batch(seed=seed) for seed in range(4)]
    stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *parts)
    pairs = tf.nest.map_structure(lambda x: tf.reshape(x, [2, 4, *x.shape[2:]]), stacked)
    for step, batches in ((one, stacked), (two, pairs)):
        dataset = tf.data.Dataset.from_tensor_slices(batches).repeat()
        iterator = iter(step.strategy.experimental_distribute_dataset(dataset))
        step.run(iterator, 2)
    assert one.results(2) == pytest.approx(two.results(2), rel=1e-4)
    for expected, found in zip(one.model.trainable_variables, two.model.trainable_variables, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_batches_of_a_step_drop_other_units(dropout):
    """Two halves of one gradient are that gradient to the bit, unless the second batch drops other units."""
    options = {"model_options": {"dropout": dropout, "fine_tune_batch_norm": False}}
    kernels = []
    for number in (1, 2):
        step = train_step(Supervised(), accumulated_batches=number, **options)
        take_steps(step, random_batch(), 2)
        kernels.append([variable.numpy() for variable in step.model.trainable_variables])
    same = all(np.array_equal(one, other) for one, other in zip(*kernels, strict=True))
    assert same == (dropout == 0)


def test_what_follows_a_step_follows_once():
    class Counting(Supervised):
        def after_step(self, network, tensors, step):
            calls.assign_add(1)

    calls = tf.Variable(0)
    take_steps(train_step(Counting(), accumulated_batches=3), random_batch(), 2)
    assert calls.numpy() == 2
