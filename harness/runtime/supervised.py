"""Runs a function that uses Ray in a child process, and again if Ray dies meanwhile.

When Ray's GCS server or raylet dies, Ray's native code ends the process that uses it, after writing
to its terminal. The child keeps that away from the command: its interpreter has a path that Ray can
put into a command line, Ray's output goes into a file, and everything that it started ends with it.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import psutil

from harness.runtime import processes

log = logging.getLogger(__name__)

RESTARTS = 2  # how often Ray is started again after it died
_STARTS = 2  # attempts to start Ray
_POLL_S = 0.25
_SHOW_CURSOR = "\n\x1b[?25h"
_DAEMONS = {"gcs_server": "GCS server", "raylet": "raylet"}  # name of the process -> words


class StartError(RuntimeError):
    """Ray does not start."""


class Died(RuntimeError):
    """Ray died too often; the message names the part that died last."""


class Failed(RuntimeError):
    """The function ended with an error, or Ray does not start."""


def call(function: Callable[..., None], *arguments: Any, restarts: int, verbose: bool) -> None:
    """Call `function(scratch, *arguments)` in a child; `scratch` is a folder for Ray's files.

    The function is called again after Ray died, so it must go on from the work that is done.
    Raises Died, Failed and OSError.
    """
    for leftover in processes.remove_leftovers():
        log.info("removed the remains of a killed command: %s", leftover.words())
    starts = deaths = 0
    while True:
        outcome = _call_once(function, arguments, verbose)
        if not outcome["error"]:
            return
        if outcome["kind"] == "start" and starts + 1 < _STARTS and restarts:
            starts += 1
            log.warning("Ray did not start (%s); trying once more", outcome["error"])
        elif outcome["kind"] == "death" and deaths < restarts:
            deaths += 1
            words = outcome["error"], deaths, restarts
            log.warning("%s; starting Ray again for the rest (restart %d of %d)", *words)
        else:
            raise (Died if outcome["kind"] == "death" else Failed)(outcome["error"])


def _call_once(
    function: Callable[..., None], arguments: tuple[Any, ...], verbose: bool
) -> dict[str, str]:
    """{"error": "" or a line, "kind": "start", "death" or "error"}."""
    with processes.scratch() as scratch:
        with open(os.path.join(scratch, "call"), "wb") as sink:
            pickle.dump((function, arguments, verbose), sink)
        code = "import sys; from harness.runtime import supervised; supervised.main(*sys.argv[1:])"
        words = [_interpreter(scratch), "-P", "-c", code, scratch, str(os.getpid())]
        # A session of its own: Ctrl-C reaches the parent alone. Its folder is where Ray's workers
        # look for modules, too: no file of the user's folder may hide one.
        child = subprocess.Popen(words, start_new_session=True, cwd=scratch)
        try:
            dead = _wait(child, scratch)
        finally:
            _kill(child)
        return _outcome(scratch) or {"error": _words(dead, child.returncode), "kind": "death"}


def _interpreter(scratch: str) -> str:
    """A path of this interpreter that Ray can use: through a link where its own has a space."""
    if processes.is_plain(sys.executable) and processes.is_plain(sys.prefix):
        return sys.executable
    below = os.path.relpath(sys.executable, sys.prefix)
    if below.startswith("..") or not processes.is_plain(below):
        raise Failed(
            f"Ray cannot start {sys.executable}, whose path has special characters: use a virtual "
            f"environment (./setup.sh makes one), or backend=loop"
        )
    link = os.path.join(scratch, "python")
    os.symlink(sys.prefix, link)
    return os.path.join(link, below)


def _wait(child: subprocess.Popen[bytes], scratch: str) -> str:
    """Wait until the child ends or a part of Ray dies under it; returns the dead part's name."""
    daemons: dict[str, psutil.Process] = {}
    while child.poll() is None:
        if len(daemons) < len(_DAEMONS):
            daemons |= _daemons(child.pid)
        dead = [name for name, process in daemons.items() if not _lives(process)]
        if dead and _outcome(scratch) is None:  # with an outcome, Ray is shutting down
            return dead[0]
        time.sleep(_POLL_S)
    return ""


def _daemons(pid: int) -> dict[str, psutil.Process]:
    try:
        return {p.name(): p for p in psutil.Process(pid).children() if p.name() in _DAEMONS}
    except psutil.Error:
        return {}


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and its session, if it still runs."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.returncode and sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # the child's progress bars had hidden it


def _words(dead: str, code: int) -> str:
    if dead:
        return f"Ray's {_DAEMONS[dead]} died"
    end = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process that uses Ray died ({end})"


def _outcome(scratch: str) -> dict[str, str] | None:
    try:
        with open(os.path.join(scratch, "outcome"), encoding="utf-8") as source:
            outcome: dict[str, str] = json.load(source)
            return outcome
    except FileNotFoundError:
        return None


def main(scratch: str, parent: str) -> None:
    """The child process: calls the function and writes its outcome."""
    processes.end_with_parent(int(parent))
    with open(os.path.join(scratch, "call"), "rb") as source:
        function, arguments, verbose = pickle.load(source)  # written by the parent
    if not verbose:
        _quieten(os.path.join(scratch, "ray_output"))
    outcome = {"error": "", "kind": ""}
    try:
        function(scratch, *arguments)
    except Exception as error:  # noqa: BLE001  the parent raises it
        log.debug("%s", traceback.format_exc())
        lines = str(error).strip().splitlines() or [type(error).__name__]
        outcome["error"] = lines[0]
        outcome["kind"] = "start" if isinstance(error, StartError) else "error"
    part = os.path.join(scratch, "outcome.part")
    with open(part, "w", encoding="utf-8") as sink:
        json.dump(outcome, sink)
    os.rename(part, os.path.join(scratch, "outcome"))


def _quieten(file: str) -> None:
    """Send the output of Ray and its native code on stdout and stderr to `file`. sys.stderr, where
    our own lines go, still writes to the terminal.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding)
    with open(file, "ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
