"""The second ceiling: the simulator itself as the model, and the distance of poses as the cost.

Planner, plan length, pairs, budget and random numbers are those of the world models; what is
perfect is the encoder, as with true_state.py, and the prediction too. So its success is what the
protocol and its planner let any model reach.

The cost is the squared distance between the poses in which a plan ends and which is wanted,
z-scored over the training episodes: what a perfect latent distance would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Pair
from harness.contracts.method import EndCost, MethodConfig
from harness.contracts.setting import setting
from harness.contracts.task import Simulator, Task


@dataclass(frozen=True)
class OracleConfig(MethodConfig):
    """How much of it can be afforded."""

    pairs: int = setting(
        0, "The first pairs that it is evaluated on, 0: all, since a slow simulator takes hours.",
        ge=0,
    )  # fmt: skip

    @property
    def most_pairs(self) -> int:
        """contracts.MethodConfig.most_pairs."""
        return self.pairs


def pose_distance(
    config: OracleConfig, task: Task, encode_pose: Callable[[np.ndarray], np.ndarray]
) -> EndCost:
    """The cost of the states in which plans end. `encode_pose` z-scores poses, which stand in the
    place of proprioception.
    """

    def cost(simulator: Simulator, pair: Pair) -> Tensor:
        ends, wanted = simulator.proprio(), task.pose(pair.goal_state[None])
        gap = encode_pose(ends) - encode_pose(wanted)
        return torch.from_numpy(np.square(gap).sum(axis=-1))

    return cost
