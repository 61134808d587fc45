"""Commands in children of this process, which has imported all that they need: a start costs
milliseconds, and a kill ends what a kill of the whole command would.

The process that forks must stay without threads, so what needs pyarrow or torch is a child, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.runtime import processes

HANG_S = 600.0  # a machine that does other work may be slow
CASE = "CHAOS_CASE"  # of the environment: the case that a process belongs to
_POLL_S = 0.002
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """A running command, in a session of its own."""

    def __init__(self, pid: int, said: Path):
        self.pid, self.said, self.code = pid, said, None

    def wait(self, seconds: float = HANG_S) -> int | None:
        """Its exit code, or minus the signal that ended it; None where it still runs then."""
        until = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                break
            else:
                time.sleep(_POLL_S)
        return self.code

    def send(self, number: int) -> None:
        """Send a signal to it alone, Ctrl-C to its group as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGINT else os.kill)(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.code is None:
            self.send(signal.SIGKILL)
            self.wait()

    def text(self) -> str:
        """The text that it has written to its terminal."""
        return self.said.read_text(errors="replace")


def fork(function: Callable[[], int], said: Path, case: str = "") -> Child:
    """Call the function in a child, whose exit code it returns; its output goes to `said`."""
    parent = os.getpid()
    said.touch()  # it can be read from now on
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            _become_a_command(parent, said, case)
            code = function()
        except BaseException:  # noqa: BLE001  as an interpreter shows it
            traceback.print_exc()
        finally:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return Child(pid, said)


def _become_a_command(parent: int, said: Path, case: str) -> None:
    os.setsid()
    processes.end_with_parent(parent)
    os.environ[CASE] = case
    sink = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(sink, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)


def execute(words: Sequence[str], said: Path, case: str = "") -> Child:
    """Start `python WORDS` as a user does."""

    def become() -> int:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, *words])

    return fork(become, said, case)


def wait_for_interpreter(child: Child) -> None:
    """Wait until a command's own first lines run: what a signal does before that is Python's. They
    take Ctrl-C from the handler that the interpreter has set.
    """
    bit, was_caught = 1 << (signal.SIGINT - 1), False
    while child.wait(0.01) is None:
        status = Path("/proc", str(child.pid), "status").read_text()
        is_caught = bool(int(status.split("SigCgt:")[1].split()[0], 16) & bit)
        if was_caught and not is_caught:
            return
        was_caught = is_caught


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, from a child. Raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        result, said = Path(folder, "result"), Path(folder, "said")

        def answer() -> int:
            result.write_bytes(pickle.dumps(function(*arguments)))
            return 0

        child = fork(answer, said)
        if child.wait() != 0:
            child.kill()
            raise RuntimeError(f"{function.__name__}: {child.text()}")
        return pickle.loads(result.read_bytes())


def alive(case: str) -> list[int]:
    """The processes that belong to a case and still run."""
    mark, found = f"{CASE}={case}\0".encode(), []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                status = Path("/proc", entry, "status").read_text()
                environment = Path("/proc", entry, "environ").read_bytes()
                if mark in environment and "\nState:\tZ" not in status:
                    found.append(int(entry))
    return found


# -- file calls


def preloaded(folder: Path) -> str:
    """The library of file_calls.c, built in `folder`; "" where there is no compiler."""
    library, source = folder / "file_calls.so", Path(__file__).parent / "file_calls.c"
    words = ["gcc", "-O2", "-shared", "-fPIC", "-w", "-o", str(library), str(source), "-ldl"]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return str(library)


def can_count() -> bool:
    """Whether this process was started with the library."""
    return hasattr(ctypes.CDLL(None), "chaos_arm")


def arm(call: int) -> None:
    """Let this process be killed at its file call of this number, counted from now on; 0: never."""
    ctypes.CDLL(None).chaos_arm(ctypes.c_long(call))


def file_calls() -> int:
    """The file calls since `arm`."""
    count = ctypes.CDLL(None).chaos_calls
    count.restype = ctypes.c_long
    return count()
