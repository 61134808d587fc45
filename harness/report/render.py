"""Tables as Markdown, CSV, LaTeX and on the terminal, by the writers of pandas and rich.

What is ours is the escaping: a label may hold any character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd
from pandas.io.formats.style import Styler

from harness.records import storage
from harness.report import format

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

_TEXT_COLUMNS = {  # aligned to the left
    *("Task", "Tasks", "Event", "Method", "Quantity", "Device", "Timed", "Terms", "Kind of pairs"),
    *("Evaluation", "Planner", "Protocol", "Sampler", "Run", "Best value", "Key", "Value"),
    *("Item", "Title", "Status", "Missing", "Gap", "Command", "Reason", "Example", "Settings"),
}
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {character: f"\\{character}" for character in "&%$#_{}"}
_TEX |= {"−": "$-$", "–": "--", "<": "$<$", ">": "$>$"}


def markdown(table: format.Table) -> str:
    """Every section with its heading and caption."""
    parts = [f"# {table.title}"]
    for section in table.sections:
        title, caption = _markdown_text(section.title), _markdown_text(section.caption)
        parts += [f"## {title}", _markdown_table(section), caption]
    return "\n\n".join(parts) + "\n"


def captions(of_figures: dict[str, str]) -> str:
    """The captions of the figures, by name, to paste below them."""
    parts = [f"## {name}\n\n{_markdown_text(words)}\n" for name, words in of_figures.items()]
    return "# Captions of the figures\n\n" + "\n".join(parts)


def csv(table: format.Table) -> str:
    """The raw numbers, units in the column names."""
    return table.raw.drop(columns="cell", errors="ignore").to_csv(index=False, lineterminator="\n")


def tex(table: format.Table) -> str:
    r"""One table environment per section; needs \usepackage{booktabs}."""
    return "% needs \\usepackage{booktabs,graphicx}\n" + "\n".join(map(_tex_table, table.sections))


def files(table: format.Table) -> dict[str, bytes]:
    """A table's files by their names."""
    texts = {"md": markdown(table), "csv": csv(table), "tex": tex(table)}
    return {f"{table.name}.{kind}": text.encode() for kind, text in texts.items()}


def save(folder: str, contents: Mapping[str, bytes]) -> list[str]:
    """Write files into a folder by their paths there; returns the whole paths. Raises OSError."""
    fs, base = storage.filesystem(folder)
    for path, content in contents.items():
        whole = f"{base.rstrip('/')}/{path}"
        fs.create_dir(whole.rpartition("/")[0], recursive=True)
        with storage.whole_file(fs, whole) as sink:
            sink.write(content)
    return [storage.join(folder, path) for path in contents]


def show(sections: Iterable[format.Section]) -> Console:
    """Show sections on the terminal, which is returned."""
    from rich.console import Console

    terminal = Console()
    if not terminal.is_terminal:  # a log file: no line is folded at rich's 80 columns
        terminal = Console(width=160)
    for section in sections:
        terminal.print(rich_table(section))
    return terminal


def rich_table(section: format.Section) -> RichTable:
    """A section as a table of rich."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(section.title, style="bold"),
        caption=Text(section.caption, style="dim"),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in section.frame.columns:
        if column in _TEXT_COLUMNS:
            longest = section.frame[column].str.len().max()
            shown.add_column(Text(column), overflow="fold", min_width=min(24, longest))
        else:
            shown.add_column(Text(column), justify="right", no_wrap=False, min_width=5)
    for i, row in enumerate(section.frame.to_dict("records")):
        shown.add_row(*(Text(row[c], "bold" if (i, c) in section.bold else "") for c in row))
    return shown


def _markdown_table(section: format.Section) -> str:
    frame = section.frame.map(_markdown_text)
    for row, column in section.bold:
        at = row, frame.columns.get_loc(column)
        frame.iloc[at] = f"**{frame.iloc[at]}**"
    sides = ["left" if column in _TEXT_COLUMNS else "right" for column in frame]
    headings = frame.rename(columns=_markdown_text)
    return headings.to_markdown(index=False, colalign=sides, disable_numparse=True)


def _markdown_text(text: str) -> str:
    """On one line, without a beginning of markup: of emphasis, code, a tag or another cell."""
    one_line = " ".join(str(text).split())
    return re.sub(r"[\\`*|]|<(?=[A-Za-z/!?])", r"\\\g<0>", one_line)


def _tex_table(section: format.Section) -> str:
    """The tabular is pandas'; around it stands what makes a wide table fit the line."""
    sides = "".join("l" if column in _TEXT_COLUMNS else "r" for column in section.frame)
    styler = _styler(section).format(_tex_text).format_index(_tex_text, axis="columns")
    tabular = styler.to_latex(hrules=True, column_format=sides, convert_css=True).strip()
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex_text(section.title)}. {_tex_text(section.caption)}}}\n"
        f"\\resizebox{{\\linewidth}}{{!}}{{{tabular}}}\n\\end{{table}}\n"
    )


def _tex_text(text: str) -> str:
    """Whole text on one line, since an empty one ends a caption. A bracket that begins a row would
    be read as an argument of the row before.
    """
    one_line = " ".join(str(text).split())
    escaped = re.sub(r"[\\~^&%$#_{}−–<>]", lambda match: _TEX[match[0]], one_line)
    return f"{{[}}{escaped[1:]}" if escaped.startswith("[") else escaped


def _styler(section: format.Section) -> Styler:
    """pandas' writer of a section, its bold cells marked, without row numbers."""
    styles = pd.DataFrame("", section.frame.index, section.frame.columns)
    for row, column in section.bold:
        styles.loc[row, column] = "font-weight: bold"
    return section.frame.style.apply(lambda _: styles, axis=None).hide(axis="index")
