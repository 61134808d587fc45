"""Evaluates a policy on pairs of start and goal, all side by side in one simulator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from harness.contracts.data import Obs, Pair
from harness.contracts.method import Policy, StatePolicy
from harness.contracts.task import Simulator, Task
from harness.data.normalize import Normalizer
from harness.records.rows import EpisodeRow
from harness.runtime.progress import Progress


class ControlSettings(Protocol):
    """The fields of protocols.ProtocolConfig that decide an episode."""

    @property
    def budget_steps(self) -> int:
        """Steps that a policy has for a pair."""

    @property
    def success_at(self) -> str:
        """When the goal must be reached."""

    @property
    def success_rule(self) -> str:
        """The rule of Task.success."""

    @property
    def hold_steps(self) -> int:
        """Steps for which the goal must stay reached."""

    @property
    def physics(self) -> str:
        """The physics of the simulators."""

    @property
    def split(self) -> str:
        """The episodes that pairs are drawn from."""


@dataclass
class Outcome:
    """The result of one pair; its fields are those of rows.EpisodeRow."""

    dist_init: float
    first_hit_step: int = -1
    dist_min: float = np.inf
    dist_final: float = np.inf
    success_final: bool = False
    solve_s: list[float] = field(default_factory=list)
    pairs_per_solve: list[int] = field(default_factory=list)
    env_s: float = 0.0
    render_s: float = 0.0
    steps: int = 0  # until the episode stopped
    illegal_steps: int = 0
    path: list[np.ndarray] = field(
        default_factory=list
    )  # (S,) each: start, after every block, stop

    @property
    def success_ever(self) -> bool:
        """Whether the goal was reached at some step."""
        return self.first_hit_step >= 0


def run(
    policy: Policy | StatePolicy,
    task: Task,
    pairs: Sequence[Pair],
    settings: ControlSettings,
    normalizer: Normalizer | None,
    image_size: int,
    progress: Progress,
) -> list[Outcome]:
    """Evaluate `policy` on all pairs together.

    With success_at "ever", an episode stops when the goal is first reached, so its final distance
    is the one at that step; with "end", it runs through its budget. A pair that is solved at the
    start has reached its goal at step 0.

    The goal is reached where the rule has held at `hold_steps` states in a row, that of the start
    included. Under corrected physics, an episode with an illegal step cannot reach it any more.
    """
    simulator = task.simulator(len(pairs), image_size)
    try:
        episodes = _Episodes(simulator, task, pairs, settings)
        progress("control", 0, settings.budget_steps)
        if isinstance(policy, StatePolicy):
            policy.reset(pairs)
            _run_steps(policy, episodes, settings, progress)
        else:
            assert normalizer is not None
            _run_blocks(policy, episodes, settings, normalizer, progress)
    finally:
        simulator.close()
    return episodes.outcomes


def episode_rows(
    key: str,
    pairs: Sequence[Pair],
    outcomes: Sequence[Outcome],
    settings: ControlSettings,
    eval_seed: int,
    protocol_pairs: int,
) -> list[EpisodeRow]:
    """The rows of the trial `key`. The first `protocol_pairs` pairs are the protocol's draw; those
    after them were drawn for their stratum.
    """
    at_end = settings.success_at == "end"
    return [
        EpisodeRow(
            key=key,
            split=settings.split,
            eval_seed=eval_seed,
            pair_id=pair.pair_id,
            source_episode=pair.episode,
            start_step=pair.step,
            stratum=pair.stratum,
            sample="pairs" if index < protocol_pairs else "stratum",
            initially_solved=pair.initially_solved,
            success=outcome.success_final if at_end else outcome.success_ever,
            success_ever=outcome.success_ever,
            success_final=outcome.success_final,
            first_hit_step=outcome.first_hit_step,
            dist_init=outcome.dist_init,
            dist_min=outcome.dist_min,
            dist_final=outcome.dist_final,
            replans=len(outcome.solve_s),
            pairs_per_solve=outcome.pairs_per_solve,
            solve_s=outcome.solve_s,
            env_s=outcome.env_s,
            render_s=outcome.render_s,
            illegal_steps=outcome.illegal_steps,
        )
        for index, (pair, outcome) in enumerate(zip(pairs, outcomes, strict=True))
    ]


def _run_steps(
    policy: StatePolicy, episodes: _Episodes, settings: ControlSettings, progress: Progress
) -> None:
    for step in range(settings.budget_steps):
        rows = episodes.running()
        if not len(rows):
            return
        states = episodes.simulator.state()[rows]
        episodes.step(rows, policy.act_state(states, episodes.goals[rows], rows))
        progress("control", step + 1, settings.budget_steps)


def _run_blocks(
    policy: Policy,
    episodes: _Episodes,
    settings: ControlSettings,
    normalizer: Normalizer,
    progress: Progress,
) -> None:
    block, budget = episodes.task.spec.action_block, settings.budget_steps
    done = shown = 0

    def on_progress(blocks: float) -> None:
        """Count steps as done when their actions are planned, since planning takes longer than
        executing them.
        """
        nonlocal shown
        shown = max(shown, min(done + int(blocks * block), budget))
        progress("control", shown, budget)

    policy.reset([pair.pair_id for pair in episodes.pairs], on_progress)
    for done in range(0, budget, block):
        rows = episodes.running()
        if not len(rows):
            return
        decision = policy.act(*episodes.observe(rows, normalizer), rows)
        for solve in decision.solves:
            episodes.record_solve(solve.rows, solve.seconds)
        actions = decision.actions.reshape(len(rows), block, -1)
        for step in range(min(block, budget - done)):
            episodes.step(rows, actions[:, step])
        on_progress(1)


class _Episodes:
    """The pairs' episodes in one simulator. An episode that has stopped is still stepped there, but
    its outcome no longer changes.
    """

    def __init__(
        self,
        simulator: Simulator,
        task: Task,
        pairs: Sequence[Pair],
        settings: ControlSettings,
    ):
        self.simulator, self.task, self.settings = simulator, task, settings
        self.goals = np.stack([pair.goal_state for pair in pairs])
        self.pairs = pairs
        simulator.set_state(np.stack([pair.start_state for pair in pairs]))
        self._state = simulator.state()
        distance = task.distance(self._state, self.goals)
        self.outcomes = [Outcome(dist_init=float(d)) for d in distance]
        self._stopped = np.zeros(len(pairs), bool)
        self._held = np.zeros(len(pairs), int)  # states in a row at which the rule holds
        self._steps = 0
        self._judge(np.arange(len(pairs)))

    def running(self) -> np.ndarray:
        """Indices of the pairs whose episode goes on."""
        return np.flatnonzero(~self._stopped)

    def observe(self, rows: np.ndarray, normalizer: Normalizer) -> tuple[Obs, Obs]:
        """Observe the pairs `rows`; returns their present and goal observations."""
        started = time.perf_counter()
        pixels = self.simulator.render(rows)
        seconds = (time.perf_counter() - started) / len(rows)
        for row in rows:
            self.outcomes[row].render_s += seconds
        now = observation(pixels, self.simulator.proprio()[rows], normalizer)
        return now, goal_observation([self.pairs[row] for row in rows], normalizer)

    def record_solve(self, rows: np.ndarray, seconds: float) -> None:
        """Note a solve with every pair that took part in it."""
        for row in rows:
            self.outcomes[row].solve_s.append(seconds)
            self.outcomes[row].pairs_per_solve.append(len(rows))

    def step(self, rows: np.ndarray, actions: np.ndarray) -> None:
        """Take one environment step and update the outcomes of those pairs `rows` that
        still run.
        """
        padded = np.zeros((self.simulator.n, actions.shape[-1]))
        padded[rows] = actions
        started = time.perf_counter()
        self.simulator.step(padded)
        seconds = (time.perf_counter() - started) / len(rows)
        self._steps += 1
        going = rows[~self._stopped[rows]]
        before, self._state = self._state, self.simulator.state()
        legal = self.task.legal(before[going], self._state[going])
        for row, allowed in zip(going, legal, strict=True):
            self.outcomes[row].env_s += seconds
            self.outcomes[row].illegal_steps += not allowed
        self._judge(going)

    def _judge(self, rows: np.ndarray) -> None:
        state, goal = self._state[rows], self.goals[rows]
        distance = self.task.distance(state, goal)
        holds = self.task.success(state, goal, self.settings.success_rule)
        if self.settings.physics == "corrected":
            holds &= np.array([self.outcomes[row].illegal_steps == 0 for row in rows], bool)
        self._held[rows] = np.where(holds, self._held[rows] + 1, 0)
        success = self._held[rows] >= self.settings.hold_steps
        for row, near, hit in zip(rows, distance, success, strict=True):
            outcome = self.outcomes[row]
            outcome.dist_final, outcome.success_final = float(near), bool(hit)
            outcome.dist_min = min(outcome.dist_min, float(near))
            if hit and not outcome.success_ever:
                outcome.first_hit_step = self._steps
        if self.settings.success_at == "ever":
            self._stopped[rows[success]] = True
        self._extend_paths(rows, state)

    def _extend_paths(self, rows: np.ndarray, states: np.ndarray) -> None:
        """Append states (len(rows), S) to the paths, at the end of a block or of an episode."""
        block, budget = self.task.spec.action_block, self.settings.budget_steps
        whole = self._steps % block == 0 or self._steps == budget
        for row, state in zip(rows, states, strict=True):
            self.outcomes[row].steps = self._steps
            if whole or self._stopped[row]:
                self.outcomes[row].path.append(state)


def observation(pixels: np.ndarray, proprio: np.ndarray, normalizer: Normalizer) -> Obs:
    """The observation of one frame each, from pixels (B, 3, height, width) and proprio (B, p) in
    the task's units.
    """
    encoded = torch.from_numpy(np.asarray(normalizer.encode_proprio(proprio), dtype=np.float32))
    return Obs(torch.from_numpy(pixels)[:, None], encoded[:, None] if encoded.shape[-1] else None)


def goal_observation(pairs: Sequence[Pair], normalizer: Normalizer) -> Obs:
    """The observation of the pairs' recorded goal frames."""
    pixels = np.stack([pair.goal_pixels for pair in pairs])
    return observation(pixels, np.stack([pair.goal_proprio for pair in pairs]), normalizer)


def start_and_goal(
    task: Task, pairs: Sequence[Pair], normalizer: Normalizer, image_size: int
) -> tuple[Obs, Obs]:
    """The observations (B, 1, ...) of the pairs' starts, drawn afresh, and of their goals."""
    simulator = task.simulator(len(pairs), image_size)
    try:
        simulator.set_state(np.stack([pair.start_state for pair in pairs]))
        now = observation(simulator.render(), simulator.proprio(), normalizer)
    finally:
        simulator.close()
    return now, goal_observation(pairs, normalizer)
