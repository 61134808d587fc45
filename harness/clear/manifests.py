"""Manifest files of the pairs that a protocol draws."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from harness import zoo
from harness.clear import criteria
from harness.data.episodes import Dataset
from harness.evaluate import pairs
from harness.experiment.identity import TrialSpec
from harness.records import manifest
from harness.records.manifest import Manifest, ManifestPair


def of_draw(spec: TrialSpec, dataset: Dataset, eval_seed: int) -> Manifest:
    """The pairs that the trial's protocol has for this seed, those drawn for a stratum left out.

    Raises pairs.PairError.
    """
    task = zoo.task(spec.task, spec.config.data.scene)
    drawn, _ = pairs.draw(dataset, task, spec.config.protocol, eval_seed)
    offset = spec.config.protocol.offset_steps
    listed = []
    for pair in drawn:
        row = int(dataset.first_row[pair.episode]) + pair.step
        distance = task.distance(pair.start_state[None], pair.goal_state[None])[0]
        where = (pair.episode, pair.step, pair.step + offset, row, row + offset)
        listed.append(ManifestPair(pair.pair_id, *where, float(distance), pair.initially_solved))
    described = criteria.protocol(spec)
    return Manifest(
        task=manifest.task_name(spec.task),
        protocol=described,
        seed=eval_seed,
        policy_seed=eval_seed,
        split=described["split"],
        dataset={
            "name": os.path.basename(dataset.folder),
            "episode_column": "episode",
            "fingerprint": {"kind": "jepa-bench-dataset", "value": dataset.hash},
        },
        pairs=tuple(listed),
    )


def write(folder: str, listed: Manifest) -> str:
    """Write a manifest below `folder` under a name that says what it is, where it is not there
    yet; returns its path.
    """
    name = f"{slug(listed.protocol['name'])}-seed{listed.seed}-n{len(listed.pairs)}.json"
    path = f"{folder.rstrip('/')}/{listed.dataset['name']}/{name}"
    if not _holds(path, listed):
        manifest.write(path, listed, datetime.now(UTC).isoformat())
    return path


def _holds(path: str, listed: Manifest) -> bool:
    """Whether the file has this manifest; its time of writing, and so its hash, then stay."""
    try:
        return manifest.read(path).manifest == listed
    except manifest.ManifestError:
        return False


def slug(text: str) -> str:
    """The text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
