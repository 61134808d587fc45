"""What a command says to a user: calls and paths that work in the folder in which it was called."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.runtime import command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def interpreter(tmp_path, monkeypatch):
    """An interpreter in the environment of a checkout, and a PATH without it."""
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return python


def test_a_hint_names_the_interpreter_as_it_is_typed_here(interpreter, monkeypatch):
    monkeypatch.chdir(interpreter.parents[2])
    assert command.python() == ".venv/bin/python"
    hint = command.module("harness.run", "run=my run")
    assert hint == ".venv/bin/python -m harness.run 'run=my run'"
    for folder in (interpreter.parent, "/usr/share"):
        monkeypatch.chdir(folder)
        call = f"{command.python()} -c 'print(7)'"
        assert subprocess.run(call, shell=True, capture_output=True).stdout == b"7\n", folder


def test_an_activated_environment_needs_no_path(interpreter, monkeypatch):
    monkeypatch.setenv("PATH", f"{interpreter.parent}:/usr/bin")
    assert command.python() == "python"


def test_a_path_is_from_here_where_it_lies_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.path(f"{tmp_path}/results/my run/index.html") == "'results/my run/index.html'"
    assert command.path("/elsewhere/index.html") == "/elsewhere/index.html"
    assert command.path("s3://bucket/run/index.html") == "s3://bucket/run/index.html"


def test_help_says_the_interpreter_of_this_installation(interpreter, monkeypatch, capsys):
    monkeypatch.chdir(interpreter.parents[2])
    help_text = "python -m harness.report results/<run>"
    assert command.main(["--help"], lambda _: help_text, list, lambda _: 0) == 0
    assert capsys.readouterr().out == ".venv/bin/python -m harness.report results/<run>\n"


@pytest.mark.parametrize("error", [ImportError("`Import tabulate` failed"), OSError("no disk")])
def test_a_failure_is_one_line_and_a_missing_package_names_the_doctor(error, capsys):
    """pandas raises ImportError, and not ModuleNotFoundError, for a package that it can use."""

    def work(_):
        raise error

    assert command.main([], lambda _: "", list, work) == command.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {error}")
    says = "-m harness.doctor says what to install"
    assert line.endswith(says) == isinstance(error, ImportError)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate mem"
                     "ory: you tried to allocate 4000 bytes."),
    ],
)  # fmt: skip
def test_short_memory_is_one_line(capsys, error):
    def execute(parsed):
        raise error

    assert command.main([], str, list, execute) == command.FAILED
    assert capsys.readouterr().err == (
        "error: not enough memory; the same command goes on from here\n"
    )


def test_another_runtime_error_is_not_taken_for_short_memory():
    def execute(parsed):
        raise RuntimeError("the sizes of tensors must match")

    with pytest.raises(RuntimeError, match="sizes"):
        command.main([], str, list, execute)


COMMAND = """
from harness.runtime import quiet_start
if __name__ == "__main__":
    quiet_start.take_ctrl_c()
import os, signal, sys
def press(where):
    if where in sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGINT)
press("imports")
from harness.runtime import command
def execute(parsed):
    try:
        press("work")
        return 0
    finally:
        press("cleaning")
code = command.main(sys.argv[1:], str, list, execute)
press("exit")
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        (["imports"], -2, ""),
        (["work"], 130, "interrupted; the same command goes on from here\n"),
        (["work", "cleaning"], 130, "interrupted; the same command goes on from here\n"),
        (["exit"], -2, ""),
        (["work", "exit"], -2, "interrupted; the same command goes on from here\n"),
        ([], 0, ""),
    ],
)
def test_ctrl_c_shows_no_traceback_at_any_stage(where, code, said):
    ended = subprocess.run([sys.executable, "-c", COMMAND, *where], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (code, said)


ENTRIES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted(ROOT.glob("harness/**/*.py"))
    if "sys.exit(main(" in path.read_text() and path != ROOT / "harness/__main__.py"
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_command_takes_ctrl_c_before_it_imports_more(entry):
    lines = [line for line in (ROOT / entry).read_text().splitlines() if line]
    first = lines.index("from harness.runtime import quiet_start")
    assert lines[first - 1] == "from __future__ import annotations"
    assert lines[first + 1 : first + 3] == [
        'if __name__ == "__main__":',
        "    quiet_start.take_ctrl_c()",
    ]


IN_A_CALLBACK = """
import os, signal, sys, time
from harness.runtime import command
class Gone:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
def execute(parsed):
    gone = Gone()
    del gone
    time.sleep(30)
    return 0
sys.exit(command.main([], str, list, execute))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_python_calls_back_is_not_lost(number):
    words = [sys.executable, "-c", IN_A_CALLBACK, str(int(number))]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20)
    said = "interrupted; the same command goes on from here\n"
    assert (ended.returncode, ended.stderr) == (128 + number, said)


def test_other_errors_of_callbacks_are_still_shown(capsys):
    class Gone:
        def __del__(self):
            raise ValueError("what was deleted")

    def execute(parsed):
        Gone()
        return 0

    seen = []
    before, sys.unraisablehook = sys.unraisablehook, lambda ignored: seen.append(ignored.exc_type)
    try:
        assert command.main([], str, list, execute) == command.OK
    finally:
        sys.unraisablehook = before
    assert seen == [ValueError]


INSTALLED = """
import os, signal, sys
class PressesCtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "harness.run":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, PressesCtrlC())
from harness.__main__ import main
sys.exit(main())
"""


def test_the_installed_command_takes_ctrl_c_before_it_imports_more():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["jepa-bench"] == "harness.__main__:main"
    ended = subprocess.run([sys.executable, "-c", INSTALLED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (-2, "")
