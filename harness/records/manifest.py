"""Manifests: JSON files that list the pairs of an evaluation, in the format of CLEAR-LeWM
(`clear-lewm-manifest-v1`), so that other programs can evaluate on the same pairs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.records import storage

SCHEMA = "clear-lewm-manifest-v1"


class ManifestError(ValueError):
    """A file that is no manifest; the message is one line that says what is wrong with it."""


@dataclass(frozen=True)
class ManifestPair:
    """A start and a goal of the same episode. Rows count through the whole dataset."""

    pair_id: int
    episode_id: int
    start_step: int
    goal_step: int
    start_row: int
    goal_row: int
    difficulty: float  # how far the start is from the goal, in the writer's measure
    initial_success: bool


@dataclass(frozen=True)
class Manifest:
    """The pairs and what they were drawn from; `task` is CLEAR's name of it."""

    task: str
    protocol: Mapping[str, Any]
    seed: int
    policy_seed: int
    split: str
    dataset: Mapping[str, Any]  # name, fingerprint {kind, value}
    pairs: tuple[ManifestPair, ...]


class Listed(NamedTuple):
    """A manifest that was read, and the sha256 of its file."""

    manifest: Manifest
    hash: str


def task_name(task: str) -> str:
    """CLEAR's name of a task: "pusht" for "push_t"."""
    return task.lower().replace("_", "").replace("-", "")


def write(path: str, manifest: Manifest, created: str) -> None:
    """Write a manifest, whole or not at all; `created` is a time in ISO 8601. Raises OSError."""
    content = {"schema_version": SCHEMA, "created_utc": created, **dataclasses.asdict(manifest)}
    storage.write_json(path, content)


def read(path: str) -> Listed:
    """The manifest in a file. Raises ManifestError."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        parsed = storage.parse_json(content)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {storage.one_line(error)}") from None
    found = parsed.get("schema_version") if isinstance(parsed, dict) else None
    if found != SCHEMA:
        raise ManifestError(f"{path} is no manifest: its schema_version is {found!r}, not {SCHEMA}")
    try:
        manifest = _parsed(parsed)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else storage.one_line(error)
        raise ManifestError(f"{path} is no manifest: {reason}") from None
    return Listed(manifest, hashlib.sha256(content).hexdigest())


def _parsed(content: Mapping[str, Any]) -> Manifest:
    """The manifest in a JSON object. Raises KeyError, TypeError and ValueError."""
    pairs = tuple(_pair(number, entry) for number, entry in enumerate(content["pairs"]))
    if not pairs:
        raise ValueError("it lists no pairs")
    if len({pair.pair_id for pair in pairs}) < len(pairs):
        raise ValueError("a pair_id occurs twice")
    values = {f.name: content[f.name] for f in dataclasses.fields(Manifest) if f.name != "pairs"}
    kinds = {"task": str, "protocol": dict, "dataset": dict, "seed": int, "policy_seed": int}
    for name, kind in kinds.items():
        if not isinstance(values[name], kind):
            raise ValueError(f"{name} is {values[name]!r}")
    if not isinstance(values["protocol"].get("name", ""), str):
        raise ValueError(f"the protocol's name is {values['protocol']['name']!r}")
    return Manifest(pairs=pairs, **values)


def _pair(number: int, entry: Mapping[str, Any]) -> ManifestPair:
    kinds: dict[str, type | tuple[type, ...]] = {
        "difficulty": (int, float),
        "initial_success": bool,
    }
    values = {}
    for field in dataclasses.fields(ManifestPair):
        value = values[field.name] = entry[field.name]
        kind = kinds.get(field.name, int)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{field.name} of pair {number} is {value!r}")
    pair = ManifestPair(**values)
    steps, rows = pair.goal_step - pair.start_step, pair.goal_row - pair.start_row
    if steps != rows or steps < 1 or min(pair.start_step, pair.start_row, pair.episode_id) < 0:
        raise ValueError(
            f"pair {number} goes from step {pair.start_step} to {pair.goal_step} and from row "
            f"{pair.start_row} to {pair.goal_row}"
        )
    return pair
