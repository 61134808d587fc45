"""Weights and training state on disk, through pyarrow.fs. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pickle import UnpicklingError
from typing import NamedTuple

import safetensors.torch
import torch
from pyarrow import fs as pafs
from torch import Tensor, nn

from harness.records import storage
from harness.training import weight_files

WEIGHTS, CONFIG, TRAINING = "weights.safetensors", "config.yaml", "training.pt"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and what to do about it."""


class TrainingState(NamedTuple):
    """How far a saved training had come; curve entries are (name, step, value)."""

    step: int
    seconds: float
    curve: list[tuple[str, int, float]]


def snapshot_name(share: float) -> str:
    """The file of the weights that a training has after this share of it."""
    return f"weights-{share:g}.safetensors"


class Checkpoint:
    """The checkpoint files of one trial; `config_hash` ties them to its configuration, and `inputs`
    (name -> hash) to what a training reads that the configuration does not hold.
    """

    def __init__(self, folder: str, config_hash: str, inputs: Mapping[str, str] | None = None):
        self._fs, self._base = storage.filesystem(folder)
        self._hash, self._inputs = config_hash, dict(inputs or {})
        self._fs.create_dir(self._base, recursive=True)

    def save_training(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: int,
        seconds: float,
        curve: Sequence[tuple[str, int, float]],
    ) -> None:
        """Save everything that the training needs to go on from `step`."""
        sink = io.BytesIO()
        torch.save(
            {
                "config_hash": self._hash,
                "inputs": self._inputs,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "state": [step, seconds, [list(entry) for entry in curve]],
            },
            sink,
        )
        self._write(TRAINING, sink.getvalue())

    def load_training(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Restore model and optimizer; step 0 when there is nothing to restore.

        Raises CheckpointError when the file belongs to another configuration, was begun with other
        inputs, does not hold this model, or cannot be read.
        """
        data = self._read(TRAINING)
        if data is None:
            return TrainingState(0, 0.0, [])
        try:
            saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            saved_hash, inputs = str(saved["config_hash"]), dict(saved.get("inputs", {}))
        except (
            AttributeError,
            RuntimeError,
            UnpicklingError,
            EOFError,
            ValueError,
            LookupError,
            TypeError,
        ) as error:
            raise CheckpointError(f"{self._path(TRAINING)} cannot be read: delete it") from error
        self._check(saved_hash, TRAINING)
        self._check_inputs(inputs)
        with self._fitting(TRAINING):
            self._load(model, saved["model"], TRAINING)
            optimizer.load_state_dict(saved["optimizer"])
            _check_shapes(optimizer)
            return TrainingState(*saved["state"])

    def keep_snapshot(self, model: nn.Module, share: float) -> None:
        """Write the weights that the training has after this share of it."""
        self._write(snapshot_name(share), self._safetensors(model))

    def finish(self, model: nn.Module, config_yaml: str) -> str:
        """Write the final weights; returns their sha256."""
        data = self._safetensors(model)
        self._write(CONFIG, config_yaml.encode())
        self._write(WEIGHTS, data)
        return hashlib.sha256(data).hexdigest()

    def load_weights(self, model: nn.Module, name: str = WEIGHTS) -> str | None:
        """Load finished weights, or those of a snapshot_name; returns their sha256, or None when
        there are none.

        Raises CheckpointError when they belong to another configuration, are not this model's, or
        cannot be read.
        """
        data = self._read(name)
        if data is None:
            return None
        try:
            tensors = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"{self._path(name)} cannot be read: delete it") from error
        header = int.from_bytes(data[:8], "little")  # safetensors: length, JSON, tensors
        metadata = storage.parse_json(data[8 : 8 + header]).get("__metadata__", {})
        self._check(metadata.get("config_hash", ""), name)
        with self._fitting(name):
            self._load(model, tensors, name)
        return hashlib.sha256(data).hexdigest()

    def _safetensors(self, model: nn.Module) -> bytes:
        tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
        return safetensors.torch.save(tensors, metadata={"config_hash": self._hash})

    def _check(self, saved_hash: str, name: str) -> None:
        if saved_hash != self._hash:
            raise CheckpointError(
                f"{self._path(name)} belongs to configuration {saved_hash[:8] or 'unknown'}, this "
                f"trial is {self._hash[:8]}: delete the file or give another run=NAME"
            )

    def _check_inputs(self, begun_with: Mapping[str, str]) -> None:
        for name, value in self._inputs.items():
            before = str(begun_with.get(name, value))
            if before != value:
                raise CheckpointError(
                    f"{self._path(TRAINING)} was begun with another {name} ({before[:8]}, now "
                    f"{value[:8]}): put that one back, or delete the file to begin again"
                )

    def _load(self, model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
        """Copy the tensors of the file `name` into the model; each must have its counterpart."""
        difference = weight_files.difference(model.state_dict(), tensors)
        if difference:
            raise ValueError(difference)
        if broken := weight_files.not_finite(tensors):
            raise CheckpointError(
                f"{self._path(name)} has NaN or infinite values, in "
                f"{weight_files.listed(broken)}: delete it, and lower train.lr if that comes again"
            )
        model.load_state_dict(tensors)

    @contextlib.contextmanager
    def _fitting(self, name: str) -> Iterator[None]:
        """Turn what loading raises where the file holds another model into a CheckpointError."""
        try:
            yield
        except (torch.OutOfMemoryError, CheckpointError):  # OutOfMemoryError: the file is right
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{self._path(name)} is of another version of this model ({reason}): delete it"
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
        with storage.whole_file(self._fs, self._path(name)) as sink:
            sink.write(data)


def drop_training(folder: str) -> None:
    """Delete the training state of a checkpoint's folder, once nothing needs it any more."""
    fs, base = storage.filesystem(folder)
    for info in fs.get_file_info(pafs.FileSelector(base, allow_not_found=True)):
        if info.base_name.startswith(TRAINING):  # and what a process killed while saving has left
            fs.delete_file(info.path)


def _check_shapes(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError where an optimizer has taken over a state of another shape: torch does not
    check it.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"the optimizer's {name} is {tuple(value.shape)} for weights of "
                    f"{tuple(parameter.shape)}"
                )
