"""The words of a command line as nested dictionaries, and what to say of a wrong one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any


class ConfigError(ValueError):
    """A word of the command line that is not understood; the message names what is."""


PATHS = ("results", "datasets", "weights")  # keys, or their last parts, whose values are paths


def path(key: str, text: str) -> str:
    """The path `text` with the home folder in place of ~ or ~user, which some shells leave to the
    program. Raises ConfigError where there is no such user.
    """
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise ConfigError(
            f"{key}={text}: {text.split('/')[0]} has no home folder here: give the path from / on, "
            f"or ./{text} for a folder of that name"
        )
    return expanded


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name` if it is one of `names`; raises ConfigError that names the nearest and all."""
    if name in names:
        return name
    raise ConfigError(f'unknown {kind} "{name}". {nearest(name, names)}')


def nearest(name: str, names: Iterable[str]) -> str:
    """The nearest valid name, and all of them where they are few."""
    names = list(names)
    close = [full for full in names if full.endswith(f".{name}")]  # "lr" is short for "train.lr"
    close = close or difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    return hint + (f"Valid: {', '.join(names)}." if len(names) <= 40 else "See --help.")


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


def listed(words: dict[str, Any]) -> dict[str, Any]:
    """tasks=x,y means tasks=[x,y]; seeds=3 means seeds 0, 1 and 2."""
    words = dict(words)
    for key in ("tasks", "methods"):
        if isinstance(words.get(key), str):
            words[key] = [name.strip() for name in words[key].split(",")]
    if isinstance(words.get("seeds"), int):
        words["seeds"] = list(range(words["seeds"]))
    seeds = words.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(isinstance(s, int) for s in seeds):
        raise ConfigError("seeds must be whole numbers, at least one: seeds=3 or seeds=[0,7]")
    return words


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return value
