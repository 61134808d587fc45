"""Where the numbers of a page come from: code, machine, data, and protocols beside one another."""

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


class Protocols(NamedTuple):
    """Settings of protocols side by side, those of the run first."""

    names: list[str]  # of the columns
    own: int  # how many columns are the run's
    rows: list[tuple[str, list[str], list[bool]]]  # key, cells, is it unlike the run's first?
    same: list[str]  # "key=value" of what all of them share


def titles(run: load.RunTables) -> dict[tuple[str, str, str], str]:
    """(scale, protocol, hash) -> how the page calls the protocol. Tasks differ in the hash of one
    protocol, so the hash is named only where one task has several.
    """
    known = run.trials[[*load.SECTION, "task"]].drop_duplicates()
    hashes = known.groupby(["scale", "protocol", "task"])["protocol_hash"].nunique()
    several = hashes.groupby(["scale", "protocol"]).max() > 1
    scales = known["scale"].nunique() > 1
    return {
        (scale, protocol, digest): protocol
        + (f" ({digest[:8]})" if several[scale, protocol] else "")
        + (f", scale {scale}" if scales else "")
        for scale, protocol, digest in known[load.SECTION].itertuples(index=False, name=None)
    }


def facts(run: load.RunTables) -> list[Fact]:
    """Code, versions, machine, data and time of all trials that have a row."""
    trials = pd.concat([run.trials, run.failed])
    dirty = trials["git_dirty"].map({True: " with uncommitted changes", False: ""})
    data = trials["task"].map(run.task_label) + " " + trials["dataset_hash"].str[:12]
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
    found = [Fact(name, _counted(values)) for name, values in columns.items()]
    if len(trials):
        first, last = trials["started"].min(), trials["ended"].max()
        found.append(Fact("Time", [(f"{_utc(first)} to {_utc(last)}", len(trials))]))
    return [fact for fact in found if fact.values]


def protocols(
    run: load.RunTables, named: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> Protocols | None:
    """The run's protocols beside the named ones (protocol -> key -> task -> value)."""
    own = _own(run)
    if not own:
        return None
    columns = own | {name: values for name, values in named.items() if name not in own}
    keys = list(dict.fromkeys(key for values in columns.values() for key in values))
    rows, same = [], []
    for key in keys:
        cells = [_cell(run, values.get(key, {})) for values in columns.values()]
        if len(set(cells)) == 1:
            same.append(f"{key}={cells[0]}")
        else:
            known = cells[0] != ""  # else the rows are older than the setting
            rows.append((key, cells, [known and cell not in ("", cells[0]) for cell in cells]))
    return Protocols(list(columns), len(own), rows, same)


def _own(run: load.RunTables) -> dict[str, dict[str, dict[str, str]]]:
    """The run's protocols in the form of the named ones."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    names = titles(run)
    for (*section, task), trials in run.trials.groupby([*load.SECTION, "task"], sort=False):
        of_protocol = found.setdefault(names[tuple(section)], {})
        for key, text in _settings(trials["config_yaml"].iloc[0]).items():
            of_protocol.setdefault(key, {})[task] = text
    return found


def hashes(run: load.RunTables) -> list[tuple[str, str, str]]:
    """(protocol, scale, "Two-Room 11ca4ee2, ..."): a protocol's hash depends on the task."""
    found: dict[tuple[str, str], list[str]] = {}
    columns = ["protocol", "scale", "task", "protocol_hash"]
    for name, scale, task, digest in (
        run.trials[columns].drop_duplicates().itertuples(index=False, name=None)
    ):
        found.setdefault((name, scale), []).append(f"{run.task_label(task)} {digest[:8]}")
    return [(name, scale, ", ".join(sorted(words))) for (name, scale), words in found.items()]


def _settings(config_yaml: str) -> dict[str, str]:
    """What a protocol decides, under the keys of the command line."""
    flat = load.flat_config(config_yaml)
    planner = flat.get("config.planner_name", "cem")
    found: dict[str, str] = {}
    for key, value in flat.items():
        section, _, rest = key.removeprefix("config.").partition(".")
        if not key.startswith("config.") or section not in _SECTIONS or rest in _OF_NO_USE:
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


def _counted(values: pd.Series) -> list[tuple[str, int]]:
    counts = collections.Counter(value for value in values if value)
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
