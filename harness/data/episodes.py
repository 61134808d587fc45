"""The format of a dataset: a folder of memory-mapped Arrow files, one row a step, and a
manifest.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from harness.contracts.data import Episode
from harness.data import pixels
from harness.records.storage import parse_json
from harness.runtime import seeding

FORMAT = 1  # grows when the layout below changes
MANIFEST = "manifest.json"
SPLITS = ("train", "validation", "test")
_HASHED_TOGETHER = 1024  # pictures
ADVICE = "delete the folder; it is collected again"
_NO_PERMISSION = "ask for the right to read it, or give another datasets=FOLDER"


class DatasetError(ValueError):
    """A dataset cannot be used; the message is one line that says why and what to do."""


REMAKE = "delete the folder, it is made again"


@contextlib.contextmanager
def reading(folder: str) -> Iterator[None]:
    """Turn errors of reading a folder that is made from a dataset into a DatasetError."""
    try:
        yield
    except PermissionError as error:
        raise DatasetError(f"{error}: {_NO_PERMISSION}") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder}: {error}; {REMAKE}") from None


@dataclass(frozen=True)
class Shard:
    """One Arrow file: whole episodes, one record batch."""

    file: str
    rows: int
    bytes: int
    hash: str  # sha256 over its columns


@dataclass(frozen=True)
class Manifest:
    """Describes a dataset; it is written last, so a folder without one is not complete."""

    format: int
    task: str
    spec_version: int
    config: dict[str, Any]
    image_size: int
    collector: str
    collector_parameters: dict[str, Any]
    lengths: list[int]  # steps, per episode
    families: list[int]  # initial-condition family, per episode
    split: dict[str, list[int]]  # episode ids
    shards: list[Shard]
    hash: str  # over the shards, in order
    split_hash: str


# (R, 3, size, size) uint8: pictures in memory, or the reader of a shard on disk
Pictures = TypeVar("Pictures", np.ndarray, pixels.Pictures)


class Columns(NamedTuple, Generic[Pictures]):
    """The rows of one shard, in the order of its columns; R rows."""

    episode: np.ndarray  # (R,) int32
    step: np.ndarray  # (R,) int32
    family: np.ndarray  # (R,) int32
    state: np.ndarray  # (R, S) float64
    proprio: np.ndarray  # (R, p) float32
    action: np.ndarray  # (R, a) float32, in the task's units, as executed
    pixels: Pictures


class Dataset:
    """A complete dataset: the pictures are memory-mapped, everything else is in memory.

    Rows are steps. Episode i has the lengths[i] rows from first_row[i] on.
    """

    def __init__(self, folder: str, manifest: Manifest, shards: list[Columns[pixels.Pictures]]):
        self.folder = folder
        self.manifest = manifest
        self.image_size = manifest.image_size
        self.hash, self.split_hash = manifest.hash, manifest.split_hash
        self.lengths = np.array(manifest.lengths, np.int64)  # (E,)
        self.first_row = np.cumsum(self.lengths) - self.lengths  # (E,)
        self.state = np.concatenate([s.state for s in shards])  # (R, S)
        self.proprio = np.concatenate([s.proprio for s in shards])  # (R, p)
        actions = np.concatenate([s.action for s in shards])
        # an imported episode may end without an action; 0 stands there, and nothing learns from it
        self.acted = np.isfinite(actions).all(axis=1)  # (R,)
        self.actions = np.where(self.acted[:, None], actions, np.float32(0))  # (R, a)
        self._pixels = [s.pixels for s in shards]
        self._shard_end = np.cumsum([s.rows for s in manifest.shards])

    def split(self, name: str) -> np.ndarray:
        """Episode ids of "train", "validation" or "test", ascending."""
        assert name in SPLITS, f"split {name!r} is not one of {SPLITS}"
        return np.array(self.manifest.split[name], np.int64)

    def split_rows(self, name: str) -> np.ndarray:
        """Rows of the split's episodes, ascending."""
        inside = np.zeros(len(self.lengths), bool)
        inside[self.split(name)] = True
        return np.flatnonzero(np.repeat(inside, self.lengths))

    def with_training_share(self, share: float) -> Dataset:
        """The dataset with that share of its training episodes; a smaller share's episodes are
        among those of a larger one.
        """
        episodes = self.manifest.split["train"]
        order = seeding.stream("training share", self.hash).permutation(episodes)
        kept = sorted(order[: math.ceil(share * len(episodes))].tolist())
        fewer = copy.copy(self)
        split = self.manifest.split | {"train": kept}
        fewer.manifest = dataclasses.replace(self.manifest, split=split)
        return fewer

    def episode(self, i: int) -> Episode:
        """One episode; its arrays are views, except for compressed pictures."""
        first = self.first_row[i]
        rows = slice(first, first + self.lengths[i])
        shard = int(np.searchsorted(self._shard_end, first, side="right"))
        local = first - self._shard_start(shard)
        return Episode(
            pixels=self._pixels[shard].span(local, local + self.lengths[i]),
            proprio=self.proprio[rows],
            state=self.state[rows],
            actions=self.actions[rows],
            family=self.manifest.families[i],
        )

    def read_pixels(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read the pictures of `rows` (N,), (N, 3, size, size) uint8; ascending rows are fastest.

        Raises IndexError for a row that does not exist.
        """
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self._shard_end[-1]:
            raise IndexError(f"rows must be in 0..{self._shard_end[-1] - 1}")
        if out is None:
            out = np.empty((len(rows), 3, self.image_size, self.image_size), np.uint8)
        shard_of = np.searchsorted(self._shard_end, rows, side="right")
        cuts = [0, *(np.flatnonzero(np.diff(shard_of)) + 1).tolist(), len(rows)]
        for begin, end in itertools.pairwise(cuts):
            if begin == end:
                continue
            shard = int(shard_of[begin])
            local = rows[begin:end] - self._shard_start(shard)
            self._pixels[shard].take(local, out[begin:end])
        return out

    def _shard_start(self, shard: int) -> int:
        return int(self._shard_end[shard]) - self.manifest.shards[shard].rows


def open_dataset(folder: str) -> Dataset:
    """Open a complete dataset.

    Raises DatasetError when the manifest is missing or does not agree with the files.
    """
    manifest = read_manifest(folder)
    shards = [_read_shard(folder, manifest, shard) for shard in manifest.shards]
    count = len(manifest.lengths)
    in_splits = sorted(i for name in SPLITS for i in manifest.split.get(name, ()))
    if sum(manifest.lengths) != sum(len(s.step) for s in shards) or not shards:
        raise DatasetError(f"{folder}: episodes and rows do not add up; {ADVICE}")
    if in_splits != list(range(count)) or len(manifest.families) != count:
        raise DatasetError(f"{folder}: the splits do not hold each episode once; {ADVICE}")
    dataset = Dataset(folder, manifest, shards)
    finite = {
        name: np.isfinite(getattr(dataset, name)).all(axis=1) for name in ("state", "proprio")
    }
    last = dataset.first_row + dataset.lengths - 1
    finite["actions"] = dataset.acted.copy()
    if manifest.config.get("source", "own") != "own":
        finite["actions"][last] = True  # where none may have been taken
    for name, rows in finite.items():
        broken = np.flatnonzero(~rows)
        if len(broken):
            raise DatasetError(
                f"{folder}: {name} has NaN or infinite values in {len(broken)} of "
                f"{len(dataset.state)} steps, the first is row {broken[0]}; {ADVICE}"
            )
    return dataset


def read_manifest(folder: str) -> Manifest:
    """Read the manifest alone. Raises DatasetError when it is missing, cannot be read, or has
    hashes that do not fit its contents.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            raw = parse_json(file.read())
        manifest = Manifest(**{**raw, "shards": [Shard(**shard) for shard in raw["shards"]]})
        _check_kinds(manifest)
    except FileNotFoundError:
        raise DatasetError(f"{folder}: there is no {MANIFEST}; {ADVICE}") from None
    except PermissionError as error:
        raise DatasetError(f"{path} cannot be read ({_line(error)}); {_NO_PERMISSION}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read ({_line(error)}); {ADVICE}") from None
    if manifest.format != FORMAT:
        raise DatasetError(f"{folder}: format {manifest.format}, not {FORMAT}; {ADVICE}")
    hashes = {"hash": content_hash(manifest.shards), "split_hash": split_hash(manifest.split)}
    for name, value in hashes.items():
        if getattr(manifest, name) != value:
            raise DatasetError(
                f"{path}: its {name} is {getattr(manifest, name)[:12]}, but its contents have "
                f"{value[:12]}; {ADVICE}"
            )
    return manifest


def _check_kinds(manifest: Manifest) -> None:
    """Raises ValueError where a part of the manifest is not what its name promises, or a shard lies
    outside the folder.
    """
    whole = {"lengths": (manifest.lengths, 1), "families": (manifest.families, -(2**31))}
    whole |= {f"split {name}": (manifest.split[name], 0) for name in SPLITS}
    whole |= {"rows of shards": ([shard.rows for shard in manifest.shards], 0)}
    whole |= {"bytes of shards": ([shard.bytes for shard in manifest.shards], 0)}
    whole |= {"image_size": ([manifest.image_size], 1)}
    for name, (values, least) in whole.items():
        if not all(type(value) is int and least <= value < 2**31 for value in values):
            raise ValueError(f"its {name} are no whole numbers from {least} on")
    texts = [manifest.hash, manifest.split_hash, *(shard.hash for shard in manifest.shards)]
    files = [shard.file for shard in manifest.shards]
    if not all(isinstance(text, str) for text in [*texts, *files]):
        raise ValueError("its hashes and names of files are no texts")
    if not all(isinstance(part, dict) for part in (manifest.config, manifest.collector_parameters)):
        raise ValueError("its config and collector_parameters are no objects")
    for file in files:
        if file != os.path.basename(file) or not file.isprintable() or file in ("", ".", ".."):
            raise ValueError(f"its shard {file[:80]!r} is not the name of a file in its folder")


def write_shard(
    folder: str, file: str, columns: Columns[np.ndarray], storage: pixels.Storage = "raw"
) -> Shard:
    """Write one shard; its hash does not depend on the storage. Raises OSError."""
    state, proprio, action = (
        part.shape[1] for part in (columns.state, columns.proprio, columns.action)
    )
    schema = _schema(state, proprio, action, columns.pixels.shape[-1], storage)
    arrays = [_arrow(field, values) for field, values in zip(schema, columns[:-1], strict=False)]
    arrays.append(pixels.to_arrow(storage, columns.pixels))
    path = os.path.join(folder, file)
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    digest = _shard_hash(columns[:-1], [columns.pixels])
    return Shard(file, len(columns.step), os.path.getsize(path), digest)


def changed_shards(folder: str) -> list[str]:
    """The files of a dataset whose contents do not have the hash in its manifest. Raises
    DatasetError as `open_dataset` does.
    """
    manifest, changed = read_manifest(folder), []
    for shard in manifest.shards:
        columns = _read_shard(folder, manifest, shard)
        firsts = range(0, shard.rows, _HASHED_TOGETHER)
        pictures = (columns.pixels.span(i, min(i + _HASHED_TOGETHER, shard.rows)) for i in firsts)
        if _shard_hash(columns[:-1], pictures) != shard.hash:
            changed.append(shard.file)
    return changed


def write_manifest(folder: str, manifest: Manifest) -> None:
    """Write the manifest; nothing may be written to the folder after it. Raises OSError."""
    with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(manifest), file)


