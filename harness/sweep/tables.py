"""Shows the tables of sweeps, and writes them and their figure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report import figures, format, render


def publish(folder: str, tables: Sequence[format.Table]) -> None:
    """Show the tables, and where a folder is named write each as Markdown, CSV and LaTeX. Raises
    OSError.
    """
    for table in tables:
        render.show(table.sections)
        if folder:
            render.save(folder, render.files(table))


def write_figure(folder: str, name: str, image: figures.Image | None) -> None:
    """Write a figure, where there is one, as PNG and SVG, and its caption. Raises OSError."""
    if image is not None:
        files = {f"{name}.{kind}": content for kind, content in image.kinds.items()}
        captions = render.captions({name: image.caption}).encode()
        render.save(folder, files | {"captions.md": captions})
