"""Trials that may be averaged, the names of a table's cells, and the order in which cells come.

Names, order and colours of methods and tasks come from the rows.
"""

from __future__ import annotations

import itertools
import logging
import os
import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from harness.records import plain_yaml, plan, rows, run_tables
from harness.runtime import command

log = logging.getLogger(__name__)

SECTION = ["scale", "protocol", "protocol_hash"]  # one table each: protocols are never mixed
GROUP = ["task", "method", "variant", *SECTION, "setting_hash"]  # trials that may be averaged

NOT_SETTINGS = {"seed", "seeds", "key", "run", "results", "suite", "origin"}
OF_PROTOCOL = ("protocol.", "planner.", "mpc.")  # keys that vary an evaluation, and no training
_UNREAD = ("pairs_per_solve", "solve_s")  # of episodes: lists, half of the memory, in no table
_TRAINING = "training"  # variant of a training that the other trials of a suite evaluate
_SHOWN_KEYS = 3
_ERROR_LENGTH = 240  # characters of an error on the terminal and in a table
_OLDER_ROLES = {"heuristic": "floor", "random": "floor", "noop": "floor", "replay": "check"}
_UNKNOWN_RANK = 1000  # of the first method or task whose rows say none


class NoTrials(LookupError):
    """The folder holds no trial that can be read."""


class RunTables(NamedTuple):
    """A run's rows with the cell they belong to; failed trials stand apart."""

    name: str  # of the folder, which the command line and the reader know
    methods: pd.DataFrame  # index: method; columns label, rank, is_control, role, plans
    tasks: pd.DataFrame  # index: task; columns label, rank
    cells: pd.DataFrame  # index: cell; columns GROUP, label, note, seeds; in table order
    trials: pd.DataFrame  # status ok, with `cell`
    failed: pd.DataFrame
    episodes: pd.DataFrame  # of ok trials, with `cell`, `seed`, `pair`
    metrics: pd.DataFrame  # of ok trials, with `cell`, `seed`
    frames: pd.DataFrame  # of each cell's first seed that has pictures, with `cell`, `seed`
    broken: tuple[run_tables.Broken, ...]
    left_out: tuple[str, ...]

    def task_label(self, task: str) -> str:
        """Display name of a task."""
        return self.tasks["label"].get(task, task)

    def method_label(self, method: str, variant: str = "") -> str:
        """Display name of a method and its variant."""
        return f"{self.methods['label'].get(method, method)} {variant}".strip()

    def of_role(self, role: str) -> list[str]:
        """The methods of this role (contracts.method.Role), in table order."""
        return list(self.methods[self.methods["role"] == role].sort_values("rank").index)


def load(run_folder: str, compacting: bool = False) -> RunTables:
    """Read and group a run, `compacting` it as run_tables.read does; raises NoTrials with what to
    do.
    """
    tables = run_tables.read(run_folder, without=_UNREAD, compacting=compacting)
    if tables.trial.empty and not tables.broken and not plan.read(run_folder).trials:
        others = f" but copies or renamed folders ({', '.join(tables.left_out)})"
        raise NoTrials(
            f"{run_folder} holds no trials (trials/<key>.<hash>/trial.parquet)"
            f"{others if tables.left_out else ''}: give the folder of a run, "
            f"results/<run>, or make one with {command.module('harness.run')}"
        )
    trial = tables.trial
    ok = trial["status"] == "ok"
    trials = trial[ok].copy()
    trials["cell"] = trials.groupby(GROUP, sort=True).ngroup()
    trials["comparison_id"] = trials.groupby(["task", *SECTION]).ngroup()
    metrics = _of_trials(tables.metrics, trials)
    methods, tasks = _display(trial, "method"), _display(trial, "task")
    methods["is_control"] = trial.groupby("method")["is_control"].max()
    methods["role"] = _roles(trial)
    methods["plans"] = _plan(methods, metrics, trials)
    return RunTables(
        name=_folder_name(str(run_folder)),
        methods=methods,
        tasks=tasks,
        cells=_cells(trials, sweep_values(metrics), methods, tasks),
        trials=trials,
        # those that a sweep has pruned; older rows of these are paused
        failed=trial[~ok & ~trial["status"].isin(["paused", "pruned"])],
        episodes=number_pairs(_of_trials(tables.episodes, trials)),
        metrics=metrics,
        frames=_of_trials(_first_frames(run_folder, trials, tables.pictured), trials),
        broken=tables.broken,
        left_out=tables.left_out,
    )