def content_hash(shards: list[Shard]) -> str:
    """sha256 over the shards' contents, in order."""
    return hashlib.sha256("".join(s.hash for s in shards).encode()).hexdigest()


def split_hash(split: dict[str, list[int]]) -> str:
    """sha256 over the episode ids of every split."""
    return hashlib.sha256(json.dumps(split, sort_keys=True).encode()).hexdigest()


def row_bytes(state: int, proprio: int, action: int, image_size: int) -> int:
    """Bytes of one row with these dimensions."""
    return 12 + 8 * state + 4 * proprio + 4 * action + 3 * image_size**2


def _schema(state: int, proprio: int, action: int, size: int, storage: pixels.Storage) -> pa.Schema:
    layout = {"layout": pixels.layout(storage, size)}
    return pa.schema(
        [
            pa.field("episode", pa.int32(), nullable=False),
            pa.field("step", pa.int32(), nullable=False),
            pa.field("family", pa.int32(), nullable=False),
            pa.field("state", pa.list_(pa.float64(), state), nullable=False),
            pa.field("proprio", pa.list_(pa.float32(), proprio), nullable=False),
            pa.field("action", pa.list_(pa.float32(), action), nullable=False),
            pixels.field(storage, size),
        ],
        metadata={"pixels": json.dumps(layout)},
    )


