"""What runs now, how fast, and how long it still takes: bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

_LOG_EVERY_S = 10.0


@dataclass
class _Stage:
    name: str
    done: int = 0
    total: int = 1
    began: float = field(default_factory=time.monotonic)
    began_at: int = 0
    logged: float = 0.0

    def words(self) -> str:
        """ "350/700, 7.1/s, 49 s left" once there is a rate."""
        seconds = time.monotonic() - self.began
        count = self.done - self.began_at
        if count <= 0 or seconds < 0.5:
            return f"{self.done}/{self.total}"
        rate = count / seconds
        left = (self.total - self.done) / rate
        return f"{self.done}/{self.total}, {rate:.3g}/s, {left:.0f} s left"


class Display:
    """Progress of the trials of a run; a context manager."""

    def __init__(self, trials: int, done: int = 0):
        self._stages: dict[str, _Stage] = {}
        self._bars: dict[str, TaskID] = {}
        self._trials, self._done = trials, done
        console = Console(stderr=True, emoji=False)
        self._live = console.is_terminal and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
        )

    def __enter__(self) -> Display:
        self._progress.start()
        self._overall = self._progress.add_task("trials", total=self._trials, words="")
        self._show_overall()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, key: str, stage: str, done: int, total: int) -> None:
        """Trial `key` has done that many of `total` parts of its stage."""
        state = self._stages.get(key)
        if state is None or state.name != stage:
            state = self._stages[key] = _Stage(stage, began_at=done if done > 1 else 0)
        state.done, state.total = done, total
        if self._live:
            bar = self._bars.get(key)
            if bar is None:
                bar = self._bars[key] = self._progress.add_task(key, total=total, words="")
            words = f"{stage} {state.words()}"
            self._progress.update(bar, completed=done, total=total, words=words)
        elif time.monotonic() - state.logged > _LOG_EVERY_S:
            state.logged = time.monotonic()
            log.info("%s %s %s", key, stage, state.words())

    def finish(self, key: str, outcome: str) -> None:
        """Trial `key` has ended."""
        self._stages.pop(key, None)
        bar = self._bars.pop(key, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._done += 1
        if self._live:
            self._progress.console.print(f"{key}: {outcome}", markup=False, highlight=False)
        else:
            log.info("%s: %s (%d of %d trials)", key, outcome, self._done, self._trials)
        self._show_overall()

    def _show_overall(self) -> None:
        words = f"{self._done} of {self._trials}"
        self._progress.update(self._overall, completed=self._done, words=words)
