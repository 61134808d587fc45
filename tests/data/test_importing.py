"""Other people's files become datasets: equal states, actions and pictures, in every format."""

import dataclasses
import importlib.util
import io

import foreign
import numpy as np
import pytest
from PIL import Image

from harness import zoo
from harness.data import collect, episodes, importing, normalize, sources
from harness.data.episodes import DatasetError
from harness.data.windows import Windows

CONFIG = collect.DataConfig(
    episodes=100, max_steps=200, image_size=32, source="?", validation=0, test=0
)
VIDEO = 24  # of 255, the largest difference of the video of these pictures
FILTERS = {"plain": {}, "gzip": {"compression": "gzip"}, "blosc": foreign.blosc()}


@pytest.fixture(scope="module")
def push_t(tmp_path_factory):
    """Sixteen episodes of 30 steps; four start alike."""
    return foreign.recorded("push_t", tmp_path_factory.mktemp("own"), episodes=16)


def imported(place, root, task="push_t", **changes):
    config = dataclasses.replace(CONFIG, source=str(place), **changes)
    return episodes.open_dataset(collect.ensure(zoo.TASKS[task], config, str(root)))


def check(theirs, ours, task="push_t", nan_last=False, state_error=0.0, packed=lambda p: p):
    """The imported dataset has our rows, and our pictures as they are when they were `packed`."""
    assert theirs.lengths.tolist() == ours.lengths.tolist()
    known = {"push_t": slice(0, 7), "cube": slice(0, 46)}.get(task, slice(None))
    assert np.abs(theirs.state - ours.state)[:, known].max() <= state_error
    last = np.zeros(len(ours.state), bool)
    last[ours.first_row + ours.lengths - 1] = nan_last
    assert np.array_equal(theirs.acted, ~last)
    assert np.abs(theirs.actions - ours.actions)[~last].max() < 1e-6
    assert not theirs.actions[last].any()
    assert np.allclose(theirs.proprio, ours.proprio, atol=1e-4)
    rows = np.arange(len(ours.state))
    pictures = packed(ours.read_pixels(rows).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(theirs.read_pixels(rows), pictures)


def by_jpeg(pictures):
    """Pictures after stable-worldmodel's lossy compression."""
    return np.stack([np.asarray(Image.open(io.BytesIO(foreign.jpeg(p)))) for p in pictures])


F32 = 2e-5  # px: the state of these files is float32


@pytest.mark.parametrize("nan_last", [True, False], ids=["nan last row", "real last action"])
@pytest.mark.parametrize("column", sources.interface.EPISODE_COLUMNS)
@pytest.mark.parametrize("filters", FILTERS)
def test_hdf5_is_read_with_and_without_filters(tmp_path, push_t, filters, column, nan_last):
    found = foreign.all_columns("push_t", push_t, nan_last)
    file = foreign.hdf5(tmp_path / "a.h5", found, column, nan_last, **FILTERS[filters])
    check(imported(file, tmp_path / "data"), push_t, nan_last=nan_last, state_error=F32)


def test_hdf5_and_lance_are_read_from_a_uri(tmp_path, push_t):
    found = foreign.all_columns("push_t", push_t, nan_last=True)
    file = foreign.hdf5(tmp_path / "a.h5", found)
    theirs = imported(f"file://{file}", tmp_path / "data", episodes=3)
    chosen = theirs.manifest.collector_parameters["episodes"]
    assert np.array_equal(theirs.episode(2).pixels, push_t.episode(chosen[2]).pixels)
    if importlib.util.find_spec("lance"):
        table = foreign.lance_table(tmp_path / "a.lance", found)
        again = imported(f"file://{table}", tmp_path / "data", episodes=3)
        assert again.manifest.collector_parameters["episodes"] == chosen


def test_lance_is_read(tmp_path, push_t):
    pytest.importorskip("lance")
    found = foreign.all_columns("push_t", push_t, nan_last=True)
    table = foreign.lance_table(tmp_path / "a.lance", found)
    theirs = imported(table, tmp_path / "data")
    check(theirs, push_t, nan_last=True, state_error=F32, packed=by_jpeg)


def test_the_folder_is_read(tmp_path, push_t):
    found = foreign.all_columns("push_t", push_t, nan_last=True)
    place = foreign.folder(tmp_path / "a", found)
    theirs = imported(place, tmp_path / "data")
    check(theirs, push_t, nan_last=True, state_error=F32, packed=by_jpeg)


def test_dino_wms_folder_is_read_and_its_held_out_part_is_the_test_split(tmp_path, push_t):
    pytest.importorskip("av")
    found = foreign.all_columns("push_t", push_t, nan_last=False)
    foreign.dino_wm(tmp_path / "pusht_noise" / "train", found[:14])
    foreign.dino_wm(tmp_path / "pusht_noise" / "val", found[14:])
    theirs = imported(tmp_path / "pusht_noise", tmp_path / "data")
    shown = theirs.read_pixels(np.arange(480))
    check(theirs, push_t, state_error=F32, packed=lambda _: shown.transpose(0, 2, 3, 1))
    assert np.abs(shown.astype(int) - push_t.read_pixels(np.arange(480))).max() <= VIDEO
    starts = [tuple(episode["state"][0]) for episode in found]
    held_out = [i for i, start in enumerate(starts) if start in starts[14:]]
    assert theirs.split("test").tolist() == held_out and {14, 15} < set(held_out)
    few = imported(tmp_path / "pusht_noise", tmp_path / "data", episodes=4)
    assert len(few.lengths) == 4 and 1 <= len(few.split("test")) < 4
    one = imported(tmp_path / "pusht_noise" / "train", tmp_path / "data", test=0.25)
    assert len(one.lengths) == 14 and len(one.split("test"))


@pytest.mark.parametrize("task", ["two_room", "reacher", "cube"])
def test_the_columns_of_each_task_give_its_states(tmp_path, task):
    size = 16
    ours = foreign.recorded(task, tmp_path / "own", episodes=2, steps=12, size=size)
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns(task, ours, True), "ep_idx")
    theirs = imported(file, tmp_path / "data", task, image_size=size)
    check(theirs, ours, task, nan_last=True, state_error={"two_room": F32}.get(task, 1e-12))


