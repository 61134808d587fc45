"""Tables as LaTeX, Markdown and HTML are whole, whatever a label holds."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from synthetic_run import outcome, table

from harness import report
from harness.report import format, page, render


def test_latex_is_balanced_and_escaped(run):
    run.trial(method="my_method", outcome=outcome(10), note="50 % & more")
    run.trial(method="random", outcome=outcome(5))
    report.write(run.folder)
    text = table(run, "success", "tex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert all(text.count(rule) == 3 for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"my\_method (50 \% \& more)" in text
    assert not re.search(r"(?<!\\)[%&](?! )", text.partition("\n")[2])
    for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.S):
        assert len({line.count(" & ") for line in body.strip().splitlines()}) == 1


def test_markdown_rows_have_as_many_cells_as_the_head(run):
    run.trial(outcome=outcome(10), note="a|b")
    run.trial(method="random", outcome=outcome(5))
    report.write(run.folder)
    for block in re.findall(r"(?:^\|.*\|\n)+", table(run, "success", "md"), re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


HOSTILE = "[a]|b*`c_<b>\\ & 50 %\n\nd ~ ^ # $ { } − –"


@pytest.fixture
def hostile():
    """A table of one section whose title, caption, heading and cells hold everything."""
    frame = pd.DataFrame({"Method": [HOSTILE, "plain"], HOSTILE: [HOSTILE, "1"]})
    section = format.Section(HOSTILE, HOSTILE, frame, True, frozenset({(0, HOSTILE), (1, HOSTILE)}))
    return format.Table("hostile", "Hostile", frame, [section])


def test_hostile_text_stays_text_in_markdown(hostile):
    lines = render.markdown(hostile).splitlines()
    (head,) = (line for line in lines if line.startswith("| Method"))
    (row,) = (line for line in lines if line.startswith("| [a]"))
    for line in (head, row):
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert re.search(r"\*\*\[a\]\\\|b\\\*\\`c_\\<b>", row)
    assert any("**1**" in line for line in lines)


def test_hostile_text_stays_text_in_latex(hostile):
    text = render.tex(hostile)
    body = re.search(r"\\midrule\n(.*?)\\bottomrule", text, re.S)[1].strip().splitlines()
    assert len(body) == 2 and all(line.endswith(r"\\") for line in body)
    assert body[0].startswith("{[}a]") and r"& \bfseries" in body[0]
    assert body[1] == r"plain & \bfseries 1 \\"
    plain = re.sub(r"\\[&%$#_{}]", "", text.partition("\n")[2])
    assert plain.count("{") == plain.count("}")
    assert "\n\n" not in text.strip() and not re.search(r"[−–%#<>](?!\$)", plain)


def test_hostile_text_stays_text_in_the_page(hostile):
    parts = page._template("parts.html.j2").module
    text = parts.sections(page.Chapter("t", "Title", [], hostile.sections, []))
    assert "<b>b" not in text and text.count("&lt;b&gt;") == 5  # title, caption, heading, two cells
    assert text.count("<strong>") == 2 and re.search(r'<td class="text">', text)  # names stand left


def test_bold_cells_are_bold_on_the_terminal(hostile):
    shown = render.rich_table(*hostile.sections)
    assert [str(cell.style) for cell in shown.columns[1].cells] == ["bold", "bold"]
    assert [str(cell.style) for cell in shown.columns[0].cells] == ["", ""]
