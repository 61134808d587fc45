"""The audit finds what is wrong with a file, and nothing where nothing is."""

import io

import foreign
import numpy as np
import pytest
from PIL import Image

from harness import zoo
from harness.data import __main__ as data_command
from harness.data import audit, sources
from harness.runtime import command

SIZE = 32


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Push-T's columns of eight episodes of 40 steps; a tee at rest between the steps."""
    root = tmp_path_factory.mktemp("own")
    ours = foreign.recorded("push_t", root, episodes=8, steps=40, size=SIZE)
    return foreign.all_columns("push_t", ours, True)


def of(path, found, task="push_t", **words):
    file = foreign.hdf5(path / "a.h5", found, **words)
    return audit.audit(zoo.TASKS[task], sources.open_source(file), states=30)


def finding(report, subject):
    (only,) = [f for f in report.findings if f.subject == subject]
    return only


SMALL = "its size is not the published one"


def test_a_file_of_our_own_simulator_differs_by_its_size_alone(tmp_path, found):
    report = of(tmp_path, found, **foreign.blosc())
    assert report.objections == [SMALL]
    assert "published: 2,336,736 rows in 18,685 episodes of 49 to 246" in report.findings[0].text
    assert finding(report, "families").text == "2 (episodes with one initial state)"
    assert finding(report, "missing actions").text == "8 in the last row of an episode, 0 elsewhere"
    assert finding(report, "compression").text.startswith("blosc (32001); a picture of (32, 32)")
    assert finding(report, "pictures").text.startswith("30 states drawn: 0.000 of 255 apart on")
    assert "end where they should" in finding(report, "dynamics").text


def test_a_file_of_the_published_size_has_no_objection(tmp_path, found, monkeypatch):
    known = audit.Published(rows=320, episodes=8, lengths=(40, 40))
    monkeypatch.setitem(audit.PUBLISHED, "push_t", known)
    report = of(tmp_path, found)
    assert report.objections == []
    assert report.findings[0].text == "320 rows in 8 episodes of 40 to 40, as published"


def test_pictures_of_another_renderer_are_found_and_shown(tmp_path, found):
    other = [e | {"pixels": e["pixels"].copy()} for e in found]
    for episode in other:
        episode["pixels"][:, :8] = 0
    report = of(tmp_path, other)
    assert "its pictures are not those that our simulator draws" in report.objections
    strip = np.asarray(Image.open(io.BytesIO(report.strip)))
    assert strip.shape == (3 * (SIZE + 2), 3 * (SIZE + 2), 3)
    assert not strip[:8, :SIZE].any()  # recorded
    assert (strip[2:8, SIZE + 4 : 2 * SIZE] > 200).all()  # drawn
    apart = strip[:SIZE, :SIZE].astype(int) - strip[:SIZE, SIZE + 2 : 2 * SIZE + 2]
    assert np.array_equal(strip[:SIZE, 2 * SIZE + 4 : 3 * SIZE + 4], np.abs(apart))


def test_actions_of_another_convention_are_found(tmp_path, found):
    """Each action stands one row too late, as the one that led to the row."""
    late = [e | {"action": np.roll(np.nan_to_num(e["action"]) * 2, 1, axis=0)} for e in found]
    report = of(tmp_path, late)
    assert "its actions do not lead to its states" in report.objections


def test_missing_numbers_are_counted(tmp_path, found):
    holes = [{n: v.copy() for n, v in e.items()} for e in found]
    holes[0]["action"][5] = np.nan
    holes[3]["state"][:2, 0] = np.nan
    report = of(tmp_path, holes)
    assert finding(report, "missing actions").text.endswith("1 elsewhere")
    assert finding(report, "NaN rows of states").text == "2 in the column state"
    assert {"its states have NaN", "actions are missing inside episodes"} <= set(report.objections)


def test_actions_beyond_the_bounds_are_counted(tmp_path, found):
    wide = [e | {"action": e["action"].copy()} for e in found]
    for episode in wide:
        episode["action"][0] = (1.25, 0.0)
    text = finding(of(tmp_path, wide), "actions").text
    assert "to 1.250; " in text and f"{8 / (8 * 39 * 2):.2%} of values beyond" in text


def test_the_command_reports_and_its_exit_code_is_the_verdict(tmp_path, found, monkeypatch, capsys):
    file = foreign.hdf5(tmp_path / "a.h5", found)
    out = tmp_path / "worst.png"
    words = ["audit", file, "task=push_t", "states=10", f"out={out}", f"datasets={tmp_path}"]
    assert data_command.main(words) == command.FAILED
    said = capsys.readouterr().out
    assert f"cannot be compared with published ones: {SMALL}." in " ".join(said.split())
    assert Image.open(out).size == (3 * (SIZE + 2), 3 * (SIZE + 2))
    known = audit.Published(rows=320, episodes=8, lengths=(40, 40))
    monkeypatch.setitem(audit.PUBLISHED, "push_t", known)
    assert data_command.main(words) == command.OK
    assert "Results on this data can be compared" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected import SOURCE task=NAME or audit SOURCE task=NAME, got nothing"),
        (["export", "a.h5"], "expected import"),
        (["audit", "a.h5"], "task= is missing; it is one of two_room, push_t"),
        (["audit", "a.h5", "task=pusht"], 'Did you mean "push_t"?'),
        (["audit", "a.h5", "task=push_t", "states=0"], "states=0 must be at least 1"),
        (["audit", "a.h5", "task=push_t", "train.steps=3"], "unknown key"),
    ],
)
def test_words_that_are_not_understood(capsys, words, said):
    assert data_command.main(words) == command.USAGE
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_bad_source_is_one_line(capsys, tmp_path):
    words = [f"{tmp_path}/no.h5", "task=push_t", f"datasets={tmp_path}"]
    for name in ("import", "audit"):
        assert data_command.main([name, *words]) == command.FAILED
        assert "does not exist" in " ".join(capsys.readouterr().err.split())


def test_an_imported_file_is_what_a_run_with_the_same_words_uses(tmp_path, found):
    file = foreign.hdf5(tmp_path / "a.h5", found)
    words = ["task=push_t", "scale=tiny", "data.test=0", f"datasets={tmp_path / 'data'}"]
    assert data_command.main(["import", file, *words]) == command.OK
    (folder,) = (tmp_path / "data").iterdir()
    request = data_command.parse(["import", file, *words])
    task, data = zoo.TASKS["push_t"], request.spec.config.data
    assert data_command.collect.ensure(task, data, str(tmp_path / "data")) == str(folder)
