"""The storage format: what is written is read, and damage is named."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny

from harness import zoo
from harness.data import collect, episodes


@pytest.fixture
def copy(dataset, tmp_path):
    return shutil.copytree(dataset.folder, tmp_path / "copy")


def damage(copy, change):
    path = os.path.join(copy, episodes.MANIFEST)
    with open(path) as file:
        manifest = json.load(file)
    change(manifest)
    with open(path, "w") as file:
        json.dump(manifest, file)


def error_of(folder):
    with pytest.raises(episodes.DatasetError) as caught:
        episodes.open_dataset(str(folder))
    message = str(caught.value)
    assert "\n" not in message and message.endswith("delete the folder; it is collected again")
    return message


def test_rows_of_an_episode_are_contiguous(dataset):
    assert len(dataset.manifest.shards) == 2
    assert dataset.lengths.sum() == len(dataset.state) == len(dataset.actions)
    for i in range(len(dataset.lengths)):
        episode = dataset.episode(i)
        rows = dataset.first_row[i] + np.arange(dataset.lengths[i])
        assert np.array_equal(episode.state, dataset.state[rows])
        assert np.array_equal(episode.pixels, dataset.read_pixels(rows))
        assert episode.family == i


def test_an_episode_is_a_view_of_the_map(dataset):
    pixels = dataset.episode(3).pixels
    assert not pixels.flags.writeable and not pixels.flags.owndata
    assert pixels.shape == (dataset.lengths[3], 3, 16, 16)


def test_compressed_pictures_are_the_same_data_in_less_space(dataset, tmp_path):
    config = collect.DataConfig(**dataset.manifest.config | {"storage": "lz4"})
    task = zoo.TASKS[dataset.manifest.task]
    packed = episodes.open_dataset(collect.ensure(task, config, str(tmp_path)))
    assert packed.folder != dataset.folder
    assert (packed.hash, packed.split_hash) == (dataset.hash, dataset.split_hash)
    rows = np.random.default_rng(0).integers(len(dataset.state), size=50)
    assert np.array_equal(packed.read_pixels(rows), dataset.read_pixels(rows))
    assert np.array_equal(packed.episode(3).pixels, dataset.episode(3).pixels)
    sizes = [sum(shard.bytes for shard in d.manifest.shards) for d in (packed, dataset)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("storage", ["raw", "lz4"])
def test_a_changed_value_is_found_in_any_column(dataset, tmp_path, storage, monkeypatch):
    """The hash is that of the recording, however many pictures are read at once."""
    config = collect.DataConfig(**dataset.manifest.config | {"storage": storage})
    folder = Path(collect.ensure(zoo.TASKS[dataset.manifest.task], config, str(tmp_path)))
    monkeypatch.setattr(episodes, "_HASHED_TOGETHER", 7)
    assert episodes.changed_shards(str(folder)) == []
    shard = dataset.manifest.shards[0]
    file, whole = folder / shard.file, (folder / shard.file).read_bytes()
    for name in ("state", "proprio", "actions"):
        at = whole.index(getattr(dataset, name)[: shard.rows].tobytes())
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert episodes.changed_shards(str(folder)) == [shard.file]
    file.write_bytes(whole)
    assert episodes.changed_shards(str(folder)) == []


def test_read_pixels_over_shards_in_any_order(dataset):
    everything = np.concatenate([dataset.episode(i).pixels for i in range(len(dataset.lengths))])
    rows = np.random.default_rng(0).integers(len(everything), size=50)
    assert np.array_equal(dataset.read_pixels(rows), everything[rows])
    rows.sort()
    out = np.zeros((50, 3, 16, 16), np.uint8)
    assert dataset.read_pixels(rows, out) is out and np.array_equal(out, everything[rows])
    assert dataset.read_pixels(np.array([], int)).shape == (0, 3, 16, 16)
    for row in (-1, len(everything)):
        with pytest.raises(IndexError):
            dataset.read_pixels(np.array([row]))


def test_the_columns_are_self_describing(dataset):
    shard = dataset.manifest.shards[1]
    reader = pa.ipc.open_file(os.path.join(dataset.folder, shard.file))
    assert reader.schema.names == list(episodes.Columns._fields)
    assert b"uint8 (3, 16, 16) RGB" in reader.schema.metadata[b"pixels"]
    batch = reader.get_batch(0)
    assert set(batch["episode"].to_pylist()) == set(range(64, 70))
    assert batch["step"].to_pylist()[: dataset.lengths[64]] == list(range(dataset.lengths[64]))


def test_missing_shard(copy):
    os.remove(copy / "00001.arrow")
    assert "00001.arrow is missing" in error_of(copy)


def test_truncated_shard(copy):
    os.truncate(copy / "00000.arrow", 1000)
    assert "00000.arrow has 1000 bytes, not" in error_of(copy)


def test_overwritten_shard(copy):
    size = os.path.getsize(copy / "00000.arrow")
    (copy / "00000.arrow").write_bytes(b"\0" * size)
    assert "cannot be read" in error_of(copy)


def test_rows_that_do_not_agree(copy):
    damage(copy, lambda manifest: manifest["shards"][0].update(rows=3))
    assert "rows, not 3" in error_of(copy)


def test_lengths_that_do_not_add_up(copy):
    damage(copy, lambda manifest: manifest["lengths"].pop())
    assert "do not add up" in error_of(copy)


def test_columns_of_another_size(copy):
    damage(copy, lambda manifest: manifest.update(image_size=32))
    assert "does not have the columns" in error_of(copy)


def test_a_manifest_that_does_not_agree_with_itself(copy):
    shard, split = "another", {"train": [0], "validation": [], "test": []}
    damage(copy, lambda manifest: manifest["shards"][0].update(hash=shard))
    assert "its hash is" in error_of(copy)
    damage(copy, lambda manifest: manifest.update(split=split))
    damage(copy, lambda manifest: manifest.update(hash=hash_of(manifest)))
    assert "its split_hash is" in error_of(copy)
    damage(copy, lambda manifest: manifest.update(split_hash=episodes.split_hash(split)))
    assert "the splits do not hold each episode once" in error_of(copy)


def hash_of(manifest):
    return episodes.content_hash([episodes.Shard(**shard) for shard in manifest["shards"]])


@pytest.mark.parametrize("column", ["state", "proprio", "action"])
def test_steps_that_are_no_numbers(copy, column):
    """As a simulator that has diverged would leave them."""
    whole = episodes.open_dataset(str(copy))
    shard = episodes._read_shard(str(copy), whole.manifest, whole.manifest.shards[1])
    values = getattr(shard, column).copy()
    values[3, 0] = np.nan
    pixels = shard.pixels.span(0, len(shard.step))
    columns = shard._replace(**{column: values, "pixels": pixels})
    (copy / "00001.arrow").unlink()  # it is mapped
    episodes.write_shard(str(copy), "00001.arrow", columns)
    row = whole.manifest.shards[0].rows + 3
    said = f"has NaN or infinite values in 1 of {len(whole.state)} steps, the first is row {row}"
    assert said in error_of(copy)


def test_another_format(copy):
    damage(copy, lambda manifest: manifest.update(format=0))
    assert "format 0" in error_of(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shards": []}'])
def test_unreadable_manifest(copy, text):
    (copy / episodes.MANIFEST).write_text(text)
    assert "cannot be read" in error_of(copy)


def test_no_such_folder(tmp_path):
    assert "there is no manifest.json" in error_of(tmp_path / "absent")


def test_rows_of_a_split_are_those_of_its_episodes(dataset):
    found = [dataset.split_rows(name) for name in ("train", "validation", "test")]
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(len(dataset.state)))
    first = dataset.split("test")[0]
    own = np.arange(dataset.first_row[first], dataset.first_row[first] + dataset.lengths[first])
    assert np.array_equal(found[2][: len(own)], own)


def test_unknown_split(dataset):
    with pytest.raises(AssertionError, match="validation"):
        dataset.split("valid")


def test_a_share_of_the_training_episodes_is_among_those_of_a_larger_one(datasets):
    dataset = tiny.dataset(tiny.spec("noop"), datasets)
    whole = set(dataset.split("train").tolist())
    quarter, half = (
        set(dataset.with_training_share(s).split("train").tolist()) for s in (0.25, 0.5)
    )
    assert quarter < half < whole and len(half) == -(-len(whole) // 2)
    fewer = dataset.with_training_share(0.5)
    assert fewer.split("test").tolist() == dataset.split("test").tolist()
    assert set(dataset.split("train").tolist()) == whole  # the dataset itself stays
