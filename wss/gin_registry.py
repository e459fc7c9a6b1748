"""What gin knows of this project: its configurables, by the names that gin files use."""

import inspect
from collections.abc import Callable

import gin


def configurables() -> dict[str, Callable]:
    """Returns the configurables by name, gin's own left out."""
    registered = gin.config._REGISTRY.items()
    return {selector.split(".")[-1]: entry.wrapped for selector, entry in registered if not selector.startswith("gin.")}


def parameters_of(name: str) -> list[str]:
    """Returns the parameters of a configurable; none for a name that is none."""
    configurable = configurables().get(name.split(".")[-1])
    return list(inspect.signature(configurable).parameters) if configurable else []
