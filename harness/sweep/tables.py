"""Shows the tables of sweeps, and writes them and their figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from harness.records import storage
from harness.report import figures, format, render

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
            _write(
                folder, {f"{table.name}.{k}": text(table).encode() for k, text in _KINDS.items()}
            )


def write_figure(folder: str, name: str, image: figures.Image | None) -> None:
    """Write a figure, where there is one, as PNG and SVG, and its caption. Raises OSError."""
    if image is not None:
        caption = render.captions({name: image.caption}).encode()
        _write(folder, {f"{name}.{kind}": content for kind, content in image.kinds.items()})
        _write(folder, {"captions.md": caption})


def _write(folder: str, contents: Mapping[str, bytes]) -> None:
    fs, base = storage.filesystem(folder)
    fs.create_dir(base, recursive=True)
    for name, content in contents.items():
        with storage.whole_file(fs, f"{base}/{name}") as sink:
            sink.write(content)
