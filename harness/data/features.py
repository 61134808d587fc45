"""Stores the tokens that a frozen encoder gives for every frame of a dataset, beside the
dataset.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.data import atomic_dirs, cache
from harness.data.episodes import REMAKE, Dataset, DatasetError, reading
from harness.records.storage import one_line, parse_json
from harness.runtime.progress import Progress

log = logging.getLogger(__name__)

FORMAT = 1  # grows when the layout below changes
ARRAY, MANIFEST = "features.f16", "manifest.json"
SPARED = 0.1  # share of the disk that features must leave free
_BATCH = 256  # frames encoded at once

Encode = Callable[[np.ndarray], np.ndarray]  # (M, 3, height, width) uint8 -> (M, P, C)


def ensure(
    dataset: Dataset, encode: Encode, encoder: str, shape: tuple[int, int], progress: Progress
) -> np.ndarray | None:
    """Features (R, P, C) float16 of every step, memory-mapped. They are computed first where they
    are not on the disk yet. Returns None, and logs a warning, where they cannot be stored: the disk
    has no room for them or the folder cannot be written.

    `encoder` is the hash of the encoder, `shape` its (P, C). Any number of processes may call this
    at once; one of them computes. Raises DatasetError for a folder with other contents than its
    name promises, OSError when the disk fails.
    """
    root = os.path.dirname(os.path.abspath(dataset.folder))
    facts = {
        "format": FORMAT,
        "dataset": dataset.hash,
        "encoder": encoder,
        "shape": [len(dataset.state), *shape],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    name = f"features-{digest[:12]}"
    needed = 2 * math.prod((len(dataset.state), *shape))  # bytes
    if not os.path.isdir(os.path.join(root, name)) and not _fits(root, needed):
        return None
    try:
        folder = cache.once(
            root, name, lambda part: _compute(dataset, encode, facts, part, progress)
        )
    except atomic_dirs.NotWritable as error:
        log.warning(
            "%s cannot be written (%s): features are computed for every batch instead, which is "
            "slower",
            *(root, error.reason),
        )
        return None
    return _mapped(folder, facts)


def _fits(root: str, needed: int) -> bool:
    disk = shutil.disk_usage(root)
    if needed <= disk.free - SPARED * disk.total:
        return True
    log.warning(
        "features of %.1f GB do not fit %s (%.1f GB free, %.0f %% of the disk are left alone): "
        "they are computed for every batch instead, which is slower",
        *(needed / 1e9, root, disk.free / 1e9, 100 * SPARED),
    )
    return False


def _compute(
    dataset: Dataset, encode: Encode, facts: dict[str, Any], part: str, progress: Progress
) -> None:
    """Write the features of all frames into the folder `part`, and the manifest last."""
    total = facts["shape"][0]
    with open(os.path.join(part, ARRAY), "wb") as sink:
        for first in range(0, total, _BATCH):
            rows = np.arange(first, min(first + _BATCH, total))
            features = np.ascontiguousarray(encode(dataset.read_pixels(rows)), np.float16)
            assert list(features.shape) == [len(rows), *facts["shape"][1:]], features.shape
            if not np.isfinite(features).all():
                raise DatasetError(
                    f"the frozen encoder gives NaN or values above float16's 65,504 for a frame "
                    f"among rows {first}..{rows[-1]} of {dataset.folder}: use other weights"
                )
            sink.write(features.data)
            progress("features", int(rows[-1]) + 1, total)
    with open(os.path.join(part, MANIFEST), "w", encoding="utf-8") as sink:
        json.dump(facts, sink)


def _mapped(folder: str, facts: dict[str, Any]) -> np.ndarray:
    path = os.path.join(folder, ARRAY)
    with reading(folder):
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as source:
            manifest = parse_json(source.read())
        size = os.path.getsize(path)
    expected = facts | {"bytes": 2 * int(np.prod(facts["shape"]))}
    actual = manifest | {"bytes": size} if isinstance(manifest, dict) else {}
    differences = [
        f"{name} is {one_line(actual.get(name))} instead of {value}"
        for name, value in expected.items()
        if actual.get(name) != value
    ]
    if differences:
        raise DatasetError(f"{folder}: {'; '.join(differences)}; {REMAKE}")
    return np.memmap(path, np.float16, "r", shape=tuple(facts["shape"]))
