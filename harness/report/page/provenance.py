"""The origin of a page's numbers: code, machine, data, and protocols beside one another."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from harness.report import load

_SECTIONS = ("protocol", "planner", "mpc")  # of a configuration: what a protocol decides
_OF_NO_USE = ("name", "version", "manifest", "manifest_hash", "precision")


class Fact(NamedTuple):
    """A fact of the trials: its values, each with the number of trials that have it."""

    name: str
    values: list[tuple[str, int]]


class Protocol(NamedTuple):
    """A protocol of the table of protocols."""

    name: str
    ids: str  # "Two-Room #11ca4ee2, Push-T #af9c5116"; "" of one that the run does not have
    unlike: list[tuple[str, str]]  # settings, and values that are not those of the first protocol


class Protocols(NamedTuple):
    """The run's protocols, the named ones behind them, and what all of them share."""

    rows: list[Protocol]
    same: list[str]  # "key=value"


def titles(run: load.RunTables, of_planners: bool = True) -> dict[tuple[str, str, str], str]:
    """(scale, protocol, hash) -> how the page calls the protocol: its name and, where a task has
    several of that name, the settings in which they differ ("lewm-v3: icem, iterations 4"). Tasks
    differ in the hash of one protocol and share its title; the hash is a part of it where the
    settings do not tell two protocols of a task apart. Without `of_planners`, the protocols of
    policies that do not plan, for which the settings of a planner mean nothing.
    """
    trials = run.trials
    if not of_planners:
        trials = trials[~trials["method"].map(run.methods["plans"]).astype(bool)]
    trials = trials.drop_duplicates([*load.SECTION, "task"])
    several_scales = trials["scale"].nunique() > 1
    found: dict[tuple[str, str, str], str] = {}
    for (scale, protocol, _), own in trials.groupby(["scale", "protocol", "task"], sort=False):
        hashes = own["protocol_hash"]
        sections = _SECTIONS if of_planners else _SECTIONS[:1]
        texts = zip(hashes, own["config_yaml"], strict=True)
        settings = {digest: _settings(text, sections) for digest, text in texts}
        for digest, words in _distinct(settings).items():
            title = protocol + (f": {words}" if words else "")
            title += f", scale {scale}" if several_scales else ""
            found.setdefault((scale, protocol, digest), title)
    return found


def _distinct(settings: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """hash -> the planner where they differ in it, and the settings that most others do not have:
    "icem, iterations 4". Settings of a planner are compared among the hashes of that planner.
    """
    planners = {digest: own.get("planner", "") for digest, own in settings.items()}
    words: dict[str, list[str]] = {}
    for digest, own in settings.items():
        alike = [settings[d] for d, name in planners.items() if name == planners[digest]]
        words[digest] = [planners[digest]] if len(alike) < len(settings) else []
        for key, value in own.items():
            others = alike if key.startswith("planner.") else list(settings.values())
            if key != "planner" and value != _usual([other.get(key, "") for other in others]):
                words[digest].append(f"{key.rpartition('.')[2]} {value}")
    joined = {digest: ", ".join(filter(None, parts)) for digest, parts in words.items()}
    counts = collections.Counter(joined.values())
    return {
        digest: text if counts[text] == 1 else f"{text} #{digest[:8]}".strip()
        for digest, text in joined.items()
    }


def _usual(values: list[str]) -> str | None:
    """The value that more of them have than any other; None where there is no such."""
    (value, count), *others = collections.Counter(values).most_common(2)
    return value if not others or count > others[0][1] else None


def facts(run: load.RunTables) -> list[Fact]:
    """Code, versions, machine, data and time of all trials that have a row."""
    trials = pd.concat([run.trials, run.failed])
    dirty = trials["git_dirty"].map({True: " with uncommitted changes", False: ""})
    labels = {task: run.task_label(task) for task in trials["task"].unique()}
    data = trials["task"].map(labels) + " " + trials["dataset_hash"].str[:12]
    columns = {
        "Commit": trials["git_commit"] + dirty,
        "Versions": trials["versions"],
        "Device": trials["device"],
        "Driver": trials["driver"],
        "Threads": trials["threads"].astype(str),
        "Scale": trials["scale"],
        "Data": data.where(trials["dataset_hash"] != "", ""),
        "Weights": trials["weights"],
    }
    found = []
    for name, values in columns.items():
        counts = collections.Counter(filter(None, values)).items()
        found.append(Fact(name, sorted(counts, key=lambda pair: (-pair[1], pair[0]))))
    if len(trials):
        ends = trials["started"].min(), trials["ended"].max()
        times = (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end)) for end in ends)
        found.append(Fact("Time", [(" to ".join(times), len(trials))]))
    return [fact for fact in found if fact.values]


