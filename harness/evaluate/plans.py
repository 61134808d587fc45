"""Why plans fail: the costs of a pair's first plan and its recorded actions, and what they say.

A pair is lost where its first plan, executed to its end, does not solve it. What has to be mended
follows from four costs, each a distance of a last latent to the goal's (planning/cost.py):

    predicted   of the plan, by the model
    executed    of the plan, by the encoder, from the frame where the simulator ends
    recorded    of the recorded actions from start to goal, by the model
    tolerance   of a recorded frame that does solve the pair, by the encoder, the largest one

    executed <= tolerance                    the cost: it takes an end for solved that is not
    else predicted <= tolerance or recorded  the model: it promises what does not come true
    else                                     the search: the model knew something cheaper

The last two are told apart by what a better search could have found: more than a plan that the
model takes for solved, or for as good as the recorded actions, cannot be asked of a search.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from harness.contracts.data import Obs, Pair
from harness.contracts.planning import Plan, Trace
from harness.contracts.setting import Settings, setting
from harness.contracts.task import Simulator, Task
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.evaluate import control
from harness.records import metric_names, rows
from harness.runtime import seeding
from harness.runtime.progress import Progress


@dataclass(frozen=True)
class PlansConfig(Settings):
    """How many pairs are looked at."""

    pairs: int = setting(20, "Pairs whose first plan is executed, not solved at the start.", ge=1)
    ranked: int = setting(
        6, "Of these, pairs for which candidates of the search are executed too.", ge=0
    )
    candidates: int = setting(
        64, "Candidates of a pair, half of the first iteration and half of the last.", ge=4
    )


@runtime_checkable
class Planning(Protocol):
    """The part of a policy that plans which this stage uses (planning/receding_horizon.py)."""

    def reset(self, pair_ids: Sequence[int]) -> None:
        """Start an evaluation of the pairs with these ids."""

    def trace(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Trace:
        """The search for the next plans of the pairs `rows`, with everything that it tries."""

    def costs(self, obs: Obs, goal: Obs, plans: Tensor) -> Tensor:
        """The costs (B, N) that the model predicts for plans (B, N, K, A)."""

    def cost_at(self, obs: Obs, goal: Obs, of: np.ndarray) -> Tensor:
        """The cost (M,) of plans that ended at the frames obs, where goal[of[i]] was wanted."""


class PlanSettings(Protocol):
    """The fields of protocols.ProtocolConfig that decide whether a plan solves its pair."""

    @property
    def success_at(self) -> str:
        """When the goal must be reached."""

    @property
    def success_rule(self) -> str:
        """The rule of Task.success."""


class Costs(NamedTuple):
    """The costs of one pair (see above), and of staying at its start."""

    predicted: float
    executed: float
    recorded: float
    tolerance: float
    start: float


def outcome(costs: Costs, solved: bool) -> str:
    """Whether a pair is solved, or what loses it; one of metric_names.PLAN_OUTCOMES."""
    if solved:
        return "solved"
    if costs.executed <= costs.tolerance:
        return "cost"
    return "model" if costs.predicted <= max(costs.tolerance, costs.recorded) else "search"


def measure(
    key: str,
    policy: Planning,
    task: Task,
    pairs: Sequence[Pair],
    dataset: Dataset,
    normalizer: Normalizer,
    settings: PlanSettings,
    config: PlansConfig,
    progress: Progress,
) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`, each with the pair's id as index: its Costs, its outcome as a
    place in metric_names.PLAN_OUTCOMES and, for the first pairs, `rank_first` and `rank_last`:
    Spearman's correlation of predicted and executed cost over candidates of that iteration.

    Nothing is measured where goals lie further away than a plan reaches, or nearer than a block.
    """
    chosen = [pair for pair in pairs if not pair.initially_solved][: config.pairs]
    if not chosen:
        return []
    plans = _FirstPlans(policy, task, chosen, dataset, normalizer, settings)
    with contextlib.closing(plans):
        return [rows.MetricRow(key, "plans", *line, "") for line in _lines(plans, config, progress)]


