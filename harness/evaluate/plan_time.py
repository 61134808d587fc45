"""Measures plan time: the wall time of one solve, from raw pixels to actions, and the operations of
a solve of one pair. A feed-forward policy's solve is one inference.

The device is synchronised before and after, and a warm-up solve comes first (of the same size where
a GPU replays recorded iterations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.contracts.data import Pair
from harness.contracts.method import TimedPolicy
from harness.contracts.setting import Settings, setting
from harness.contracts.task import Task
from harness.data.normalize import Normalizer
from harness.evaluate.control import start_and_goal
from harness.records.metric_names import PlanTimeName
from harness.records.rows import MetricRow


@dataclass(frozen=True)
class PlanTimeConfig(Settings):
    """How many solves of each kind are timed; 0 leaves the kind out."""

    singles: int = setting(10, "Solves of one pair that are timed; 0 leaves them out.", ge=0)
    together: int = setting(50, "Pairs that a joint solve plans together.", ge=0)
    joint: int = setting(3, "Joint solves that are timed; 0 leaves them out.", ge=0)


class PlanCost(NamedTuple):
    """Time and operations of planning."""

    seconds: dict[int, list[float]]  # time of each solve, by the number of pairs solved together
    flops: int  # operations of one solve of one pair (harness/runtime/flops.py)


def measure(
    policy: TimedPolicy,
    task: Task,
    pairs: Sequence[Pair],
    normalizer: Normalizer,
    image_size: int,
    config: PlanTimeConfig,
    progress: Callable[[str, int, int], None],
) -> PlanCost:
    """Time solves of single pairs and of many pairs together, and count the operations of one pair.

    The policy is reset for the pairs of each solve. A single pair is therefore an evaluation of one
    pair, and the policy does not pad its calls of the model to the size that many pairs have.
    """
    together = min(config.together, len(pairs))
    chosen = pairs[: max(together, 1)]
    sizes = [1] * config.singles + [together] * (config.joint if together else 0)
    obs, goal = start_and_goal(task, chosen, normalizer, image_size)
    seconds: dict[int, list[float]] = {}
    for done, size in enumerate(sizes):
        first = done % len(chosen) if size == 1 else 0
        rows = np.arange(first, first + size)
        policy.reset([pair.pair_id for pair in chosen[first : first + size]])
        _, elapsed = policy.solve(obs.rows(rows), goal.rows(rows), np.arange(size))
        seconds.setdefault(size, []).append(elapsed)
        progress("plan_time", done + 1, len(sizes))
    one = np.zeros(1, dtype=int)
    return PlanCost(seconds, policy.flops(obs.rows(one), goal.rows(one)))


def metric_rows(key: str, policy: TimedPolicy, cost: PlanCost) -> list[MetricRow]:
    """The rows of the trial `key`: times under PlanTimeName, and operations."""
    times = [
        MetricRow(
            key, "plan_time", PlanTimeName(policy.timed, together).text(), index, seconds, "s"
        )
        for together, solves in cost.seconds.items()
        for index, seconds in enumerate(solves)
    ]
    return [*times, MetricRow(key, "plan_time", "flops", 0, cost.flops, "FLOP")]
