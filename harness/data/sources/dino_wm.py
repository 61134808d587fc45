"""DINO-WM's Push-T folder: states, velocities and actions as tensors, one video an episode.

The folder has `train` and `val`, or is one of them. Its columns get the names and units of
stable-worldmodel's files: state (7) with the agent's velocity, action (2) divided by 100. The video
of an episode may have been compressed with loss. Nothing is unpickled but numbers and lists.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.data.episodes import DatasetError
from harness.data.sources import interface
from harness.runtime import command

_STATES, _VELOCITIES, _ACTIONS = "states.pth", "velocities.pth", "rel_actions.pth"
_LENGTHS, _VIDEOS = "seq_lengths.pkl", "obses"
_PARTS = ("train", "val")
_ACTION_SCALE = 100.0  # px in a stored action, where an action of this project is 1


class _Part(NamedTuple):
    folder: str
    lengths: np.ndarray  # (E,)
    columns: dict[str, np.ndarray]  # (E, longest, width)


class DinoWM:
    """A source (interface.Source)."""

    name = "DINO-WM"
    looks = f"a folder with {_STATES}, or with train/{_STATES}"
    filters = "video, one file an episode"

    def __init__(self, place: str):
        """Raises DatasetError for a folder whose files are damaged or do not fit together."""
        self.place = place
        self._parts = [_load(folder) for folder in _folders(place)]
        counts = [len(part.lengths) for part in self._parts]
        self._of = [(part, i) for part in self._parts for i in range(len(part.lengths))]
        self.lengths = np.concatenate([part.lengths for part in self._parts])
        self.columns = {n: v.shape[-1] for n, v in self._parts[0].columns.items()}
        self.held_out = np.repeat(np.arange(len(counts)) > 0, counts) if len(counts) > 1 else None
        self.size = self.pictures(0, 0, 1).shape[1:3]

    @classmethod
    def fits(cls, place: str) -> bool:
        """Whether the place looks like this format."""
        found = (os.path.join(place, part, _STATES) for part in ("", _PARTS[0]))
        return any(os.path.isfile(path) for path in found)

    def read(self, column: str, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's column of numbers, (n, width)."""
        part, i = self._of[episode]
        return part.columns[column][i, begin:end]

    def pictures(self, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's pictures, (n, height, width, 3) uint8."""
        part, i = self._of[episode]
        path = os.path.join(part.folder, _VIDEOS, f"episode_{i:03d}.mp4")
        return _frames(path, begin, end)

    def whole(self, column: str) -> Iterator[np.ndarray]:
        """All rows of a column of numbers, one episode at a time."""
        for episode, length in enumerate(self.lengths):
            yield self.read(column, episode, 0, length)

    @staticmethod
    def fingerprint(place: str) -> str:
        """A hash of the tensors' files."""
        names = (_STATES, _VELOCITIES, _ACTIONS, _LENGTHS)
        paths = [os.path.join(folder, name) for folder in _folders(place) for name in names]
        return interface.fingerprint(paths)


def _folders(place: str) -> list[str]:
    inside = [os.path.join(place, name) for name in _PARTS]
    return [f for f in inside if os.path.isfile(os.path.join(f, _STATES))] or [place]


def _load(folder: str) -> _Part:
    states, velocities, actions = (_tensor(folder, n) for n in (_STATES, _VELOCITIES, _ACTIONS))
    lengths = _lengths(os.path.join(folder, _LENGTHS))
    longest = min(t.shape[1] for t in (states, velocities, actions)) if states.ndim == 3 else 0
    same = len(states) == len(velocities) == len(actions) == len(lengths) > 0
    if not same or lengths.min() < 1 or lengths.max() > longest:
        raise DatasetError(f"{folder}: its tensors and {_LENGTHS} do not fit together")
    state = np.concatenate([states, velocities], axis=-1)
    action = np.divide(actions, _ACTION_SCALE, dtype=np.float32)
    return _Part(folder, lengths, {"state": state, "action": action})


def _tensor(folder: str, name: str) -> np.ndarray:
    """A tensor as an array (E, longest, width) float32."""
    path = os.path.join(folder, name)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
        return value.float().numpy()
    except _DAMAGED as error:
        raise DatasetError(f"{path} cannot be read ({_line(error)})") from None


class _Plain(pickle.Unpickler):
    """Reads numbers, lists and numpy arrays, and refuses all else that a pickle can call."""

    def find_class(self, module: str, name: str) -> Any:
        """The few constructors of a numpy array."""
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}
        if module.split(".")[0] == "numpy" and name in allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not loaded")


# what pickle raises on damaged bytes, besides UnpicklingError
_DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
)
_DAMAGED += (ArithmeticError, MemoryError, RecursionError, RuntimeError, pickle.UnpicklingError)


def _lengths(path: str) -> np.ndarray:
    """The whole numbers (E,) in a pickle."""
    try:
        with open(path, "rb") as file:
            return np.asarray(_Plain(file).load(), np.int64).reshape(-1)
    except _DAMAGED as error:
        raise DatasetError(f"{path} cannot be read ({_line(error)})") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def _frames(path: str, begin: int, end: int) -> np.ndarray:
    """Frames begin..end - 1 of a video, (n, height, width, 3) uint8."""
    try:
        import av
    except ImportError as error:
        raise DatasetError(
            f"{path} needs the package av ({error}): {command.module('pip', 'install', 'av')}"
        ) from None
    frames = []
    try:
        with av.open(path) as video:
            for number, frame in enumerate(video.decode(video=0)):
                if number >= end:
                    break
                if number >= begin:
                    frames.append(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"{path} cannot be read ({error})") from None
    if len(frames) < end - begin:
        raise DatasetError(f"{path} ends before frame {end}")
    return np.stack(frames)
