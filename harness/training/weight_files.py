"""Weights that a trial does not train itself: where they lie, and how they are read.

A file is a state_dict of torch (.pt, .pth, .ckpt), read with weights_only=True, or safetensors.
Nothing is unpickled, and no class that a config.json names is looked up.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping
from pickle import UnpicklingError
from typing import Any, NamedTuple, TypeVar

import huggingface_hub
import safetensors.torch
import torch
from huggingface_hub import constants
from pyarrow import fs as pafs
from torch import Tensor, nn

from harness.nn import published_names
from harness.nn.jepa import JEPAConfig
from harness.records import storage

Config = TypeVar("Config", bound=JEPAConfig)

RELEASE, HUB = "released", "hf:"  # the texts that are no path
# in this order: what a folder of weights is searched for
_FILES = ("weights.safetensors", "model.safetensors", "weights.pt")
_SIDECARS = ("config.yaml", "config.json")
_TORCH = (".pt", ".pth", ".ckpt")
_NAMED = 3  # tensors that an error names; of the others it says how many
_TIMEOUT_S = 10.0  # of a question to the hub


class Release(NamedTuple):
    """A released model: the beginnings of its revision and of its file's sha256, as far as they are
    known (both pinned by CLEAR-LeWM v0.5).
    """

    repository: str
    revision: str
    sha256: str


RELEASES = {  # by task
    "push_t": Release("quentinll/lewm-pusht", "22b330c2", "48938400ae34"),
    "cube": Release("quentinll/lewm-cube", "b0747c50", "2839a907"),
    "reacher": Release("quentinll/lewm-reacher", "62adae4b", "eb70b1fd"),
    "two_room": Release("quentinll/lewm-tworooms", "77adaae0", "566f2236"),
}


class WeightsError(ValueError):
    """Weights that cannot be had, read or used, and what to do about it, in one line."""


class WeightsFile(NamedTuple):
    """A file of weights that lies here."""

    path: str
    origin: str  # whose weights they are, as a report says it
    sha256: str
    config_name: str  # config.yaml, a trial's own; config.json, a release's; or ""
    config: str  # its text


class Tensors(NamedTuple):
    """The tensors of a file, and its checksum."""

    tensors: dict[str, Tensor]  # under our names where they are a LeWM's
    sha256: str


def find(text: str, task: str) -> WeightsFile:
    """The file that the text of a `weights` key means: "released", "hf:owner/name[@revision]", or
    the path of a folder or of a file. What is on the hub is downloaded into its cache first.

    Raises WeightsError.
    """
    if text == RELEASE:
        if task not in RELEASES:
            raise WeightsError(f"there is no release for {task}, but for: {', '.join(RELEASES)}")
        text = HUB + RELEASES[task].repository
    path, revision = text, ""
    if text.startswith(HUB):
        path, revision = _from_hub(text.removeprefix(HUB))
    path = _file_in(path)
    digest = _digest(path, _state(path))
    known = {release.repository: release for release in RELEASES.values()}
    if text.startswith(HUB):
        repository = text.removeprefix(HUB).partition("@")[0]
        _check_pinned(path, digest, known.get(repository), revision)
        origin = f"{repository}@{revision[:8]}"
    else:
        origin = _origin(path, digest)
    return WeightsFile(path, origin, digest, *_config_beside(path))


def read(path: str, sha256: str = "") -> Tensors:
    """The tensors of a file, whose checksum must be `sha256` where that is given; floats become
    float32. Raises WeightsError.
    """
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256:
        raise WeightsError(
            f"{path} has sha256 {digest[:12]}, not {sha256[:12]}: it is not the file that it was, "
            f"put that one back or give its weights as weights=FOLDER"
        )
    tensors = _safetensors(path, data) if path.endswith(".safetensors") else _torch(path, data)
    if broken := not_finite(tensors):
        raise WeightsError(f"{path} has NaN or infinite values, in {listed(broken)}")
    floats = {n: v.float() if v.is_floating_point() else v for n, v in tensors.items()}
    return Tensors(published_names.ours(floats), digest)


def load(model: nn.Module, path: str, sha256: str) -> None:
    """Copy the tensors of a file into the model; each must have its counterpart. Raises
    WeightsError.
    """
    tensors = read(path, sha256).tensors
    if misfit := difference(model.state_dict(), tensors):
        raise WeightsError(f"{path} is not this model's: {misfit}")
    model.load_state_dict(tensors)


def difference(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> str:
    """The names of tensors that are missing, unexpected, or of another type or shape, or ""."""
    differences = {
        "missing": sorted(expected.keys() - actual.keys()),
        "unexpected": sorted(actual.keys() - expected.keys()),
        "of another type or shape": [
            f"{name} is {_kind(actual[name])} instead of {_kind(expected[name])}"
            for name in sorted(expected.keys() & actual.keys())
            if _kind(actual[name]) != _kind(expected[name])
        ],
    }
    return "; ".join(
        f"{len(names)} {word}: {listed(names)}" for word, names in differences.items() if names
    )


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors with NaN or infinite values."""
    return [name for name, value in tensors.items() if not value.isfinite().all()]


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@functools.lru_cache
def shapes(path: str, sha256: str) -> dict[str, Tensor]:
    """The file's tensors without their values, on torch's device meta. Raises WeightsError."""
    return {name: value.to("meta") for name, value in read(path, sha256).tensors.items()}


