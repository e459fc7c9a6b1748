"""Ranges of values: what a gin parameter or a flag may be, said once beside it, checked and printed from there."""

import abc
import dataclasses
import inspect
import math
import numbers
import os
import reprlib
from collections.abc import Collection
from typing import Any

from wss.errors import did_you_mean

LARGEST_SEED = 2**32 - 1  # of NumPy's
LARGEST_STEP = 2**31 - 1
# Pixels; images are read whole, and one of these takes 768 MiB as float32.
LARGEST_SIDE = 8192
LARGEST_BATCH = 2**16
LARGEST_SCALE = 16.0
LARGEST_WIDTH = 2**14  # channels

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80


class Range(abc.ABC):
    """The values that one parameter may take; its text completes "expected ..."."""

    @abc.abstractmethod
    def accepts(self, value: Any) -> bool:
        """Returns whether a value is one of them."""

    def accepts_reference(self, target: Any, *, evaluated: bool) -> bool:
        """Returns whether a gin reference may stand for a value; what a call returns is known only later.

        Args:
            target: The class or function that is referred to.
            evaluated: Whether it is called, as in `@PseudoSeg()`.
        """
        return True

    def hint(self, value: Any) -> str:
        """Returns " Did you mean ...?" for a value that is near to a right one, else ""."""
        return ""

    def problem(self, name: str, value: Any) -> str | None:
        """Returns the line that says what is wrong with a value of the parameter `name`, or None."""
        if self.accepts(value):
            return None
        hint = self.hint(value)
        return f"{name} = {shown(value)}, expected {self}{hint and f'.{hint}'}"


def shown(value: Any) -> str:
    """Returns a value as Python writes it, on one line and not too long."""
    try:
        return _short.repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return f"a {type(value).__name__}"


@dataclasses.dataclass(frozen=True)
class Integer(Range):
    """Integers between two bounds; True and 3.0 are none.

    Attributes:
        minimum: Smallest value.
        maximum: Largest value; None for no limit.
    """

    minimum: int
    maximum: int | None = None

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is an integer between the bounds."""
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            return False
        return self.minimum <= int(value) and (self.maximum is None or int(value) <= self.maximum)

    def __str__(self):
        if self.maximum is None:
            return f"an integer, {self.minimum} or more"
        return f"an integer from {self.minimum} to {self.maximum}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number(Range):
    """Finite numbers between two bounds; True and NaN are none.

    Attributes:
        minimum: Smallest value.
        maximum: Largest value.
        above: Bound that is too small itself.
        below: Bound that is too large itself.
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is a finite number between the bounds."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        return (
            math.isfinite(number)
            and (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self):
        if self.minimum is not None and self.maximum is not None:
            return f"a number from {self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None and self.below is None:
            return f"a number, {self.minimum:g} or more"
        lower = "" if self.minimum is None else f"at least {self.minimum:g}"
        lower = lower if self.above is None else f"above {self.above:g}"
        upper = "" if self.maximum is None else f"at most {self.maximum:g}"
        upper = upper if self.below is None else f"below {self.below:g}"
        return f"a number {' and '.join(filter(None, (lower, upper)))}".rstrip()


@dataclasses.dataclass(frozen=True)
class Switch(Range):
    """True and False."""

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is True or False."""
        return isinstance(value, bool)

    def __str__(self):
        return "True or False"


@dataclasses.dataclass(frozen=True)
class OneOf(Range):
    """A few values, by name or number.

    Attributes:
        values: The values.
    """

    values: Collection[Any]

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is one of them, and of the same type."""
        return any(type(value) is type(known) and value == known for known in self.values)

    def hint(self, value: Any) -> str:
        """Returns the nearest name."""
        return did_you_mean(value, map(str, self.values)) if isinstance(value, str) else ""

    def __str__(self):
        return f"one of {', '.join(map(str, self.values))}"