def test_a_cube_file_without_observation_has_the_effectors_pose_of_its_positions(tmp_path):
    ours = foreign.recorded("cube", tmp_path / "own", episodes=1, steps=8, size=16)
    (found,) = foreign.all_columns("cube", ours, True)
    del found["observation"]
    theirs = imported(foreign.hdf5(tmp_path / "a.h5", [found]), tmp_path, "cube", image_size=16)
    assert np.array_equal(theirs.state[:, :41], ours.state[:, :41])
    assert np.abs(theirs.state - ours.state)[:, 41:44].max() < 0.01  # m: of a physics step earlier


def test_pictures_are_brought_to_the_size_that_is_wanted_by_the_mean_of_areas(tmp_path, push_t):
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", push_t, True))
    small = imported(file, tmp_path, image_size=16)
    rows = np.arange(len(push_t.state))
    means = push_t.read_pixels(rows).reshape(-1, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    assert np.abs(small.read_pixels(rows) - means).max() <= 1  # Pillow rounds twice


def test_a_part_of_a_file_is_drawn_by_the_seed_and_cut_at_max_steps(tmp_path, push_t, monkeypatch):
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", push_t, True))
    some = imported(file, tmp_path, episodes=3, max_steps=20)
    chosen = some.manifest.collector_parameters["episodes"]
    assert len(chosen) == 3 and chosen == sorted(chosen) and some.lengths.tolist() == [20] * 3
    assert some.acted.all()  # the row without an action was cut off
    for i, episode in enumerate(chosen):
        assert np.array_equal(some.episode(i).pixels, push_t.episode(episode).pixels[:20])
    other = imported(file, tmp_path, episodes=3, max_steps=20, seed=1)
    assert other.manifest.collector_parameters["episodes"] != chosen
    read = []
    pictures = sources.hdf5.HDF5.pictures
    monkeypatch.setattr(sources.hdf5.HDF5, "pictures", lambda *a: read.append(a[1]) or pictures(*a))
    again = imported(file, tmp_path / "again", episodes=3, max_steps=20)
    assert read == chosen and again.hash == some.hash


def test_the_normaliser_is_of_the_training_split_or_of_the_whole_file(tmp_path, push_t):
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", push_t, True))
    some = imported(file, tmp_path, episodes=4)
    last = push_t.first_row + push_t.lengths - 1
    everything = np.delete(push_t.actions, last, axis=0).astype(np.float64)
    whole = normalize.fit(some, "file")
    assert whole.action_mean == pytest.approx(everything.mean(axis=0), abs=1e-6)
    assert whole.action_std == pytest.approx(everything.std(axis=0), rel=1e-5)  # ddof 0
    rows = some.split_rows("train")
    train = some.actions[rows[some.acted[rows]]]
    assert normalize.fit(some).action_std == pytest.approx(train.std(axis=0), rel=1e-5)
    assert np.abs(whole.action_std - normalize.fit(some).action_std).max() > 1e-4
    moments = (0.5, 0.5), (2.0, 2.0)  # a file's own are known
    assert np.array_equal(normalize.fit(some, "released", moments).action_std, whole.action_std)
    assert list(normalize.fit(push_t, "released", moments).action_std) == [2.0, 2.0]
    unknown = normalize.fit(push_t, "released", None)
    assert np.array_equal(unknown.action_std, normalize.fit(push_t, "file").action_std)
    one, other = (dataclasses.replace(CONFIG, normalizer=n) for n in ("train", "file"))
    task = zoo.TASKS["push_t"]
    assert collect._folder(task, one, "") == collect._folder(task, other, "")


def test_no_window_has_the_action_that_is_missing(tmp_path, push_t):
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", push_t, True))
    theirs = imported(file, tmp_path)
    normalizer = normalize.fit(theirs)
    windows = Windows(theirs, "train", 2, 5, normalizer)
    assert len(windows) == len(theirs.split("train")) * (30 - 1 - 10 + 1)
    window = windows.take(np.arange(len(windows)))
    actions = normalizer.decode_actions(window.batch.actions).reshape(len(windows), 10, 2)
    rows = push_t.first_row[window.episode] + window.start
    for t in range(10):
        assert np.allclose(actions[:, t], push_t.actions[rows + t], atol=1e-5)


def test_actions_beyond_the_bounds_survive_and_a_replay_clips_them(tmp_path, push_t):
    found = foreign.all_columns("push_t", push_t, True)
    found[0]["action"][3] = (1.5, -2.0)
    theirs = imported(foreign.hdf5(tmp_path / "a.h5", found), tmp_path)
    assert theirs.actions[3].tolist() == [1.5, -2.0]
    simulators = [zoo.TASKS["push_t"].simulator(1, 8) for _ in range(2)]
    for simulator, action in zip(simulators, ([1.5, -2.0], [1.0, -1.0]), strict=True):
        simulator.set_state(theirs.state[3:4])
        simulator.step(np.array([action]))
    assert np.array_equal(simulators[0].state(), simulators[1].state())


def test_episodes_with_one_start_are_a_family_and_never_divided(tmp_path, push_t):
    found = foreign.all_columns("push_t", push_t, True)
    for i, episode in enumerate(found):
        episode["state"][0, 0] = 100 + i % 4
    theirs = imported(foreign.hdf5(tmp_path / "a.h5", found), tmp_path, test=0.25, validation=0.25)
    families = np.array(theirs.manifest.families)
    assert families.tolist() == [0, 1, 2, 3] * 4
    assert theirs.manifest.collector_parameters["families"] == "episodes with one initial state"
    for name in episodes.SPLITS:
        ids = theirs.split(name)
        assert len(ids) == 4 * len(set(ids % 4)) > 0


def test_too_few_families_for_the_splits_are_refused(tmp_path, push_t):
    few = foreign.all_columns("push_t", push_t, True)[:8]
    for i, episode in enumerate(few):
        episode["state"][0] = i % 2
    file = foreign.hdf5(tmp_path / "a.h5", few)
    said = "8 episodes of 2 families cannot be divided into 3 splits: raise data.episodes, or give"
    with pytest.raises(DatasetError, match=said):
        imported(file, tmp_path / "data", test=0.1, validation=0.1)
    assert len(imported(file, tmp_path / "data", test=0.1).split("train")) == 4


def test_a_column_of_families_decides(tmp_path, push_t):
    found = foreign.all_columns("push_t", push_t, True)
    for i, episode in enumerate(found):
        episode["family"] = np.full((30, 1), i // 2)
    theirs = imported(foreign.hdf5(tmp_path / "a.h5", found), tmp_path)
    assert theirs.manifest.families == np.repeat(np.arange(8), 2).tolist()
    assert theirs.manifest.collector_parameters["families"] == "by the column family"


def test_shards_are_small_and_in_order(tmp_path, push_t, monkeypatch):
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", push_t, True))
    monkeypatch.setattr(importing, "SHARD_BYTES", 3 * 32**2 * 70)  # two episodes
    theirs = imported(file, tmp_path)
    assert [shard.rows for shard in theirs.manifest.shards] == [60] * 8
    check(theirs, push_t, nan_last=True, state_error=F32)


def test_an_import_does_not_depend_on_the_number_of_workers(tmp_path, push_t):
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", push_t, True))
    config = dataclasses.replace(CONFIG, source=file)
    folders = [
        collect.ensure(zoo.TASKS["push_t"], config, str(tmp_path / str(n)), n) for n in (1, 2)
    ]
    one, two = map(episodes.open_dataset, folders)
    assert one.manifest == two.manifest
