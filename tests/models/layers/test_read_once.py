"""A step reads each variable once and writes each statistic once, and computes what it computes without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import random_batch, small_model, train_step

from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.models.layers.read_once import read_once


def results_of(network, images, once: bool) -> list[np.ndarray]:
    """Returns features, gradients and statistics after two passes, compiled."""

    @tf.function
    def two_passes():
        if once:
            with read_once(network.variables) as value_of, tf.GradientTape() as tape:
                values = [value_of(variable) for variable in network.trainable_variables]
                tape.watch(values)
                outputs = [network(images * scale, training=True) for scale in (1.0, 0.5)]
                loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs])
        else:
            with tf.GradientTape() as tape:
                outputs = [network(images * scale, training=True) for scale in (1.0, 0.5)]
                loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs])
            values = [variable.value for variable in network.trainable_variables]
        return outputs, [gradient for gradient in tape.gradient(loss, values) if gradient is not None]

    outputs, gradients = two_passes()
    return [*map(np.array, outputs), *map(np.array, gradients), *(np.array(value) for value in network.variables)]


def test_passes_see_and_move_the_same_values():
    images = tf.random.stateless_uniform([2, 33, 33, 3], [0, 1], maxval=255.0)
    found = []
    for once in (False, True):
        keras.utils.set_random_seed(0)
        found.append(results_of(small_model(), images, once))
    moved = 0
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6 * np.abs(one).max())
        moved += one.size
    assert moved > 1000


def test_what_is_assigned_is_seen_inside_and_written_at_the_end():
    one, other = (keras.Variable(value, trainable=False) for value in (1.0, 2.0))

    @tf.function
    def run():
        with read_once([one, other]) as value_of:
            one.assign(one + 1.0)
            outside = one._value.read_value()
            inside = value_of(one) + other
        return outside, inside

    assert [float(value) for value in run()] == [1.0, 4.0]
    assert (float(one.value), float(other.value)) == (2.0, 2.0)


@pytest.mark.parametrize("what", ["ReadVariableOp", "AssignVariableOp"])
def test_a_step_has_one_read_and_one_write_of_a_variable(what):
    step = train_step(PseudoSeg(), build=small_model)
    batch = random_batch(size=33)
    graph = (
        tf.function(lambda batch: step.strategy.run(step.replica_step, args=(batch,)))
        .get_concrete_function(batch)
        .graph
    )
    network = {id(variable.value.handle): variable.path for variable in step.model.variables}
    handles = {id(inside): network[id(outside)] for outside, inside in graph.captures if id(outside) in network}
    found = [
        handles[id(op.inputs[0])] for op in graph.get_operations() if op.type == what and id(op.inputs[0]) in handles
    ]
    assert len(found) == len(set(found)) > 8