@dataclasses.dataclass(frozen=True)
class Text(Range):
    """Text of one line that is not empty.

    Attributes:
        what: Meaning of the text, such as "the name of a split".
        paths: Whether a path object is right too.
    """

    what: str
    paths: bool = False

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is such a text."""
        if self.paths and isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            return False
        return bool(value.strip()) and not any(ord(letter) < 32 or ord(letter) == 127 for letter in value)

    def __str__(self):
        return f"{self.what}, in quotes"


@dataclasses.dataclass(frozen=True)
class OrNone(Range):
    """None, and what another range accepts.

    Attributes:
        range: The other range.
    """

    range: Range

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is None or right."""
        return value is None or self.range.accepts(value)

    def accepts_reference(self, target: Any, *, evaluated: bool) -> bool:
        """Returns whether the other range accepts a reference."""
        return self.range.accepts_reference(target, evaluated=evaluated)

    def hint(self, value: Any) -> str:
        """Returns the hint of the other range."""
        return self.range.hint(value)

    def __str__(self):
        return f"{self.range}, or None"


@dataclasses.dataclass(frozen=True)
class Either(Range):
    """What one of two ranges accepts.

    Attributes:
        first: A range.
        second: The other range.
    """

    first: Range
    second: Range

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is right for one of them."""
        return self.first.accepts(value) or self.second.accepts(value)

    def hint(self, value: Any) -> str:
        """Returns the hint of the first, or else of the second."""
        return self.first.hint(value) or self.second.hint(value)

    def __str__(self):
        return f"{self.first}, or {self.second}"


@dataclasses.dataclass(frozen=True)
class Several(Range):
    """Tuples and lists whose items are all in one range.

    Attributes:
        item: Range of each item.
        minimum: Smallest number of items.
        maximum: Largest number of items; None for no limit.
        words: Text instead of the usual one.
    """

    item: Range
    minimum: int = 1
    maximum: int | None = None
    words: str = ""

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is such a sequence."""
        if not isinstance(value, tuple | list) or len(value) < self.minimum:
            return False
        return (self.maximum is None or len(value) <= self.maximum) and all(map(self.item.accepts, value))

    def __str__(self):
        if self.words:
            return self.words
        if self.minimum == self.maximum:
            number = str(self.minimum)
        else:
            number = f"{self.minimum} or more" if self.maximum is None else f"{self.minimum} to {self.maximum}"
        return f"{number} in brackets, each {self.item}"


class Size(Several):
    """Pairs (height, width) in pixels."""

    def __init__(self, minimum: int = 1, maximum: int = LARGEST_SIDE):
        item = Integer(minimum, maximum)
        super().__init__(item, 2, 2, f"(height, width), each {item}")


@dataclasses.dataclass(frozen=True)
class Instance(Range):
    """Objects of a class, which a gin file writes as a reference with brackets.

    Attributes:
        kind: The class.
        words: What it is, with an example.
    """

    kind: type
    words: str

    def accepts(self, value: Any) -> bool:
        """Returns whether a value is of the class."""
        return isinstance(value, self.kind)

    def accepts_reference(self, target: Any, *, evaluated: bool) -> bool:
        """Returns whether a reference makes an object of the class, as far as can be told."""
        return evaluated and (not inspect.isclass(target) or issubclass(target, self.kind))

    def __str__(self):
        return self.words


@dataclasses.dataclass(frozen=True)
class SetByCode(Range):
    """What the code gives whatever gin says; a binding would do nothing.

    Attributes:
        instead: What to set instead; "" where there is nothing.
    """

    instead: str = ""

    def accepts(self, value: Any) -> bool:
        """Returns True: the code knows what it gives."""
        return True

    def problem_of_binding(self, name: str) -> str:
        """Returns the line that says why gin cannot set the parameter `name`."""
        return f"{name} cannot be set" + (f"; set {self.instead}" if self.instead else ", the program gives it")

    def __str__(self):
        return f"nothing: {self.instead or 'the program'} gives it"
