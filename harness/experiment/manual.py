"""The texts of --help: an overview that fits one screen, and a page for each part of it.

--help                       the run's words, and where to ask further
--help scales                also suites, protocols, tasks, methods, planners
--help protocols A B         what differs between two protocols
--help method.lewm           the keys of a section: data, train, mpc, planner.cem, ...
--help train.lr              one key: type, range, default, the paper's value, the scales'
"""

from __future__ import annotations

import difflib
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from harness import zoo
from harness.contracts import setting
from harness.experiment import config, dotted_keys, protocol_pages, suites
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.scales import EVERY_SCALE, SCALES
from harness.runtime import outside
from harness.runtime.command import ConfigError

WIDTH = 100
_MOST_PAGES = 12
_FIRST_LINE = (
    "JEPA bench: trains and evaluates world models and baselines under one named protocol.\n"
    "  ./run.sh suite=quick methods=lewm,random  (jepa-bench, python -m harness.run)"
)
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_KINDS_OUTSIDE = ("method", "task", "planner")
_SEVERAL = {str: "names", int: "whole numbers", float: "numbers"}


def answer(words: Sequence[str], overview: str) -> str:
    """The pages of the parts `words` that stand beside --help, or `overview`. A word with a file,
    methods=./my_method.py, makes its entries known.

    Raises ConfigError on a part that is not known.
    """
    if words[:1] == ["protocols"] and set(words[1:]) & set(PROTOCOLS):
        return protocol_pages.compare(words[1:])
    _load(words)
    parts = dict.fromkeys(word.partition("=")[0] for word in words)
    return "\n\n".join(map(_page, parts)) or overview


def _load(words: Sequence[str]) -> None:
    """Load the files that the words name, and the installed entries that they ask for."""
    for word in words:
        key, _, text = word.partition("=")
        kind = key.removesuffix("s")
        for name in text.strip("[]").split(",") if kind in _KINDS_OUTSIDE else ():
            zoo.find(kind, name)
        branch, _, path = key.partition(".")
        if branch in _KINDS_OUTSIDE and path:
            zoo.find(branch, path.partition(".")[0])


def overview() -> str:
    """The run's words, and where to ask further: one screen."""
    keys = [*(f"{name}.*" for name in config.sections() if not name.startswith("method."))]
    keys.append("method.<name>.*")
    return "\n".join(
        [
            _FIRST_LINE,
            "",
            "Words of the run:",
            *_short(config.RunConfig(), leave_out=("overrides",)),
            "",
            "Keys of a trial, e.g. train.lr=1e-4; for one task or method: for.push_t.train.lr=1e-4",
            *_wrapped(", ".join(keys), "  "),
            "",
            "Ask further:",
            *aligned(
                {
                    f"--help {'|'.join(_LISTS)}": "what each of them is",
                    "--help train|method.lewm|...": "the keys of a section",
                    "--help train.lr": "type, range, default, paper's value",
                }
            ),
            "",
            "Other commands, python -m ..., each with a --help of its own:",
            *_wrapped(
                "harness.doctor (what this machine lacks), harness.moments (what data are like), "
                "harness.data (import and audit), harness.report (tables and figures again), "
                "harness.verify (recomputes what can be recomputed of a run), "
                "harness.sweep (values of a key, by Optuna), harness.bench (speed), harness.trial "
                "(one, without Ray), harness.clear (CLEAR-LeWM's formats), harness.export "
                "(weights)",
                "  ",
            ),
        ]
    )


def section(base: Any, prefix: str = "") -> str:
    """Two lines for each key of the dataclass `base`: what may be given, and its sentence."""
    lines = []
    for leaf in dotted_keys.leaves(base, prefix):
        lines += _wrapped(f"{leaf.key}={_typed(leaf.default)}   {_allowed(leaf)}", "  ")
        if declared := setting.of(leaf.field):
            lines += _wrapped(declared.about, "      ")
    return "\n".join(lines)


def aligned(entries: Mapping[str, str], prefix: str = "") -> list[str]:
    """A line for each entry and its sentence, which goes on below where it is too long."""
    width = max(len(prefix + name) for name in entries) + 2
    lines = []
    for name, sentence in entries.items():
        sentence_lines = textwrap.wrap(sentence, WIDTH - 2 - width) or [""]
        lines += [f"  {prefix + name:{width}}{sentence_lines[0]}".rstrip()]
        lines += [" " * (width + 2) + line for line in sentence_lines[1:]]
    return lines


def _page(part: str) -> str:
    if part.startswith("for."):  # for.push_t.train.lr
        part = part.removeprefix("for.").partition(".")[2] or "for"
    if pages := list(_pages(part)):
        return "\n\n".join(pages)
    names = [*_LISTS, *config.sections(), *(leaf.key for leaf in _leaves())]
    ends = [name for name in names if name.endswith(f".{part}")]
    if 0 < len(ends) <= _MOST_PAGES:  # "lewm" is method.lewm, "lr" is train.lr
        return "\n\n".join(page for name in ends for page in _pages(name))
    close = ends or difflib.get_close_matches(part, names, n=1, cutoff=0.4)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    raise ConfigError(f'--help knows no "{part}". {hint}See --help.')


