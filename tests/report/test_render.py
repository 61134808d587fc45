"""Tables as LaTeX and Markdown are whole."""

from __future__ import annotations

import re

from synthetic_run import outcome, table

from harness import report


def test_latex_is_balanced_and_escaped(run):
    run.trial(method="my_method", outcome=outcome(10), note="50 % & more")
    run.trial(method="random", outcome=outcome(5))
    report.write(run.folder)
    text = table(run, "success", "tex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert all(text.count(rule) == 2 for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
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
