"""Tables, figures and a page, computed from a run's Parquet alone."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import time
from collections.abc import Container
from typing import NamedTuple

import pandas as pd
from pyarrow import fs as pafs

from harness.records import compact, packed, run_tables, storage
from harness.report import figures, format, load, page, render, success_rates, tables
from harness.report.load import NoTrials
from harness.report.page import progress
from harness.runtime import command

__all__ = [
    "NoTrials",
    "Report",
    "console",
    "how_to_open",
    "publish",
    "table_files",
    "watch",
    "write",
]

log = logging.getLogger(__name__)

_OURS = re.compile(
    r"(headline|success|success_\d+|efficiency|stability|plan_time|compute|aggregates|released"
    r"|evaluations|sweep|coverage|imagined_.+"
    r"|(training|probing|open_loop|geometry|map|surprise|plans|episodes|decoder)(_.+)?"
    r"|(planners|horizons|blame|learning|ablations|snapshots)_.+|hyperparameters)"
    r"\.(md|csv|tex|png|svg)"
    r"|episode_.+\.gif|captions\.md"
)


_PART_S = 3600.0  # half a file that is older is nobody's any more: reports take no lock


class Report(NamedTuple):
    """The files of a report, and the trials that could not be read for it."""

    paths: list[str]
    broken: tuple[run_tables.Broken, ...]


class _Parts(NamedTuple):
    run: load.RunTables
    outcomes: dict
    estimates: pd.DataFrame
    tables: list[format.Table]


def write(run_folder: str) -> list[str]:
    """Write tables/, figures/ and index.html into a run's folder; returns their paths.

    Raises NoTrials when the folder holds no readable trial, OSError when it cannot be written.
    """
    parts = _build(str(run_folder))
    return _write(str(run_folder), parts, figures.draw(*parts[:3]))


def console(run_folder: str) -> None:
    """Show the headline tables and the failed trials of a run on the terminal.

    Raises NoTrials when the folder holds no readable trial.
    """
    _show(_build(str(run_folder)))


def publish(run_folder: str) -> Report:
    """`write` and `console` from one reading."""
    log.info("drawing the report of %s", run_folder)
    parts = _build(str(run_folder))
    paths = _write(str(run_folder), parts, figures.draw(*parts[:3]))
    _show(parts)
    return Report(paths, parts.run.broken)


def table_files(run_folder: str) -> dict[str, bytes]:
    """The tables that `write` makes of the rows, by their paths in the run's folder, where nothing
    is written. Raises NoTrials when the folder holds no readable trial.
    """
    return _table_files(_build(str(run_folder), compacting=False))


def how_to_open(page: str) -> str:
    """The words that say how a page is looked at: a browser needs a file of this machine."""
    if "://" in page:
        return f"the page is one file, which can be downloaded and opened: {page}"
    return f"open {command.path(page)}"


def watch(run_folder: str, poll_s: int = 5) -> Report:
    """`publish` the report of a run that goes on: again whenever its rows have changed, until every
    trial that the last command planned has ended. While one runs, the page alone is written again,
    and loads itself again.

    Raises NoTrials where there are neither trials nor a plan, OSError as `write` does.
    """
    rows_before, state_before = None, None
    while True:
        state, rows_now = progress.read(run_folder), _row_files(run_folder)
        if rows_now != rows_before:
            parts = _build(run_folder)
            images = figures.draw(*parts[:3])
            paths = _write(run_folder, parts, images, poll_s)
        elif state != state_before:
            render.save(run_folder, _page(run_folder, parts, images, poll_s))
        counts = progress.counts(parts.run, state)
        if counts is None or not counts.running + counts.left:
            break
        if rows_now != rows_before:
            log.info("%d of %d trials done; the page is up to date", counts.done, counts.total)
        rows_before, state_before = rows_now, state
        try:
            time.sleep(poll_s)
        except KeyboardInterrupt:
            render.save(run_folder, _page(run_folder, parts, images))  # it does not load itself
            raise
    _show(parts)
    return Report(paths, parts.run.broken)


def _row_files(run_folder: str) -> list[tuple[str, int, str]]:
    """Paths in the run's folder, sizes and times of the Parquet files, which change when a trial's
    rows do.
    """
    fs, base = storage.filesystem(run_folder)
    base = base.rstrip("/")
    places = [f"{base}/trials", f"{base}/{packed.FOLDER}"]
    where = [pafs.FileSelector(place, recursive=True, allow_not_found=True) for place in places]
    return sorted(
        (info.path[len(base) + 1 :], info.size, str(info.mtime))
        for info in itertools.chain(*map(fs.get_file_info, where))
        if info.path.endswith(".parquet")
    )


def _write(run_folder: str, parts: _Parts, images: dict, refresh_s: int = 0) -> list[str]:
    contents = _table_files(parts)
    for name, image in images.items():
        contents |= {f"figures/{name}.{kind}": content for kind, content in image.kinds.items()}
    if captions := {name: image.caption for name, image in images.items() if image.caption}:
        contents["figures/captions.md"] = render.captions(captions).encode()
    contents |= _page(run_folder, parts, images, refresh_s)
    paths = render.save(run_folder, contents)
    _remove_old(run_folder, contents)
    return paths


def _page(run_folder: str, parts: _Parts, images: dict, refresh_s: int = 0) -> dict[str, bytes]:
    """The page's file, which names the Parquet files without those of folders left out."""
    left_out = tuple(f"trials/{name}/" for name in parts.run.left_out)
    files = [path for path, *_ in _row_files(run_folder) if not path.startswith(left_out)]
    state = progress.read(run_folder)
    return {"index.html": page.build(*parts, images, files, state, refresh_s).encode()}


def _table_files(parts: _Parts) -> dict[str, bytes]:
    return {
        f"tables/{name}": content
        for table in parts.tables
        if not table.raw.empty
        for name, content in render.files(table).items()
    }


def _show(parts: _Parts) -> None:
    from rich.text import Text

    sections = (section for table in parts.tables for section in table.sections)
    terminal = render.show(section for section in sections if section.headline)
    for trial in parts.run.failed.sort_values("key").itertuples():
        reason = load.short_error(trial.error)
        terminal.print(Text(f"failed: {trial.key}: {reason}", style="red"))
    for folder, reason in parts.run.broken:
        terminal.print(Text(f"failed: {folder} cannot be read: {reason}", style="red"))
    for folder in parts.run.left_out:
        terminal.print(Text(f"left out: {folder}: {run_tables.LEFT_OUT}", style="yellow"))


def _build(run_folder: str, compacting: bool = True) -> _Parts:
    run = load.load(run_folder, compacting)
    outcomes = success_rates.outcomes(run)
    estimates = success_rates.estimates(outcomes)
    return _Parts(run, outcomes, estimates, tables.of(run, outcomes, estimates))


def _remove_old(run_folder: str, written: Container[str]) -> None:
    """Remove the tables and figures of an earlier report that this one has no rows for."""
    fs, base = storage.filesystem(run_folder)
    for folder in ("tables", "figures"):
        where = pafs.FileSelector(f"{base.rstrip('/')}/{folder}", allow_not_found=True)
        for info in fs.get_file_info(where):
            old = f"{folder}/{info.base_name}" not in written
            if old and _OURS.fullmatch(info.base_name):
                with contextlib.suppress(FileNotFoundError):  # another report was faster
                    fs.delete_file(info.path)
    for folder in ("", "tables", "figures", compact.FOLDER):
        below = storage.join(run_folder, folder) if folder else run_folder
        storage.remove_parts(below, older_than_s=_PART_S)