def _pages(part: str) -> Iterator[str]:
    """All that has this name: `protocol` is a word of the run and a section."""
    yield from (_key_page(leaf) for leaf in _leaves() if leaf.key == part)
    if part in config.sections():
        yield _section_page(part, config.sections()[part])
    if part in _LISTS:
        yield "\n".join([f"{part.capitalize()}:", *aligned(_LISTS[part]())])
    if part == "protocols":
        yield "What differs between two: ./run.sh protocols lewm-v1 lewm-v3"
    if part in ("method", "planner"):
        names = aligned(_LISTS[f"{part}s"](), f"{part}.")
        yield "\n".join([f"Ask --help {part}.<name>:", *names])
    if part == "for":
        yield "for.<task or method>.KEY=VALUE\n  A key for one task or one method alone."
    for word in ("suite", "scale", "protocol", "task"):
        if about := _LISTS[f"{word}s"]().get(part):
            yield f"{word}={part}\n  {about}"


def _leaves() -> Iterator[dotted_keys.Leaf]:
    """The keys of a run, and those of a trial."""
    yield from (leaf for leaf in dotted_keys.leaves(config.RunConfig()) if leaf.key != "overrides")
    for name, cls in config.sections().items():
        yield from dotted_keys.leaves(cls(), f"{name}.")


def _section_page(name: str, cls: type) -> str:
    branch, _, entry = name.partition(".")
    about = _LISTS[f"{branch}s"]()[entry] if entry else " ".join((cls.__doc__ or "").split())
    keys = section(cls(), f"{name}.")
    return "\n".join([*_wrapped(f"{name}: {about}", ""), keys or "  It has no keys."])


def _key_page(leaf: dotted_keys.Leaf) -> str:
    declared = setting.of(leaf.field)
    lines = [f"{leaf.key}={_typed(leaf.default)}"]
    lines += _wrapped(declared.about, "  ") if declared else []
    lines += _wrapped(f"Allowed: {_allowed(leaf)}.", "  ")
    for line in _elsewhere(leaf.key):
        lines += _wrapped(line, "  ")
    return "\n".join(lines)


def _elsewhere(key: str) -> Iterator[str]:
    """The values that scales and protocols give a key: "scale=tiny: 0.001"."""
    path = key.split(".")
    layers = {"every scale": EVERY_SCALE}
    layers |= {f"scale={name}": layer for name, layer in SCALES.items()}
    layers |= {f"protocol={name}": layer for name, layer in PROTOCOLS.items()}
    for word, layer in layers.items():
        values = [("", value) for value in _sizes(layer, path)]
        for target, part in {"": layer, **layer.get("for", {})}.items():
            values += [(f"for {target} " if target else "", v) for v in _dig(part, path)]
        if values:
            yield f"{word}: {', '.join(f'{t}{_typed(v)}' for t, v in values)}"


def _sizes(layer: Mapping[str, Any], path: Sequence[str]) -> list[Any]:
    """The value that a method has from the classes that its configuration derives from."""
    if path[0] != "method" or "sizes" not in layer:
        return []
    classes = zoo.METHODS[path[1]].config.__mro__
    values = [v for cls in classes for v in _dig(layer["sizes"].get(cls.__name__, {}), path[2:])]
    return values[:1]


def _dig(tree: Any, path: Sequence[str]) -> list[Any]:
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return []
        tree = tree[part]
    return [tree]


def _allowed(leaf: dotted_keys.Leaf) -> str:
    """ "a number, at least 0; the paper has 0.1"."""
    declared = setting.of(leaf.field)
    if declared is None:
        return _kind(leaf.kind)
    phrase = ", ".join(filter(None, [declared.text or _kind(leaf.kind), declared.range]))
    paper = "" if declared.paper is None else f"; the paper has {_typed(declared.paper)}"
    return phrase + paper


def _kind(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if one is type(None) else _kind(one) for one in inner)
    if origin in (tuple, list):
        return f"{_SEVERAL.get(inner[0], 'values')}, e.g. [a,b] or a,b"
    if origin is dict:
        return "{name: value, name: value}"
    return _KINDS.get(kind, "YAML")


def _typed(value: Any) -> str:
    """A value as it is typed on the command line; "" for an empty list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_typed, value))}]" if value else ""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_typed(item)}" for key, item in value.items()) + "}"
    return str(value)


def _short(base: Any, leave_out: Sequence[str] = ()) -> list[str]:
    """A line for each key of `base`."""
    lines = {}
    for leaf in dotted_keys.leaves(base):
        if leaf.key not in leave_out:
            default = _typed(leaf.default)
            lines[f"{leaf.key}={default}" if default else leaf.key] = setting.about(leaf.field)
    return aligned(lines)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )


def _entries(kind: str, about: Mapping[str, str]) -> dict[str, str]:
    """The sentences `about`, and where installed entries that are not loaded come from."""
    points = outside.installed(kind)
    rest = {name: f"Installed: {outside.origin(points[name])}." for name in points}
    return {**about, **{name: text for name, text in rest.items() if name not in about}}


_LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "suites": lambda: {name: suite.about for name, suite in suites.SUITES.items()},
    "scales": lambda: {name: layer.get("about", "") for name, layer in SCALES.items()},
    "protocols": lambda: {name: layer.get("about", "") for name, layer in PROTOCOLS.items()},
    "tasks": lambda: _entries(
        "task", {n: f"{t.spec.label}. {t.spec.about}".strip() for n, t in zoo.TASKS.items()}
    ),
    "methods": lambda: _entries(
        "method", {n: f"{m.label}. {m.about}".strip() for n, m in zoo.METHODS.items()}
    ),
    "planners": lambda: _entries(
        "planner", {name: entry.about for name, entry in zoo.PLANNERS.items()}
    ),
}
