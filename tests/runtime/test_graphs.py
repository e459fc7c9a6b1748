"""Functions that first run inside of `graphs_as_traced` keep their operations; all others are optimized."""

import tensorflow as tf
from tensorflow.python.eager import context

from wss.runtime.graphs import graphs_as_traced


def operations_of(function) -> list[str]:
    """The kinds of operations that run, in the graph of a function after TensorFlow's optimizers."""
    context.enable_run_metadata()
    try:
        function(tf.ones([3]))
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    return [node.op for graph in graphs for node in graph.post_optimization_graph.node]


def twice():
    """A function that computes the same thing twice."""
    return tf.function(lambda x: tf.sin(x) + tf.sin(x))


def test_a_graph_keeps_what_is_twice_only_inside():
    with graphs_as_traced():
        assert operations_of(twice()).count("Sin") == 2
    assert operations_of(twice()).count("Sin") == 1


def test_the_switch_is_as_it_was_even_after_an_error():
    before = tf.config.optimizer.get_experimental_options()
    try:
        with graphs_as_traced():
            raise RuntimeError
    except RuntimeError:
        pass
    after = tf.config.optimizer.get_experimental_options()
    assert not after.pop("disable_meta_optimizer", False)
    assert not before.pop("disable_meta_optimizer", False)
    assert after == before
