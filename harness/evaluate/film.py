"""Draws the film of one episode: pictures of the states on its way, and of its goal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from harness.contracts.data import Pair
from harness.contracts.task import Task
from harness.evaluate.control import Outcome
from harness.records import rows

FILM_PX = 128  # larger than the pictures of the models, since people look at it


def draw(
    key: str, task: Task, pairs: Sequence[Pair], outcomes: Sequence[Outcome], success_rule: str
) -> list[rows.FrameRow]:
    """Rows with the pictures of one episode from start to end and of its goal; none where all
    pairs are solved at the start.
    """
    index = choose(pairs, task.spec.strata)
    if index is None:
        return []
    pair, outcome = pairs[index], outcomes[index]
    states = np.stack([*outcome.path, pair.goal_state])  # (F, S)
    success = task.success(states, np.tile(pair.goal_state, (len(states), 1)), success_rule)
    frames = zip(*_moments(pair, outcome, task), success, _pictures(task, states), strict=True)
    return [
        rows.FrameRow(key, pair.pair_id, pair.stratum, kind, step, bool(solved), image)
        for kind, step, solved, image in frames
    ]


def choose(pairs: Sequence[Pair], strata: Sequence[str]) -> int | None:
    """The index of the pair that is shown: the first one, in the hardest stratum, that is not
    solved at the start. None where all are solved.

    The choice depends on the pairs alone, so every method is shown on the same pair.
    """
    unsolved = [i for i, pair in enumerate(pairs) if not pair.initially_solved]
    rank = {stratum: i for i, stratum in enumerate(reversed(strata))}
    return min(unsolved, key=lambda i: (rank[pairs[i].stratum], pairs[i].pair_id), default=None)


def _moments(pair: Pair, outcome: Outcome, task: Task) -> tuple[list[str], list[int]]:
    """The kinds and the steps of the pictures."""
    kinds = ["start"] + ["block"] * (len(outcome.path) - 1)
    kinds[-1] = "end"
    block = task.spec.action_block
    steps = [min(i * block, outcome.steps) for i in range(len(kinds))]
    return [*kinds, "goal"], [*steps, len(pair.actions)]


def _pictures(task: Task, states: np.ndarray) -> list[bytes]:
    simulator = task.simulator(len(states), FILM_PX)
    try:
        simulator.set_state(states)
        return [png(picture) for picture in simulator.render()]
    finally:
        simulator.close()


def png(picture: np.ndarray) -> bytes:
    """A picture (3, height, width) uint8 as PNG."""
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(sink, "png")
    return sink.getvalue()
