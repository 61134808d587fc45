"""The plan of a run and the marks of trials that run."""

from __future__ import annotations

import pytest

from harness.records import plan


def planned(key, config_hash="0" * 12, **fields):
    known = dict(task="toy", method="lewm", variant="", seed=0, stages=["train"])
    known |= dict(task_label="Toy", method_label="LeWM", planned=1.0)
    return plan.PlannedTrial(key, config_hash, **(known | fields))


def test_a_plan_is_read_as_it_was_written(tmp_path):
    trials = [planned("a", estimate_s=3.5), planned("b", cannot_run="no GPU")]
    protocols = {"strict": {"protocol.pairs": {"toy": "100"}}}
    plan.write(str(tmp_path / "new"), plan.Plan(trials, protocols))
    assert plan.read(str(tmp_path / "new")) == plan.Plan(trials, protocols)


def test_commands_add_their_trials_and_a_changed_trial_replaces_its_key(tmp_path):
    folder = str(tmp_path)
    plan.write(folder, plan.Plan([planned("a", "old"), planned("b")]))
    plan.write(folder, plan.Plan([planned("a", "new", planned=2.0), planned("c", planned=2.0)]))
    known = plan.read(folder)
    assert {(t.key, t.config_hash) for t in known.trials} == {
        ("a", "new"),
        ("b", "0" * 12),
        ("c", "0" * 12),
    }
    assert [trial.key for trial in known.latest] == ["a", "c"]


def test_the_latest_plan_is_the_last_commands_though_the_clock_was_turned_back(tmp_path):
    folder = str(tmp_path)
    plan.write(folder, plan.Plan([planned("a", planned=100.0), planned("b", planned=100.0)]))
    (tmp_path / f"{plan.FILE}.0123abcd.part").touch()  # of a killed process
    plan.write(folder, plan.Plan([planned("b", planned=50.0), planned("c", planned=50.0)]))
    assert [trial.key for trial in plan.read(folder).latest] == ["b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == [plan.FILE]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"trials": [{"key": "a"}]}'])
def test_a_plan_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / plan.FILE).write_text(content)
    assert plan.read(str(tmp_path)) == plan.Plan()


def test_a_mark_says_how_far_a_trial_is_and_goes_with_it(tmp_path, monkeypatch):
    trial, other = planned("a"), planned("b")
    now, told = [100.0], []
    monkeypatch.setattr(plan.time, "time", lambda: now[0])
    monkeypatch.setattr(plan.time, "monotonic", lambda: now[0])

    def mark():
        return plan.marks(str(tmp_path), [trial, other])

    with plan.marked(str(tmp_path / "trials" / trial.folder), lambda *at: told.append(at)) as at:
        at("train", 1, 9)
        assert mark() == {trial.folder: plan.Mark("train", 1, 9, 100.0)}
        now[0] = 105.0
        at("train", 2, 9)
        assert mark()[trial.folder].done == 1  # it is written every ten seconds
        at("control", 0, 4)
        assert mark()[trial.folder] == plan.Mark("control", 0, 4, 105.0)  # and for each stage
        now[0] = 116.0
        at("control", 3, 4)
        assert mark()[trial.folder].done == 3
    assert mark() == {}
    assert told == [("train", 1, 9), ("train", 2, 9), ("control", 0, 4), ("control", 3, 4)]


def test_a_mark_goes_with_a_trial_that_fails_and_old_ones_go_with_the_next_command(tmp_path):
    trial = planned("a")
    folder = tmp_path / "trials" / trial.folder
    with pytest.raises(ZeroDivisionError), plan.marked(str(folder), lambda *_: None) as at:
        at("train", 1, 9)
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []
    (folder / plan.RUNNING).write_text("{}")  # of a killed process
    with plan.without_old_marks(str(tmp_path), [trial]):
        assert list(folder.iterdir()) == []
        (folder / plan.RUNNING).write_text("{}")
    assert list(folder.iterdir()) == []


def test_what_cannot_be_written_costs_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    plan.write(str(tmp_path / "file" / "run"), plan.Plan([planned("a")]))
    assert "cannot be written" in caplog.text
    with plan.marked(str(tmp_path / "file" / "trial"), lambda *_: None) as at:
        at("train", 1, 9)
    assert (tmp_path / "file").read_text() == ""
