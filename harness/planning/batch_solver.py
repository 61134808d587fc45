"""Solving many pairs together, and timing every solve, for planning and feed-forward policies."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch

from harness.contracts.data import Obs
from harness.contracts.method import Solve

Result = TypeVar("Result")
OnProgress = Callable[[float], None]  # the share of a solve that is done
Work = Callable[[Obs, Obs, np.ndarray, OnProgress], Result]  # obs, goal and the pairs' rows


class BatchSolver(Generic[Result]):
    """Solves pairs in batches and times each solve. A solve is a search for plans or an inference.

    work             solves the pairs `rows` of an evaluation; the result of a pair must not depend
                     on the pairs beside it
    pairs_per_solve  pairs in one solve, 0: all at once
    join             puts parts of a result together. Where it is given, each of `threads` threads
                     of a CPU solves a share of the pairs, which is quicker than threads inside each
                     operation
    recording        names the recording that a solve of that many pairs replays, None if it replays
                     none (cuda_graph.py)

    Before the first solve, one pair is solved untimed, which warms the device up. Where solves
    replay recordings, the same pairs are solved untimed before the first solve that needs a new
    recording, which makes it.
    """

    def __init__(
        self,
        work: Work[Result],
        device: torch.device,
        pairs_per_solve: int = 0,
        join: Callable[[Sequence[Result]], Result] | None = None,
        threads: int = 1,
        recording: Callable[[int], Hashable | None] = lambda pairs: None,
    ):
        self._work, self._device, self._pairs_per_solve = work, device, pairs_per_solve
        self._join, self._threads, self._recording = join, threads, recording
        self._warm: set[Hashable | None] = set()

    def solves(
        self, obs: Obs, goal: Obs, rows: np.ndarray, on_progress: OnProgress = lambda share: None
    ) -> Iterator[tuple[Solve, Result]]:
        """Solve all pairs `rows`, one batch after the other; yields the timing and the
        result of each.
        """
        size = self._pairs_per_solve or max(1, len(rows))
        for first in range(0, len(rows), size):
            part = np.arange(first, min(first + size, len(rows)))
            result, seconds = self.solve(obs.rows(part), goal.rows(part), rows[part], on_progress)
            yield Solve(rows[part], seconds), result

    def solve(
        self, obs: Obs, goal: Obs, rows: np.ndarray, on_progress: OnProgress = lambda share: None
    ) -> tuple[Result, float]:
        """The result for the pairs `rows`, and the wall time from raw pixels to it. Progress is
        reported where one thread solves all of them.
        """
        recording = self._recording(len(rows))
        if recording not in self._warm:
            self._work_quietly(obs, goal, rows, np.arange(1 if recording is None else len(rows)))
            self._warm.add(recording)
        divisible = self._join and self._device.type == "cpu" and recording is None
        threads = min(self._threads, len(rows)) if divisible else 1
        synchronise(self._device)
        started = time.perf_counter()
        if threads > 1:
            result = self._work_in_threads(obs, goal, rows, threads)
        else:
            result = self._work(obs, goal, rows, on_progress)
        synchronise(self._device)
        return result, time.perf_counter() - started

    def _work_quietly(self, obs: Obs, goal: Obs, rows: np.ndarray, part: np.ndarray) -> Result:
        return self._work(obs.rows(part), goal.rows(part), rows[part], lambda share: None)

    def _work_in_threads(self, obs: Obs, goal: Obs, rows: np.ndarray, threads: int) -> Result:
        """Solve a share of the pairs in each thread, and join the results."""
        assert self._join is not None
        parts = np.array_split(np.arange(len(rows)), threads)
        inside = torch.get_num_threads()
        torch.set_num_threads(1)  # inherited by the new threads
        try:
            with ThreadPoolExecutor(threads, thread_name_prefix="plan") as pool:
                results = pool.map(lambda part: self._work_quietly(obs, goal, rows, part), parts)
                return self._join(list(results))
        finally:
            torch.set_num_threads(inside)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
