"""The ways to harm a command: each is a function of a case, which draws what happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil
import rights

from . import case as cases
from . import children
from .case import FULL, LIGHT, POOL, RAY, REPORT, SIGKILL, SWEEP, Case, Command
from .children import HANG_S, Child


def kill_run(case: Case) -> None:
    """A run is killed several times, at random moments and at random file calls."""
    command = FULL if case.rng.random() < 0.1 else LIGHT
    if case.rng.random() < 0.7:
        case.take_datasets(command)
    _kill_often(case, command, "the driver", case.references[command.name].calls)
    case.finish(command, command)


def kill_sweep(case: Case) -> None:
    """A sweep is killed, in a loop as well as in its study's database."""
    case.take_datasets(SWEEP)
    _kill_often(case, SWEEP, "the sweep", case.references[SWEEP.name].calls)
    case.finish(SWEEP, SWEEP)


def kill_report(case: Case) -> None:
    """The report of a finished run is killed."""
    command = FULL if case.rng.random() < 0.2 else LIGHT
    case.take_run(command)
    if case.rng.random() < 0.5:
        for place in ("tables", "figures", "compact"):
            shutil.rmtree(case.run / place, ignore_errors=True)
    _kill_often(case, REPORT, "the report", case.references[command.name].report_calls)
    case.finish(REPORT, command)


def _kill_often(case: Case, command: Command, what: str, calls: int) -> None:
    for _ in range(case.rng.randint(5, 12)):
        in_call = children.can_count() and case.rng.random() < 0.6
        call = 1 + int(calls * case.rng.random() ** 1.3) if in_call else None
        child = case.start(command, call)
        if call is None:
            is_report = command is REPORT
            seconds = case.references[(LIGHT if is_report else command).name].seconds
            child.wait(seconds * case.rng.random() ** 1.3 * (0.4 if is_report else 1))
            child.kill()
        child.wait()
        case.look_at_output(child)
        if child.code != SIGKILL:
            _expect(case, child, {0})
            break
        case.hit(f"{what}, at a {'moment' if call is None else 'file call'}", child)


def _expect(case: Case, child: Child, codes: set[int]) -> None:
    """A fault where the command has not ended with one of these."""
    if child.code is None:
        child.kill()
        case.faults.append("it hangs")
    elif child.code not in codes:
        last = child.text().strip().splitlines()[-1:]
        case.faults.append(f"it ends with {child.code}: {last}")


def signal_run(case: Case) -> None:
    """Ctrl-C once and twice, and SIGTERM, while a run or a sweep goes on."""
    command = case.rng.choice([LIGHT, LIGHT, FULL, SWEEP])
    if case.rng.random() < 0.7:
        case.take_datasets(command)
    for _ in range(case.rng.randint(3, 6)):
        child = case.start(command)
        child.wait(case.moment(command))
        if not _interrupt(case, child):
            break
    case.finish(command, command)


def _interrupt(case: Case, child: Child) -> bool:
    """Send one of the signals; False where the command had ended before."""
    words, number, twice = case.rng.choice(
        [
            ("Ctrl-C", signal.SIGINT, False),
            ("Ctrl-C twice", signal.SIGINT, True),
            ("SIGTERM", signal.SIGTERM, False),
        ]
    )
    phase = cases.phase_of(child.text())
    pause = case.rng.random() ** 3
    if child.code is None:
        child.send(number)
        if twice:
            child.wait(pause)
            child.send(number)
    child.wait(HANG_S)
    case.look_at_output(child)
    if child.code == 0:
        return False
    _expect(case, child, cases.exit_of(number))
    case.hit(words, child, phase, is_kill=False)
    return True


def from_the_start(case: Case) -> None:
    """Kills and signals from the first line of a command on, also while it is imported."""
    command = case.rng.choice([LIGHT, REPORT, SWEEP])
    reference = LIGHT if command is REPORT else command
    case.take_datasets(reference)
    if command is REPORT:
        case.take_run(reference)
    for _ in range(2):
        child = case.execute(command)
        children.wait_for_interpreter(child)
        child.wait(case.rng.random() * case.references[reference.name].seconds * 0.7)
        if case.rng.random() < 0.4:
            child.kill()
            if child.code != SIGKILL:
                break
            case.hit("a command from its start", child)
        elif not _interrupt(case, child):
            break
    case.finish(command, reference)


