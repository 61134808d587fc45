"""Shows the tables of a sweep and writes them beside those of the report."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.records import storage
from harness.report import format, render

_KINDS = {"md": render.markdown, "csv": render.csv, "tex": render.tex}


def publish(run_folder: str, tables: Sequence[format.Table]) -> None:
    """Show the tables, and write each as Markdown, CSV and LaTeX. Raises OSError."""
    fs, base = storage.filesystem(run_folder)
    fs.create_dir(f"{base.rstrip('/')}/tables", recursive=True)
    terminal = Console()
    if not terminal.is_terminal:  # a log file: no line is folded at rich's 80 columns
        terminal = Console(width=160)
    for table in tables:
        for shown in render.rich_tables(table.sections):
            terminal.print(shown)
        for kind, text in _KINDS.items():
            path = f"{base.rstrip('/')}/tables/{table.name}.{kind}"
            with storage.whole_file(fs, path) as sink:
                sink.write(text(table).encode())
