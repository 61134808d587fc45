"""Tables as Markdown, CSV, LaTeX, HTML and on the terminal."""

from __future__ import annotations

import html
import re

import pandas as pd

from harness.report import format

_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {character: f"\\{character}" for character in "&%$#_{}"}
_TEX |= {"−": "$-$", "–": "--", "<": "$<$", ">": "$>$"}


def markdown(table: format.Table) -> str:
    """Every section with its heading and caption."""
    parts = [f"# {table.title}"]
    for section in table.sections:
        title, caption = _markdown_text(section.title), _markdown_text(section.caption)
        parts += [f"## {title}", _markdown_table(section.frame), caption]
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


def html_sections(table: format.Table) -> str:
    """Every section as an HTML table."""
    return "\n".join(map(_html_table, table.sections))


def rich_tables(sections: list[format.Section]) -> list:
    """Sections as rich tables."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    tables = []
    for section in sections:
        shown = RichTable(
            title=Text(section.title, style="bold"),
            caption=Text(section.caption, style="dim"),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
        )
        for column in section.frame.columns:
            if _is_text(column):
                longest = section.frame[column].str.len().max()
                shown.add_column(Text(column), overflow="fold", min_width=min(24, longest))
            else:
                shown.add_column(Text(column), justify="right", no_wrap=False, min_width=5)
        for row in section.frame.itertuples(index=False, name=None):
            shown.add_row(*map(Text, row))
        tables.append(shown)
    return tables


_TEXT_COLUMNS = {  # aligned to the left
    *("Task", "Event", "Method", "Quantity", "Device", "Timed", "Terms"),
    *("Item", "Title", "Status", "Missing", "Gap", "Command", "Reason"),
}


def _is_text(column: str) -> bool:
    return column in _TEXT_COLUMNS


def _markdown_table(frame: pd.DataFrame) -> str:
    columns = [str(column) for column in frame.columns]
    rules = [":---" if _is_text(column) else "---:" for column in columns]
    rows = [columns, rules, *frame.itertuples(index=False, name=None)]
    escaped = ([_markdown_text(cell) for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _markdown_text(text: str) -> str:
    """On one line, without a beginning of markup: of emphasis, code, a tag or another cell."""
    one_line = " ".join(str(text).split())
    return re.sub(r"[\\`*|]|<(?=[A-Za-z/!?])", r"\\\g<0>", one_line)


def _tex_table(section: format.Section) -> str:
    frame = section.frame
    alignment = "".join("l" if _is_text(column) else "r" for column in frame.columns)
    rows = [_tex_row(row) for row in frame.itertuples(index=False, name=None)]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex_text(section.title)}. {_tex_text(section.caption)}}}",
        rf"\resizebox{{\linewidth}}{{!}}{{\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _tex_row(tuple(frame.columns)),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(cells: tuple[str, ...]) -> str:
    # a cell that starts with [ would be read as the optional argument of \\
    row = " & ".join(_tex_text(cell) for cell in cells)
    return ("{}" if row.startswith("[") else "") + row + r" \\"


def _tex_text(text: str) -> str:
    one_line = " ".join(str(text).split())  # an empty line would end a caption
    return re.sub(r"[\\~^&%$#_{}−–<>]", lambda match: _TEX[match[0]], one_line)


def _html_table(section: format.Section) -> str:
    head = "".join(_html_cell("th", c, c) for c in section.frame.columns)
    rows = (
        "<tr>" + "".join(map(_html_cell, ["td"] * len(row), section.frame.columns, row)) + "</tr>"
        for row in section.frame.itertuples(index=False, name=None)
    )
    return (
        f"<h3>{html.escape(section.title)}</h3>\n<div class='wide'><table>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>\n"
        f"<p class='caption'>{html.escape(section.caption)}</p>"
    )


def _html_cell(tag: str, column: str, text: str) -> str:
    kind = " class='text'" if _is_text(column) else ""
    return f"<{tag}{kind}>{html.escape(str(text))}</{tag}>"
