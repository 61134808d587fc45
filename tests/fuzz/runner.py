"""Runs cases in child processes and says what went wrong in them.

A fault is: an exception that is none of those that the command turns into one line; a message of
several lines; a child that dies or hangs; a file outside the folder of the case; a planted pickle
that was run; a secret of the environment in what was printed, logged or written.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from . import damage

HANG_S = 60.0  # a machine that does other work may be slow
ACCEPTED, REFUSED = "accepted", "refused"
_MEMORY = 8 * 2**30  # bytes that a child may have on top of what it has at its start
_ENVIRONMENT = ("FUZZ_SECRET", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY")

Case = Callable[[random.Random, Path], None]  # raises where the input is refused


class Kind(NamedTuple):
    """A kind of input. `prepare(folder)` makes what its cases start from, and returns the case."""

    name: str
    about: str
    prepare: Callable[[Path], Case]
    errors: tuple[type[Exception], ...]  # those that a command shows as one line
    share: int  # of the cases of a run


class Fault(NamedTuple):
    """A case that went wrong."""

    kind: str
    number: int
    what: str  # one line
    details: str


class Result(NamedTuple):
    """The counts of one kind: cases accepted, refused and faulty."""

    kind: str
    counts: collections.Counter[str]
    faults: list[Fault]


def run(kind: Kind, folder: Path, count: int, seed: int = 0, first: int = 0) -> Result:
    """Run `count` cases of a kind below `folder`."""
    state = folder / "state"
    state.mkdir(parents=True)
    case = kind.prepare(state)
    counts: collections.Counter[str] = collections.Counter()
    faults, number = [], first
    while number < first + count:
        for at, outcome, details in _child(kind, case, folder, range(number, first + count), seed):
            number = at + 1
            counts[outcome if outcome in (ACCEPTED, REFUSED) else "faults"] += 1
            if outcome not in (ACCEPTED, REFUSED):
                faults.append(Fault(kind.name, at, outcome, details))
    return Result(kind.name, counts, faults)


def _child(
    kind: Kind, case: Case, folder: Path, numbers: Sequence[int], seed: int
) -> Iterator[tuple[int, str, str]]:
    """Number, outcome and details of each case, until all are done or the child has died."""
    shutil.rmtree(folder / "a", ignore_errors=True)  # of a child that has died
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_cases, args=(theirs, kind, case, folder, numbers, seed))
    child.start()
    theirs.close()
    done = numbers[0]
    try:
        while done <= numbers[-1]:
            if not ours.poll(HANG_S):
                yield done, f"it hangs for {HANG_S:.0f} s", ""
                return
            try:
                yield ours.recv()
            except EOFError:
                child.join()
                yield done, f"the process dies ({_death(child.exitcode)})", ""
                return
            done += 1
    finally:
        child.kill()
        child.join()


def _death(code: int | None) -> str:
    return signal.Signals(-code).name if code and code < 0 else f"exit code {code}"


def _cases(
    sink: Connection, kind: Kind, case: Case, folder: Path, numbers: Sequence[int], seed: int
) -> None:
    """The child: run the cases one after the other, and send what came of each."""
    _limit_memory()
    for name in _ENVIRONMENT:
        os.environ[name] = damage.SECRET
    output = open(folder / "output", "w+b", buffering=0)  # noqa: SIM115  for the child's life
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    sys.stdout = sys.stderr = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, force=True)
    logging.captureWarnings(True)
    for number in numbers:
        output.truncate(0)
        output.seek(0)
        sink.send((number, *_one(kind, case, folder, number, seed, folder / "output")))
    os._exit(0)


def _one(
    kind: Kind, case: Case, folder: Path, number: int, seed: int, output: Path
) -> tuple[str, str]:
    """Outcome and details of a case, in a folder of its own that is left empty."""
    rng = random.Random(f"{kind.name} {seed} {number}")
    own = folder / "a" / "b" / "c"
    own.mkdir(parents=True)
    os.chdir(own)
    try:
        return _judged(kind, case, rng, own, folder, output)
    finally:
        os.chdir(folder)
        shutil.rmtree(folder / "a")
        with contextlib.suppress(OSError):
            shutil.rmtree(folder / damage.ESCAPED)


def _judged(
    kind: Kind, case: Case, rng: random.Random, own: Path, folder: Path, output: Path
) -> tuple[str, str]:
    outcome, message, details = ACCEPTED, "", ""
    try:
        case(rng, own)
    except kind.errors as error:
        outcome, message = REFUSED, str(error)
    except BaseException as error:  # noqa: BLE001  a case is a boundary
        outcome = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        details = traceback.format_exc()
    written = output.read_bytes().decode(errors="replace")
    outside = {p.relative_to(folder).parts[:3] for p in folder.rglob("*")}
    outside -= {("a",), ("a", "b"), ("a", "b", "c"), ("output",)}
    outside = {parts for parts in outside if parts[0] != "state"}
    if (own / damage.PLANTED).exists():
        outcome = "a planted pickle was run"
    elif outside:
        outcome = f"written outside its folder: {sorted(outside)[:3]}"
    elif damage.SECRET in written + message or _in_files(own, damage.SECRET):
        outcome = "a secret of the environment is shown"
    elif outcome == REFUSED and len(message.splitlines()) > 1:
        outcome, details = "a message of several lines", message
    elif "Traceback (most recent call last)" in written:
        outcome, details = "a traceback is shown", written[-2000:]
    return outcome, details


def _in_files(folder: Path, word: str) -> bool:
    small = (p for p in folder.rglob("*") if p.is_file() and p.stat().st_size < 2**22)
    return any(word.encode() in path.read_bytes() for path in small)


def _limit_memory() -> None:
    """A length out of a damaged header must not take the machine with it."""
    import resource

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, now + _MEMORY))
