"""The reference of the gin parameters: defaults, ranges and meanings, as text and as a page of docs."""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator

import gin

from wss.errors import UserError, did_you_mean
from wss.gin_registry import configurables
from wss.parameter_ranges import ranges_of
from wss.ranges import SetByCode

HEAD = """# Parameters

What gin files and `--gin_param` can set. `python tools/write_parameters.py` writes this page from the code.
`wss-train --list_parameters=NAME` prints one table of it. A value outside its range ends in one line.
"""


def describe(name: str) -> str:
    """Returns a configurable with its parameters, their defaults and ranges, and its whole docstring, with inherited ones.

    Raises:
        UserError: Nothing is called so.
    """
    known = configurables()
    if name not in known:
        raise UserError(f"nothing is called {name!r}.{did_you_mean(name, known)}")
    documents = [inspect.getdoc(what) or "" for what in _documented(known[name])]
    return "\n\n".join([_signature(name, known[name]), *documents]).rstrip()


def describe_all() -> str:
    """Returns all configurables with their parameters, defaults and ranges, and the first line of each docstring."""
    known = sorted(configurables().items())
    return "\n\n".join(f"{name}: {_first_line(what)}\n{_signature(name, what)}".rstrip() for name, what in known)


def page() -> str:
    """Returns the page of docs: a table for each configurable of this project that has parameters."""
    known = sorted(configurables().items(), key=lambda item: item[0].lower())
    tables = [
        _table(name, what) for name, what in known if what.__module__.startswith("wss.") and list(_parameters(what))
    ]
    return "\n".join([HEAD, *tables])


def _table(name: str, configurable: Callable) -> str:
    meanings = {
        parameter: _without_reference(what, parameter, text)
        for what in reversed(_documented(configurable))
        for parameter, text in parameter_meanings(inspect.getdoc(what) or "").items()
    }
    rows = [
        f"| `{parameter.name}` | {_default(parameter)} | {_cell(_range(configurable, parameter.name))} "
        f"| {_cell(meanings.get(parameter.name, ''))} |"
        for parameter in _parameters(configurable)
    ]
    relations = getattr(ranges_of(configurable), "relations", ())
    together = [f"- Expected {_cell(relation.words)} (`{'`, `'.join(relation.names)}`)." for relation in relations]
    head = [
        f"## {name}",
        "",
        _first_line(configurable),
        "",
        "| parameter | default | range | meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, "", *together, *([""] if together else [])])


def _documented(configurable: Callable) -> list[Callable]:
    """Returns a configurable and what it inherits parameters from, the nearest first."""
    if not inspect.isclass(configurable):
        return [configurable]
    _, *inherited = inspect.getmro(configurable)
    return [configurable, *(base for base in inherited if dataclasses.is_dataclass(base))]


def parameter_meanings(docstring: str) -> dict[str, str]:
    """Returns what a Google docstring says of each parameter, by name."""
    section = re.search(r"^(?:Args|Attributes):\n((?:(?: {4}.*)?\n?)*)", docstring, re.MULTILINE)
    found = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _without_reference(configurable: Callable, parameter: str, text: str) -> str:
    """Returns what a parameter means, also where its docstring points to another one: "See `soft_label`, its `kind`."."""
    pointer = re.match(r"See `(\w+)`(?:, its `(\w+)`)?(.*)", text)
    if pointer is None:
        return text
    own = sys.modules[configurable.__module__]
    others = [module for name, module in sorted(sys.modules.items()) if name.startswith("wss.")]
    target = next((found for module in (own, *others) if (found := getattr(module, pointer[1], None))), None)
    name = pointer[2] or parameter
    meaning = parameter_meanings(inspect.getdoc(target) or "").get(name) if target else None
    if target is None or meaning is None:
        return text
    return _without_reference(target, name, meaning).rstrip(".") + pointer[3]


def _first_line(configurable: Callable) -> str:
    return (inspect.getdoc(configurable) or "").partition("\n")[0]


def _parameters(configurable: Callable) -> Iterator[inspect.Parameter]:
    """Yields the parameters that gin can set: they have a default, or gin requires them."""
    table = ranges_of(configurable)
    for parameter in inspect.signature(configurable).parameters.values():
        by_code = table is not None and isinstance(table.ranges.get(parameter.name), SetByCode)
        if parameter.default is not inspect.Parameter.empty and not by_code:
            yield parameter


def _signature(name: str, configurable: Callable) -> str:
    """Returns a line for each parameter that gin can set."""
    lines = []
    for parameter in _parameters(configurable):
        value = "  (required)" if parameter.default is gin.REQUIRED else f" = {parameter.default!r}"
        range_ = _range(configurable, parameter.name)
        lines.append(f"  {name}.{parameter.name}{value}" + (f"   # {range_}" if range_ else ""))
    return "\n".join(lines)


def _range(configurable: Callable, name: str) -> str:
    table = ranges_of(configurable)
    return str(table.ranges[name]) if table and name in table.ranges else ""


def _default(parameter: inspect.Parameter) -> str:
    return "required" if parameter.default is gin.REQUIRED else f"`{parameter.default!r}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
