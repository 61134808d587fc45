"""Declares a key of the configuration beside its dataclass field: its purpose and allowed values.

    @dataclass(frozen=True)
    class LeWMConfig(Settings):
        sigreg_weight: float = setting(0.1, "Weight of SIGReg.", ge=0, paper=0.1)

The command line, --help and the dataclass itself read the declaration. A field without a
declaration, as in a method from outside, works too: --help then shows its type and default alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import typing
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

_KEY = "setting"  # key in the metadata of a field
MOST_WHOLE = 2**32 - 1  # the largest whole number of a key: numpy's seeds end there


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
        bounds = {"at least": self.ge, "above": self.gt, "at most": self.le, "below": self.lt}
        return " and ".join(f"{w} {bound}" for w, bound in bounds.items() if bound is not None)

    def allows(self, number: float) -> bool:
        """Whether the number is within the bounds."""
        return (
            (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def check(self, name: str, value: Any, kind: Any = Any) -> None:
        """Raise ValueError for a value that is not allowed, or not of the field's type `kind`, with
        its name and what is allowed.
        """
        if unfit := _unfit(kind, value):
            raise ValueError(f"{name}={value!r} must be {unfit}")
        if self.least and len(value) < self.least:
            raise ValueError(f"{name} must have at least {self.least} element(s)")
        for number in _numbers(value):
            if isinstance(number, int) and self.le is None and number > MOST_WHOLE:
                raise ValueError(f"{name}={number} must be at most {MOST_WHOLE}")
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


def of(field: dataclasses.Field[Any]) -> Setting | None:
    """The declaration of a field, or None."""
    return field.metadata.get(_KEY)


def about(field: dataclasses.Field[Any]) -> str:
    """The sentence of a field's declaration, or ""."""
    declared = of(field)
    return declared.about if declared else ""


class Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class Settings:
    """Base of the configuration's dataclasses: raises ValueError for a value out of its range.

    A subclass that raises its own ValueError in `__post_init__` begins the message with the name of
    a field, because the configuration puts the section in front of it.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # of the subclasses

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if declared := of(field):
                kind = kinds(type(self))[field.name]
                declared.check(field.name, getattr(self, field.name), kind)


def kinds(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields by their names."""
    return _hints(cls)


@functools.cache  # resolving the annotations takes longer than all the rest
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


_KINDS = {  # type -> what its values are, and in words
    bool: (bool, "true or false"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}


def _unfit(kind: Any, value: Any) -> str:
    """Say in words what the value must be to be of the type; "" where it is, or the type is not
    known here.
    """
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "" if value in inner else f"one of {', '.join(map(str, inner))}"
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            return "a list"
        return next((words for item in value if (words := _unfit(inner[0], item))), "")
    accepted, words = _KINDS.get(kind, (object, ""))
    truth_for_number = isinstance(value, bool) and kind in (int, float)
    return words if truth_for_number or not isinstance(value, accepted) else ""


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict):
        yield from _numbers(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