def _lines(
    plans: _FirstPlans, config: PlansConfig, progress: Progress
) -> Iterator[tuple[str, int, float]]:
    """(name, the pair's id, value) of every row."""
    progress("plans", 0, len(plans.pairs))
    trace = plans.search()
    if not plans.within_reach(trace.plan):
        return
    ends, solved = plans.execute(np.arange(len(plans.pairs)), trace.plan.actions)
    for pair, costs, hit in zip(plans.pairs, plans.costs(trace.plan, ends), solved, strict=True):
        found = metric_names.PLAN_OUTCOMES.index(outcome(costs, bool(hit)))
        values = costs._asdict() | {"outcome": float(found)}
        yield from ((name, pair.pair_id, value) for name, value in values.items())
    progress("plans", len(plans.pairs), len(plans.pairs))
    for i, pair in enumerate(plans.pairs[: config.ranked]):
        for name, iteration in (("rank_first", 0), ("rank_last", -1)):
            rng = seeding.stream("plans", name, pair.pair_id)
            rank = plans.rank(i, trace, iteration, config.candidates // 2, rng)
            yield name, pair.pair_id, rank


def spearman(predicted: np.ndarray, executed: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where one of the two does not vary and so ranks nothing."""
    if np.ptp(predicted) == 0 or np.ptp(executed) == 0:
        return 0.0
    return float(stats.spearmanr(predicted, executed).statistic)


class _FirstPlans:
    """Pairs, the policy that plans for them, and the simulator that shows where plans end."""

    def __init__(
        self,
        policy: Planning,
        task: Task,
        pairs: Sequence[Pair],
        dataset: Dataset,
        normalizer: Normalizer,
        settings: PlanSettings,
    ):
        self._policy, self._task, self.pairs = policy, task, pairs
        self._dataset, self._normalizer, self._settings = dataset, normalizer, settings
        self._obs, self._goal = control.start_and_goal(task, pairs, normalizer, dataset.image_size)
        self._simulators: dict[int, Simulator] = {}
        self._starts, self._goals = (
            np.stack([getattr(pair, name) for pair in pairs])
            for name in ("start_state", "goal_state")
        )

    def close(self) -> None:
        """Free the simulators."""
        for simulator in self._simulators.values():
            simulator.close()

    def within_reach(self, plan: Plan) -> bool:
        """Whether the goals lie no further away than a plan reaches, and no nearer than a block."""
        block = self._task.spec.action_block
        return block <= len(self.pairs[0].actions) <= block * plan.actions.shape[1]

    def search(self) -> Trace:
        """The pairs' first plans, and what was tried for them."""
        self._policy.reset([pair.pair_id for pair in self.pairs])
        return self._policy.trace(self._obs, self._goal, np.arange(len(self.pairs)))

    def execute(self, index: np.ndarray, plans: Tensor) -> tuple[Obs, np.ndarray]:
        """Execute z-scored plans (M, K, A) for the pairs `index` (M,) to their end; returns the
        frames there (M, 1, ...) and which of them solve their pair under the protocol, (M,) bool.
        """
        actions = self._normalizer.decode_actions(plans.float().cpu()).numpy()
        actions = actions.reshape(len(index), -1, self._task.spec.action_dim)
        ever = self._settings.success_at == "ever"
        solved = np.zeros(len(index), bool)
        simulator = self._simulator(len(index))
        simulator.set_state(self._starts[index])
        for step in range(actions.shape[1]):
            simulator.step(actions[:, step])
            solved = self._solves(simulator.state(), index) | (solved & ever)
        ends = control.observation(simulator.render(), simulator.proprio(), self._normalizer)
        return ends, solved

    def costs(self, plan: Plan, ends: Obs) -> list[Costs]:
        """The costs of every pair, whose plan ends at `ends`."""
        each = np.arange(len(self.pairs))
        values = (
            self._policy.costs(self._obs, self._goal, plan.actions[:, None])[:, 0],
            self._policy.cost_at(ends, self._goal, each),
            self._policy.costs(self._obs, self._goal, self._recorded()[:, None])[:, 0],
            self._tolerances(),
            self._policy.cost_at(self._obs, self._goal, each),
        )
        return [Costs(*own) for own in torch.stack([v.cpu() for v in values], dim=1).tolist()]

    def rank(
        self, i: int, trace: Trace, iteration: int, count: int, rng: np.random.Generator
    ) -> float:
        """Spearman's correlation over `count` candidates of an iteration of pair i's search."""
        tried, costs = trace.candidates[iteration][i], trace.costs[iteration][i]
        some = torch.from_numpy(rng.permutation(len(tried))[:count]).to(tried.device)
        index = np.full(len(some), i)
        ends, _ = self.execute(index, tried[some])
        executed = self._policy.cost_at(ends, self._goal, index)
        return spearman(costs[some].float().cpu().numpy(), executed.cpu().numpy())

    def _simulator(self, copies: int) -> Simulator:
        """One of that many copies; making one takes some tasks longer than a plan."""
        if copies not in self._simulators:
            self._simulators[copies] = self._task.simulator(copies, self._dataset.image_size)
        return self._simulators[copies]

    def _recorded(self) -> Tensor:
        """The whole blocks of the recorded actions, z-scored, (B, K, A)."""
        actions = torch.from_numpy(np.stack([pair.actions for pair in self.pairs])).flatten(1)
        width = self._task.spec.block_dim
        blocks = actions.shape[1] // width
        blocked = actions[:, : blocks * width].unflatten(1, (blocks, width))
        return self._normalizer.encode_actions(blocked)

    def _tolerances(self) -> Tensor:
        """The largest cost (B,) of those recorded frames from start to goal that solve each pair.
        The goal itself is one of them.
        """
        first = [self._dataset.first_row[pair.episode] + pair.step for pair in self.pairs]
        span = np.arange(len(self.pairs[0].actions) + 1)
        frames = (np.array(first)[:, None] + span).ravel()
        of = np.repeat(np.arange(len(self.pairs)), len(span))
        solving = self._solves(self._dataset.state[frames], of)
        frames, of = frames[solving], of[solving]
        pixels, proprio = self._dataset.read_pixels(frames), self._dataset.proprio[frames]
        seen = control.observation(pixels, proprio, self._normalizer)
        costs = self._policy.cost_at(seen, self._goal, of).cpu().numpy()
        each = (costs[of == i] for i in range(len(self.pairs)))
        return torch.tensor([own.max(initial=0.0) for own in each])

    def _solves(self, states: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Whether states (M, S) solve the pairs `index` (M,)."""
        return self._task.success(states, self._goals[index], self._settings.success_rule)
