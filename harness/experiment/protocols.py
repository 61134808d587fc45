"""How a policy is evaluated: named, versioned settings.

Their hash is stored with each row; tables never mix them. harness/PROTOCOLS.md compares them and
says where each comes from.

An entry is an overlay of the configuration (see config.py); "for" narrows a part of it to a task,
"about" says in one sentence what it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from harness.contracts.setting import Settings, setting


@dataclass(frozen=True)
class ProtocolConfig(Settings):
    """Lengths in environment steps."""

    name: str = setting("lewm-v3", "Name that rows and tables show.", text="text")
    version: int = setting(1, "Grows when an entry of this name changes.", ge=1)
    offset_steps: int = setting(
        25,
        "The goal is the state this many steps later in the same held-out episode.",
        ge=1,
        paper="25; Two-Room in version 1: 100",
    )
    budget_steps: int = setting(
        50,
        "Steps that a policy has to reach the goal.",
        ge=1,
        paper="50; Two-Room in version 1: 150",
    )
    pairs: int = setting(
        100, "Pairs of start and goal, drawn uniformly: the headline number.", ge=1, paper=50
    )
    stratum_pairs: int = setting(
        0, "Pairs that each stratum is filled up to, for its own column alone.", ge=0
    )
    allow_presolved: bool = setting(
        True, "Take pairs that are solved before the first action too.", paper=True
    )
    strata_min: dict[str, float] = setting(
        dict, "Least share of a stratum in `pairs`: {detour: 0.25}.", ge=0, le=1
    )
    success_at: Literal["ever", "end"] = setting(
        "ever",
        "When success is judged: at any step, where the episode stops, or after the last one.",
        paper="ever",
    )
    success_rule: str = setting(
        "default", "Rule by which success is judged.", text="a rule of the task", paper="default"
    )
    hold_steps: int = setting(
        1, "Steps in a row at which the rule must hold, the first and the last included.", ge=1
    )
    physics: Literal["released", "corrected"] = setting(
        "released",
        "Whether steps may pass through solid things, as the released code allows, in episodes and "
        "in the recordings of pairs.",
    )
    split: Literal["test", "validation", "train", "any"] = setting(
        "test",
        "Episodes that pairs come from; of train and any: what a method recalls, which is no "
        "result.",
    )
    strata: tuple[str, ...] = setting(
        (), "Strata that pairs are drawn from; none named: all.", text="strata of the task"
    )
    sampling: Literal["starts", "episodes"] = setting(
        "starts",
        "What pairs are drawn uniformly from: all starts, or episodes, which give one pair each "
        "before any gives another.",
    )
    eval_seeds: tuple[int, ...] = setting(
        (0,), "Seeds of the pairs; each draws `pairs` of them.", ge=0, least=1
    )
    manifest: str = setting(
        "", "File that lists the pairs, which are then not drawn.", text="a path"
    )
    manifest_hash: str = setting(
        "", "The file's sha256, which is filled in.", text="64 hexadecimal digits"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(self.strata_min.values()) > 1:
            raise ValueError(f"strata_min adds up to more than 1: {self.strata_min}")
        least = self.least_pairs()
        if sum(least.values()) > self.pairs:
            raise ValueError(
                f"pairs={self.pairs} is fewer than the least shares take, {least}: raise "
                "it or lower strata_min"
            )

    def least_pairs(self) -> dict[str, int]:
        """How many of `pairs` each stratum of strata_min has at least."""
        shares = sorted(self.strata_min.items())
        # 0.07 * 100 is a little more than 7
        return {name: math.ceil(round(share * self.pairs, 6)) for name, share in shares}


_CROSS_ROOM = {"strata": ("through door", "detour"), "physics": "corrected"}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "lewm-v1": {
        "about": "The text of the paper's first version: Two-Room's goals lie 100 steps away.",
        "protocol": {"name": "lewm-v1"},
        "planner": {"cem": {"iterations": 10}},
        "for": {
            "two_room": {"protocol": {"offset_steps": 100, "budget_steps": 150}},
            "push_t": {"planner": {"cem": {"iterations": 30}}},
        },
    },
    "lewm-code": {
        "about": "The released configuration: 30 iterations on every task, 50 pairs, seed 42.",
        "protocol": {"name": "lewm-code", "pairs": 50, "eval_seeds": (42,)},
        "planner": {"cem": {"iterations": 30}},
    },
    "lewm-v3": {
        "about": "The text of the paper's third version; 100 pairs instead of 50.",
        "protocol": {"name": "lewm-v3", "stratum_pairs": 50},
        "planner": {"cem": {"iterations": 10}},
        "for": {"push_t": {"planner": {"cem": {"iterations": 30}}}},
    },
    "strict": {
        "about": "No pair is solved at the start; success is judged when the budget is spent.",
        "protocol": {"name": "strict", "allow_presolved": False, "success_at": "end"},
        "planner": {"cem": {"iterations": 10}},
        "for": {
            "two_room": {"protocol": {"strata_min": {"through door": 0.25, "detour": 0.25}}},
            "push_t": {"planner": {"cem": {"iterations": 30}}},
        },
    },
    "clear-moderate": {
        "about": "CLEAR-LeWM v0.5 Moderate: no pair is solved at the start, faults are mended.",
        "protocol": {
            "name": "clear-moderate",
            "allow_presolved": False,
            "sampling": "episodes",
            "eval_seeds": (42,),
        },
        "planner": {"cem": {"iterations": 30}},
        "for": {
            "two_room": {"protocol": _CROSS_ROOM},
            "reacher": {"protocol": {"success_rule": "wrapped"}},
        },
    },
    "clear-strict": {
        "about": "CLEAR-LeWM v0.5 Strict: what counts is the object alone, more exact, and held.",
        "protocol": {
            "name": "clear-strict",
            "allow_presolved": False,
            "sampling": "episodes",
            "eval_seeds": (42,),
        },
        "planner": {"cem": {"iterations": 30}},
        "for": {
            "two_room": {"protocol": {**_CROSS_ROOM, "success_rule": "near"}},
            "push_t": {"protocol": {"success_rule": "block", "hold_steps": 3}},
            "reacher": {"protocol": {"success_rule": "fingertip", "hold_steps": 2}},
            "cube": {"protocol": {"success_rule": "pose", "hold_steps": 3}},
        },
    },
    "quick": {
        "about": "A first look: 40 pairs (Two-Room: a quarter are detours), 5 iterations of CEM.",
        "protocol": {"name": "quick", "pairs": 40},
        "planner": {"cem": {"iterations": 5}},
        "for": {"two_room": {"protocol": {"strata_min": {"detour": 0.25}}}},
    },
    "smoke": {
        "about": "For tests: seconds, and numbers that mean nothing.",
        "protocol": {"name": "smoke", "pairs": 8},
        "planner": {"cem": {"candidates": 32, "elites": 4, "iterations": 2}},
    },
}
