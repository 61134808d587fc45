"""A protocol in CLEAR-LeWM's words: the `protocol` of a manifest, the `criterion` of a result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.experiment.identity import TrialSpec
from harness.experiment.protocols import PROTOCOLS, ProtocolConfig
from harness.records import manifest
from harness.tasks import cube, push_t, reacher, two_room

_NAMES = {"clear-moderate": "moderate", "clear-strict": "strict", "lewm-code": "official"}
_SAMPLING = {"starts": "row-uniform", "episodes": "episode-balanced"}
_SPLITS = {"test": "heldout", "any": "all"}
_FREE = ("description", "sampling", "split", "exclude_initial_success")  # of how pairs were drawn


def _degrees(angle: float) -> float:
    return round(math.degrees(angle), 9)


# by task and success rule; a task that is not here has no criterion of CLEAR's
_CRITERIA: dict[str, dict[str, dict[str, Any]]] = {
    "push_t": {
        "default": {
            "pusht_position_threshold": push_t.SUCCESS_DISTANCE,
            "pusht_angle_threshold_deg": _degrees(push_t.SUCCESS_ANGLE),
            "pusht_block_only": False,
        },
        "block": {
            "pusht_position_threshold": push_t.BLOCK_DISTANCE,
            "pusht_angle_threshold_deg": _degrees(push_t.BLOCK_ANGLE),
            "pusht_block_only": True,
        },
    },
    "reacher": {
        "default": {
            "reacher_success_mode": "joint",
            "reacher_joint_threshold_rad": reacher.SUCCESS_ANGLE,
            "reacher_angle_mode": "raw",
        },
        "wrapped": {
            "reacher_success_mode": "joint",
            "reacher_joint_threshold_rad": reacher.SUCCESS_ANGLE,
            "reacher_angle_mode": "shoulder-periodic",
        },
        "fingertip": {
            "reacher_success_mode": "endpoint",
            "reacher_endpoint_threshold_m": reacher.SUCCESS_FINGERTIP,
        },
    },
    "cube": {
        "default": {
            "cube_position_threshold_m": cube.SUCCESS_DISTANCE,
            "cube_orientation_threshold_deg": None,
            "cube_symmetry_aware": False,
        },
        "pose": {
            "cube_position_threshold_m": cube.POSE_DISTANCE,
            "cube_orientation_threshold_deg": _degrees(cube.POSE_ANGLE),
            "cube_symmetry_aware": True,
        },
    },
    "two_room": {
        "default": {
            "tworoom_distance_threshold": two_room.SUCCESS_DISTANCE,
            "tworoom_route_required": False,
            "tworoom_goal_side_required": False,
        },
        "near": {
            "tworoom_distance_threshold": two_room.NEAR_DISTANCE,
            "tworoom_route_required": True,
            "tworoom_goal_side_required": True,
        },
    },
}


def protocol_name(protocol: ProtocolConfig) -> str:
    """CLEAR's name of a protocol, where it has one; a manifest in its name is left out."""
    name = protocol.name.partition(" on ")[0]
    return _NAMES.get(name, name)


def criterion(spec: TrialSpec) -> dict[str, Any]:
    """When a pair of the trial's task is solved."""
    protocol = spec.config.protocol
    found = _CRITERIA.get(spec.task, {}).get(protocol.success_rule, {})
    walls: dict[str, object] = {}
    if spec.task == "two_room":
        corrected = protocol.physics == "corrected"
        walls["tworoom_collision_mode"] = "swept" if corrected else "official"
        walls["tworoom_source_window_clean"] = corrected
        walls["tworoom_crossroom_only"] = set(protocol.strata) == {"through door", "detour"}
    return {**found, **walls, "sustained_steps": protocol.hold_steps}


def protocol(spec: TrialSpec) -> dict[str, Any]:
    """The trial's protocol, by the names of CLEAR's fields."""
    own = spec.config.protocol
    entry = PROTOCOLS.get(own.name, {})
    return {
        "name": protocol_name(own),
        "description": entry.get("about", ""),
        "sampling": _SAMPLING[own.sampling],
        "split": _SPLITS.get(own.split, own.split),
        "heldout_fraction": spec.config.data.test if own.split == "test" else 0.0,
        "exclude_initial_success": not own.allow_presolved,
        "goal_offset": own.offset_steps,
        "eval_budget": own.budget_steps,
        "success_mode": "task-sustained",
        **criterion(spec),
    }


def differences(spec: TrialSpec, listed: Mapping[str, Any]) -> list[str]:
    """The criteria by which a trial was judged and that differ from a manifest's protocol, e.g.
    "goal_offset=25, not 50". A criterion that the manifest does not name is the released one.
    """
    own = {name: value for name, value in protocol(spec).items() if name not in _FREE}
    del own["success_mode"], own["heldout_fraction"]
    held = listed.get(f"{manifest.task_name(spec.task)}_sustained_steps")
    released = _CRITERIA.get(spec.task, {}).get("default", {})
    theirs = {**released, **listed, "sustained_steps": held or listed.get("sustained_steps", 1)}
    return [
        f"{name}={value}, not {theirs.get(name)}"
        for name, value in own.items()
        if theirs.get(name) != value
    ]
