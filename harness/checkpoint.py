"""Weights and training state on disk, through pyarrow.fs. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from pickle import UnpicklingError
from typing import NamedTuple

import safetensors.torch
import torch
from pyarrow import fs as pafs
from torch import nn

from harness import rows

WEIGHTS, CONFIG, TRAINING = "weights.safetensors", "config.yaml", "training.pt"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and what to do about it."""


class TrainingState(NamedTuple):
    """How far a training had come; curve entries are (name, step, value)."""

    step: int
    seconds: float
    curve: list[tuple[str, int, float]]


class Checkpoint:
    """The checkpoint files of one trial; `config_hash` ties them to its configuration."""

    def __init__(self, folder: str, config_hash: str):
        self._fs, self._base = rows.filesystem(folder)
        self._hash = config_hash
        self._fs.create_dir(self._base, recursive=True)

    def save_training(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: int,
        seconds: float,
        curve: list[tuple[str, int, float]],
    ) -> None:
        """Everything that the steps from `step` on need."""
        sink = io.BytesIO()
        torch.save(
            {
                "config_hash": self._hash,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "state": [step, seconds, [list(entry) for entry in curve]],
            },
            sink,
        )
        self._write(TRAINING, sink.getvalue())

    def load_training(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Restore model and optimizer; step 0 when there is nothing to restore.

        Raises CheckpointError when the file belongs to another configuration or cannot be read.
        """
        data = self._read(TRAINING)
        if data is None:
            return TrainingState(0, 0.0, [])
        try:
            saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            found = saved["config_hash"]
        except (
            RuntimeError,
            UnpicklingError,
            EOFError,
            ValueError,
            LookupError,
            TypeError,
        ) as error:
            raise CheckpointError(f"{self._path(TRAINING)} cannot be read: delete it") from error
        self._check(found, TRAINING)
        with self._fitting(TRAINING):
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            return TrainingState(*saved["state"])

    def finish(self, model: nn.Module, config_yaml: str) -> str:
        """Write the final weights; returns their sha256."""
        tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
        data = safetensors.torch.save(tensors, metadata={"config_hash": self._hash})
        self._write(CONFIG, config_yaml.encode())
        self._write(WEIGHTS, data)
        return hashlib.sha256(data).hexdigest()

    def drop_training(self) -> None:
        """Delete the training state, once nothing needs it any more."""
        self._delete(self._path(TRAINING))

    def load_weights(self, model: nn.Module) -> str | None:
        """Load finished weights; returns their sha256, or None when there are none.

        Raises CheckpointError when they belong to another configuration or cannot be read.
        """
        data = self._read(WEIGHTS)
        if data is None:
            return None
        try:
            tensors = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"{self._path(WEIGHTS)} cannot be read: delete it") from error
        header = int.from_bytes(data[:8], "little")  # safetensors: length, JSON, tensors
        metadata = json.loads(data[8 : 8 + header]).get("__metadata__", {})
        self._check(metadata.get("config_hash", ""), WEIGHTS)
        with self._fitting(WEIGHTS):
            model.load_state_dict(tensors)
        return hashlib.sha256(data).hexdigest()

    def _check(self, found: str, name: str) -> None:
        if found != self._hash:
            raise CheckpointError(
                f"{self._path(name)} belongs to configuration {found[:8] or 'unknown'}, this trial "
                f"is {self._hash[:8]}: delete the file or give another run=NAME"
            )

    @contextlib.contextmanager
    def _fitting(self, name: str) -> Iterator[None]:
        """Parts that are not this model's, though its configuration is the same."""
        try:
            yield
        except torch.OutOfMemoryError:  # the file is as it should be
            raise
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(
                f"{self._path(name)} is of another version of this model: delete it"
            ) from error

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _read(self, name: str) -> bytes | None:
        try:
            with self._fs.open_input_file(self._path(name)) as source:
                return source.read()
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        part = f"{self._path(name)}.{uuid.uuid4().hex[:8]}.part"  # another process has its own
        try:
            with self._fs.open_output_stream(part) as sink:
                sink.write(data)
            self._fs.move(part, self._path(name))
        except BaseException:
            self._delete(part)  # half a file would only keep a full disk full
            raise

    def _delete(self, path: str) -> None:
        if self._fs.get_file_info(path).type != pafs.FileType.NotFound:
            self._fs.delete_file(path)
