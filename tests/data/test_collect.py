"""Collection is reproducible, whole or absent, and safe beside another."""

import collections
import contextlib
import dataclasses
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import rights
import started

from harness.data import atomic_dirs, collect, episodes
from harness.tasks.toy import Toy, Wanderer
from harness.tasks.two_room import TwoRoom

CONFIG = collect.DataConfig(episodes=70, max_steps=20, image_size=16)


def test_a_present_dataset_is_used_and_another_config_is_another_folder(tmp_path, monkeypatch):
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path))
    monkeypatch.setattr(collect, "_collect", None)
    assert collect.ensure(Toy(), CONFIG, str(tmp_path)) == folder
    monkeypatch.undo()
    other = collect.ensure(Toy(), dataclasses.replace(CONFIG, seed=9), str(tmp_path))
    assert other != folder
    assert episodes.open_dataset(other).hash != episodes.open_dataset(folder).hash
    assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, (folder, other)))


def test_recorded_actions_reproduce_the_recorded_states(dataset):
    task = {"toy": Toy(), "two_room": TwoRoom()}[dataset.manifest.task]
    for i in (0, 69):
        episode = dataset.episode(i)
        simulator = task.simulator(1, dataset.image_size)
        simulator.set_state(episode.state[:1])
        for t in range(len(episode.state)):
            assert np.array_equal(simulator.state()[0], episode.state[t])
            assert np.array_equal(simulator.proprio()[0], episode.proprio[t])
            assert np.array_equal(simulator.render()[0], episode.pixels[t])
            simulator.step(episode.actions[t : t + 1])


def test_episodes_end_at_the_target_or_at_the_limit(tmp_path):
    config = dataclasses.replace(CONFIG, max_steps=150)
    dataset = episodes.open_dataset(collect.ensure(TwoRoom(), config, str(tmp_path)))
    assert dataset.lengths.max() == 150 and dataset.lengths.min() < 100
    assert len(np.unique(dataset.lengths)) > 10


def test_the_split_is_disjoint_and_complete(dataset):
    parts = [dataset.split(name) for name in episodes.SPLITS]
    assert [len(part) for part in parts] == [56, 7, 7]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(70))


class FamilyToy(Toy):
    """Toy with five initial-condition families."""

    def collector(self, rng, n):
        return FamilyWanderer(rng, n)


class FamilyWanderer(Wanderer):
    def start(self):
        state, _ = super().start()
        return state, np.arange(len(state)) % 5


def test_the_split_never_divides_a_family(tmp_path):
    dataset = episodes.open_dataset(collect.ensure(FamilyToy(), CONFIG, str(tmp_path)))
    homes = collections.defaultdict(set)
    for name in episodes.SPLITS:
        for i in dataset.split(name):
            homes[dataset.episode(i).family].add(name)
    assert sorted(homes) == [0, 1, 2, 3, 4]
    assert all(len(names) == 1 for names in homes.values())
    assert set().union(*homes.values()) == set(episodes.SPLITS)


