"""Prepares a trial with a frozen encoder: the encoder's weights, and every frame's tokens.

With weights=mae the encoder is that of a small masked autoencoder. It is trained once, on the
training frames of all its tasks, is stored beside the datasets, and serves every trial.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.contracts.data import Batch, Obs, Window
from harness.contracts.method import LatentModel, MethodConfig
from harness.data import cache, features
from harness.data.episodes import Dataset, DatasetError
from harness.nn import frozen, mae
from harness.nn.frozen import FrozenConfig
from harness.records.storage import one_line, parse_json
from harness.runtime import seeding
from harness.runtime.progress import Progress
from harness.training import checkpoint as checkpoints
from harness.training.checkpoint import Checkpoint
from harness.training.loop import TrainConfig, TrainResult, train

log = logging.getLogger(__name__)

FORMAT = 1  # grows when what is trained below changes
MANIFEST = "manifest.json"
_SEED = 0
_FIT_FRAMES = 4096  # frames whose tokens set the mean and the spread of standardize=true
_WEIGHT_DECAY, _WARMUP = 0.05, 0.05  # He et al. 2022


def slow_reason(method: MethodConfig, root: str) -> str:
    """Why tokens of the method's frozen encoder cannot be kept under `root`, or ""."""
    uses_tokens = method.uses_frozen_encoder
    if not uses_tokens or not os.path.isdir(root) or os.access(root, os.W_OK):
        return ""
    return (
        f"{root} cannot be written: where tokens of a frozen encoder are not there yet, they are "
        f"computed for every batch, which is slower"
    )


def ready(
    method: MethodConfig,
    pool: Sequence[Dataset],
    root: str,
    device: torch.device,
    progress: Progress,
) -> MethodConfig:
    """The method's configuration with weights that can be loaded: weights=mae becomes the folder
    under `root` of an encoder trained on the datasets `pool`, trained first where it is missing.
    """
    if not pool:
        return method
    assert isinstance(method, FrozenConfig), type(method)  # others have no pool
    facts = _facts(method, pool)
    digest = _digest(facts)

    def make(part: str) -> None:
        result = _pretrain(method, pool, part, digest, device, progress)
        _write_manifest(part, facts, result)

    folder = cache.once(cache.local(root), _folder_name(digest), make)
    _check_manifest(folder, facts)
    return dataclasses.replace(method, weights=folder)


def has(method: MethodConfig, pool: Sequence[Dataset], root: str) -> bool:
    """Whether `ready` has nothing to train."""
    own = cache.local(root)
    folder = os.path.join(own, _folder_name(_digest(_facts(method, pool)))) if pool else own
    return os.path.isdir(folder)


def _facts(method: MethodConfig, pool: Sequence[Dataset]) -> dict[str, Any]:
    """Everything that decides the weights of the encoder, as the manifest has it."""
    facts = {
        "format": FORMAT,
        "datasets": [dataset.hash for dataset in pool],
        "splits": [dataset.split_hash for dataset in pool],
        "config": {k: v for k, v in dataclasses.asdict(method).items() if k in _DECIDES},
    }
    as_read: dict[str, Any] = json.loads(json.dumps(facts))  # tuples become lists
    return as_read


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _folder_name(digest: str) -> str:
    return f"mae-{digest[:12]}"


def inputs(model: LatentModel, dataset: Dataset) -> dict[str, str]:
    """Hashes of a training's inputs that are not in its configuration: data and frozen weights."""
    encoder = model.frozen_encoder
    hashes = {"dataset": dataset.hash, "split": dataset.split_hash}
    return hashes if encoder is None else hashes | {"frozen encoder": encoder.digest()}


