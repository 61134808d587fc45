"""A planner: it minimises a cost and knows nothing of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Plan(NamedTuple):
    """What a planner returns."""

    actions: Tensor  # (B, K, A), z-scored
    cost: Tensor  # (B,), mean cost of the last elites
    cost_per_iteration: Tensor  # (iterations, B)


CostFn = Callable[[Tensor], Tensor]  # (B, N, K, A) -> (B, N)


class Noise(Protocol):
    """Standard normal numbers that belong to one (pair, replan) each, whatever is planned beside
    it.
    """

    def __call__(self, draw: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) float32; the same `draw`, a whole number, gives the same numbers."""


class IterationRunner(Protocol):
    """Carries out one iteration of a planner, e.g. by calling it, or by replaying a recording of it
    (planning/cuda_graph.py).
    """

    def __call__(
        self, iterate: Callable[..., tuple[Tensor, ...]], *state: Tensor
    ) -> tuple[Tensor, ...]:
        """iterate(*state), or its like: the same function with tensors of the same shapes."""


class PlannerEntry(NamedTuple):
    """An entry of zoo.PLANNERS: build(config) -> Planner."""

    config: type
    build: Callable[[Any], Planner]
    about: str = ""  # one sentence


class Planner(Protocol):
    """Minimises a cost; knows nothing of models."""

    iterations: int  # of a plan

    def plan(self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = ...) -> Plan:
        """init (B, K, A): mean of the first iteration. Each iteration is a function of tensors
        alone and is carried out by `run`, which calls it unless another runner is given.
        """
