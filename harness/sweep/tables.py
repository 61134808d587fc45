"""Shows the tables of sweeps, and writes them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.records import storage
from harness.report import format, render

_KINDS = {"md": render.markdown, "csv": render.csv, "tex": render.tex}


def publish(folder: str, tables: Sequence[format.Table]) -> None:
    """Show the tables, and where a folder is named write each as Markdown, CSV and LaTeX. Raises
    OSError.
    """
    terminal = Console()
    if not terminal.is_terminal:  # a log file: no line is folded at rich's 80 columns
        terminal = Console(width=160)
    for table in tables:
        for shown in render.rich_tables(table.sections):
            terminal.print(shown)
        if folder:
            _write(folder, table)


def _write(folder: str, table: format.Table) -> None:
    fs, base = storage.filesystem(folder)
    fs.create_dir(base, recursive=True)
    for kind, text in _KINDS.items():
        with storage.whole_file(fs, f"{base}/{table.name}.{kind}") as sink:
            sink.write(text(table).encode())