def protocols(
    run: load.RunTables, named: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> Protocols | None:
    """The run's protocols before the named ones (protocol -> key -> task -> value)."""
    own, ids = _own(run)
    if not own:
        return None
    known = own | {name: values for name, values in named.items() if name not in own}
    cells = {
        name: {key: _cell(run, value) for key, value in values.items()}
        for name, values in known.items()
    }
    keys = dict.fromkeys(key for values in cells.values() for key in values)
    same = [key for key in keys if len({values.get(key) for values in cells.values()}) == 1]
    first = next(iter(cells.values()))
    rows = [
        # a setting that one of both does not have is another planner's, or later than the rows
        Protocol(
            name,
            ", ".join(ids.get(name, ())),
            [(k, v) for k, v in values.items() if first.get(k, "") not in ("", v) and v],
        )
        for name, values in cells.items()
    ]
    return Protocols(rows, [f"{key}={first[key]}" for key in same])


def _own(
    run: load.RunTables,
) -> tuple[dict[str, dict[str, dict[str, str]]], dict[str, list[str]]]:
    """The run's protocols by their titles, in table order: in the form of the named ones, and their
    ids on each task, since a protocol's hash depends on it.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    ids: dict[str, list[str]] = {}
    names, columns = titles(run), [*load.SECTION, "task"]
    configs = run.trials.groupby(columns)["config_yaml"].first()
    for *section, task in run.cells[columns].drop_duplicates().itertuples(index=False, name=None):
        name = names[tuple(section)]
        ids.setdefault(name, []).append(f"{run.task_label(task)} #{section[2][:8]}")
        for key, text in _settings(configs[*section, task]).items():
            found.setdefault(name, {}).setdefault(key, {})[task] = text
    return found, ids


def _settings(config_yaml: str, sections: tuple[str, ...] = _SECTIONS) -> dict[str, str]:
    """The decisions of a protocol, under the keys of the command line."""
    flat = load.flat_config(config_yaml)
    planner = flat.get("config.planner_name", "cem")
    found: dict[str, str] = {"planner": planner} if flat and "planner" in sections else {}
    for key, value in flat.items():
        section, _, rest = key.removeprefix("config.").partition(".")
        if not key.startswith("config.") or section not in sections or rest in _OF_NO_USE:
            continue
        name, _, inner = rest.partition(".")
        full = f"{section}.{planner}.{name}" if section == "planner" else f"{section}.{name}"
        text = f"{inner}: {_text(value)}" if inner else _text(value)
        found[full] = f"{found[full]}, {text}" if full in found else text
    return found


def _text(value: Any) -> str:
    """A value as it is typed on the command line, "-" for an empty one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def _cell(run: load.RunTables, values: Mapping[str, str]) -> str:
    """The value that most tasks of the run have, then the other tasks'."""
    known = {task: value for task, value in values.items() if task in run.tasks.index}
    if not known:
        return ""
    ((usual, _),) = collections.Counter(known.values()).most_common(1)
    others = [f"{run.task_label(task)} {v}" for task, v in sorted(known.items()) if v != usual]
    return "; ".join([usual, *others])