def sized(base: Config, file: WeightsFile, image_size: int, block_dim: int) -> Config:
    """The configuration `base` with the sizes of the network in the file, for pictures of
    `image_size` px and blocks of `block_dim` numbers. Raises WeightsError.
    """
    tensors = shapes(file.path, file.sha256)
    try:
        config = published_names.config(tensors, base, _written_sizes(file.config))
        side, width = published_names.image_size(tensors), published_names.block_dim(tensors)
    except published_names.SizesError as error:
        raise WeightsError(f"{file.path}: {error}") from None
    if side != image_size:
        raise WeightsError(f"it reads pictures of {side} px: give data.image_size={side}")
    if width != block_dim:
        raise WeightsError(
            f"it takes blocks of {width} numbers, and those of this task have {block_dim}: the "
            f"weights are of another task"
        )
    return config


def _written_sizes(text: str) -> dict[str, Any]:
    """A config.json, as data. Raises WeightsError."""
    try:
        config = storage.parse_json(text or "{}")
    except ValueError as error:
        raise WeightsError(f"its config.json cannot be read ({error})") from None
    parts = ("encoder", "predictor")
    if not isinstance(config, dict) or not all(isinstance(config.get(p, {}), dict) for p in parts):
        raise WeightsError("its config.json is not a LeWM's: it has no encoder and predictor")
    return config


# -- the hub


def _from_hub(text: str) -> tuple[str, str]:
    """The folder of "owner/name[@revision]" in the hub's cache, and its revision."""
    repository, _, revision = text.partition("@")
    known = {release.repository: release for release in RELEASES.values()}
    if not revision:
        revision = known[repository].revision if repository in known else "main"
    try:
        huggingface_hub.utils.validate_repo_id(repository)
        if repository.count("/") != 1:
            raise WeightsError(f"{HUB}{text} is not of the form {HUB}owner/name[@revision]")
        folder = _cached(repository, revision) or _download(repository, revision)
    except huggingface_hub.errors.HFValidationError as error:
        raise WeightsError(f"{HUB}{text}: {storage.one_line(error)}") from None
    except (OSError, ValueError, RuntimeError, huggingface_hub.errors.HTTPError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{repository} at {revision} is not in the hub's cache and cannot be had from "
            f"{constants.ENDPOINT} ({storage.one_line(error)[:120]}): {_INSTEAD}"
        ) from None
    return folder, os.path.basename(folder)


_INSTEAD = (
    "copy its weights.pt and config.json into a folder and give that instead, with several tasks "
    "as for.TASK.method.lewm.weights=FOLDER"
)


def _cached(repository: str, revision: str) -> str:
    """The folder of a revision, of which the beginning is enough, in the cache, or ""."""
    folder = os.path.join(
        constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "snapshots"
    )
    names = os.listdir(folder) if os.path.isdir(folder) and _is_hash(revision) else []
    complete = [
        os.path.join(folder, name)
        for name in sorted(names)
        if name.startswith(revision)
        and any(os.path.isfile(os.path.join(folder, name, file)) for file in _FILES)
    ]
    return complete[0] if complete else ""


