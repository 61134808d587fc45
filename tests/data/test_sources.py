"""Bad files: one line that says what is wrong, nothing half-written, nothing finished lost."""

import dataclasses
import errno
import os
import pickle
import shutil
import subprocess
import sys

import foreign
import h5py
import hdf5plugin
import numpy as np
import pytest
import started
import torch

from harness import zoo
from harness.data import collect, episodes, importing, sources
from harness.data.episodes import DatasetError

CONFIG = collect.DataConfig(episodes=100, max_steps=200, image_size=16, validation=0, test=0)
PUSH_T = zoo.TASKS["push_t"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Push-T's columns of four episodes of ten steps."""
    root = tmp_path_factory.mktemp("own")
    ours = foreign.recorded("push_t", root, episodes=4, steps=10, size=16)
    return foreign.all_columns("push_t", ours, True)


def refused(place, root, task="push_t", **changes):
    """The one line with which an import is refused; nothing is left of it."""
    config = dataclasses.replace(CONFIG, source=str(place), **changes)
    with pytest.raises(DatasetError) as caught:
        collect.ensure(zoo.TASKS[task], config, str(root))
    assert "\n" not in str(caught.value) and os.listdir(root) == []
    return str(caught.value)


def test_a_truncated_file(tmp_path, found):
    file = foreign.hdf5(tmp_path / "a.h5", found)
    whole = os.path.getsize(file)
    os.truncate(file, whole // 2)
    assert "cannot be opened" in refused(file, tmp_path / "data")


def test_a_filter_that_is_missing_is_named_although_all_else_reads(tmp_path, found):
    file = foreign.hdf5(tmp_path / "a.h5", found, **foreign.blosc())
    code = hdf5plugin.BLOSC_ID.to_bytes(2, "little")
    with open(file, "rb") as source:
        text = source.read()
    assert text.count(code) >= 1 and h5py.h5z.filter_avail(hdf5plugin.BLOSC_ID)
    unknown = 32999
    at = text.index(code, text.index(b"blosc") - 16)  # in front of the filter's name
    with open(file, "r+b") as sink:
        sink.seek(at)
        sink.write(unknown.to_bytes(2, "little"))
    source = sources.open_source(file)
    assert source.read("state", 0, 0, 2).shape == (2, 7)
    said = refused(file, tmp_path / "data")
    assert f"pixels is compressed by filter {unknown} (blosc)" in said and "pip install" in said


@pytest.mark.parametrize("task", ["two_room", "reacher", "cube"])
def test_another_tasks_file_says_what_it_has(tmp_path, found, task):
    file = foreign.hdf5(tmp_path / "a.h5", found)
    said = refused(file, tmp_path / "data", task)
    label = zoo.TASKS[task].spec.label
    assert f"is no {label} data: its state would be" in said and "state (7)" in said


def test_a_state_of_another_width(tmp_path, found):
    narrow = [e | {"state": e["state"][:, :5]} for e in found]
    said = refused(foreign.hdf5(tmp_path / "a.h5", narrow), tmp_path / "data")
    assert "its state would be state (7), and it has" in said and "state (5)" in said


def test_actions_of_another_width(tmp_path, found):
    wide = [e | {"action": np.repeat(e["action"], 2, axis=1)} for e in found]
    said = refused(foreign.hdf5(tmp_path / "a.h5", wide), tmp_path / "data")
    assert "action has width 4, not 2" in said


def test_an_action_that_is_missing_inside_an_episode(tmp_path, found):
    holes = [e | {"action": e["action"].copy()} for e in found]
    holes[2]["action"][4] = np.nan
    said = refused(foreign.hdf5(tmp_path / "a.h5", holes), tmp_path / "data")
    assert "action is NaN or infinite in row 4 of episode 2" in said


def test_a_state_that_is_not_a_number(tmp_path, found):
    holes = [e | {"state": e["state"].copy()} for e in found]
    holes[1]["state"][-1, 3] = np.inf
    said = refused(foreign.hdf5(tmp_path / "a.h5", holes), tmp_path / "data")
    assert "its state is NaN or infinite in row 9 of episode 1" in said


@pytest.mark.parametrize("name", ["missing.h5", "a.txt", "empty"])
def test_a_place_that_is_no_source(tmp_path, name):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    said = refused(tmp_path / name, tmp_path / "data")
    assert "does not exist" in said or "HDF5 (FILE.h5" in said


def test_a_file_without_pictures_or_episodes(tmp_path, found):
    blind = [{k: v for k, v in e.items() if k != "pixels"} for e in found]
    assert "has no pictures" in refused(foreign.hdf5(tmp_path / "a.h5", blind), tmp_path / "data")
    file = foreign.hdf5(tmp_path / "b.h5", found, "number", offsets=False)
    assert "does not say where episodes begin" in refused(file, tmp_path / "data")


def test_episodes_whose_rows_do_not_lie_together(tmp_path, found):
    file = foreign.hdf5(tmp_path / "a.h5", found, offsets=False)
    with h5py.File(file, "r+") as sink:
        sink["episode_idx"][-1] = 0
    assert "do not lie together" in refused(file, tmp_path / "data")


def test_a_picture_that_is_no_jpeg(tmp_path, found):
    place = foreign.folder(tmp_path / "a", found)
    (tmp_path / "a" / "pixels" / "ep_2_step_3.jpeg").write_bytes(b"no picture")
    assert "ep_2_step_3.jpeg: a picture cannot be read" in refused(place, tmp_path / "data")
    os.remove(tmp_path / "a" / "pixels" / "ep_2_step_3.jpeg")
    assert "ep_2_step_3.jpeg is missing" in refused(place, tmp_path / "data")


class Harmful:
    def __reduce__(self):
        return os.system, ("true",)


def test_nothing_is_unpickled(tmp_path, found):
    pytest.importorskip("av")
    place = foreign.dino_wm(tmp_path / "a", found)
    (tmp_path / "a" / "seq_lengths.pkl").write_bytes(pickle.dumps(Harmful()))
    assert "which is not loaded" in refused(place, tmp_path / "data")
    (tmp_path / "a" / "seq_lengths.pkl").write_bytes(pickle.dumps(np.full(4, 10)))
    assert sources.open_source(place).lengths.tolist() == [10] * 4
    torch.save(Harmful(), tmp_path / "a" / "states.pth")
    assert "states.pth cannot be read" in refused(place, tmp_path / "data")


def test_a_format_whose_package_is_missing_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.lance").mkdir()
    monkeypatch.setitem(sys.modules, "lance", None)
    assert "pip install pylance" in refused(tmp_path / "a.lance", tmp_path / "data")


def test_a_table_that_is_damaged(tmp_path):
    pytest.importorskip("lance")
    (tmp_path / "a.lance").mkdir()
    assert "cannot be opened" in refused(tmp_path / "a.lance", tmp_path / "data")


def small_shards(monkeypatch):
    """One episode a shard."""
    monkeypatch.setattr(importing, "SHARD_BYTES", 3 * 16**2 * 10)


def test_a_full_disk_keeps_whole_shards_and_the_import_goes_on(tmp_path, found, monkeypatch):
    small_shards(monkeypatch)
    file = foreign.hdf5(tmp_path / "a.h5", found)
    config = dataclasses.replace(CONFIG, source=file)
    write = episodes.write_shard

    def full(folder, name, *rest):
        if name == "00002.arrow":
            (tmp_path / "data" / folder / name).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(folder, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(episodes, "write_shard", full)
        with pytest.raises(OSError, match="disk full") as caught:
            collect.ensure(PUSH_T, config, str(tmp_path / "data"))
    assert "\n" not in str(caught.value)
    (part,) = (tmp_path / "data").iterdir()
    assert sorted(p.name for p in part.glob("*.arrow")) == ["00000.arrow", "00001.arrow"]
    read = []
    pictures = sources.hdf5.HDF5.pictures
    monkeypatch.setattr(sources.hdf5.HDF5, "pictures", lambda *a: read.append(a[1]) or pictures(*a))
    folder = collect.ensure(PUSH_T, config, str(tmp_path / "data"))
    assert read == [2, 3] and len(episodes.open_dataset(folder).lengths) == 4
    assert os.listdir(tmp_path / "data") == [os.path.basename(folder)]


def test_what_was_read_of_another_file_of_that_name_is_read_again(tmp_path, found, monkeypatch):
    small_shards(monkeypatch)
    file = foreign.hdf5(tmp_path / "a.h5", found)
    config = dataclasses.replace(CONFIG, source=file)
    record = collect._record

    def interrupted(task, config, part, chunk):
        if chunk == 2:
            raise KeyboardInterrupt
        return record(task, config, part, chunk)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(collect, "_record", interrupted)
        collect.ensure(PUSH_T, config, str(tmp_path / "data"))
    found = [e | {"pixels": 255 - e["pixels"]} for e in found[:1]]
    foreign.hdf5(file, found)
    folder = collect.ensure(PUSH_T, config, str(tmp_path / "data"))
    shown = episodes.open_dataset(folder).read_pixels(np.arange(10)).transpose(0, 2, 3, 1)
    assert np.array_equal(shown, found[0]["pixels"])
    assert sorted(os.listdir(folder)) == ["00000.arrow", "manifest.json"]


def test_a_file_that_has_changed_since_its_import_is_noticed_and_one_that_is_gone_is_not_missed(
    tmp_path, found
):
    file = foreign.hdf5(tmp_path / "a.h5", found)
    config = dataclasses.replace(CONFIG, source=file)
    folder = collect.ensure(PUSH_T, config, str(tmp_path))
    assert collect.ensure(PUSH_T, config, str(tmp_path)) == folder
    foreign.hdf5(file, found[:3])
    with pytest.raises(DatasetError, match=r"has changed since it was imported: delete .*push_t-"):
        collect.ensure(PUSH_T, config, str(tmp_path))
    os.remove(file)
    assert collect.ensure(PUSH_T, config, str(tmp_path)) == folder


def test_an_import_that_is_killed_goes_on(tmp_path, found):
    file = foreign.hdf5(tmp_path / "a.h5", found * 40)
    code = (
        "import sys; from harness.data import collect, importing; from harness import zoo\n"
        "importing.SHARD_BYTES = 3 * 16**2 * 10\n"
        "config = collect.DataConfig(999, 99, 16, validation=0, test=0, source=sys.argv[1])\n"
        "collect.ensure(zoo.TASKS['push_t'], config, sys.argv[2])\n"
    )
    words = [sys.executable, "-c", code, file, str(tmp_path / "data")]
    process = subprocess.Popen(words, cwd=started.ROOT)
    while not list((tmp_path / "data").glob(".push_t-*.part/*.json")) and process.poll() is None:
        pass
    process.kill()
    process.wait()
    (part,) = (tmp_path / "data").iterdir()
    assert part.name.endswith(".part")
    done = len(list(part.glob("*.arrow.json")))
    assert 0 < done < 160
    again = subprocess.run(words, cwd=started.ROOT, capture_output=True, text=True, check=True)
    (folder,) = (tmp_path / "data").iterdir()
    assert len(episodes.open_dataset(str(folder)).lengths) == 160, again.stderr


def test_room_for_an_import_is_asked_for_first(tmp_path, found, monkeypatch):
    file = foreign.hdf5(tmp_path / "a.h5", found)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"disk full.* bytes are needed and 1,000 are free"):
        collect.ensure(PUSH_T, dataclasses.replace(CONFIG, source=file), str(tmp_path / "data"))
    assert os.listdir(tmp_path / "data") == []
