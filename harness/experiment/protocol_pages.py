"""Protocols beside one another: what differs between two of them, and the table of all in
harness/PROTOCOLS.md.
"""

from __future__ import annotations

import collections
import functools
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from harness import zoo
from harness.contracts import setting
from harness.experiment import config, dotted_keys
from harness.experiment.identity import MACHINE_KEYS
from harness.experiment.protocols import PROTOCOLS
from harness.runtime.command import ConfigError, known

PAGE = Path(__file__).parents[1] / "PROTOCOLS.md"
MARKS = (  # in the page, around the tables
    "<!-- begin: python -m harness.experiment.protocol_pages -->",
    "<!-- end -->",
)
DEFAULT = "lewm-v3"  # beside which one protocol alone is shown
_WIDTH = 100
_INDENT = " " * 6
_OF_NO_USE_HERE = ("name", "version", "manifest", "manifest_hash")
_EVERY = "Every task"


def compare(words: Sequence[str]) -> str:
    """The differences of two protocols, task by task: a page of --help. `words` are their names,
    and tasks=NAMES for fewer tasks. Raises ConfigError.
    """
    names = [word for word in words if "=" not in word]
    tasks = _tasks([word for word in words if "=" in word])
    names = [known("protocol", name, PROTOCOLS) for name in dict.fromkeys(names)]
    names = names if len(names) > 1 else [DEFAULT, *names]
    if len(names) != 2 or names[0] == names[1]:
        raise ConfigError(f"two protocols are compared, not {len(names)}: {', '.join(names)}")
    width = max(len(key) for key in _abouts()) + 4
    lines = [line for name in names for line in _wrapped(f"{name}: {PROTOCOLS[name]['about']}", "")]
    lines += ["", f"{'':{width}}{names[0]:24}{names[1]}".rstrip()]
    explained: set[str] = set()
    for group, keys in _by_group(names, tasks).items():
        lines += [group] if keys else [f"{group}: no difference"]
        for key, (first, second) in keys.items():
            lines.append(f"  {key:{width - 2}}{first:23} {second}".rstrip())
            if key not in explained:
                lines += _wrapped(_abouts()[key], _INDENT)
            explained.add(key)
            if key == "protocol.success_rule":
                lines += _rules(_named(group, tasks), (first, second))
    same = [f"{key}={value}" for key, value in _shared(names, tasks).items()]
    return "\n".join([*lines, "", *_wrapped(f"The same in both: {', '.join(same)}.", "")])


def markdown() -> str:
    """The tables of harness/PROTOCOLS.md: settings and success rules."""
    tasks = _tasks([])
    resolved, rows, same = settings(tasks), [], []
    for key in _abouts():
        values = [of[key] for of in resolved.values()]
        if len({value for of in values for value in of.values()}) == 1:
            same.append(f"`{key}={next(iter(values[0].values()))}`")
        else:
            rows.append([f"`{key}`", *map(_cell, values)])
    lines = [
        *_markdown_table(["", *(f"`{name}`" for name in PROTOCOLS)], rows),
        "",
        f"In all of them: {', '.join(same)}.",
        "",
    ]
    rules = [
        [spec.label, f"`{rule}`", sentence, ", ".join(_users(resolved, task, rule))]
        for task in tasks
        for spec in [zoo.TASKS[task].spec]
        for rule, sentence in spec.success_rules.items()
    ]
    return "\n".join([*lines, *_markdown_table(["task", "rule", "solved when", "in"], rules)])


def settings(tasks: Collection[str]) -> dict[str, dict[str, dict[str, str]]]:
    """protocol -> key -> task -> value, of every named protocol."""
    return {
        name: {key: {task: _settings(name, task)[key] for task in tasks} for key in _abouts()}
        for name in PROTOCOLS
    }


def renew() -> None:
    """Write the tables into harness/PROTOCOLS.md. Raises OSError."""
    begin, end = MARKS
    before, _, rest = PAGE.read_text().partition(begin)
    PAGE.write_text(f"{before}{begin}\n\n{markdown()}\n\n{end}{rest.partition(end)[2]}")


