"""Shows what runs, how fast, and how long it still takes: bars on a terminal, log lines
elsewhere.
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich import progress as bars
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # stage, done, total
_LOG_EVERY_S = 10.0
_TELLING = 0.05  # share of all costs; what ends before that, such as a control, says nothing


@dataclass
class _Counter:
    """How much of a piece of work is done, and since when it is counted."""

    name: str
    done: int = 0
    total: int = 1
    began: float = field(default_factory=lambda: time.monotonic())
    began_at: int = 0  # `done` at that time
    logged: float = 0.0  # when a line was logged last

    def words(self) -> str:
        """ "350/700, 7.1/s, 49 s left" once there is a rate."""
        seconds = time.monotonic() - self.began
        count = self.done - self.began_at
        if count <= 0 or seconds < 0.5:
            return f"{self.done}/{self.total}"
        rate = count / seconds
        left = (self.total - self.done) / rate
        return f"{self.done}/{self.total}, {rate:.3g}/s, {left:.0f} s left"

    def log_is_due(self) -> bool:
        """True once in ten seconds; the caller then logs a line."""
        due = time.monotonic() - self.logged > _LOG_EVERY_S
        if due:
            self.logged = time.monotonic()
        return due


class Display:
    """Progress over `total` items, e.g. trials or episodes, of which `done` are done at the start;
    a context manager. Items that take long show the progress of their own stages (`update`).

    costs  the seconds that each item which is not done may take, by key, None where that is not
           known: how long all still take follows from them and from how long those that are done
           have taken, as far as any is known; else from the number of items
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        title: str = "trials",
        costs: Mapping[str, float | None] | None = None,
    ):
        self._all = _Counter(title, done, total, began_at=done, logged=time.monotonic())
        self._costs, self._spent = _filled(costs or {}), 0.0
        self._stages: dict[str, _Counter] = {}
        self._bars: dict[str, TaskID] = {}
        console = Console(stderr=True, emoji=False)
        self._live = console.is_terminal and sys.stderr.isatty()
        self._progress = bars.Progress(
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
        )

    def __enter__(self) -> Display:
        self._progress.start()
        self._overall = self._progress.add_task(self._all.name, total=self._all.total, words="")
        self._show_overall()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @property
    def done(self) -> int:
        """How many items are done."""
        return self._all.done

    def advance(self, count: int) -> None:
        """`count` more items are done."""
        self._all.done += count
        self._show_overall()
        finished = self._all.done >= self._all.total
        if not self._live and (self._all.log_is_due() or finished):
            log.info("%s %s", self._all.name, self._all.words())

    def update(self, key: str, stage: str, done: int, total: int) -> None:
        """The item `key` has done that many of `total` parts of its stage."""
        state = self._stages.get(key)
        if state is None or state.name != stage:
            state = self._stages[key] = _Counter(stage, began_at=done if done > 1 else 0)
        state.done, state.total = done, total
        if self._live:
            bar = self._bars.get(key)
            if bar is None:
                bar = self._bars[key] = self._progress.add_task(key, total=total, words="")
            words = f"{stage} {state.words()}"
            self._progress.update(bar, completed=done, total=total, words=words)
        elif state.log_is_due():
            log.info("%s %s %s", key, stage, state.words())

    def finish(self, key: str, outcome: str, is_done: bool = True) -> None:
        """The item `key` has ended; it counts as done whatever its outcome, unless it goes on."""
        self._stages.pop(key, None)
        bar = self._bars.pop(key, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._all.done += is_done
        self._spent += self._costs.pop(key, 0.0)
        if self._live:
            self._progress.console.print(f"{key}: {outcome}", markup=False, highlight=False)
        else:
            log.info("%s: %s (%s %s)", key, outcome, self._all.name, self._words())
        self._show_overall()

    def _words(self) -> str:
        """ "2/4, 40 s left" once enough of the known costs is spent; by the rate without costs."""
        if not self._costs and not self._spent:
            return self._all.words()
        left = sum(self._costs.values())
        if self._spent < _TELLING * (self._spent + left):
            return f"{self._all.done}/{self._all.total}"
        left *= (time.monotonic() - self._all.began) / self._spent
        return f"{self._all.done}/{self._all.total}, {left:.0f} s left"

    def _show_overall(self) -> None:
        self._progress.update(self._overall, completed=self._all.done, words=self._words())


def _filled(costs: Mapping[str, float | None]) -> dict[str, float]:
    """The costs, of which one that is not known is the median of the others; empty where none is
    known.
    """
    known = [cost for cost in costs.values() if cost is not None]
    usual = statistics.median(known) if known else 0.0
    return {key: usual if cost is None else cost for key, cost in costs.items()} if known else {}