def flat_config(config_yaml: str) -> dict[str, Any]:
    """Dotted keys and values of a configuration; empty, and logged, when it cannot be parsed."""
    try:
        parsed = plain_yaml.load(config_yaml, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except ValueError as error:
        log.warning("a trial's config_yaml cannot be parsed: %s", error)
        return {}
    return dict(_flatten(parsed, "")) if isinstance(parsed, dict) else {}


def setting(trials: pd.DataFrame, key: str) -> Any:
    """A setting ("train.batch_size") of the first of these trials, None where none is recorded."""
    return flat_config(trials["config_yaml"].iloc[0]).get(f"config.{key}")


def config_key(key: str) -> str:
    """A key of the command line as `setting` takes it, without the name of the method or planner:
    "method.dropout" for "method.lewm.dropout".
    """
    branch, *path = key.split(".")
    return ".".join([branch, *(path[1:] if branch in ("method", "planner") else path)])


def number_pairs(episodes: pd.DataFrame) -> pd.DataFrame:
    """Number the pairs of episodes in column `pair`: those of the same comparison, data, start and
    goal have the same number.
    """
    data = ["comparison_id", "dataset_hash", "split_hash", "split", "sample"]
    same = [*data, "pair_id", "source_episode", "start_step"]
    episodes["pair"] = episodes.groupby(same, sort=False).ngroup()
    return episodes


def sweep_values(metrics: pd.DataFrame) -> pd.DataFrame:
    """The values that a sweep gave its trials: cell, name (configuration key), value, word.

    A value that is not a number is NaN, and `word` is its text.
    """
    swept = metrics[metrics["stage"] == "sweep"].drop_duplicates(["cell", "name"])
    return swept.assign(word=swept["unit"].where(swept["value"].isna(), ""))[
        ["cell", "name", "value", "word"]
    ]


def of_stage(run: RunTables, stage: str, names: Any) -> pd.DataFrame:
    """The metrics of a stage with the parts of their names as columns; `names` is a class of
    metric_names, and metrics whose name is none of it are left out.
    """
    metrics = run.metrics[run.metrics["stage"] == stage]
    known = {name: names.of(name) for name in metrics["name"].unique()}
    metrics = metrics[metrics["name"].isin([name for name, parts in known.items() if parts])]
    parts = [known[name] for name in metrics["name"]]
    return metrics.join(pd.DataFrame(parts, columns=names._fields, index=metrics.index))


def one_per_training(trials: pd.DataFrame) -> pd.DataFrame:
    """The `trials` that stand for their training: the one that trained, else the first that
    evaluated its weights. The others are evaluations, under other protocols, of the same weights.
    """
    borrowed = trials["weights_config_hash"] != ""
    trained = trials["weights_config_hash"].where(borrowed, trials["config_hash"])
    first = trained[borrowed.sort_values(kind="stable").index].drop_duplicates()
    return trials.loc[trials.index.isin(first.index)]


def short_error(error: str) -> str:
    """The error_line, without its end where it is long: no word is cut."""
    return textwrap.shorten(error_line(error), _ERROR_LENGTH, placeholder=" …")


def error_line(error: str) -> str:
    """The line of a recorded error that says why: the last one of a traceback, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "no reason was recorded"
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _folder_name(run_folder: str) -> str:
    """The last part of a folder's path, also of "." and of one in a bucket."""
    whole = run_folder if "://" in run_folder else os.path.abspath(run_folder)
    return whole.rstrip("/").rpartition("/")[2]


def _display(trial: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Label and rank of each method or task. Where no row says them (older rows), the key is the
    label, and the rank is behind all others. No two have the same rank, which is a colour: rows of
    two versions of zoo.py can say so.
    """
    by_key = trial.groupby(kind)
    table = by_key.agg(label=(f"{kind}_label", "max"), rank=(f"{kind}_rank", "max"))
    unknown = table["rank"] < 0
    table["label"] = table["label"].where(table["label"] != "", table.index)
    table.loc[unknown, "rank"] = _UNKNOWN_RANK + np.arange(unknown.sum())
    ranks = table["rank"].sort_values(kind="stable")
    distinct = itertools.accumulate(ranks, lambda last, rank: max(last + 1, rank))
    table.loc[ranks.index, "rank"] = list(distinct)
    return table


def _roles(trial: pd.DataFrame) -> pd.Series:
    """method -> role. Rows older than the column do not say it: the controls of that time had these
    names.
    """
    roles = trial.groupby("method")["role"].max().to_dict()
    older = {name: _OLDER_ROLES.get(name, "method") for name in roles}
    return pd.Series({name: role or older[name] for name, role in roles.items()}, dtype=object)


def _plan(methods: pd.DataFrame, metrics: pd.DataFrame, trials: pd.DataFrame) -> pd.Series:
    """method -> whether it plans. No control does; of the others those whose latents were measured,
    which only world models' are, and those of whose model no row says anything.
    """
    names = metrics["cell"].map(trials.groupby("cell")["method"].first())
    models, latents = (set(names[metrics["stage"] == stage]) for stage in ("model", "latents"))
    is_control = methods["is_control"] & (methods["role"] != "ceiling")
    return ~is_control & ~methods.index.isin(models - latents)


def _cells(
    trials: pd.DataFrame, swept: pd.DataFrame, methods: pd.DataFrame, tasks: pd.DataFrame
) -> pd.DataFrame:
    by_cell = trials.groupby("cell")
    cells = by_cell[GROUP].first()
    cells["seeds"] = by_cell["seed"].nunique()
    cells["note"] = by_cell["note"].agg(lambda notes: "; ".join(sorted(set(notes) - {""})))
    words = _words(swept, by_cell["suite"].first(), cells["variant"])
    plain = set(cells.loc[cells["variant"] == "", "method"])
    cells["label"] = [
        f"{methods.loc[method, 'label']} {_shown(v, method in plain, words.get(cell, v))}".strip()
        for cell, method, v in cells[["method", "variant"]].itertuples(name=None)
    ]
    is_ceiling = cells["method"].map(methods["role"]) == "ceiling"
    marks = np.where(is_ceiling, "ceiling", "")
    remarks = {
        cell: list(filter(None, pair))
        for cell, *pair in zip(cells.index, marks, cells["note"], strict=True)
    }
    weights = by_cell["weights"].first()  # those of others are in the note: no settings beside it
    for _, same in cells.groupby([*SECTION, "task", "method", "variant", weights]):
        if len(same) > 1:
            for cell, differing in _differences(same, by_cell).items():
                remarks[cell].append(differing)
    cells["label"] += [f" ({', '.join(r)})" if r else "" for r in remarks.values()]
    order = pd.DataFrame(
        {
            "task_rank": cells["task"].map(tasks["rank"]),
            "task": cells["task"],
            "is_control": cells["method"].map(methods["is_control"]).where(~is_ceiling, False),
            "is_ceiling": is_ceiling,  # between the other methods and the controls
            "rank": cells["method"].map(methods["rank"]),
            "method": cells["method"],
            "key": swept.groupby("cell")["name"].first().reindex(cells.index).fillna(""),
            "value": swept.groupby("cell")["value"].first().reindex(cells.index),
            "label": cells["label"],
        }
    )
    return cells.loc[order.sort_values(list(order.columns), kind="stable").index]


def _shown(variant: str, has_plain: bool, words: str) -> str:
    """The words of a label behind the method's name. The training that a suite evaluates in several
    ways is the method itself, where the run has no other one.
    """
    return "" if variant == "" or (variant == _TRAINING and not has_plain) else words


def _words(swept: pd.DataFrame, suites: pd.Series, variants: pd.Series) -> dict[int, str]:
    """cell -> how its variant is shown: by the values that vary in it ("sigreg_weight=0.01,
    lr=0.001"; with the planner whose key it is: "icem.iterations=4"); an evaluation of a suite by
    its name there ("cem-0.25"), since two shares of few iterations are one number.
    """
    named = swept["cell"].map(suites).ne("sweep") & swept["name"].str.startswith(OF_PROTOCOL)
    found = {cell: variants[cell] for cell in swept.loc[named, "cell"]}
    parts: dict[int, list[str]] = {}
    for cell, name, value, word in swept[~named].itertuples(index=False):
        key = name.removeprefix("planner.")
        short = key if key != name else name.rpartition(".")[2]
        parts.setdefault(cell, []).append(f"{short}={word or f'{value:g}'}")
    return {cell: ", ".join(words) for cell, words in parts.items()} | found


def _differences(same: pd.DataFrame, by_cell: Any) -> dict[int, str]:
    """The config keys in which cells of one task, method, variant and protocol differ."""
    configs: dict[int, dict[str, Any]] = {}
    ignored: set[str] = set()
    for cell in same.index:
        texts = by_cell["config_yaml"].get_group(cell)
        first, last = flat_config(texts.iloc[0]), flat_config(texts.iloc[-1])
        configs[cell] = first
        ignored |= {key for key in first | last if str(first.get(key)) != str(last.get(key))}
    keys = [
        key
        for key in sorted({key for config in configs.values() for key in config})
        if len({str(config.get(key)) for config in configs.values()}) > 1
        and key not in ignored
        and key.rpartition(".")[2] not in NOT_SETTINGS
    ]
    words = {cell: _key_words(config, keys) for cell, config in configs.items()}
    if len(set(words.values())) == len(words):
        return words
    hashes = same["setting_hash"].str[:8]
    return {
        cell: ", ".join(filter(None, [w, f"setting {hashes[cell]}"])) for cell, w in words.items()
    }


def _key_words(config: dict[str, Any], keys: list[str]) -> str:
    shown = [
        f"{key.removeprefix('config.')}={_short(key, config.get(key, 'unset'))}"
        for key in keys[:_SHOWN_KEYS]
    ]
    more = len(keys) - len(shown)
    return ", ".join(shown + ([f"{more} more"] if more > 0 else []))


def _short(key: str, value: Any) -> str:
    """The value in a label; the hash of a file's code by its first digits."""
    return str(value)[:8] if key.endswith(".sha256") else str(value)


def _flatten(value: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            leaf
            for key, inner in value.items()
            for leaf in _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, value)]


def _first_frames(run_folder: str, trials: pd.DataFrame, pictured: tuple[str, ...]) -> pd.DataFrame:
    """The pictures of each cell's first training seed that has any: no figure shows more."""
    names = [
        rows.folder_name(*trial) for trial in zip(trials["key"], trials["config_hash"], strict=True)
    ]
    seeds = trials[["cell", "seed"]].assign(name=names).sort_values("seed", kind="stable")
    first = seeds[seeds["name"].isin(pictured)].drop_duplicates("cell")
    return run_tables.frames(run_folder, first["name"])


def _of_trials(table: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of the trials that are ok, each with its cell, seed, comparison and data."""
    keep = ["key", "config_hash", "cell", "seed", "comparison_id", "dataset_hash", "split_hash"]
    return table.merge(trials[keep], on=["key", "config_hash"], how="inner")
