"""The values of a parsed configuration, held against the ranges of the parameters before anything is built."""

from collections.abc import Iterator
from typing import Any

import gin
from gin.config import ConfigurableReference

from wss.parameter_ranges import ParameterRanges, ranges_of
from wss.ranges import SetByCode

Key = tuple[str, str]
MACRO = "gin.macro"


def wrong_values() -> list[str]:
    """Returns a line for each value of gin's configuration that is outside the range of its parameter.

    Macros count as what they are set to. What another reference returns is only known once it is built.
    """
    if circles := list(_circles()):
        return circles
    problems = []
    for (scope, selector), values in gin.config._CONFIG.items():
        if table := ranges_of(gin.config._REGISTRY[selector].wrapped):
            problems += _problems(table, values, scope)
    return problems


def _problems(table: ParameterRanges, values: dict[str, Any], scope: str) -> list[str]:
    owner = f"{scope}/{table.owner}" if scope else table.owner
    problems, known = [], {}
    for name, given in values.items():
        range_, value = table.ranges.get(name), _resolved(given)
        if isinstance(range_, SetByCode):
            problems.append(range_.problem_of_binding(f"{owner}.{name}"))
        elif range_ is None or list(_references(value)):
            if range_ is not None and not _may_refer(value, range_):
                problems.append(f"{owner}.{name} = {value}, expected {range_}")
        else:
            known[name] = value
    return problems + table.problems(known, scope=scope)


def _may_refer(value: Any, range_) -> bool:
    """Returns whether a value with references in it can be right."""
    if not isinstance(value, ConfigurableReference):
        return True
    return range_.accepts_reference(value.configurable.wrapped, evaluated=value.evaluate)


def _resolved(value: Any) -> Any:
    """Returns a value with the macros in it replaced by what they are set to."""
    if isinstance(value, ConfigurableReference) and value.configurable.selector == MACRO and value.evaluate:
        bound = gin.config._CONFIG.get(value.config_key, {})
        return _resolved(bound["value"]) if "value" in bound else value
    if isinstance(value, tuple | list):
        return type(value)(map(_resolved, value))
    return value


def _references(value: Any) -> Iterator[ConfigurableReference]:
    """Yields the references in a value."""
    if isinstance(value, ConfigurableReference):
        yield value
    elif isinstance(value, dict):
        yield from _references([*value.keys(), *value.values()])
    elif isinstance(value, tuple | list | set):
        for item in value:
            yield from _references(item)


def _node(key: Key) -> Key:
    """Returns the key of a configurable whatever its scope; a macro has its name there."""
    scope, selector = key
    return (scope, selector) if selector == MACRO else ("", selector)


def _circles() -> Iterator[str]:
    """Yields a line for each binding that needs itself to be built."""
    uses: dict[Key, set[Key]] = {}
    for key, values in gin.config._CONFIG.items():
        called = {_node(used.config_key) for used in _references(list(values.values())) if used.evaluate}
        uses.setdefault(_node(key), set()).update(called)
    for key, values in gin.config._CONFIG.items():
        for name, value in values.items():
            if any(
                _node(key) in _reachable(_node(used.config_key), uses) for used in _references(value) if used.evaluate
            ):
                scope, selector = key
                what = scope if selector == MACRO else f"{selector.split('.')[-1]}.{name}"
                yield f"{what} = {value} needs itself"


def _reachable(start: Key, uses: dict[Key, set[Key]]) -> set[Key]:
    """Returns a configurable and all that is called to build it."""
    found, waiting = {start}, [start]
    while waiting:
        further = uses.get(waiting.pop(), set()) - found
        found |= further
        waiting += further
    return found
