"""The table of ranges that stands beside a configurable: each parameter that gin knows has one there."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wss.errors import UserError
from wss.ranges import Range, SetByCode, shown

C = TypeVar("C", bound=Callable)
_ATTRIBUTE = "__parameter_ranges__"


@dataclasses.dataclass(frozen=True)
class Relation:
    """What must hold between parameters of one configurable that are right by themselves.

    Attributes:
        names: The parameters.
        holds: Function of their values, in order.
        words: What is expected, to complete "expected ...".
    """

    names: tuple[str, ...]
    holds: Callable[..., bool]
    words: str

    def problem(self, owner: str, values: Mapping[str, Any]) -> str | None:
        """Returns the line that says what is wrong with the values of a configurable, or None."""
        if self.holds(*(values[name] for name in self.names)):
            return None
        found = " and ".join(f"{owner}.{name} = {shown(values[name])}" for name in self.names)
        return f"{found}, expected {self.words}"


def at_most(smaller: str, larger: str) -> Relation:
    """Returns the relation that one parameter is at most another, where neither is None."""
    ordered = lambda first, second: first is None or second is None or first <= second
    return Relation((smaller, larger), ordered, f"{smaller} at most {larger}")


@dataclasses.dataclass(frozen=True)
class ParameterRanges:
    """The ranges of one configurable.

    Attributes:
        owner: Name of the configurable in gin files.
        ranges: Range of each parameter, by name.
        relations: What must hold between them.
        defaults: Values of the parameters that have one.
    """

    owner: str
    ranges: Mapping[str, Range]
    relations: tuple[Relation, ...]
    defaults: Mapping[str, Any]

    def problems(self, values: Mapping[str, Any], *, scope: str = "") -> list[str]:
        """Returns a line for each wrong value, and for each relation that does not hold.

        Args:
            values: Values by name; what is left out has its default.
            scope: gin scope in front of the names.
        """
        owner = f"{scope}/{self.owner}" if scope else self.owner
        known = {name: value for name, value in values.items() if name in self.ranges}
        found = [self.ranges[name].problem(f"{owner}.{name}", value) for name, value in known.items()]
        every = {**self.defaults, **known}
        right = {name for name, value in every.items() if self.ranges[name].accepts(value)}
        for relation in self.relations:
            if right.issuperset(relation.names) and not known.keys().isdisjoint(relation.names):
                found.append(relation.problem(owner, every))
        return [problem for problem in found if problem]

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises a `UserError` with a line for each wrong value."""
        if problems := self.problems(values):
            raise UserError("\n".join(problems))


def in_ranges(owner: str, *relations: Relation, **ranges: Range) -> Callable[[C], C]:
    """Returns the decorator of a configurable that refuses values outside their ranges before it runs.

    It stands below `@gin.configurable`. Wrong values end in one `UserError` with a line for each.

    Args:
        owner: Name in gin files.
        *relations: What must hold between parameters.
        **ranges: Range of each parameter.
    """

    def decorate(target: C) -> C:
        parameters = inspect.signature(target).parameters
        if set(parameters) != set(ranges):
            raise TypeError(f"{owner}: parameters and ranges differ: {sorted(set(parameters) ^ set(ranges))}")
        defaults = {name: parameter.default for name, parameter in parameters.items() if _has_default(parameter)}
        table = ParameterRanges(owner, ranges, relations, defaults)
        checked = target
        if not inspect.isclass(target):
            checked = _checked(target, table)  # type: ignore[assignment]
        elif ranges:
            setattr(target, "__init__", _checked(target.__init__, table))  # noqa: B010  mypy forbids the assignment
        setattr(checked, _ATTRIBUTE, table)
        return checked

    return decorate


def ranges_of(configurable: Callable) -> ParameterRanges | None:
    """Returns the ranges that a configurable declares; None for one of others that declares none."""
    return getattr(configurable, _ATTRIBUTE, None)


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


def _checked(function: Callable, table: ParameterRanges) -> Callable:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args, **kwargs):
        table.check(signature.bind_partial(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]  # gin does not look through the wrapper
    return checked


def is_free(range_: Range) -> bool:
    """Returns whether gin can set a parameter of this range."""
    return not isinstance(range_, SetByCode)
