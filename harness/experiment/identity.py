"""What a trial is and how it is told from others: its key and the hashes of its configuration."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import zoo


@dataclass(frozen=True)
class TrialSpec:
    """task x method x seed x variant, with its configuration fully resolved (plain values, hashable
    as YAML).
    """

    task: str
    method: str
    seed: int
    variant: str
    stages: tuple[str, ...]
    config: Any
    swept: tuple[str, ...] = ()  # keys whose values a sweep tries here; they decide no outcome

    @property
    def key(self) -> str:
        """Name of the trial and of its folder: "push_t.lewm.s0"."""
        middle = f".{self.variant}" if self.variant else ""
        return f"{self.task}.{self.method}{middle}.s{self.seed}"


MACHINE_KEYS = {"precision"}  # keys of these that are the machine's affair


def config_hash(spec: TrialSpec) -> str:
    """Of everything that decides the outcome, seed included."""
    return _hash(_outcome(spec))


def setting_hash(spec: TrialSpec) -> str:
    """The same without the seed: trials that may be averaged share it."""
    return _hash({key: value for key, value in _outcome(spec).items() if key != "seed"})


def protocol_hash(spec: TrialSpec) -> str:
    """Of the protocol as resolved for this task: pairs, episodes, planner."""
    plain = _outcome(spec)["config"]
    kept = {name: plain[name] for name in ("protocol", "planner_name", "planner", "mpc")}
    kept["mpc"] = {name: kept["mpc"][name] for name in kept["mpc"].keys() - MACHINE_KEYS}
    return _hash(kept)


def _outcome(spec: TrialSpec) -> dict[str, Any]:
    """What decides the outcome, plain; what a control or a method never reads is left out, and so
    is a key of _LATER with the value that it stands for. A task or a method that changed has
    another version, and its trials are to be run again.
    """
    plain = plain_values(spec) | {"task_version": zoo.TASKS[spec.task].spec.version}
    if (version := zoo.METHODS[spec.method].version) > 1:
        plain["method_version"] = version
    del plain["swept"]
    config = plain["config"]
    for part, key, value in _LATER:
        for values in (config[part], *(config["pool"].values() if part == "data" else ())):
            if values[key] == value:
                del values[key]
    for name in spec.config.mpc.unread:
        config["mpc"].pop(name, None)
    dropped = {"resources"} if zoo.METHODS[spec.method].trained else _UNUSED_BY_CONTROLS
    if not plain["config"]["pool"]:
        dropped = dropped | {"pool"}
    for name in dropped:
        del plain["config"][name]
    for name in spec.config.method.unread:
        del plain["config"]["method"][name]
    return plain


# keys that came after rows had been made, with what those rows had
_LATER = (
    ("data", "storage", "raw"),
    ("mpc", "precision", "fp32"),
    ("mpc", "warm_start", False),
    ("train", "threads", 1),
)


_UNUSED_BY_CONTROLS = {"resources", "train", "plan_time", "device"}


def plain_values(spec: TrialSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec)


def _hash(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
