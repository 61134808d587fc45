"""Declares a key of the configuration beside its dataclass field: its purpose and allowed values.

    @dataclass(frozen=True)
    class LeWMConfig(Settings):
        sigreg_weight: float = setting(0.1, "Weight of SIGReg.", ge=0, paper=0.1)

The command line, --help and the dataclass itself read the declaration. A field without a
declaration, as in a method from outside, works too: --help then shows its type and default alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

_KEY = "setting"  # key in the metadata of a field


class Setting(NamedTuple):
    """The declaration of a field. The bounds hold for a number, and for each number in a list or a
    dictionary.
    """

    about: str  # one sentence
    ge: float | None = None  # the value is at least this
    gt: float | None = None  # above
    le: float | None = None  # at most
    lt: float | None = None  # below
    least: int = 0  # smallest number of elements of a list
    text: str = ""  # describes the allowed texts, where the type does not
    paper: Any = None  # the value in the paper that the key comes from

    @property
    def range(self) -> str:
        """The bounds in words, "" without bounds."""
        bounds = ((self.ge, "at least"), (self.gt, "above"), (self.le, "at most"))
        bounds += ((self.lt, "below"),)
        return " and ".join(f"{word} {bound}" for bound, word in bounds if bound is not None)

    def allows(self, number: float) -> bool:
        """Whether the number is within the bounds."""
        return (
            (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError for a value that is not allowed, with its name and what is allowed."""
        if self.least and len(value) < self.least:
            raise ValueError(f"{name} must have at least {self.least} element(s)")
        for number in _numbers(value):
            if isinstance(number, float) and not math.isfinite(number):
                allowed = ", ".join(filter(None, ("a finite number", self.range)))
                raise ValueError(f"{name}={number} must be {allowed}")
            if not self.allows(number):
                raise ValueError(f"{name}={number} must be {self.range}")


def setting(
    default: Any,
    about: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    least: int = 0,
    text: str = "",
    paper: Any = None,
) -> Any:
    """A dataclass field with its declaration (Setting); a callable default is a factory."""
    metadata = {_KEY: Setting(about, ge, gt, le, lt, least, text, paper)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def of(field: dataclasses.Field) -> Setting | None:
    """The declaration of a field, or None."""
    return field.metadata.get(_KEY)


class Settings:
    """Base of the configuration's dataclasses: raises ValueError for a value out of its range.

    A subclass that raises its own ValueError in `__post_init__` begins the message with the name of
    a field, because the configuration puts the section in front of it.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if declared := of(field):
                declared.check(field.name, getattr(self, field.name))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict):
        yield from _numbers(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
