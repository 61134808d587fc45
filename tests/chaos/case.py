"""A case: commands in a folder of their own, what was done to them, and what was found."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness import run
from harness.report import __main__ as report_command
from harness.sweep import __main__ as sweep_command

from . import check, children
from .children import Child

MAINS = {
    "harness.run": run.main,
    "harness.report": report_command.main,
    "harness.sweep": sweep_command.main,
}
RUN = "r"  # the name of every run
SLOW_TASK = Path(__file__).parent / "slow_task.py"

PHASES = ("start", "plan", "Ray starts", "collecting", "training", "evaluation")
PHASES += ("between trials", "report", "end")
_STAGE = re.compile(r"^\S+\.s\d+\S* (.+) \d+/\d+")


class Command(NamedTuple):
    """The words that a user types, but for the folders."""

    name: str
    module: str
    given: tuple[str, ...]

    def words(self, folder: Path) -> list[str]:
        if self.module == "harness.report":
            return [str(folder / "results" / RUN)]
        places = [f"results={folder / 'results'}", f"datasets={folder / 'datasets'}"]
        return [*self.given, *places]


_ALL = ("scale=tiny", "device=cpu", f"run={RUN}", "protocol.pairs=4", "plan_time.singles=0")
_LIGHT = ("suite=smoke", *_ALL, "methods=lewm,gcbc,noop,replay", "stages=train,control")
_SAVING = ("train.checkpoint_every_s=0", "data.episodes=24")
LIGHT = Command("light", "harness.run", (*_LIGHT, *_SAVING, "backend=loop", "train.steps=10"))
FULL = Command(
    "full",
    "harness.run",
    ("suite=smoke", *_ALL, *_SAVING, "backend=loop", "methods=lewm,noop", "train.steps=12"),
)
SWEEP = Command(
    "sweep",
    "harness.sweep",
    (
        *("task=toy", "method=gcbc", *_ALL, *_SAVING, "backend=loop", "train.steps=20"),
        *("trials=3", "space.train.lr=log:0.0001:0.01", "sampler=grid", "points=3"),
    ),
)
POOL = Command(
    "pool",
    "harness.run",
    (
        *("suite=smoke", *_ALL, f"tasks={SLOW_TASK}", "methods=noop,replay", "backend=loop"),
        *("data.episodes=250", "data.max_steps=30"),
    ),
)
RAY = Command(
    "ray",
    "harness.run",
    (*_LIGHT, "data.episodes=24", "train.steps=300", "train.checkpoint_every_s=0.5"),
)
REPORT = Command("report", "harness.report", ())
REFERENCES = (LIGHT, FULL, SWEEP, POOL, RAY)


class Reference(NamedTuple):
    """An undisturbed run: where it is, how long it took and how many file calls it made."""

    folder: Path
    seconds: float
    calls: int
    report_calls: int  # of harness.report alone


class Hit(NamedTuple):
    """Something that was done to a command."""

    what: str
    phase: str
    is_kill: bool
    in_write: bool = False  # a file was half written


class Case:
    """`rng` draws all that happens in it."""

    def __init__(self, name: str, folder: Path, references: dict[str, Reference]):
        self.name, self.folder, self.references = name, folder, references
        self.rng = random.Random(name)
        self.hits: list[Hit] = []
        self.faults: list[str] = []
        self.before: list[check.Snapshot] = []
        self._said = 0
        self._parts: set[Path] = set()  # half files that are known already
        for place in ("results", "datasets"):
            (folder / place).mkdir(parents=True)

    @property
    def run(self) -> Path:
        return self.folder / "results" / RUN

    def take_datasets(self, command: Command) -> None:
        """Begin with the data that the undisturbed run has collected."""
        source = self.references[command.name].folder / "datasets"
        shutil.copytree(source, self.folder / "datasets", dirs_exist_ok=True)

    def take_run(self, command: Command) -> None:
        """Begin with the finished run."""
        source = self.references[command.name].folder / "results"
        shutil.copytree(source, self.folder / "results", dirs_exist_ok=True)

    def start(
        self,
        command: Command,
        call: int | None = None,
        first: Callable[[], object] = lambda: None,
        counted: Path | None = None,
    ) -> Child:
        """Start a command in a child that calls `first` and is killed at its file call `call`, or
        that counts its file calls into the file `counted`.
        """
        main, words = MAINS[command.module], command.words(self.folder)

        def execute() -> int:
            first()
            if call is not None or counted:
                children.arm(call or 0)
            code = main(words)
            if counted:
                counted.write_text(str(children.file_calls()))
            return code

        return children.fork(execute, self._next_said(), self.name)

    def execute(self, command: Command) -> Child:
        """Start a command as a user does."""
        words = ["-m", command.module, *command.words(self.folder)]
        return children.execute(words, self._next_said(), self.name)

    def _next_said(self) -> Path:
        self._said += 1
        return self.folder / f"said_{self._said}"

    def moment(self, command: Command) -> float:
        """A random time of the undisturbed run, in seconds; early ones come more often, since what
        goes on from something ends sooner.
        """
        return self.references[command.name].seconds * self.rng.random() ** 1.3

    def hit(self, what: str, child: Child, phase: str = "", is_kill: bool = True) -> None:
        """Record what was done to a command, and keep what is on the disk."""
        parts = {path for path in self.folder.rglob("*.part") if path.is_file()}
        half, self._parts = is_kill and not parts <= self._parts, parts
        self.hits.append(Hit(what, phase or phase_of(child.text()), is_kill, half))
        self.before.append(check.snapshot(self.run))

    def look_at_output(self, child: Child) -> None:
        self.faults += check.of_output(child.text())

    def finish(self, command: Command, reference: Command, is_once: bool = True) -> None:
        """The same command, undisturbed: it must finish, and nothing be lost."""
        child = self.start(command)
        code = child.wait()
        self.look_at_output(child)
        if code != 0:
            child.kill()
            last = child.text().strip().splitlines()[-1:]
            self.faults.append(f"the same command does not finish: {code}: {last}")
            return
        other = self.references[reference.name].folder / "results" / RUN
        self.faults += children.call(check.of_run, self.run, other, self.before, is_once)
        self.faults += check.of_datasets(self.folder / "datasets")
        self.faults += self._left_running()

    def _left_running(self) -> list[str]:
        for _ in range(50):  # what the kernel ends takes a moment
            if not (left := children.alive(self.name)):
                return []
            time.sleep(0.2)
        return [f"left over: processes {left}"]


def phase_of(said: str) -> str:
    """How far a command was, by the last line that says it."""
    for line in reversed(said.splitlines()):
        if line.startswith(("wrote ", "interrupted")):
            return "end"
        if line.startswith("drawing the report"):
            return "report"
        if ": ok, " in line or ": error: " in line:
            return "between trials"
        if stage := _STAGE.match(line):
            return "training" if stage[1] in ("train", "data") else "evaluation"
        if line.startswith("collecting"):
            return "collecting"
        if line.startswith(("suite ", "sweep of ")):
            return "plan"
    return "start"


@contextlib.contextmanager
def small_disk(folder: Path, kib: int):
    """A file system of that size in the folder; yields a function that gives it room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)], check=True)
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={size}k", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def little_memory(room: int) -> None:
    """Let this process have `room` bytes more than it has now."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + room, now + room))


def jumping_clock(readings: int, back_s: float) -> None:
    """Let the clock of this process jump back after it has been read so many times."""
    real, left = time.time, [readings]

    def read() -> float:
        left[0] -= 1
        return real() if left[0] > 0 else real() - back_s

    time.time = read


def exit_of(number: int) -> set[int]:
    """The exit codes of a command that such a signal has ended."""
    return {128 + number, -number}


SIGKILL = -signal.SIGKILL
