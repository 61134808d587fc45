"""Tables, figures and a page, computed from a run's Parquet alone."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Container, Sequence
from typing import NamedTuple

import pandas as pd
from pyarrow import fs as pafs

from harness.records import compact, rows, storage
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
    r"|(planners|horizons|learning|ablations|snapshots)_.+|hyperparameters)"
    r"\.(md|csv|tex|png|svg)"
    r"|episode_.+\.gif|captions\.md"
)


_PART_S = 3600.0  # half a file that is older is nobody's any more: reports take no lock


class Report(NamedTuple):
    """The files of a report, and the trials that could not be read for it."""

    paths: list[str]
    broken: tuple[rows.Broken, ...]


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
    return _write(str(run_folder), parts, _draw(parts))


def console(run_folder: str) -> None:
    """Show the headline tables and the failed trials of a run on the terminal.

    Raises NoTrials when the folder holds no readable trial.
    """
    _show(_build(str(run_folder)))


def publish(run_folder: str) -> Report:
    """`write` and `console` from one reading."""
    log.info("drawing the report of %s", run_folder)
    parts = _build(str(run_folder))
    paths = _write(str(run_folder), parts, _draw(parts))
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
            images = _draw(parts)
            paths = _write(run_folder, parts, images, poll_s)
        elif state != state_before:
            _save(run_folder, "index.html", _page(run_folder, parts, images, poll_s))
        counts = progress.counts(parts.run, state)
        if counts is None or not counts.running + counts.left:
            break
        if rows_now != rows_before:
            log.info("%d of %d trials done; the page is up to date", counts.done, counts.total)
        rows_before, state_before = rows_now, state
        try:
            time.sleep(poll_s)
        except KeyboardInterrupt:
            still = _page(run_folder, parts, images)  # it does not load itself again
            _save(run_folder, "index.html", still)
            raise
    _show(parts)
    return Report(paths, parts.run.broken)


def _row_files(run_folder: str) -> list[tuple]:
    """Names, sizes and times of the Parquet files, which change when a trial's rows do."""
    fs, base = storage.filesystem(run_folder)
    where = pafs.FileSelector(f"{base.rstrip('/')}/trials", recursive=True, allow_not_found=True)
    return sorted(
        (info.path, info.size, str(info.mtime))
        for info in fs.get_file_info(where)
        if info.path.endswith(".parquet")
    )


def _draw(parts: _Parts) -> dict[str, figures.Image]:
    return figures.draw(parts.run, parts.outcomes, parts.estimates)


def _write(run_folder: str, parts: _Parts, images: dict, refresh_s: int = 0) -> list[str]:
    contents = _table_files(parts)
    for name, image in images.items():
        contents |= {f"figures/{name}.{kind}": content for kind, content in image.kinds.items()}
    if captions := {name: image.caption for name, image in images.items() if image.caption}:
        contents["figures/captions.md"] = render.captions(captions).encode()
    contents["index.html"] = _page(run_folder, parts, images, refresh_s)
    paths = [_save(run_folder, path, content) for path, content in contents.items()]
    _remove_old(run_folder, contents)
    return paths


def _page(run_folder: str, parts: _Parts, images: dict, refresh_s: int = 0) -> bytes:
    files = _parquet(run_folder, parts.run.left_out)
    state = progress.read(run_folder)
    return page.build(*parts, images, files, state, refresh_s).encode()


def _table_files(parts: _Parts) -> dict[str, bytes]:
    texts = {"md": render.markdown, "csv": render.csv, "tex": render.tex}
    return {
        f"tables/{table.name}.{kind}": text(table).encode()
        for table in parts.tables
        if not table.raw.empty
        for kind, text in texts.items()
    }


def _show(parts: _Parts) -> None:
    from rich.console import Console
    from rich.text import Text

    terminal = Console()
    if not terminal.is_terminal:  # a log file: no line is folded at rich's 80 columns
        terminal = Console(width=160)
    for table in parts.tables:
        headlines = [section for section in table.sections if section.headline]
        for shown in render.rich_tables(headlines):
            terminal.print(shown)
    for trial in parts.run.failed.sort_values("key").itertuples():
        reason = load.short_error(trial.error)
        terminal.print(Text(f"failed: {trial.key}: {reason}", style="red"))
    for folder, reason in parts.run.broken:
        terminal.print(Text(f"failed: {folder} cannot be read: {reason}", style="red"))
    for folder in parts.run.left_out:
        terminal.print(Text(f"left out: {folder}: {rows.LEFT_OUT}", style="yellow"))


def _build(run_folder: str, compacting: bool = True) -> _Parts:
    run = load.load(run_folder, compacting)
    outcomes = success_rates.outcomes(run)
    estimates = success_rates.estimates(outcomes)
    return _Parts(run, outcomes, estimates, tables.of(run, outcomes, estimates))


def _parquet(run_folder: str, left_out: Sequence[str]) -> list[str]:
    """Parquet files of a run, relative to its folder, without those of folders left out."""
    fs, base = storage.filesystem(run_folder)
    base = base.rstrip("/")
    where = pafs.FileSelector(f"{base}/trials", recursive=True, allow_not_found=True)
    files = fs.get_file_info(where)
    paths = [info.path[len(base) + 1 :] for info in files if info.path.endswith(".parquet")]
    others = tuple(f"trials/{name}/" for name in left_out)
    return sorted(path for path in paths if not path.startswith(others))


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


def _save(run_folder: str, path: str, content: bytes) -> str:
    fs, base = storage.filesystem(run_folder)
    base = base.rstrip("/")
    fs.create_dir(f"{base}/{path}".rpartition("/")[0], recursive=True)
    with storage.whole_file(fs, f"{base}/{path}") as sink:
        sink.write(content)
    return storage.join(run_folder, path)
