"""Dotted keys: text as it was typed becomes nested dictionaries, and these become dataclasses. A
wrong key or value is named together with what is allowed.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

import yaml

from harness.contracts.setting import Dataclass, kinds
from harness.records import plain_yaml
from harness.runtime.command import ConfigError, nearest

T = TypeVar("T", bound=Dataclass)

MOST_SEEDS = 100_000
_TRUE, _FALSE = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")
_NONE = ("null", "none", "~", "")


class Leaf(NamedTuple):
    """A key that takes a value: a field of a dataclass, or of one inside it."""

    key: str  # dotted; the key of the field from_ is "from", which Python keeps to itself
    kind: Any  # the field's type
    default: Any
    field: dataclasses.Field[Any]


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of nested dictionaries. Raises ConfigError where a value is in the way."""
    *path, last = key.split(".")
    for depth, part in enumerate(path, start=1):
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{key}: {'.'.join(path[:depth])} is given a value already")
    tree[last] = value


def merge(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Lay `layer` over `tree`, branch by branch; `layer` stays as it is."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = _copy(value)


def seeds(text: str) -> tuple[int, ...]:
    """ "3" means seeds 0, 1 and 2, "[0,7]" and "0,7" mean these. Raises ConfigError."""
    try:
        several = "," in text or "[" in text
        numbers = read(tuple[int, ...], text, "seeds") if several else range(int(text))
    except ValueError:
        numbers = ()
    if not 0 < len(numbers) <= MOST_SEEDS or min(numbers) < 0:
        raise ConfigError(
            f"seeds={text}: seeds must be whole numbers, a count from 1 to {MOST_SEEDS} or a list "
            f"of seeds from 0 on: seeds=3 or seeds=[0,7]"
        )
    return tuple(numbers)


# -- dataclasses


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Every key of the dataclass `config` that takes a value."""
    for field in dataclasses.fields(config):
        key, value = prefix + field.name.rstrip("_"), getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{key}.")
        else:
            yield Leaf(key, kinds(type(config))[field.name], value, field)


def fill(base: T, values: Mapping[str, Any], where: str = "") -> T:
    """The dataclass `base` with `values` in place of its own, read by the fields' types.

    `values` are nested dictionaries of values or of text as it was typed; `where` is what stands
    before their keys in messages. Raises ConfigError on unknown keys, on what the types refuse and
    on what the dataclass refuses.
    """
    check_keys(where, values, [leaf.key for leaf in leaves(base)])
    types_of, changed = kinds(type(base)), {}
    fields = {field.name.rstrip("_"): field.name for field in dataclasses.fields(base)}
    for key, value in values.items():
        if key not in fields:
            names = [leaf.key for leaf in leaves(base, where)]
            raise ConfigError(f'unknown key "{where}{key}". {nearest(where + key, names)}')
        name = fields[key]
        inner = getattr(base, name)
        if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            changed[name] = fill(inner, value, f"{where}{key}.")
        else:
            changed[name] = read(types_of[name], value, where + key)
    try:
        return dataclasses.replace(base, **changed)
    except ValueError as error:  # of a __post_init__, which begins with the name of a field
        name = re.split(r"\W", str(error), maxsplit=1)[0].rstrip("_")
        raise ConfigError(f"{where}{error}; {_page(where + name)}") from error


def check_keys(where: str, values: Any, keys: Iterable[str]) -> None:
    """Raises ConfigError where `values` are no keys and values but one value."""
    if not isinstance(values, Mapping):
        names = ", ".join(where + key for key in keys)
        raise ConfigError(f"{where.rstrip('.')} takes no value ({values}) but keys: {names}")


def read(kind: Any, value: Any, key: str) -> Any:
    """`value` as the type `kind` of a field; text is taken as it was typed.

    Raises ConfigError that names the key, the value and what is allowed.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _first_that_reads(inner, value, key)
    if origin is Literal:
        matches = [choice for choice in inner if str(choice) == str(value)]
        return (
            matches[0] if matches else _refuse(key, value, f"one of {', '.join(map(str, inner))}")
        )
    if origin in (tuple, list):
        kinds = _repeated(inner, items := _items(value, inner[0], key))
        if len(kinds) != len(items):
            _refuse(key, value, f"a list of {len(kinds)}")
        values = [read(k, item, key) for k, item in zip(kinds, items, strict=True)]
        return values if origin is list else tuple(values)
    if origin is dict:
        pairs = _pairs(value, key).items()
        return {read(inner[0], k, key): read(inner[1], v, f"{key}.{k}") for k, v in pairs}
    return _READERS.get(kind, _anything)(value, key)


def _text(value: Any, key: str) -> str:
    return str(value)


def _number(value: Any, key: str) -> float:
    try:  # YAML writes .inf and .nan
        text = (
            value.replace(".inf", "inf").replace(".nan", "nan") if isinstance(value, str) else value
        )
        return float(text)
    except (TypeError, ValueError, OverflowError):
        return _refuse(key, value, "a number")


def _whole(value: Any, key: str) -> int:
    try:
        return int(value) if isinstance(value, int | str) else _refuse(key, value, "a whole number")
    except ValueError:
        return _refuse(key, value, "a whole number")


def _switch(value: Any, key: str) -> bool:
    text = str(value).strip().lower()
    return text in _TRUE if text in (*_TRUE, *_FALSE) else _refuse(key, value, "true or false")


def _anything(value: Any, key: str) -> Any:
    """A field of no type that is known here: text is read as YAML."""
    if isinstance(value, Mapping):
        return {name: _anything(item, key) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_anything(item, key) for item in value]
    return _yaml(value, yaml.SafeLoader, key) if isinstance(value, str) else value


_READERS: dict[Any, Callable[[Any, str], Any]] = {
    str: _text,
    float: _number,
    int: _whole,
    bool: _switch,
}


def _first_that_reads(kinds: Sequence[Any], value: Any, key: str) -> Any:
    if type(None) in kinds and (value is None or str(value).lower() in _NONE):
        return None
    failures = []
    for kind in kinds:
        try:
            if kind is not type(None):
                return read(kind, value, key)
        except ConfigError as failure:
            failures.append(failure)
    raise failures[-1]


def _items(value: Any, kind: Any, key: str) -> list[Any]:
    """The elements of a list, "[a,b]" or "a,b"; quotes around one are left out."""
    if not isinstance(value, str):
        return list(value) if isinstance(value, Iterable) else [value]
    if typing.get_origin(kind) is not None and typing.get_origin(kind) is not Literal:
        parsed = _yaml(value, yaml.BaseLoader, key)  # lists in a list
        return parsed if isinstance(parsed, list) else _refuse(key, value, "a list of lists")
    text = value.strip()
    text = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    if "" in items:
        _refuse(key, value, "a list without an empty element, e.g. a,b")
    return [i[1:-1] if len(i) > 1 and i[0] == i[-1] and i[0] in "\"'" else i for i in items]


def _repeated(kinds: Sequence[Any], items: Sequence[Any]) -> Sequence[Any]:
    """A type for each element: list[int] and tuple[int, ...] have one for all."""
    alike = len(kinds) == 1 or kinds[-1] is Ellipsis
    return [kinds[0]] * len(items) if alike else kinds


def _pairs(value: Any, key: str) -> Mapping[str, Any]:
    parsed = _yaml(value, yaml.BaseLoader, key) if isinstance(value, str) else value
    if not isinstance(parsed, Mapping):
        _refuse(key, value, "of the form {name: value, name: value}")
    return parsed


def _yaml(text: str, loader: type, key: str) -> Any:
    """The text as YAML: BaseLoader leaves values as text, SafeLoader reads numbers and dates."""
    try:
        return plain_yaml.load(text, loader)
    except ValueError as error:
        raise ConfigError(f"{key}: cannot read the value {text[:80]!r} ({error})") from error


def _refuse(key: str, value: Any, allowed: str) -> NoReturn:
    shown = " ".join(str(value).split())[:80]
    raise ConfigError(f"{key}={shown} must be {allowed}; {_page(key)}")


def _page(key: str) -> str:
    """The command that explains a key: keys of a section have a page each."""
    return f"see --help {key}" if "." in key else "see --help"


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return value
