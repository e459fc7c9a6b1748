"""The mean teacher: what it averages, from when on, and that it takes no gradient and leaves the student alone."""

import numpy as np
import pytest
import tensorflow as tf
from networks import network_of, random_batch

from wss.methods.components.teacher import Teacher
from wss.methods.supervised import Supervised


@pytest.fixture
def network():
    return network_of(Supervised())


IMAGES = random_batch()["labeled"]["image"]


def set_all(network, value: float) -> None:
    for variable in network.trainable_variables:
        variable.assign(tf.fill(variable.shape, value))


def values_of(teacher, network) -> set[float]:
    """The values of the averages of what `set_all` has set."""
    trained = {id(variable) for variable in network.trainable_variables}
    pairs = zip(teacher.averages, teacher._followed(), strict=True)
    return {
        round(float(value), 5)
        for average, variable in pairs
        if id(variable) in trained
        for value in average.numpy().flat
    }


def test_it_is_at_first_the_mean_of_all_students(network):
    """a = min(1 - 1 / (t + 1), 0.75): means of 1, of 1 and 2, of 1, 2, 3, and so on; then three quarters stay."""
    teacher = Teacher(network, decay=0.75)
    for step, expected in enumerate([1, 1.5, 2, 2.5, 0.75 * 2.5 + 0.25 * 5]):
        set_all(network, step + 1.0)
        teacher.update(tf.constant(step, tf.int64))
        assert values_of(teacher, network) == {expected}


def test_until_its_start_it_is_a_copy(network):
    teacher = Teacher(network, decay=0.75)
    teacher.start.assign(2)
    assert [bool(teacher.has_started(step)) for step in range(4)] == [False, False, True, True]
    for step, expected in enumerate([1, 2, 3, 3.5]):
        set_all(network, step + 1.0)
        teacher.update(tf.constant(step, tf.int64))
        assert values_of(teacher, network) == {expected}


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 2.0), (1.0, 1.0)])
def test_decay_zero_copies_and_one_freezes(network, decay, expected):
    set_all(network, 1.0)
    teacher = Teacher(network, decay=decay, warm_up=False)
    set_all(network, 2.0)
    teacher.update(tf.constant(5))
    assert values_of(teacher, network) == {expected}


def test_it_takes_no_gradient(network):
    teacher = Teacher(network)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(teacher.predict(IMAGES))
    assert tape.gradient(loss, [variable.value for variable in network.trainable_variables]) == [None] * len(
        network.trainable_variables
    )


def test_a_refreshing_pass_moves_its_own_statistics_alone(network):
    """They become those that the student would have after the same pass."""
    teacher = Teacher(network, statistics="refresh")
    before = [np.array(variable) for variable in network.variables]
    teacher.refresh(lambda: network(IMAGES, training=True))
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    network(IMAGES, training=True)
    moved = 0
    for average, variable in zip(teacher.averages, teacher._followed(), strict=True):
        np.testing.assert_allclose(average, variable, rtol=1e-6, err_msg=variable.path)
        moved += variable.name == "moving_mean"
    assert moved
    # An update then leaves them, but follows the weights.
    set_all(network, 3.0)
    network(IMAGES * 0.5, training=True)
    teacher.update(tf.constant(0))
    statistics = [
        np.allclose(average, variable)
        for average, variable in zip(teacher.averages, teacher._followed(), strict=True)
        if variable.name == "moving_mean"
    ]
    assert not any(statistics) and values_of(teacher, network) == {3.0}


def test_without_refreshing_statistics_are_averaged(network):
    teacher = Teacher(network)
    network(IMAGES, training=True)
    teacher.refresh(lambda: pytest.fail("no pass is needed"))
    teacher.update(tf.constant(0))
    for average, variable in zip(teacher.averages, teacher._followed(), strict=True):
        np.testing.assert_allclose(average, variable, err_msg=variable.path)


def test_the_schedule_of_unimatch_v2(network):
    """The spec's oracle, with students t + 1: the mean of all until 1 - 1 / (t + 1) reaches 0.996, at t = 249."""
    teacher = Teacher(network, decay=0.996)
    np.testing.assert_allclose(teacher.decay_at(tf.constant(248.0)), 0.995984, rtol=1e-6)
    average, seen = 0.0, {}
    for step in range(400):
        decay = float(teacher.decay_at(tf.constant(step, tf.float32)))
        average = seen[step] = decay * average + (1 - decay) * (step + 1)
    np.testing.assert_allclose([seen[step] for step in range(250)], [(step + 2) / 2 for step in range(250)], rtol=1e-5)
    np.testing.assert_allclose([seen[249], seen[250], seen[399]], [125.5, 126.002, 219.244886], rtol=1e-5)
    np.testing.assert_allclose(1 - float(teacher.decay_at(tf.constant(999.0))) ** 100, 0.330217, rtol=1e-4)
