"""Constants that operations share: each operation that is not made is time that tracing does not take."""

import weakref
from collections.abc import MutableMapping, Sequence

import tensorflow as tf

_of_graphs: MutableMapping[tf.Graph, dict[tuple, tf.Tensor]] = weakref.WeakKeyDictionary()


def shared_constant(values: float | tuple[int, ...]) -> tf.Tensor:
    """Returns a constant, float32 or int32, the same tensor for the same values within a graph.

    On several replicas each operation has its own, on its own device.

    Args:
        values: A number, or integers such as a shape.
    """
    if tf.executing_eagerly() or tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return tf.constant(values)
    known = _of_graphs.setdefault(tf.compat.v1.get_default_graph(), {})
    key = (type(values), values)
    if key not in known:
        with tf.control_dependencies(None):
            known[key] = tf.constant(values)
    return known[key]


def reshape(x: tf.Tensor, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Returns `tf.reshape(x, shape)`; a shape of numbers is shared."""
    known = all(isinstance(side, int) for side in shape)
    return tf.reshape(x, shared_constant(tuple(shape)) if known else shape)
