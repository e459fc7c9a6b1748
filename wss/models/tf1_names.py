"""TensorFlow 1 names of the variables of a model: what DeepLab's checkpoints call them.

A layer takes part by having an attribute `tf1_scope`, the scope of its convolution or batch norm, for instance
"xception_65/entry_flow/conv1_1" or "xception_65/entry_flow/conv1_1/BatchNorm".
"""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from wss.errors import UserError, did_you_mean

_SUFFIXES = {
    "kernel": "weights",
    "bias": "biases",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}


def tf1_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns {TensorFlow 1 name: variable} of every layer, however deep, that has a `tf1_scope`.

    Raises:
        ValueError: Two variables share a name.
    """
    variables: dict[str, keras.Variable] = {}
    for name, _, variable in _named(model):
        if name in variables and variables[name] is not variable:
            raise ValueError(f"two variables are called {name!r}")
        variables[name] = variable
    return variables


def tf1_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Returns {TensorFlow 1 name: shape}; a `Dense` kernel `[D, C]` is `[1, 1, D, C]` there."""
    return {
        name: (1, 1, *variable.shape) if _is_dense_kernel(layer, variable) else tuple(variable.shape)
        for name, layer, variable in _named(model)
    }


def only_classifies(name: str) -> bool:
    """Returns whether a backbone's variable is MobileNetV2's last convolution.

    Classifier and SGC use it, segmentation does not. DeepLab's own checkpoints and graphs of that backbone end before it.
    """
    return name.startswith("MobilenetV2/Conv_1/")


def tf1_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns {TensorFlow 1 name: array} in TensorFlow 1 shapes: what `assign_tf1` takes."""
    shapes = tf1_shapes(model)
    return {name: variable.numpy().reshape(shapes[name]) for name, variable in tf1_variables(model).items()}


def assign_tf1(
    model: keras.Model, values: Mapping[str, np.ndarray], strict: bool = True
) -> tuple[list[str], list[str]]:
    """Assigns arrays by TensorFlow 1 name.

    Layouts (HWIO, depthwise `[h, w, C, 1]`) are the same in both; see `tf1_shapes` for `Dense`.

    Args:
        model: A Keras model.
        values: {TensorFlow 1 name without ":0": array}.
        strict: Whether every named variable of the model must be given and every given name used.

    Returns:
        Names of the model without a value, and given names that the model does not have; both sorted.

    Raises:
        UserError: A shape differs, or with `strict` a name is missing or unknown; then nothing is assigned.
    """
    variables, shapes = tf1_variables(model), tf1_shapes(model)
    missing, unknown = sorted(variables.keys() - values.keys()), sorted(values.keys() - variables.keys())
    if strict and unknown:
        raise UserError(f"weights: {_some(unknown)} not in the model.{did_you_mean(unknown[0], variables)}")
    if strict and missing:
        raise UserError(f"weights: no value for {_some(missing)} of the model")
    # In the model's order, the same on all hosts: they assign together.
    known = {name: np.asarray(values[name]) for name in variables if name in values}
    for name, value in known.items():
        if value.shape not in (shapes[name], tuple(variables[name].shape)):
            raise UserError(f"weights: {name} has shape {value.shape}, the model expects {shapes[name]}")
    for name, value in known.items():
        variables[name].assign(value.reshape(variables[name].shape))
    return missing, unknown


def _named(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer, keras.Variable]]:
    for layer in model._flatten_layers():
        scope = getattr(layer, "tf1_scope", None)
        if scope is None:
            continue
        for attribute, suffix in _SUFFIXES.items():
            variable = getattr(layer, attribute, None)
            if isinstance(variable, keras.Variable):
                if attribute == "kernel" and isinstance(layer, keras.layers.DepthwiseConv2D):
                    suffix = "depthwise_weights"
                yield f"{scope}/{suffix}", layer, variable


def _is_dense_kernel(layer: keras.layers.Layer, variable: keras.Variable) -> bool:
    return isinstance(layer, keras.layers.Dense) and variable is layer.kernel


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
