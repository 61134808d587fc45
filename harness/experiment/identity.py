"""A trial: its key, and the hashes that say which trials are the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import zoo
from harness.contracts.setting import Settings, setting


@dataclass(frozen=True)
class TrialSpec:
    """A trial that can be run: task, method, seed, variant, and the whole configuration."""

    task: str
    method: str
    seed: int
    variant: str
    stages: tuple[str, ...]
    config: Any
    swept: tuple[str, ...] = ()  # keys whose values a sweep varies; not part of the hashes

    @property
    def key(self) -> str:
        """Name of the trial and of its folder: "push_t.lewm.s0"."""
        middle = f".{self.variant}" if self.variant else ""
        return f"{self.task}.{self.method}{middle}.s{self.seed}"


@dataclass(frozen=True)
class Weights(Settings):
    """Weights that a trial does not train itself. Of all this only `identity` is hashed: the same
    weights in another folder make the same trial.
    """

    identity: str = setting(
        "", "By what the weights are the same: a checksum, or their training.", text="text"
    )
    origin: str = setting("", "Whose weights they are, as a report says it.", text="text")
    path: str = setting("", "The file; none where it is missing.", text="a path or URI")
    sha256: str = setting("", "The file's checksum.", text="hexadecimal digits")
    config_hash: str = setting(
        "", "Configuration of the trial that trained them.", text="hexadecimal digits"
    )
    missing: str = setting("", "Why they are not there, and what to do.", text="text")
    trial: str = setting("", "The trial of this run that keeps them while it trains.", text="a key")
    share: float = setting(
        1.0, "The share of that training after which they were kept.", gt=0, le=1
    )

    @property
    def note(self) -> str:
        """A remark for every table and figure, "" where the trial trains its own."""
        return f"weights {self.origin}" if self.identity and not self.trial else ""


NO_PART_OF_A_TRAINING = ("snapshots", "stop_after")  # keys of train.* that change no weights
MACHINE_KEYS = {"precision"}  # keys of a protocol's sections that depend on the machine only


def config_hash(spec: TrialSpec) -> str:
    """Hash of everything that decides the outcome, seed included."""
    return _hash(_outcome(spec))


def setting_hash(spec: TrialSpec) -> str:
    """Hash of the same without the seed: trials that may be averaged share it."""
    return _hash({key: value for key, value in _outcome(spec).items() if key != "seed"})


def training_hash(spec: TrialSpec) -> str:
    """Hash of everything that decides the weights of a trained trial, the seed apart: data,
    training and method. Protocol and planner do not.
    """
    outcome = _outcome(spec)
    decides = {name: outcome["config"].get(name) for name in ("data", "train", "method", "pool")}
    versions = ("task", "task_version", "method", "method_version")
    return _hash(decides | {"of": [outcome.get(name) for name in versions]})


def stage_names(spec: TrialSpec) -> tuple[str, ...]:
    """The trial's stages as its row records them: "decoder@1a2b3c4d" has the beginning of the hash
    of the settings that this stage alone reads.
    """
    plain = plain_values(spec)["config"]
    return tuple(
        f"{name}@{_hash(plain[name])[:8]}" if name in STAGE_SECTIONS else name
        for name in spec.stages
    )


def protocol_hash(spec: TrialSpec) -> str:
    """Hash of the protocol as resolved for this task: pairs, episodes, planner."""
    plain = _outcome(spec)["config"]
    parts = {name: plain[name] for name in ("protocol", "planner_name", "planner", "mpc")}
    parts["mpc"] = {name: parts["mpc"][name] for name in parts["mpc"].keys() - MACHINE_KEYS}
    if code := spec.config.outside.get(f"planner.{spec.config.planner_name}"):
        parts["planner_code"] = code.sha256
    return _hash(parts)


def _outcome(spec: TrialSpec) -> dict[str, Any]:
    """Everything that decides the outcome, as plain values. Keys that the method does not read are
    left out, and so are keys of _LATER with the value beside them. The versions of task and method
    are part of it: where one grows, the trials are run again.
    """
    plain = plain_values(spec) | {"task_version": zoo.TASKS[spec.task].spec.version}
    if (version := zoo.METHODS[spec.method].version) > 1:
        plain["method_version"] = version
    del plain["swept"]
    plain["stages"] = list(_HASHED_STAGES)
    config = plain["config"]
    del config["protocol"]["manifest"]  # a path; manifest_hash says what it holds
    for key in NO_PART_OF_A_TRAINING:
        del config["train"][key]
    weights = config.pop("weights")["identity"]
    if weights:
        config["weights"] = weights  # and how a training would have gone decides nothing
    for part, key, value in _LATER:
        for values in (config[part], *(config["pool"].values() if part == "data" else ())):
            if values.get(key) == value:
                del values[key]
    for name in spec.config.mpc.unread:
        config["mpc"].pop(name, None)
    config["outside"] = {name: code.sha256 for name, code in spec.config.outside.items()}
    dropped = {"resources"} if zoo.METHODS[spec.method].trained else _UNUSED_BY_CONTROLS
    dropped = dropped | {name for name in ("pool", "outside") if not config[name]}
    dropped = dropped | set(STAGE_SECTIONS)  # stage_names says which settings a stage had
    if weights:
        dropped = dropped | {"train"}
    for name in dropped:
        del plain["config"][name]
    for name in spec.config.method.unread:
        del plain["config"]["method"][name]
    return plain


# (section, key, value): keys that are younger than some rows, and the value that was fixed before;
# with that value a key is left out of the hash, so that those rows keep theirs
_LATER = (
    ("data", "storage", "raw"),
    ("data", "source", "own"),
    ("data", "normalizer", "train"),
    ("mpc", "precision", "fp32"),
    ("method", "residual", False),
    ("mpc", "warm_start", False),
    ("mpc", "dynamics", "model"),
    ("mpc", "cost", "latent"),
    ("method", "sigreg_knots", 17),
    ("method", "decoder_weight", 0.0),
    ("train", "data_share", 1.0),
    ("train", "threads", 1),
    ("protocol", "hold_steps", 1),
    ("protocol", "physics", "released"),
    ("protocol", "strata", ()),
    ("protocol", "sampling", "starts"),
    ("protocol", "manifest_hash", ""),
)


# sections that the stage of their name alone reads; without it they decide nothing, and rows that
# are older than they are keep their hashes
# Which stages a trial has run decides no outcome; when they were hashed, these were all.
_HASHED_STAGES = ("train", "probing", "control", "plan_time")
STAGE_SECTIONS = ("plans", "decoder")  # settings that one stage alone reads
_UNUSED_BY_CONTROLS = {"resources", "train", "plan_time", "device", *STAGE_SECTIONS}


def plain_values(spec: TrialSpec) -> dict[str, Any]:
    """The spec as nested dictionaries, lists and numbers."""
    return dataclasses.asdict(spec)


def _hash(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
