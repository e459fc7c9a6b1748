"""Blocks of a network that the backward pass computes once more instead of keeping what is in them.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. Batch norm moves its statistics once.
"""

from collections.abc import Iterator

import keras
import tensorflow as tf

from wss.models.layers.dropout import Dropout
from wss.models.layers.normalization import batch_norm_updates

# A block ends where residuals are summed or resolution falls, if nothing else goes on from there.
ENDS = (keras.layers.Add, keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)


class Recomputing:
    """A functional model, block by block, for training passes.

    Args:
        model: Model from one tensor to named ones, {name: tensor}; the blocks share its layers.
    """

    def __init__(self, model: keras.Model):
        self._blocks: list[tuple[keras.Model, list[int]]] = []
        self._ends = {name: id(tensor) for name, tensor in model.output.items()}  # some have two names
        start = model.inputs[0]
        for end, layers in _blocks_of(model):
            made = {id(layer.output): layer.output for layer in layers}
            ends = [*({*self._ends.values()} & made.keys() - {id(end)}), id(end)]
            self._blocks.append((keras.Model(start, [made[number] for number in ends]), ends))
            start = end

    @tf.autograph.experimental.do_not_convert
    def __call__(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of the model in a training pass, by name."""
        outputs: dict[int, tf.Tensor] = {}
        x = inputs
        for block, ends in self._blocks:
            # Dropout would drop others the second time.
            keeps = any(isinstance(layer, Dropout) for layer in block.layers)
            found = block(x, training=True) if keeps else recomputed(block, x)
            outputs |= zip(ends, tf.nest.flatten(found), strict=True)
            x = outputs[ends[-1]]
        return {name: outputs[number] for name, number in self._ends.items()}


def _blocks_of(model: keras.Model) -> Iterator[tuple[keras.KerasTensor, list[keras.layers.Layer]]]:
    """Yields the end of each block, a tensor, and its layers."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    last_use = {id(tensor): number for number, layer in enumerate(layers) for tensor in tf.nest.flatten(layer.input)}
    open_tensors: set[int] = set()
    block = []
    for number, layer in enumerate(layers):
        block.append(layer)
        open_tensors = {tensor for tensor in {*open_tensors, id(layer.output)} if last_use.get(tensor, -1) > number}
        is_end = isinstance(layer, ENDS) and open_tensors == {id(layer.output)}
        if is_end or number == len(layers) - 1:
            yield layer.output, block
            block = []


def recomputed(layer: keras.layers.Layer, x: tf.Tensor, **arguments):
    """Returns `layer(x, training=True, **arguments)`; only its input is kept for the gradient.

    Args:
        layer: A layer that draws nothing at random.
        x: Its input.
        **arguments: Further arguments, which get no gradient.
    """
    trained = layer.trainable_variables
    state = [(variable, tf.convert_to_tensor(variable.value)) for variable in layer.non_trainable_variables]
    moved: list[tuple[keras.Variable, tf.Tensor]] = []
    is_first = True

    def applied(x: tf.Tensor, *weights: tf.Tensor):
        nonlocal is_first
        scope = keras.StatelessScope([*zip(trained, weights, strict=True), *state])
        with scope, batch_norm_updates(is_first):
            outputs = layer(x, training=True, **arguments)
        if is_first:
            values = ((variable, before, scope.get_current_value(variable)) for variable, before in state)
            moved.extend((variable, value) for variable, before, value in values if value is not before)
        is_first = False
        return outputs

    # The weights are arguments: it has no gradient for other tensors, which they are in `read_once`.
    outputs = tf.recompute_grad(applied)(x, *(tf.convert_to_tensor(variable.value) for variable in trained))
    for variable, value in moved:
        variable.assign(value)
    return outputs
