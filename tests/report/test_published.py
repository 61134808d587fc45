"""The published numbers: what lies in report/papers fits, and what does not fit is named."""

import csv
import math

import pytest

from harness import zoo
from harness.report import published

KNOWN = set(zoo.METHODS) | {"dino_wm_proprio"}
FILES = sorted(published.FOLDER.glob("*.csv"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in the place of harness/report/papers."""
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    published._read.cache_clear()
    yield tmp_path
    published._read.cache_clear()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_a_table(path):
    header, *rows = csv.reader(path.open(encoding="utf-8"), strict=True)
    assert rows and len(set(header)) == len(header)
    assert {len(row) for row in rows} == {len(header)}
    assert len({tuple(row) for row in rows}) == len(rows)


def test_tasks_and_methods_are_known_here(caplog):
    published._read.cache_clear()
    successes, times = published._successes(), published.plan_time()
    assert not caplog.text and len(successes) >= 27 and len(times) >= 2
    assert {task for task, _ in successes} <= set(zoo.TASKS)
    assert {method for _, method in successes} | set(times) <= KNOWN
    assert successes["push_t", "lewm"] == published.Published(96.0, 50, "Fig. 6")
    assert times["lewm"] == published.Published(0.98, 0, "Fig. 3 (transcribed), L40S")


HEADER = "method,task,success_pct,n_episodes,source,stale"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column task, its columns are: "),
        (HEADER.replace("success_pct", "success"), "has no column success_pct, its columns are: "),
        (f"{HEADER}\nlewm,push_t,96 %,50,x,", "has success_pct '96 %' in row 1, not a number from"),
        (f"{HEADER}\nlewm,push_t,,50,x,", "has success_pct '' in row 1"),
        (f"{HEADER}\nlewm,push_t,nan,50,x,", "has success_pct 'nan' in row 1"),
        (f"{HEADER}\nlewm,push_t,960,50,x,", "has success_pct '960' in row 1, not a number from"),
        (
            f"{HEADER}\nlewm,push_t,96,-1,x,",
            "has n_episodes '-1' in row 1, not a number of at least",
        ),
        (f"{HEADER}\nlewm,push_t,96,50,a,b,c", "has 7 fields instead of 6 in row 1"),
        (f"{HEADER}\nlewm,push_t,96,50", "has 4 fields instead of 6 in row 1"),
        (
            f"{HEADER}\nlewm,push_t,96,50,x,\n\nlewm,push_t,97,50,x,",
            "has a second row for push_t lewm, row 2",
        ),
        (f'{HEADER}\nlewm,push_t,96,50,"x', "cannot be read (unexpected end of data)"),
        (b"\xff\xfe\x00", "cannot be read ('utf-8' codec"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_gives_no_number(folder, caplog, text, said):
    path = folder / "paper_success.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert published._successes() == {}
    assert f"{path} {said}" in caplog.text
    assert "no published column until that is mended" in caplog.text


def test_other_columns_and_blank_lines_do_no_harm(folder, caplog):
    (folder / "paper_plan_time.csv").write_text(
        "source,method,remark,plan_s,hardware\n\nFig. 3,lewm,,0.98,L40S\n"
    )
    assert published.plan_time() == {"lewm": published.Published(0.98, 0, "Fig. 3, L40S")}
    assert not caplog.text and math.isfinite(published.plan_time()["lewm"].value)
