"""Means of metrics over the steps in which they are known: others would count as 0."""

from collections.abc import Mapping


def known_scalars(scalars: Mapping[str, float], known_when: Mapping[str, str]) -> dict[str, float]:
    """Returns what there is to show of means over steps; neither 0 nor NaN stands for what is not known.

    Args:
        scalars: Means over steps by name. A metric is 0 in the steps in which it is not known.
        known_when: See `Method.known_when`.
    """
    shown = {}
    for name, value in scalars.items():
        if name in known_when.values():
            continue
        share = scalars[known_when[name]] if name in known_when else 1.0
        if share > 0:
            shown[name] = value / share
    return shown
