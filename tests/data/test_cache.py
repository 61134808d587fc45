"""Datasets in a store (here a folder by its URI), and machines with a cache each."""

import json
import logging
import multiprocessing
import os
import time

import pytest

from harness.data import cache, collect, features
from harness.data.episodes import DatasetError, open_dataset
from harness.tasks.toy import Toy

CONFIG = collect.DataConfig(episodes=3, max_steps=20, image_size=16)


@pytest.fixture
def store(tmp_path):
    """The URI of an empty store, and where it lies."""
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store/data", tmp_path / "store" / "data"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Goes on as the machine of this name."""
    return lambda name: monkeypatch.setenv(cache.VARIABLE, str(tmp_path / name))


def test_a_folder_stays_itself_and_a_uri_becomes_one_of_the_cache(tmp_path, machine, store):
    machine("a")
    assert cache.local("data") == "data"
    folder = cache.local(store[0])
    assert folder.startswith(str(tmp_path / "a")) and folder == cache.local(store[0])
    assert folder != cache.local(f"{store[0]}2") and not store[1].exists()


def test_data_are_collected_by_one_machine_and_copied_by_the_next(machine, store, monkeypatch):
    uri, folder = store
    machine("a")
    assert not collect.has(Toy(), CONFIG, uri)
    first = open_dataset(collect.ensure(Toy(), CONFIG, uri))
    (name,) = os.listdir(folder)  # no claim is left
    assert set(os.listdir(folder / name)) == {"manifest.json", "00000.arrow", cache.CHECKSUMS}
    machine("b")
    assert collect.has(Toy(), CONFIG, uri)
    monkeypatch.setattr(collect, "_collect", None)
    second = open_dataset(collect.ensure(Toy(), CONFIG, uri))
    assert second.folder != first.folder and second.hash == first.hash
    assert (second.state == first.state).all()


def test_tokens_of_a_frozen_encoder_are_computed_once(machine, store):
    encoded = []

    def encode(pixels):
        encoded.append(len(pixels))
        return pixels.reshape(len(pixels), 1, -1)[:, :, :4]

    tables = []
    for name in ("a", "b"):
        machine(name)
        dataset = open_dataset(collect.ensure(Toy(), CONFIG, store[0]))
        tables.append(features.ensure(dataset, encode, "e", (1, 4), lambda *_: None))
    assert sum(encoded) == len(tables[0]) and (tables[0] == tables[1]).all()


def test_what_the_store_has_takes_the_place_of_another_folder(machine, store):
    """As after a machine whose upload failed has made an encoder of its own."""
    machine("a")
    cache.once(cache.local(store[0]), "x", lambda part: write(part, "theirs"))
    machine("b")
    root = cache.local(store[0])
    write(os.path.join(root, "x"), "own")
    assert read(cache.once(root, "x", None)) == "theirs"


def test_damage_in_the_store_is_refused(machine, store):
    machine("a")
    cache.once(cache.local(store[0]), "x", lambda part: write(part, "right"))
    write(store[1] / "x", "wrong")
    machine("b")
    root = cache.local(store[0])
    with pytest.raises(DatasetError, match=r"data/x/f is not what checksums.json .* delete file:"):
        cache.once(root, "x", None)
    assert not os.path.exists(os.path.join(root, "x"))
    os.remove(store[1] / "x" / "f")
    with pytest.raises(DatasetError, match="has lost a file"):
        cache.once(root, "x", None)
    write(store[1] / "x", "right")
    assert read(cache.once(root, "x", None)) == "right"


@pytest.mark.parametrize("name", ["../f", "/f", "a/../../f"])
def test_a_file_outside_the_folder_is_refused(machine, store, name):
    write(store[1] / "x", "")
    (store[1] / "x" / cache.CHECKSUMS).write_text(json.dumps({name: {"bytes": 0, "sha256": ""}}))
    machine("a")
    with pytest.raises(DatasetError, match="names a file outside it"):
        cache.once(cache.local(store[0]), "x", None)


def test_half_an_upload_is_made_again(machine, store):
    write(store[1] / "x", "half")
    machine("a")
    cache.once(cache.local(store[0]), "x", lambda part: write(part, "whole"))
    assert read(store[1] / "x") == "whole"


def test_a_dead_owner_s_claim_is_taken_over(machine, store, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cache, "_DEAD_S", 2.0)
    store[1].mkdir()
    (store[1] / "x.claim").write_text('{"owner": "dead", "beat": 3}')
    machine("a")
    began = time.monotonic()
    cache.once(cache.local(store[0]), "x", lambda part: write(part, "new"))
    assert time.monotonic() - began > 2 and read(store[1] / "x") == "new"
    assert "waiting for another machine to make file://" in caplog.text
    assert not (store[1] / "x.claim").exists()


def test_machines_that_start_at_once_make_it_once(store, tmp_path):
    context = multiprocessing.get_context("fork")
    names = ["a", "a", "b", "c"]  # two processes of one machine
    processes = [context.Process(target=make_slowly, args=(store[0], tmp_path, n)) for n in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "made").read_text() == "x"


def test_a_cache_that_cannot_be_written_names_the_variable(machine, store, tmp_path):
    (tmp_path / "a").write_text("a file")
    machine("a")
    with pytest.raises(OSError, match="set JEPA_BENCH_CACHE to a folder that can"):
        cache.local(store[0])


def make_slowly(uri, folder, name):
    os.environ[cache.VARIABLE] = str(folder / name)

    def make(part):
        time.sleep(1.5)
        with open(folder / "made", "a") as sink:
            sink.write("x")
        write(part, "made")

    assert read(cache.once(cache.local(uri), "x", make)) == "made"


def write(folder, text):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "f"), "w") as sink:
        sink.write(text)


def read(folder):
    with open(os.path.join(folder, "f")) as source:
        return source.read()