def _download(repository: str, revision: str) -> str:
    """Download the weights of a revision and what says their sizes; the folder in the cache."""
    api = huggingface_hub.HfApi()
    api.model_info(repository)  # a hub that does not answer fails here at once
    if _is_hash(revision) and len(revision) < 40:  # the hub wants all of it
        commits = [commit.commit_id for commit in api.list_repo_commits(repository)]
        whole = [commit for commit in commits if commit.startswith(revision)]
        if not whole:
            raise WeightsError(f"{repository} has no revision {revision}: {_INSTEAD}")
        revision = whole[0]
    info = api.model_info(repository, revision=revision, timeout=_TIMEOUT_S)
    there = {sibling.rfilename for sibling in info.siblings or ()}
    wanted = [file for file in _FILES if file in there][:1]
    if not wanted:
        raise WeightsError(f"{repository} has none of {', '.join(_FILES)}: {_INSTEAD}")
    wanted += [file for file in _SIDECARS if file in there]
    paths = [huggingface_hub.hf_hub_download(repository, f, revision=info.sha) for f in wanted]
    return os.path.dirname(paths[0])


def _is_hash(revision: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{7,40}", revision))


def _check_pinned(path: str, digest: str, release: Release | None, revision: str) -> None:
    """Raises WeightsError where the file is not the one that is pinned."""
    if release is None or not revision.startswith(release.revision):
        return
    if not digest.startswith(release.sha256):
        raise WeightsError(
            f"{path} has sha256 {digest[:12]}, and the weights of {release.repository} at "
            f"{release.revision} begin with {release.sha256}: delete the file, it is downloaded "
            f"again"
        )


# -- files


def _file_in(path: str) -> str:
    """The file of weights that `path` is, or that lies in it."""
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
    fs, base = storage.filesystem(path)
    kind = fs.get_file_info(base).type
    if kind == pafs.FileType.File:
        return path
    if kind != pafs.FileType.Directory:
        raise WeightsError(
            f"there is no file or folder {path}: give {HUB}owner/name, {RELEASE}, or the path of a "
            f"folder with {' or '.join(_FILES)}"
        )
    names = [info.base_name for info in fs.get_file_info(pafs.FileSelector(base))]
    if "trial.parquet" in names and "checkpoint" in names:  # a trial's folder
        return _file_in(storage.join(path, "checkpoint"))
    found = [name for name in _FILES if name in names]
    found = found or [name for name in names if name.endswith((*_TORCH, ".safetensors"))]
    if len(found) != 1 and found[:1] != [_FILES[0]]:
        which = f"several files of weights ({listed(sorted(found))})" if found else "no weights"
        raise WeightsError(
            f"{path} holds {which}: give the path of one file, *.pt or *.safetensors"
        )
    return storage.join(path, found[0])


def _config_beside(path: str) -> tuple[str, str]:
    """Name and text of the first of _SIDECARS in the file's folder, "" without one."""
    fs, base = storage.filesystem(path)
    folder = base.rpartition("/")[0]
    for name in _SIDECARS:
        try:
            with fs.open_input_file(f"{folder}/{name}") as source:
                return name, source.read().decode()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{folder}/{name} cannot be read: {error}") from None
    return "", ""


def _origin(path: str, digest: str) -> str:
    """Whose weights a local file holds: a release's, by the checksum, or its name and checksum."""
    for release in RELEASES.values():
        if digest.startswith(release.sha256):
            return f"{release.repository}@{release.revision}"
    return f"{'/'.join(path.split('/')[-2:])} {digest[:8]}"


def _state(path: str) -> tuple[Any, ...]:
    """A value that changes where a file changes, so that it is read once as long as it stays."""
    fs, base = storage.filesystem(path)
    info = fs.get_file_info(base)
    return info.mtime_ns, info.size


@functools.lru_cache
def _digest(path: str, _: tuple[Any, ...]) -> str:
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: str) -> bytes:
    fs, base = storage.filesystem(path)
    try:
        with fs.open_input_file(base) as source:
            return source.read()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {storage.one_line(error)}") from None


def _safetensors(path: str, data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): copy it again") from None


def _torch(path: str, data: bytes) -> dict[str, Tensor]:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise WeightsError(
            f"{path} holds more than tensors, and pickled objects are never run: give the "
            f"state_dict alone, written by torch.save(model.state_dict(), FILE), or safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        reason = storage.one_line(error)[:120]
        raise WeightsError(f"{path} cannot be read ({reason}): copy it again") from None
    names = state if isinstance(state, Mapping) else {}
    if not names or not all(_is_named_tensor(*item) for item in names.items()):
        raise WeightsError(
            f"{path} holds no tensors by name ({_described(state)}): give the state_dict alone"
        )
    return dict(state)


def _is_named_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and torch.is_tensor(value) and value.layout == torch.strided


def _described(state: Any) -> str:
    keys: Iterable[Any] = state if isinstance(state, Mapping) else ()
    return f"but {listed([str(key) for key in keys])}" if keys else f"but a {type(state).__name__}"


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
