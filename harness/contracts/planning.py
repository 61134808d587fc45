"""The contract of planners: a planner minimises a cost and knows nothing of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Plan(NamedTuple):
    """A planner's answer: the best plan for each pair and its cost."""

    actions: Tensor  # (B, K, A), z-scored
    cost: Tensor  # (B,), mean cost of the last elites
    cost_per_iteration: Tensor  # (iterations, B)


CostFn = Callable[[Tensor], Tensor]  # (B, N, K, A) -> (B, N)


class Trace(NamedTuple):
    """A search with everything that it tried, an entry for each call of the cost."""

    plan: Plan
    candidates: tuple[Tensor, ...]  # (B, N, K, A) each
    costs: tuple[Tensor, ...]  # (B, N) each


class Noise(Protocol):
    """A source of standard normal numbers. Each (pair, replan) has its own, which do not depend on
    the pairs that are planned beside it.
    """

    def __call__(self, draw: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) float32; the same `draw`, a whole number, gives the same numbers."""


class IterationRunner(Protocol):
    """Runs one iteration of a planner: by calling it, or by replaying a recording of it
    (planning/cuda_graph.py).
    """

    def __call__(
        self, iterate: Callable[..., tuple[Tensor, ...]], /, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """The result of iterate(*state). Within a plan, every call has the same function and
        tensors of the same shapes.
        """


class PlannerEntry(NamedTuple):
    """An entry of zoo.PLANNERS: build(config) -> Planner."""

    config: type
    build: Callable[[Any], Planner]
    about: str = ""  # one sentence


class Planner(Protocol):
    """Searches for the plan of the lowest cost. One that differentiates the cost says so by an
    attribute `needs_gradient = True`, and by `evaluations` how many rollouts a plan is worth.
    """

    iterations: int  # iterations of one plan

    def plan(self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = ...) -> Plan:
        """Search for B plans, starting from the mean `init` (B, K, A). Each iteration is a function
        of tensors alone; it is carried out by `run`, which just calls it unless another is given.
        """