def _check_manifest(folder: str, facts: dict[str, Any]) -> None:
    """Raises DatasetError unless the encoder in the folder is the one that `facts` describe."""
    advice = "delete the folder, it is made again"
    try:
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as source:
            manifest = parse_json(source.read())
        differing = [name for name, value in facts.items() if manifest.get(name) != value]
        misfit = frozen.weights_misfit(folder)
    except FileNotFoundError as error:
        missing = os.path.basename(error.filename)
        raise DatasetError(f"{folder}: there is no {missing}; {advice}") from None
    except PermissionError as error:
        raise DatasetError(
            f"{error}: ask for the right to read it, or give another datasets=FOLDER"
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(f"{folder}/{MANIFEST} cannot be read ({error}); {advice}") from None
    if differing:
        name = differing[0]
        raise DatasetError(
            f"{folder} was made with another {name} ({one_line(manifest.get(name))} instead of "
            f"{facts[name]}); {advice}"
        )
    if misfit:
        raise DatasetError(f"{folder}: {misfit}; or {advice}")


_DECIDES = {f.name for f in dataclasses.fields(FrozenConfig)} - {"standardize"}


def tokens(
    model: LatentModel, dataset: Dataset, device: torch.device, progress: Progress
) -> np.ndarray | None:
    """Tokens (R, P, C) of every frame where the model has a frozen encoder and the disk has room
    for them, else None. Standardizes the encoder where it asks for that.
    """
    encoder = model.frozen_encoder
    if encoder is None:
        return None

    @torch.inference_mode()
    def encode(pixels: np.ndarray) -> np.ndarray:
        return encoder(torch.from_numpy(pixels).to(device)).half().cpu().numpy()

    shape = (encoder.tokens, encoder.width)
    table = features.ensure(dataset, encode, encoder.digest(), shape, progress)
    if encoder.standardize:
        rows = _some_rows(dataset)
        sample = encode(dataset.read_pixels(rows)) if table is None else table[rows]
        encoder.fit(torch.from_numpy(sample).float().to(device))
    return table


def _some_rows(dataset: Dataset) -> np.ndarray:
    """At most _FIT_FRAMES rows of training episodes, ascending."""
    chosen = seeding.stream("tokens").permutation(dataset.split_rows("train"))[:_FIT_FRAMES]
    return np.sort(chosen)


def _pretrain(
    method: FrozenConfig,
    pool: Sequence[Dataset],
    part: str,
    digest: str,
    device: torch.device,
    progress: Progress,
) -> TrainResult:
    """Train into the folder `part`, from its last checkpoint on where there is one."""
    sizes = {dataset.image_size for dataset in pool}
    if len(sizes) > 1:
        raise DatasetError(f"one encoder for pictures of {sorted(sizes)} px: give one image_size")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.integer("mae", _SEED))
        model = mae.Autoencoder(method, sizes.pop()).to(device)
        frames, checkpoint = _Frames(pool), Checkpoint(part, digest)
        log.info("a masked autoencoder learns from %d frames, once for all trials", len(frames))
        result = train(
            model,
            frames,
            TrainConfig(
                steps=method.mae.steps,
                batch_size=method.mae.batch_size,
                lr=method.mae.lr,
                weight_decay=_WEIGHT_DECAY,
                warmup_fraction=_WARMUP,
                precision="bf16" if device.type == "cuda" else "fp32",
            ),
            _SEED,
            device,
            checkpoint,
            lambda _, done, total: progress("pretraining", done, total),
        )
    model.save(part)
    checkpoints.drop_training(part)
    return result


def _write_manifest(part: str, facts: dict[str, Any], result: TrainResult) -> None:
    losses = [entry.value for entry in result.curve if entry.name == "loss"]
    outcome = {"loss_first": losses[0], "loss_last": losses[-1], "train_s": result.seconds}
    with open(os.path.join(part, MANIFEST), "w", encoding="utf-8") as sink:
        json.dump(facts | outcome, sink, indent=1)


class _Frames:
    """Single frames of several datasets' training episodes, in the interface of Windows."""

    def __init__(self, pool: Sequence[Dataset]):
        self._pool = pool
        self._rows = [dataset.split_rows("train") for dataset in pool]
        self._end = np.cumsum([len(rows) for rows in self._rows])

    def __len__(self) -> int:
        return int(self._end[-1])

    def sample(self, rng: np.random.Generator, batch_size: int) -> Window:
        """Frames drawn uniformly, in the order of their rows; a window of one frame each."""
        index = np.sort(rng.integers(len(self), size=batch_size))
        which = np.searchsorted(self._end, index, side="right")
        pixels, rows = [], []
        for i, (dataset, own) in enumerate(zip(self._pool, self._rows, strict=True)):
            rows.append(own[index[which == i] - (self._end[i] - len(own))])
            pixels.append(dataset.read_pixels(rows[-1]))
        obs = Obs(torch.from_numpy(np.concatenate(pixels))[:, None])
        nothing = torch.empty(batch_size, 1, 0)
        return Window(Batch(obs, nothing), nothing, which, np.concatenate(rows))
