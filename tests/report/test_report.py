"""A whole report: failed and broken trials, copies, what an earlier report left."""

from __future__ import annotations

import shutil

import pandas as pd
import pyarrow.parquet as pq
from synthetic_run import outcome, raw

from harness import report
from harness.report import __main__ as command
from harness.report import format


def test_a_failed_trial_is_listed_and_not_averaged(run, capsys):
    run.trial(seed=0, outcome=outcome(40))
    error = 'Traceback (most recent call last):\n  File "x"\nRuntimeError: out of <memory>'
    run.trial(seed=1, outcome=outcome(0), status="error", error=error, diverged=True)
    row = raw(run).iloc[0]
    assert (row.success_pct, row.seeds) == (80.0, 1)
    page = (run.folder / "index.html").read_text()
    assert "two_room.lewm.s1" in page
    assert "RuntimeError: out of &lt;memory&gt;" in page
    report.console(run.folder)
    shown = capsys.readouterr().out
    assert "failed: two_room.lewm.s1: RuntimeError: out of <memory>" in shown
    assert "80 [67, 89]" in shown


def test_only_failed_trials_still_make_a_page(run):
    run.trial(status="error", error="OSError: no disk")
    assert [path.rpartition("/")[2] for path in report.write(run.folder)] == ["index.html"]
    assert "OSError: no disk" in (run.folder / "index.html").read_text()


def test_a_trial_that_cannot_be_read_is_shown_as_failed_and_ends_the_command_with_1(run, capsys):
    run.trial(seed=0, outcome=outcome(40))
    broken = run.place(run.trial(seed=1, outcome=outcome(0)))
    table = pq.read_table(broken / "metrics.parquet")
    pq.write_table(table.drop_columns(["unit"]), broken / "metrics.parquet")
    assert command.main([str(run.folder)]) == 1
    page, said = (run.folder / "index.html").read_text(), capsys.readouterr().out
    assert "1 trial finished, 0 failed, 1 cannot be read." in page
    reason = "metrics.parquet: column unit is missing"
    assert broken.name in page and "cannot be read" in page and reason in page
    assert f"failed: {broken.name} cannot be read: {reason}" in said


def test_a_run_of_which_nothing_can_be_read_has_a_page_and_no_tables_of_an_earlier_report(run):
    broken = run.place(run.trial(outcome=outcome(40)))
    assert command.main([str(run.folder)]) == 0
    assert (run.folder / "tables" / "success.csv").exists()
    own = run.folder / "figures" / "mine.png"
    own.write_bytes(b"")
    (broken / "trial.parquet").write_bytes(b"broken")
    assert command.main([str(run.folder)]) == 1
    assert (
        "0 trials finished, 0 failed, 1 cannot be read." in (run.folder / "index.html").read_text()
    )
    left = [path for path in run.folder.glob("[tf]*s/*.*") if path.is_file()]
    assert left == [own]


def test_a_copy_of_a_trial_is_in_no_table_and_named(run, capsys):
    made = run.place(run.trial(method="random", outcome=outcome(10)))
    run.trial(seed=1, outcome=outcome(40))
    expected = raw(run)
    copy = made.with_name(f"{made.name}.bak")
    shutil.copytree(made, copy)
    solved = pq.read_table(copy / "episodes.parquet").to_pandas().assign(success=True)
    solved.to_parquet(copy / "episodes.parquet")
    assert command.main([str(run.folder)]) == 0
    pd.testing.assert_frame_equal(raw(run), expected)
    page = (run.folder / "index.html").read_text()
    assert "2 trials finished, 0 failed." in page and f"{copy.name} (a copy" in page
    assert f"{copy.name}/" not in page and f"left out: {copy.name}" in capsys.readouterr().out


def test_one_is_no_plural():
    assert [format.counted(n, "trial") for n in (0, 1, "1 to 3")] == [
        "0 trials",
        "1 trial",
        "1 to 3 trials",
    ]
    assert format.count(pd.Series([1, 1]), "pair") == "1 pair"