def kill_collecting(case: Case) -> None:
    """One of several processes that collect data is killed, or the driver that waits for them."""
    for _ in range(2):
        child = case.start(POOL)
        until = time.monotonic() + HANG_S
        while not (workers := _collecting(child)) and child.wait(0.05) is None:
            assert time.monotonic() < until, child.text()
        child.wait(case.rng.random() * 12)
        workers = [pid for pid in workers if psutil.pid_exists(pid)]
        if case.rng.random() < 0.35:
            child.kill()
            if child.code == SIGKILL:
                case.hit("the driver, while others collect", child)
        elif workers and child.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(case.rng.choice(workers), signal.SIGKILL)
                case.hit("a collecting process", child)
            child.wait()
            _expect(case, child, {0})
        case.look_at_output(child)
        if child.wait() == 0:
            break
    case.finish(POOL, POOL)


def _collecting(child: Child) -> list[int]:
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(child.pid).children()
        return [p.pid for p in family if any("spawn_main" in word for word in p.cmdline())]
    return []


def kill_ray(case: Case) -> None:
    """Parts of Ray are killed while a run goes on: a worker, the raylet, the GCS server, the
    process that uses Ray, the driver; and Ctrl-C.
    """
    case.take_datasets(RAY)
    for _ in range(4):
        child = case.start(RAY)
        for _ in range(case.rng.randint(1, 4)):
            _hit_ray(case, child)
        child.wait()
        case.look_at_output(child)
        if child.code == 0:
            break
        _expect(case, child, {0, 1, SIGKILL, *cases.exit_of(signal.SIGINT)})
    case.finish(RAY, RAY, is_once=False)


_PARTS = {"raylet": "the raylet", "gcs_server": "the GCS server"}
_DRIVER = "the driver of a run by Ray"
_RAY = {  # what is hit, and how often
    **{"a Ray worker": 6.0, "the raylet": 1.5, "the GCS server": 1.5},
    **{"the process that uses Ray": 1.0, _DRIVER: 0.7, "Ctrl-C": 0.5},
}


