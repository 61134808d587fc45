"""Says what a disturbed run lost, doubled, left half written or ran again, beside another one."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from harness.records import rows, run_tables

# of an episode: wall times, which are the machine's
_TIMES = {"pairs_per_solve": [], "solve_s": [], "env_s": 0.0, "render_s": 0.0}
_SECONDS = "s"  # unit of metrics that are the machine's, too
_TRACES = ("Traceback (most recent call last)", "Exception ignored in", "terminate called after")
# what a report leaves is deleted by one that comes an hour later: two may be written at once
_LEFT_OVER = ("plan.json.*", "trials/**/*.part", "trials/*/running.json", "trials/**/training.pt*")
_TABLES = ("success.csv",)  # those without times

Snapshot = dict[str, dict[str, bytes]]  # a trial's folder -> table -> its file


def snapshot(run: Path) -> Snapshot:
    """The tables of every trial that has its own row, as they are on the disk now."""
    return {
        row.parent.name: {path.name: path.read_bytes() for path in row.parent.glob("*.parquet")}
        for row in sorted(run.glob("trials/*/trial.parquet"))
    }


def of_run(run: Path, reference: Path, before: Sequence[Snapshot], is_once: bool) -> list[str]:
    """The faults of a finished run; `before` are the snapshots after each disturbance, and
    `is_once` says that no trial may have ended more than once.
    """
    planned = {folder.name for folder in (reference / "trials").iterdir()}
    found = {path.parent.name for path in run.glob("trials/*/trial.parquet")}
    faults = [f"lost: {name} has no row" for name in planned - found]
    faults += [f"doubled: {name} was not planned" for name in found - planned]
    for name in sorted(planned & found):
        faults += _of_trial(run / "trials" / name, reference / "trials" / name, is_once)
    faults += _of_tables(run, planned)
    faults += _run_again(run, before)
    for pattern in _LEFT_OVER:
        faults += [f"left over: {path.relative_to(run)}" for path in run.glob(pattern)]
    return faults + list(_of_report(run, reference))


def _of_trial(folder: Path, reference: Path, is_once: bool) -> Iterator[str]:
    name = folder.name
    ours, theirs = rows.read_back(str(folder)), rows.read_back(str(reference))
    assert theirs is not None, reference
    if ours is None:
        yield f"half written: {name} cannot be read"
        return
    for table in ("episodes", "metrics"):
        count = pq.read_metadata(folder / f"{table}.parquet").num_rows
        wanted = pq.read_metadata(reference / f"{table}.parquet").num_rows
        if count != wanted:
            yield f"{'lost' if count < wanted else 'doubled'}: {name} {table}: {count} of {wanted}"
    if ours.trial.status != "ok" or ours.trial.error:
        yield f"not finished: {name} {ours.trial.status} {ours.trial.error}"
    if broken := rows.changed(ours):
        yield f"half written: {name}: the digests of {', '.join(broken)}"
    pairs = collections.Counter((e.split, e.eval_seed, e.pair_id, e.sample) for e in ours.episodes)
    if pairs and max(pairs.values()) > 1:
        yield f"doubled: {name} has an episode twice"
    if _outcomes(ours) != _outcomes(theirs):
        yield f"not equal: {name} episodes"
    if _values(ours) != _values(theirs):
        yield f"not equal: {name} metrics"
    for column in ("dataset_hash", "split_hash", "checkpoint_hash", "stages", "config_hash"):
        if getattr(ours.trial, column) != getattr(theirs.trial, column):
            yield f"not equal: {name} {column}"
    if is_once and ours.trial.attempts != 1:
        yield f"run again: {name} has {ours.trial.attempts} attempts"
    if ours.trial.total_s < 0 or ours.trial.ended < ours.trial.started:
        yield f"impossible: {name} took {ours.trial.total_s} s"
    if ours.trial.checkpoint_hash:
        weights = folder / "checkpoint" / "weights.safetensors"
        if hashlib.sha256(weights.read_bytes()).hexdigest() != ours.trial.checkpoint_hash:
            yield f"not equal: {name} has other weights than its row says"


def _outcomes(written: rows.Written) -> list[rows.EpisodeRow]:
    return [dataclasses.replace(row, **_TIMES) for row in written.episodes]


def _values(written: rows.Written) -> list[tuple]:
    """The metrics without times; as text, since NaN is not equal to itself."""
    found = [m for m in written.metrics if m.unit != _SECONDS]
    return sorted((m.stage, m.name, m.index, repr(m.value), m.unit) for m in found)


def _of_tables(run: Path, planned: set[str]) -> Iterator[str]:
    """Yield the faults of the rows that a report would be made of."""
    trials = run_tables.read(str(run)).trial
    names = collections.Counter(
        rows.folder_name(row.key, row.config_hash) for row in trials.itertuples()
    )
    for name, count in names.items():
        if count > 1:
            yield f"doubled: {name} has {count} rows in the tables of the run"
    for name in planned - set(names):
        yield f"lost: {name} is not in the tables of the run"


def _run_again(run: Path, before: Sequence[Snapshot]) -> Iterator[str]:
    """Trials that were finished at some time and have other files now."""
    now = snapshot(run)
    faults = {}
    for earlier in before:
        for name, tables in earlier.items():
            try:
                (status,) = pq.read_table(io.BytesIO(tables["trial.parquet"]))["status"].to_pylist()
            except Exception as error:  # noqa: BLE001  whatever damage makes of it
                faults[name] = f"half written: trial.parquet of {name}: {error}"
                continue
            if status == "ok" and now.get(name) != tables:
                faults[name] = f"run again: {name} was finished and has other tables now"
    yield from faults.values()


def _of_report(run: Path, reference: Path) -> Iterator[str]:
    page = run / "index.html"
    if not page.is_file() or not page.read_text().rstrip().endswith("</html>"):
        yield "half written: index.html"
    for table in _TABLES:
        ours, theirs = run / "tables" / table, reference / "tables" / table
        if not ours.is_file() or ours.read_bytes() != theirs.read_bytes():
            yield f"not equal: tables/{table}"
    for part in ("tables", "figures"):
        names = {path.name for path in (run / part).iterdir() if path.suffix != ".part"}
        wanted = {path.name for path in (reference / part).iterdir()}
        if names != wanted:
            yield f"not equal: files of {part}: {sorted(names ^ wanted)}"


def of_datasets(datasets: Path) -> list[str]:
    """The leavings of interrupted collections."""
    if not datasets.is_dir():
        return []
    return [f"left over: {p.name}" for p in datasets.rglob("*") if p.name.endswith(".part")]


def of_output(text: str) -> list[str]:
    """Traces of an interpreter in what a command wrote."""
    for trace in _TRACES:
        at = text.find(trace)
        if at >= 0:
            last = text[at:].strip().splitlines()
            return [f"a traceback: {last[-1][:150]}"]
    return []
