"""Children that use Ray: odd paths, a slow start, a death, and nothing that outlives a command."""

import logging
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import started
import supervised_bodies as bodies

from harness.runtime import processes, supervised

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _bodies_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.chdir(TESTS.parent)


def call(function, *arguments, restarts=2):
    supervised.call(function, *map(str_path, arguments), restarts=restarts, verbose=False)


def str_path(value):
    return str(value) if isinstance(value, Path) else value


def scratch_folders():
    return [f for f in os.listdir("/tmp") if f.startswith(processes.PREFIX)]


def noted(folder):
    return (folder / "noted").read_text().splitlines()


def test_an_interpreter_with_a_space_is_started_through_a_link(tmp_path, monkeypatch):
    prefix = tmp_path / "a 'b' $c"
    prefix.symlink_to(sys.prefix)
    below = os.path.relpath(sys.executable, sys.prefix)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "executable", str(prefix / below))
    call(bodies.note, tmp_path)
    executable, scratch, found = noted(tmp_path)
    assert executable == f"{scratch}/python/{below}" and found == f"{scratch}/python"
    assert processes.is_plain(executable) and not os.path.exists(scratch)


def test_an_interpreter_that_no_link_helps_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/my bin/python")
    with pytest.raises(supervised.Failed, match=r"special characters: use a virtual.*backend=loop"):
        call(bodies.wrong)


@pytest.mark.parametrize("folder", ["x" * 120, "a b", "a;b"])
def test_scratch_is_short_and_plain_whatever_tmpdir_is(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / folder))
    with processes.scratch() as scratch:
        assert len(scratch) < 37 and processes.is_plain(scratch)
        assert os.stat(scratch).st_mode & 0o077 == 0  # Ray's token lies in it


def test_without_any_short_folder_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OSError, match=r"set TMPDIR to a folder with a short plain name.*=loop"):
        call(bodies.wrong)


def test_a_slow_start_is_tried_once_more(tmp_path, caplog):
    call(bodies.slow_start, tmp_path, 1)
    assert "did not start (the node timed out); trying once more" in caplog.text
    (tmp_path / "again").mkdir()
    with pytest.raises(supervised.Failed, match="the node timed out"):
        call(bodies.slow_start, tmp_path / "again", 2)


def test_an_error_is_one_line_and_is_not_tried_again(caplog):
    with pytest.raises(supervised.Failed, match=r"^first line$"):
        call(bodies.wrong)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gcs_server", "Ray's GCS server died"),
        ("raylet", "Ray's raylet died"),
        ("", "the process that uses Ray died (signal 9)"),
    ],
)
def test_a_death_is_named_and_the_function_is_called_again(tmp_path, caplog, capfd, name, said):
    call(bodies.dies, tmp_path, 1, name)
    (record,) = caplog.records
    assert record.message == f"{said}; starting Ray again for the rest (restart 1 of 2)"
    assert "noise" not in "".join(capfd.readouterr())


def test_the_third_death_is_the_last(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with pytest.raises(supervised.Died, match=r"signal 9"):
        call(bodies.dies, tmp_path, 3, "")
    assert len(caplog.records) == 2 and (tmp_path / "times").read_text() == "xxx"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_command_left_is_named_and_removed_by_the_next(tmp_path, caplog, number):
    caplog.set_level(logging.INFO)
    code = f"import supervised_bodies as b; b.wait_in_child({str(tmp_path)!r})"
    path = str(started.ROOT / "tests")  # where supervised_bodies is
    with started.process(["-c", code], tmp_path / "said", PYTHONPATH=path) as command:
        waits = tmp_path / "waits"
        while not (waits.exists() and len(waits.read_text().split()) == 3):
            assert command.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.1)
        scratch, child, daemon = waits.read_text().split()
        processes.remove_leftovers()  # not of a command that lives
        assert os.path.exists(scratch) and psutil.pid_exists(int(daemon))
        command.send_signal(number)
        command.wait(30)
        for _ in range(50):
            if not psutil.pid_exists(int(child)):  # it ends with its parent
                break
            time.sleep(0.1)
        assert not psutil.pid_exists(int(child))
        call(bodies.note, tmp_path)
        assert f"{scratch} with processes {daemon}" in caplog.text
        assert not os.path.exists(scratch) and not psutil.pid_exists(int(daemon))


def test_a_reader_of_a_log_and_another_user_s_folder_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"{processes.PREFIX}x"
    folder.mkdir()
    (folder / "lock").touch()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert processes.remove_leftovers() == [] and folder.exists()
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with started.process(
        ["-c", "import os; os.execlp('tail', 'tail', '-f', os.devnull)"], folder / "log"
    ) as reader:
        while psutil.Process(reader.pid).name() != "tail":
            time.sleep(0.05)
        assert [left.pids for left in processes.remove_leftovers()] == [[]]
        assert reader.poll() is None and not folder.exists()


def test_no_file_of_the_users_folder_hides_a_module(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("lewm", "tokenize"):
        (own / f"{name}.py").write_text("raise ImportError('the user's own file')\n")
    monkeypatch.chdir(own)
    call(bodies.note_path, tmp_path)
    where, *path = noted(tmp_path)
    assert where.startswith(f"/tmp/{processes.PREFIX}") and not {"", ".", str(own)} & set(path)
