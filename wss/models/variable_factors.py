"""Which variables of a network decay, and which have a learning rate of their own."""

from typing import TYPE_CHECKING

import keras

from wss.models.tf1_names import tf1_variables

if TYPE_CHECKING:
    from wss.models.deeplab import DeepLab

SGC_SCOPES = ("hyper_column/", "pixel_normalization/")


def decayed_kernels(network: "DeepLab") -> list[keras.Variable]:
    """Returns what DeepLab's L2 loss covers: kernels, but depthwise and SGC's."""
    named = tf1_variables(network)
    kernels = [
        variable
        for name, variable in named.items()
        if variable.trainable and name.endswith("/weights") and not name.startswith(SGC_SCOPES)
    ]
    known = {id(variable) for variable in named.values()}
    return kernels + [
        variable
        for variable in network.trainable_variables
        if id(variable) not in known and variable.path.endswith("/kernel")
    ]


def rate_factors(
    network: "DeepLab", *, last_layer: float = 1.0, head: float = 1.0, sgc: float = 1.0, bias: float | None = None
) -> dict[str, float]:
    """Returns {variable path: factor of the learning rate}; it is 1 elsewhere. See `DeepLab.rate_factors`."""
    named = tf1_variables(network)
    of_sgc = {variable.path for name, variable in named.items() if name.startswith(SGC_SCOPES)}
    parts = (network.segmentation_head, network.auxiliary_head)
    heads = [part.trainable_variables for part in parts if part is not None]
    factors = {
        variable.path: sgc if variable.path in of_sgc else head
        for variables in (*heads, _own_variables(network))
        for variable in variables
    }
    for name, variable in named.items():
        if name.startswith(("logits/", network.classifier_scope)):
            own = network.bias_multiplier if bias is None and name.endswith("/biases") else 1.0
            factors[variable.path] = factors.get(variable.path, 1.0) * last_layer * own
    if bias is not None:
        for path in _bias_paths(network):
            factors[path] = factors.get(path, 1.0) * bias
    return {path: factor for path, factor in factors.items() if factor != 1.0}


def _bias_paths(network: "DeepLab") -> set[str]:
    """Returns the paths of all biases: of convolutions and dense layers, not the betas of batch norms."""
    named = {variable.path for name, variable in tf1_variables(network).items() if name.endswith("/biases")}
    return named | {variable.path for variable in network.trainable_variables if variable.path.endswith("/bias")}


def _own_variables(network: "DeepLab") -> list[keras.Variable]:
    """Returns the trainable variables of the method's own layers."""
    return [] if network.branches is None else network.branches.trainable_variables
