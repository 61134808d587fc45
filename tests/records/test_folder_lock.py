"""One process at a time in a folder of results: who is refused, and who comes next."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from harness import report, run, trial
from harness.experiment import config
from harness.experiment.run_folders import RunFolders
from harness.records import folder_lock
from harness.sweep import search
from harness.sweep.__main__ import main as sweep

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys
from harness.records import folder_lock
with folder_lock.hold(sys.argv[1]):
    if "fork" in sys.argv and os.fork() == 0:
        sys.stdin.read()  # a child that outlives its parent
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(folder, *words):
    """A process that holds `folder`; it ends in order with the block, if not before."""
    command = [sys.executable, "-c", HOLD, str(folder), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert int(process.stdout.readline()) == process.pid
            yield process
        finally:
            process.stdin.close()


def refused(folder, process):
    """The one line that a second process gets."""
    return (
        rf"{folder} is in use by process {process.pid} on {socket.gethostname()} since 20.*: wait"
    )


def test_a_second_process_is_told_who_has_the_folder_until_that_ends(tmp_path):
    with another_process(tmp_path) as process:
        with (
            pytest.raises(folder_lock.InUseError, match=refused(tmp_path, process)) as error,
            folder_lock.hold(str(tmp_path)),
        ):
            pass
        assert "\n" not in str(error.value)
    with folder_lock.hold(str(tmp_path)):
        assert json.loads((tmp_path / folder_lock.FILE).read_text())["process"] == os.getpid()
    assert (tmp_path / folder_lock.FILE).read_text() == ""


@pytest.mark.parametrize("words", [[], ["fork"]], ids=["alone", "with a child that lives on"])
def test_a_killed_owner_does_not_block_the_next(tmp_path, words, caplog):
    with another_process(tmp_path, *words) as process:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (tmp_path / folder_lock.FILE).exists()
        with folder_lock.hold(str(tmp_path)):
            pass
    assert not caplog.records


def test_what_another_machine_left_without_an_end_is_said(tmp_path, caplog):
    left = {"process": 7, "host": "elsewhere", "since": "2026-01-01 00:00:00"}
    (tmp_path / folder_lock.FILE).write_text(json.dumps(left))
    with folder_lock.hold(str(tmp_path)):
        assert "process 7 on elsewhere" in caplog.text and "make sure that it has" in caplog.text


def test_where_there_are_no_locks_the_log_says_so(caplog):
    caplog.set_level(logging.INFO)
    with folder_lock.hold("mock:///r"):
        assert "mock:///r cannot be locked: do not start the same command twice" in caplog.text


# -- the commands


def words(tmp_path, datasets):
    shared = ["scale=tiny", "device=cpu", "backend=loop", "run=r", "data.episodes=24"]
    return [*shared, f"results={tmp_path}", f"datasets={datasets}"]


def test_a_run_in_use_is_refused_but_its_plan_and_report_are_not(tmp_path, datasets, capsys):
    shared = [*words(tmp_path, datasets), "suite=smoke", "protocol.pairs=4"]
    command, more = ([*shared, f"methods=[{names}]"] for names in ("noop", "noop,random"))
    assert run.main(command) == 0
    with another_process(tmp_path / "r") as process:
        capsys.readouterr()
        assert run.main(more) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {tmp_path}/r is in use by process {process.pid} on ")
        assert run.main([*more, "dry=true"]) == 0
        assert "1 of 2 trials to run" in capsys.readouterr().err
        assert report.write(str(tmp_path / "r"))


def test_a_sweep_in_use_is_refused_before_its_study_is_touched(tmp_path, datasets, capsys):
    command = [*words(tmp_path, datasets), "task=toy", "method=lewm"]
    command += ["space.train.lr=log:0.001:0.01", "trials=1", "train.steps=6"]
    with another_process(tmp_path / "r") as process:
        assert sweep(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {tmp_path}/r is in use by process {process.pid} on ")
        assert not (tmp_path / "r" / search.STUDY_FILE).exists()


def test_a_trial_in_use_is_refused_and_leaves_no_row(tmp_path, datasets, capsys):
    spec = tiny.spec("noop", "data.episodes=24", "protocol.pairs=4")
    (tmp_path / "spec.yaml").write_text(config.to_yaml(spec))
    folders = RunFolders(str(tmp_path / "r"), "trial", "", str(datasets))
    command = [str(tmp_path / "spec.yaml"), f"results={folders.folder}", f"datasets={datasets}"]
    with another_process(folders.trial(spec)) as process:
        assert trial.main(command) == 1
        assert f"is in use by process {process.pid} on " in capsys.readouterr().err
        assert not list(Path(folders.trial(spec)).glob("*.parquet"))
    assert trial.main(command) == 0


@pytest.mark.parametrize("signed", ["[]", "3", "[" * 100_000])
def test_a_lock_that_is_signed_with_no_object_has_an_unknown_owner(tmp_path, signed):
    (tmp_path / folder_lock.FILE).write_text(signed)
    with folder_lock.hold(str(tmp_path)):
        assert json.loads((tmp_path / folder_lock.FILE).read_text())["process"] == os.getpid()