def _shard_hash(columns: Iterable[np.ndarray], pictures: Iterable[np.ndarray]) -> str:
    """sha256 over the columns but the last, and over that one, the pictures, part after part."""
    digest = hashlib.sha256()
    for values in itertools.chain(columns, pictures):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _arrow(field: pa.Field, values: np.ndarray) -> pa.Array:
    """An Arrow array of numpy values, without a copy."""
    values = np.ascontiguousarray(values)
    if pa.types.is_fixed_size_list(field.type):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=field.type)
    return pa.array(values)


def _read_shard(folder: str, manifest: Manifest, shard: Shard) -> Columns[pixels.Pictures]:
    path = os.path.join(folder, shard.file)
    if not os.path.isfile(path):
        raise DatasetError(f"{path} is missing; {ADVICE}")
    size = os.path.getsize(path)
    if size != shard.bytes:
        raise DatasetError(f"{path} has {size} bytes, not {shard.bytes}; {ADVICE}")
    try:
        reader = pa.ipc.open_file(pa.memory_map(path))
        _check_schema(path, reader.schema, manifest.image_size)
        batch = reader.get_batch(0)
        batch.validate(full=True)  # lengths and offsets lie inside the file
    except PermissionError as error:
        raise DatasetError(f"{path} cannot be read ({_line(error)}); {_NO_PERMISSION}") from None
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read ({_line(error)}); {ADVICE}") from None
    if reader.num_record_batches != 1 or batch.num_rows != shard.rows:
        raise DatasetError(f"{path} has {batch.num_rows} rows, not {shard.rows}; {ADVICE}")
    try:
        episode, step, family, state, proprio, action = (
            _numpy(batch.column(name)) for name in Columns._fields[:-1]
        )
        pictures = pixels.from_arrow(batch.column("pixels"), manifest.image_size)
        return Columns(episode, step, family, state, proprio, action, pictures)
    except ValueError as error:  # sizes that do not fit the buffers
        raise DatasetError(f"{path} cannot be read ({_line(error)}); {ADVICE}") from None


def _check_schema(path: str, schema: pa.Schema, size: int) -> None:
    widths = [getattr(field.type, "list_size", 0) for field in schema]
    known = schema.names == list(Columns._fields)
    raw = known and pa.types.is_fixed_size_binary(schema.field("pixels").type)
    state, proprio, action = widths[3:6] if known else (0, 0, 0)
    if not known or schema != _schema(state, proprio, action, size, "raw" if raw else "lz4"):
        raise DatasetError(f"{path} does not have the columns of format {FORMAT}; {ADVICE}")


def _numpy(array: pa.Array) -> np.ndarray:
    """A view of an Arrow column."""
    if pa.types.is_fixed_size_list(array.type):
        return array.values.to_numpy().reshape(len(array), array.type.list_size)
    return array.to_numpy()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