def test_an_interrupted_collection_goes_on_where_it_was(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    config = dataclasses.replace(CONFIG, episodes=3 * collect.CHUNK_EPISODES)
    whole = collect.ensure(Toy(), config, str(tmp_path / "whole"))
    recorded, record = [], collect._record

    def interrupted(task, config, part, chunk):
        if len(recorded) == 2:
            raise KeyboardInterrupt
        recorded.append(chunk)
        return record(task, config, part, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(collect, "_record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect.ensure(Toy(), config, str(tmp_path / "own"))
    (left,) = (tmp_path / "own").iterdir()
    with pytest.raises(episodes.DatasetError, match=r"there is no manifest.json"):
        episodes.open_dataset(str(left))
    again = []
    monkeypatch.setattr(collect, "_record", lambda *a: again.append(a[-1]) or record(*a))
    folder = collect.ensure(Toy(), config, str(tmp_path / "own"))
    assert (recorded, again) == ([0, 1], [2]) and "64 episodes left" in caplog.text
    assert os.listdir(tmp_path / "own") == [os.path.basename(folder)]
    assert sorted(os.listdir(folder)) == sorted(os.listdir(whole))
    assert episodes.open_dataset(folder).manifest == episodes.open_dataset(whole).manifest


def test_a_shard_that_was_cut_off_is_recorded_again(tmp_path, monkeypatch):
    def killed(folder, manifest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(episodes, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            collect.ensure(Toy(), CONFIG, str(tmp_path / "own"))
    (shard, _) = sorted((tmp_path / "own").glob(".toy-*.part/*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-8])
    own = episodes.open_dataset(collect.ensure(Toy(), CONFIG, str(tmp_path / "own"), workers=2))
    other = episodes.open_dataset(collect.ensure(Toy(), CONFIG, str(tmp_path / "other")))
    assert own.manifest == other.manifest


def test_a_folder_in_which_another_process_collects_is_left_alone(tmp_path):
    name = "toy-0123"
    root = str(tmp_path)
    with atomic_dirs.claimed(root, name) as first, atomic_dirs.claimed(root, name) as second:
        assert first != second
    with atomic_dirs.claimed(root, name) as third:
        assert third in (first, second)
    with pytest.raises(FileNotFoundError), atomic_dirs.claimed(root, name):
        raise FileNotFoundError  # what goes wrong inside is not taken for a missing folder


def test_a_collection_killed_outright_leaves_nothing_that_opens(tmp_path):
    code = (
        "import sys; from harness.data import collect; from harness.tasks.toy import Toy;"
        "collect.ensure(Toy(), collect.DataConfig(episodes=20000, image_size=8), sys.argv[1])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".toy-*.part/*.arrow")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part")
    with pytest.raises(episodes.DatasetError, match=r"there is no manifest.json"):
        episodes.open_dataset(str(left))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_workers_of_a_collection_end_with_it(tmp_path, number):
    code = (
        "import sys; from harness.data import collect; from harness.tasks.toy import Toy\n"
        "if __name__ == '__main__':\n"
        "    config = collect.DataConfig(episodes=100000, image_size=8)\n"
        "    collect.ensure(Toy(), config, sys.argv[1], workers=2)\n"
    )
    (tmp_path / "code.py").write_text(code)
    words = [str(tmp_path / "code.py"), str(tmp_path / "data")]
    with started.process(words, tmp_path / "said", PYTHONPATH=str(started.ROOT)) as process:
        while not list(tmp_path.glob("data/.toy-*.part/*.arrow")):
            assert process.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.01)
        workers = [p for p in started.descendants(process.pid) if "spawn_main" in str(p.cmdline())]
        for worker in workers:  # a terminal sends Ctrl-C to all; they would each show a traceback
            status = Path("/proc", str(worker.pid), "status").read_text()
            assert int(status.split("SigBlk:")[1].split()[0], 16) & 1 << (signal.SIGINT - 1)
        process.send_signal(number)
        process.wait(10)
        assert len(workers) == 2 and psutil.wait_procs(workers, timeout=5)[1] == []


def test_what_a_sudden_death_leaves_is_not_a_dataset_and_goes_after_a_week(tmp_path, caplog):
    part = tmp_path / ".toy-0123.abcd.part"
    part.mkdir()
    (part / "00000.arrow").write_bytes(b"half")
    with pytest.raises(episodes.DatasetError, match=r"there is no manifest.json"):
        episodes.open_dataset(str(part))
    collect.ensure(Toy(), CONFIG, str(tmp_path))
    assert part.exists()  # it may be alive in another process
    age(part)
    collect.ensure(Toy(), dataclasses.replace(CONFIG, seed=5), str(tmp_path))
    assert not part.exists() and "killed process" in caplog.text


def age(folder):
    """As if nothing had been written into it for eight days."""
    then = time.time() - 8 * 86400
    os.utime(folder, (then, then))


def test_what_is_being_made_or_goes_on_now_is_never_too_old(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), atomic_dirs.claimed(str(tmp_path), "mine") as part:
        raise KeyboardInterrupt
    with atomic_dirs.claimed(str(tmp_path), "other") as other:

        def make(features):
            for folder in (part, other, features):
                age(folder)
            with atomic_dirs.claimed(str(tmp_path), "mine") as again:
                assert again == part
            assert os.path.isdir(features) and os.path.isdir(other)

        atomic_dirs.once(str(tmp_path), "features-0123", make)


def test_a_dataset_that_is_about_to_be_published_is_not_taken_up(tmp_path, monkeypatch):
    rename, taken = os.rename, []

    def slow(part, folder):
        if part.endswith(".part") and os.path.isdir(part):
            with atomic_dirs.claimed(str(tmp_path), os.path.basename(folder)) as other:
                taken.append(other == part)
        rename(part, folder)

    monkeypatch.setattr(os, "rename", slow)
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path))
    assert taken == [False]
    assert sorted(os.listdir(folder)) == ["00000.arrow", "00001.arrow", "manifest.json"]


def test_a_collection_that_ended_before_its_last_rename_is_published(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(collect, "_publish", lambda *_: signal.raise_signal(signal.SIGINT))
        collect.ensure(Toy(), CONFIG, str(tmp_path))
    monkeypatch.setattr(collect, "_record", None)
    episodes.open_dataset(collect.ensure(Toy(), CONFIG, str(tmp_path)))


def test_of_two_collections_at_once_one_wins(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    rival = collect.ensure(Toy(), CONFIG, str(tmp_path / "rival"))
    collected = collect._collect

    def slow(*args):
        collected(*args)
        shutil.copytree(rival, tmp_path / "own" / os.path.basename(rival))

    monkeypatch.setattr(collect, "_collect", slow)
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path / "own"))
    assert "another process" in caplog.text
    assert os.listdir(tmp_path / "own") == [os.path.basename(folder)]
    episodes.open_dataset(folder)


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(OSError, match=r"disk full.* bytes are needed and 1,000 are free.*toy-"):
            collect.ensure(Toy(), CONFIG, str(tmp_path))

    def full(folder, file, columns, storage):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(episodes, "write_shard", full)
    with pytest.raises(OSError, match="disk full") as caught:
        collect.ensure(Toy(), CONFIG, str(tmp_path))
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []


def test_room_is_asked_for_what_is_missing(tmp_path, monkeypatch):
    """With room for one chunk of two, the rest of an interrupted collection fits, and lz4 does."""
    config = dataclasses.replace(CONFIG, episodes=2 * collect.CHUNK_EPISODES)
    record, usage = collect._record, shutil.disk_usage(tmp_path)

    def interrupted(task, config, part, chunk):
        if chunk:
            raise KeyboardInterrupt
        return record(task, config, part, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(collect, "_record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect.ensure(Toy(), config, str(tmp_path / "own"))
    chunk = collect.CHUNK_EPISODES * 20 * (12 + 8 * 2 + 4 * 2 + 4 * 2 + 3 * 16**2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=chunk))
    with pytest.raises(OSError, match=rf"about {2 * chunk:,} bytes"):
        collect.ensure(Toy(), config, str(tmp_path / "other"))
    assert not os.listdir(tmp_path / "other")
    collect.ensure(Toy(), config, str(tmp_path / "own"))
    lz4 = dataclasses.replace(config, storage="lz4")
    collect.ensure(Toy(), lz4, str(tmp_path / "other"))


def test_a_folder_without_manifest_is_an_error(tmp_path):
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path))
    os.remove(os.path.join(folder, episodes.MANIFEST))
    with pytest.raises(episodes.DatasetError, match="delete the folder"):
        collect.ensure(Toy(), CONFIG, str(tmp_path))


def test_a_folder_with_another_dataset_says_what_differs(tmp_path):
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path))
    other = dataclasses.replace(CONFIG, seed=9, episodes=30)
    os.rename(folder, collect._folder(Toy(), other, str(tmp_path)))
    said = r"holds another dataset \(episodes is 70 instead of 30, seed is 0 instead of 9\); delete"
    with pytest.raises(episodes.DatasetError, match=said):
        collect.ensure(Toy(), other, str(tmp_path))


def test_what_lies_in_a_folder_that_may_only_be_read_is_used(tmp_path):
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path))
    with rights.read_only(tmp_path, folder):
        found = rights.without_root(lambda: collect.ensure(Toy(), CONFIG, str(tmp_path)))
        dataset = rights.without_root(lambda: episodes.open_dataset(found))
    assert found == folder and dataset.read_pixels([0]).any()


@pytest.mark.parametrize("below", ["", "not/there/yet"])
def test_what_is_missing_in_a_folder_that_may_only_be_read_says_what_to_do(tmp_path, below):
    root = str(tmp_path / below)
    name = os.path.basename(collect._folder(Toy(), CONFIG, root))
    with rights.read_only(tmp_path), pytest.raises(atomic_dirs.NotWritable) as caught:
        rights.without_root(lambda: collect.ensure(Toy(), CONFIG, root))
    assert str(caught.value) == (
        f"{name} is missing and {root} cannot be written: Permission denied. Give another "
        f"datasets=FOLDER"
    )


@pytest.mark.parametrize("hidden", ["", episodes.MANIFEST, "00001.arrow"])
def test_what_may_not_be_read_is_not_to_be_deleted(tmp_path, hidden):
    folder = collect.ensure(Toy(), CONFIG, str(tmp_path))
    path = os.path.join(folder, hidden)
    mode = os.stat(path).st_mode
    os.chmod(path, 0)

    def opened():
        return episodes.open_dataset(collect.ensure(Toy(), CONFIG, str(tmp_path)))

    try:
        with pytest.raises(
            episodes.DatasetError, match=r"cannot be read \(.*Permission denied"
        ) as caught:
            rights.without_root(opened)
    finally:
        os.chmod(path, mode)
    assert str(caught.value).endswith(
        "; ask for the right to read it, or give another datasets=FOLDER"
    )


def test_what_another_user_has_left_is_left_alone(tmp_path):
    """His interrupted collections of this dataset, and of another one long ago."""
    name = os.path.basename(collect._folder(Toy(), CONFIG, str(tmp_path)))
    left = [tmp_path / f".{name}.0123.part", tmp_path / ".toy-another.0123.part"]
    for part in left:
        part.mkdir()
        age(part)
    with rights.read_only(*left):
        folder = rights.without_root(lambda: collect.ensure(Toy(), CONFIG, str(tmp_path)))
    assert os.path.basename(folder) == name and all(part.is_dir() for part in left)


def test_a_damaged_note_of_a_shard_has_it_recorded_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(episodes, "write_manifest", lambda *_: signal.raise_signal(signal.SIGINT))
        collect.ensure(Toy(), CONFIG, str(tmp_path))
    first, second = sorted(tmp_path.glob(".toy-*.part/*.arrow"))
    first.with_name(f"{first.name}.json").write_text('{"shard"')
    second.unlink()
    found = episodes.open_dataset(collect.ensure(Toy(), CONFIG, str(tmp_path)))
    assert found.manifest.lengths == [20] * 70
