"""How a policy is evaluated: named, versioned settings.

Their hash is stored with each row; tables never mix them.

An entry is an overlay of the configuration (see config.py); "for" narrows a part of it to a task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class ProtocolConfig:
    """Lengths in environment steps."""

    name: str = "lewm-v3"
    version: int = 1
    offset_steps: int = 25  # the goal is the state this much later in the same held-out episode
    budget_steps: int = 50
    pairs: int = 100  # drawn uniformly: the headline number
    stratum_pairs: int = 0  # more pairs until each stratum has this many, for its own column only
    allow_presolved: bool = True
    strata_min: dict[str, float] = field(
        default_factory=dict
    )  # least share of a stratum in `pairs`
    success_at: Literal["ever", "end"] = "ever"  # ever: the episode stops at success
    success_rule: str = "default"  # a rule of the task's TaskSpec.success_rules
    # train: what a method recalls of what it learned from, a check of its code and no result
    split: Literal["test", "validation", "train"] = "test"
    eval_seeds: tuple[int, ...] = (0,)

    def __post_init__(self):
        if self.pairs < 1 or self.budget_steps < 1 or self.offset_steps < 1:
            raise ValueError("protocol.pairs, budget_steps and offset_steps must be at least 1")
        if not self.eval_seeds:
            raise ValueError("protocol.eval_seeds must name at least one seed")
        if sum(self.strata_min.values()) > 1:
            raise ValueError(f"protocol.strata_min adds up to more than 1: {self.strata_min}")
        least = self.least_pairs()
        if sum(least.values()) > self.pairs:
            raise ValueError(
                f"protocol.pairs={self.pairs} is fewer than the least shares take, {least}: raise "
                "it or lower protocol.strata_min"
            )

    def least_pairs(self) -> dict[str, int]:
        """How many of `pairs` each stratum of strata_min has at least."""
        shares = sorted(self.strata_min.items())
        # 0.07 * 100 is a little more than 7
        return {name: math.ceil(round(share * self.pairs, 6)) for name, share in shares}


PROTOCOLS: dict[str, dict[str, Any]] = {
    # The text of the paper's first version: long Two-Room episodes.
    "lewm-v1": {
        "protocol": {"name": "lewm-v1"},
        "planner": {"cem": {"iterations": 10}},
        "for": {
            "two_room": {"protocol": {"offset_steps": 100, "budget_steps": 150}},
            "push_t": {"planner": {"cem": {"iterations": 30}}},
        },
    },
    # The third version and the released configuration; 100 pairs instead of 50.
    "lewm-v3": {
        "protocol": {"name": "lewm-v3", "stratum_pairs": 50},
        "planner": {"cem": {"iterations": 10}},
        "for": {"push_t": {"planner": {"cem": {"iterations": 30}}}},
    },
    # No pair is solved before the first action, success is judged when the budget is spent.
    "strict": {
        "protocol": {"name": "strict", "allow_presolved": False, "success_at": "end"},
        "planner": {"cem": {"iterations": 10}},
        "for": {
            "two_room": {"protocol": {"strata_min": {"through door": 0.25, "detour": 0.25}}},
            "push_t": {"planner": {"cem": {"iterations": 30}}},
        },
    },
    # For tests: seconds, and numbers that mean nothing.
    "smoke": {
        "protocol": {"name": "smoke", "pairs": 8},
        "planner": {"cem": {"candidates": 32, "elites": 4, "iterations": 2}},
    },
}
