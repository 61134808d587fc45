"""The film of one episode: pictures of the states it passed through, and of its goal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from harness.contracts.data import Pair
from harness.contracts.task import Task
from harness.evaluate.control import Outcome
from harness.records import rows

FILM_PX = 128  # for people, so larger than what the models see


def draw(
    key: str, task: Task, pairs: Sequence[Pair], outcomes: Sequence[Outcome], success_rule: str
) -> list[rows.FrameRow]:
    """One episode from start to end, then its goal; nothing where all pairs are solved at the
    start.
    """
    index = choose(pairs, task.spec.strata)
    if index is None:
        return []
    pair, outcome = pairs[index], outcomes[index]
    states = np.stack([*outcome.path, pair.goal_state])  # (F, S)
    success = task.success(states, np.tile(pair.goal_state, (len(states), 1)), success_rule)
    found = zip(*_moments(pair, outcome, task), success, _pictures(task, states), strict=True)
    return [
        rows.FrameRow(key, pair.pair_id, pair.stratum, kind, step, bool(solved), image)
        for kind, step, solved, image in found
    ]


def choose(pairs: Sequence[Pair], strata: Sequence[str]) -> int | None:
    """Index of the first pair that is not solved at the start, of the hardest stratum with one.

    Pairs alone decide, so that every method is shown on the same one, whatever came of it.
    """
    unsolved = [i for i, pair in enumerate(pairs) if not pair.initially_solved]
    rank = {stratum: place for place, stratum in enumerate(reversed(strata))}
    return min(unsolved, key=lambda i: (rank[pairs[i].stratum], pairs[i].pair_id), default=None)


def _moments(pair: Pair, outcome: Outcome, task: Task) -> tuple[list[str], list[int]]:
    """Kind and step of each picture."""
    kinds = ["start"] + ["block"] * (len(outcome.path) - 1)
    kinds[-1] = "end"
    block = task.spec.action_block
    steps = [min(i * block, outcome.steps) for i in range(len(kinds))]
    return [*kinds, "goal"], [*steps, len(pair.actions)]


def _pictures(task: Task, states: np.ndarray) -> list[bytes]:
    simulator = task.simulator(len(states), FILM_PX)
    try:
        simulator.set_state(states)
        return [_png(picture) for picture in simulator.render()]
    finally:
        simulator.close()


def _png(picture: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(sink, "png")
    return sink.getvalue()