def _of_ray(what: str, child: Child) -> list[int]:
    """The processes of a command that are called so."""
    if what in (_DRIVER, "Ctrl-C"):
        return [child.pid]
    found: dict[str, list[int]] = {}
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(child.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name, words = process.name(), process.cmdline()
                if name in _PARTS:
                    found.setdefault(_PARTS[name], []).append(process.pid)
                elif words and words[0].startswith("ray::ImplicitFunc."):
                    found.setdefault("a Ray worker", []).append(process.pid)
                elif any("supervised.main" in word for word in words):
                    found.setdefault("the process that uses Ray", []).append(process.pid)
    return found.get(what, [])


def _hit_ray(case: Case, child: Child) -> None:
    """Wait until there is what is to be hit, and a while longer, and hit it."""
    (what,) = case.rng.choices(list(_RAY), list(_RAY.values()))
    delay = case.rng.random() * 6
    while child.wait(0.2) is None and not _of_ray(what, child):
        pass
    child.wait(delay)
    found = _of_ray(what, child)
    if child.code is not None or not found:
        return
    phase = cases.phase_of(child.text())
    phase = "Ray starts" if phase == "plan" else phase
    if what == "Ctrl-C":
        child.send(signal.SIGINT)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(case.rng.choice(found), signal.SIGKILL)
    if what in ("Ctrl-C", _DRIVER):
        child.wait()
    case.hit(what, child, phase, is_kill=what != "Ctrl-C")


def fill_disk(case: Case) -> None:
    """The disk of the results or of the datasets is full, then larger, then large enough."""
    place = case.rng.choice(["results", "results", "datasets"])
    if place == "results":
        case.take_datasets(LIGHT)
    kib = 8 * 2 ** case.rng.uniform(0, 7)
    with cases.small_disk(case.folder / place, int(kib)) as give_room:
        for _ in range(3):
            child = case.start(LIGHT)
            child.wait()
            case.look_at_output(child)
            _expect(case, child, {0, 1})
            if child.code != 1:
                break
            case.hit(f"a full disk of {place}", child, "any", is_kill=False)
            kib *= 1 + case.rng.random()
            give_room(int(kib))
        give_room(2**17)
        case.finish(LIGHT, LIGHT, is_once=False)


def take_rights(case: Case) -> None:
    """The folder of the results or of the datasets becomes read-only while a run goes on."""
    place = case.rng.choice(["results", "results", "datasets"])
    if place == "results":
        case.take_datasets(LIGHT)
    child = case.start(LIGHT, first=rights.give_up_capabilities)
    child.wait(case.moment(LIGHT))
    phase = cases.phase_of(child.text())
    folders = [case.folder / place, *(p for p in (case.folder / place).rglob("*") if p.is_dir())]
    with rights.read_only(*folders):
        child.wait()
        case.look_at_output(child)
    _expect(case, child, {0, 1})
    if child.code == 1:
        case.hit(f"a folder of {place} that becomes read-only", child, phase, is_kill=False)
    case.finish(LIGHT, LIGHT, is_once=False)


def take_memory(case: Case) -> None:
    """Memory runs out: allocations fail from some point on."""
    command = case.rng.choice([LIGHT, FULL])
    case.take_datasets(command)
    for _ in range(2):
        room = int(2 ** case.rng.uniform(20, 28))
        child = case.start(command, first=lambda room=room: cases.little_memory(room))
        child.wait()
        case.look_at_output(child)
        if child.code == 0:
            break
        # a library may end the process
        _expect(case, child, {0, 1, 127, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS})
        case.hit("memory that runs out", child, is_kill=False)
    case.finish(command, command, is_once=False)


def turn_the_clock_back(case: Case) -> None:
    """The clock jumps back during a run, which is then killed, or not."""
    case.take_datasets(LIGHT)
    readings = int(400 * case.rng.random())
    back_s = case.rng.choice([30.0, 3600.0, 86400.0])
    child = case.start(LIGHT, first=lambda: cases.jumping_clock(readings, back_s))
    child.wait(case.moment(LIGHT) if case.rng.random() < 0.5 else HANG_S)
    if child.code is None:
        child.kill()
        case.hit("the driver, at a moment", child)
    else:
        _expect(case, child, {0})
    case.look_at_output(child)
    case.hit("a clock that jumps back", child, "any", is_kill=False)
    if case.rng.random() < 0.5:
        command = Command(LIGHT.name, LIGHT.module, LIGHT.given)
        later = case.start(command, first=lambda: cases.jumping_clock(0, 2 * back_s))
        _expect(case, later, {0} if later.wait() is not None else set())
        case.look_at_output(later)
    case.finish(LIGHT, LIGHT)


def start_two(case: Case) -> None:
    """The same command is started a second time, and the report, while the first goes on."""
    if case.rng.random() < 0.7:
        case.take_datasets(LIGHT)
    first = case.start(LIGHT)
    first.wait(case.moment(LIGHT) if case.rng.random() < 0.7 else 0)
    phase = cases.phase_of(first.text())
    others = [case.start(LIGHT) for _ in range(case.rng.randint(1, 2))]
    if case.rng.random() < 0.3 and (case.run / "plan.json").exists():
        reader = case.start(REPORT)
        reader.wait()
        case.look_at_output(reader)
        _expect(case, reader, {0, 1})
    for child in (first, *others):
        child.wait()
        case.look_at_output(child)
        if child.code != 0 and "is in use by process" not in child.text():
            _expect(case, child, {0})
    if all(child.code != 0 for child in (first, *others)):
        case.faults.append("of commands that were started together none went on")
    case.hit("a second command in the same folder", first, phase, is_kill=False)
    case.finish(LIGHT, LIGHT)


class Kind(NamedTuple):
    """A kind of case, and its share of a run."""

    name: str
    function: Callable[[Case], None]
    share: float
    needs: Callable[[], str] = lambda: ""  # why it is not possible here, or ""


def _needs_root() -> str:
    return "" if os.getuid() == 0 else "mounts need root"


KINDS = (
    Kind("run", kill_run, 60),
    Kind("sweep", kill_sweep, 10),
    Kind("report", kill_report, 10),
    Kind("signals", signal_run, 12),
    Kind("start", from_the_start, 6),
    Kind("collecting", kill_collecting, 4),
    Kind("ray", kill_ray, 8),
    Kind("disk", fill_disk, 5, _needs_root),
    Kind("rights", take_rights, 5),
    Kind("memory", take_memory, 5),
    Kind("clock", turn_the_clock_back, 4),
    Kind("two", start_two, 5),
)