def _tasks(words: Sequence[str]) -> list[str]:
    """The tasks that tasks=NAMES names, else all but the toy. Raises ConfigError."""
    given = dotted_keys.fill(config.RunConfig(), dict(word.split("=", 1) for word in words)).tasks
    every = [name for name in zoo.TASKS if name != "toy"]
    return [known("task", name, zoo.TASKS) for name in given] or every


def _by_group(
    names: Sequence[str], tasks: Sequence[str]
) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """The two values of every key that differs, for all tasks alike or by task."""
    found: dict[str, dict[str, tuple[str, ...]]] = {_EVERY: {}}
    found |= {zoo.TASKS[task].spec.label: {} for task in tasks}
    for key in _abouts():
        both = {task: tuple(_settings(name, task)[key] for name in names) for task in tasks}
        if len(set(both.values())) == 1 and len(tasks) > 1:
            (found[_EVERY][key],) = set(both.values())
        else:
            for task, values in both.items():
                found[zoo.TASKS[task].spec.label][key] = values
    return {
        group: {key: both for key, both in keys.items() if both[0] != both[1]}
        for group, keys in found.items()
        if group != _EVERY or len(tasks) > 1
    }


def _shared(names: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """The value of every key that has one value in both protocols on all tasks."""
    every = {key: {_settings(n, t)[key] for n in names for t in tasks} for key in _abouts()}
    return {key: next(iter(values)) for key, values in every.items() if len(values) == 1}


def _named(label: str, tasks: Sequence[str]) -> list[str]:
    """The tasks that a group of the page is about."""
    return [task for task in tasks if label in (_EVERY, zoo.TASKS[task].spec.label)]


def _rules(tasks: Sequence[str], rules: Sequence[str]) -> list[str]:
    """The sentences of success rules."""
    lines = []
    for task in tasks:
        for rule in rules:
            lines += _wrapped(f"{rule}: {zoo.TASKS[task].spec.success_rules[rule]}", _INDENT)
    return lines


@functools.cache
def _settings(protocol: str, task: str) -> Mapping[str, str]:
    """The protocol as resolved for a task: the text of every key that belongs to one."""
    run = config.parse([f"protocol={protocol}", "scale=laptop", "device=cpu"])
    resolved = config.trial_spec(run, task, "lewm", 0, (), {}).config
    parts = {"protocol.": resolved.protocol, "planner.cem.": resolved.planner, "mpc.": resolved.mpc}
    return {
        leaf.key: _text(leaf.default)
        for prefix, part in parts.items()
        for leaf in dotted_keys.leaves(part, prefix)
        if leaf.field.name not in (*_OF_NO_USE_HERE, *MACHINE_KEYS)
    }


@functools.cache
def _abouts() -> Mapping[str, str]:
    """The sentence of every key that belongs to a protocol."""
    sections = config.sections()
    leaves = [
        leaf
        for name in ("protocol", "planner.cem", "mpc")
        for leaf in dotted_keys.leaves(sections[name](), f"{name}.")
    ]
    return {
        leaf.key: setting.about(leaf.field)
        for leaf in leaves
        if leaf.field.name not in (*_OF_NO_USE_HERE, *MACHINE_KEYS)
    }


def _text(value: object) -> str:
    """A value as it is typed on the command line, "-" for an empty one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "-"
    return ", ".join(map(str, value)) or "-" if isinstance(value, tuple) else str(value)


def _cell(values: Mapping[str, str]) -> str:
    """The value that most tasks have, then the other tasks'."""
    (usual, _), *_ = collections.Counter(values.values()).most_common()
    others = [f"{zoo.TASKS[t].spec.label} {v}" for t, v in values.items() if v != usual]
    return "; ".join([usual, *others])


def _users(
    resolved: Mapping[str, Mapping[str, Mapping[str, str]]], task: str, rule: str
) -> list[str]:
    """The protocols that judge the task by the rule."""
    return [
        f"`{name}`" for name, of in resolved.items() if of["protocol.success_rule"][task] == rule
    ]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


if __name__ == "__main__":
    renew()
