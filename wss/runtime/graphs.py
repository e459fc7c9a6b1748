"""How TensorFlow prepares the graphs of functions."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from wss.runtime.devices import on_cpu

SWITCH = "disable_meta_optimizer"


@contextlib.contextmanager
def graphs_as_traced() -> Iterator[None]:
    """Leaves out Grappler, TensorFlow's graph optimizer, for functions that first run inside; only on processors.

    For the graph of a training step, which has nothing twice and nothing to fuse, it takes as long as all else that runs
    between tracing and the first step. A GPU needs it for its layouts, inference for its fused kernels.
    """
    before = tf.config.optimizer.get_experimental_options().get(SWITCH, False)
    tf.config.optimizer.set_experimental_options({SWITCH: before or on_cpu()})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({SWITCH: before})
