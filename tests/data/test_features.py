"""The cache of features: equal to encoding anew, made once, or not at all."""

import collections
import json
import os
import shutil
import threading
import time

import numpy as np
import pytest
import rights
import torch

from harness.data import atomic_dirs, episodes, features, normalize
from harness.data.windows import Windows

SHAPE = (4, 12)


def encode(pixels):
    """Four patches of an 16 px picture, twelve numbers each."""
    patches = pixels.reshape(len(pixels), 3, 2, 8, 2, 8).transpose(0, 2, 4, 1, 3, 5)
    return patches.reshape(len(pixels), 4, 3, 4, 16).mean(-1).reshape(-1, *SHAPE) / 255


@pytest.fixture
def copy(dataset, tmp_path):
    """The dataset in a folder of its own: features are kept beside it."""
    folder = tmp_path / "copy"
    shutil.copytree(dataset.folder, folder)
    return episodes.open_dataset(str(folder))


def quiet(stage, done, total):
    assert stage == "features" and done <= total


def test_cached_features_are_those_of_the_frames_and_are_made_once(copy):
    calls = []

    def counted(pixels):
        calls.append(len(pixels))
        return encode(pixels)

    found = features.ensure(copy, counted, "an encoder", SHAPE, quiet)
    rows = np.arange(len(copy.state))
    assert found.shape == (len(rows), *SHAPE) and found.dtype == np.float16
    assert np.abs(found - encode(copy.read_pixels(rows))).max() < 1e-3
    made = sum(calls)
    again = features.ensure(copy, counted, "an encoder", SHAPE, quiet)
    assert np.array_equal(again, found) and sum(calls) == made == len(rows)
    features.ensure(copy, counted, "another encoder", SHAPE, quiet)
    assert sum(calls) == 2 * made


def test_windows_of_features_have_tokens_and_read_no_pixels(copy, monkeypatch):
    found = features.ensure(copy, encode, "e", SHAPE, quiet)
    normalizer = normalize.fit(copy)
    with_pixels = Windows(copy, "train", 3, 5, normalizer).take(np.arange(5))
    monkeypatch.setattr(copy, "read_pixels", None)
    window = Windows(copy, "train", 3, 5, normalizer, features=found).take(np.arange(5))
    obs, seen = window.batch.obs, with_pixels.batch.obs
    assert obs.pixels is None and obs.tokens.shape == (5, 3, *SHAPE)
    assert torch.equal(obs.proprio, seen.proprio)
    expected = encode(seen.pixels.flatten(0, 1).numpy()).reshape(5, 3, *SHAPE)
    assert np.abs(obs.tokens.numpy() - expected).max() < 1e-3
    part = obs.rows(np.array([1, 3])).to(torch.device("cpu"))
    assert part.pixels is None and torch.equal(part.tokens, obs.tokens[[1, 3]])


def test_a_full_disk_means_no_cache(copy, monkeypatch, caplog):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 9 * 10**8, 10**8 + 100))
    assert features.ensure(copy, encode, "e", SHAPE, quiet) is None
    assert "computed for every batch instead" in caplog.text


def test_a_broken_cache_says_what_to_do(copy):
    found = features.ensure(copy, encode, "e", SHAPE, quiet)
    with open(found.filename, "ab") as file:
        file.write(b"x")
    size = os.path.getsize(found.filename)
    said = rf"bytes is {size} instead of {size - 1}; delete the folder, it is made again"
    with pytest.raises(episodes.DatasetError, match=said):
        features.ensure(copy, encode, "e", SHAPE, quiet)


def test_features_of_another_encoder_under_the_same_name_are_refused(copy):
    folder = os.path.dirname(features.ensure(copy, encode, "e", SHAPE, quiet).filename)
    path = os.path.join(folder, features.MANIFEST)
    with open(path) as source:
        facts = json.load(source)
    with open(path, "w") as sink:
        json.dump(facts | {"encoder": "another"}, sink)
    with pytest.raises(episodes.DatasetError, match="encoder is another instead of e; delete"):
        features.ensure(copy, encode, "e", SHAPE, quiet)


@pytest.mark.parametrize("value", [np.nan, 1e5])  # float16 ends at 65,504
def test_features_that_are_no_numbers_are_not_kept(copy, value):
    def broken(pixels):
        return encode(pixels) + value

    said = r"NaN or values above float16's 65,504 for a frame among rows 0\.\.255 of .*/copy: use"
    with pytest.raises(episodes.DatasetError, match=said), np.errstate(over="ignore"):
        features.ensure(copy, broken, "e", SHAPE, quiet)
    assert features.ensure(copy, encode, "e", SHAPE, quiet) is not None


def test_in_a_folder_that_may_only_be_read_features_are_used_and_none_are_kept(copy, caplog):
    kept = features.ensure(copy, encode, "e", SHAPE, quiet)
    root = os.path.dirname(copy.folder)
    before = sorted(os.listdir(root))
    with rights.read_only(root):
        found = rights.without_root(lambda: features.ensure(copy, None, "e", SHAPE, quiet))
        assert np.array_equal(found, kept)
        other = rights.without_root(lambda: features.ensure(copy, encode, "f", SHAPE, quiet))
    assert other is None and sorted(os.listdir(root)) == before
    said = f"{root} cannot be written (Permission denied): features are computed for every batch"
    assert said in caplog.text


def test_an_interrupted_computation_is_done_again(copy):
    def dies(pixels):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.ensure(copy, dies, "e", SHAPE, quiet)
    assert features.ensure(copy, encode, "e", SHAPE, quiet) is not None


def test_one_makes_it_while_the_others_wait(tmp_path):
    made = []

    def make(part):
        time.sleep(0.2)
        made.append(part)

    def ask():
        assert atomic_dirs.once(str(tmp_path), "thing", make) == str(tmp_path / "thing")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and [p.name for p in tmp_path.iterdir()] == ["thing"]
