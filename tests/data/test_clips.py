"""Clips: what their events change and what they do not, and how they are kept on the disk."""

import os
import shutil

import numpy as np
import pytest
import rights
import tiny

from harness import zoo
from harness.data import clips, episodes, privileged
from harness.tasks import push_t_scene, two_room

SIZE_WORDS = ["data.image_size=24"]
CHANGED = {  # the part of a state that an event changes at its frame, by task and kind
    ("toy", "teleported"): [0, 1],
    ("toy", "action_ignored"): [0, 1],
    ("two_room", "teleported"): [0, 1],
    ("two_room", "wall_passed_through"): [0, 1],
    ("push_t", "teleported"): [2, 3, 4, 7, 8, 9],  # the tee
    ("push_t", "tee_passed_through"): [0, 1, 2, 3, 4, 7, 8, 9],  # not how the agent moves on
    ("reacher", "teleported"): [0, 1],
    ("reacher", "velocity_reversed"): [0, 1, 2, 3],
    ("cube", "teleported"): [*range(14, 21), *range(35, 41)],  # the cube
    ("cube", "action_ignored"): [*range(66)],
}


@pytest.fixture(scope="module", params=list(zoo.TASKS))
def drawn(request, datasets):
    """A task, its small dataset, and up to 6 clips of it."""
    task = zoo.TASKS[request.param]
    words = [*SIZE_WORDS, "data.test=0.4", "data.validation=0.3"]
    words.append(f"data.episodes={8 if task.spec.slow_to_draw else 24}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "COUNT", 6)
        data = tiny.dataset(tiny.spec("noop", *words, task=request.param), datasets)
        return task, data, clips.ensure(data, task, "plain", tiny.quiet)


def test_an_undisturbed_clip_is_what_was_recorded(drawn):
    task, data, found = drawn
    count, frames = found.state.shape[:2]
    assert count >= 2 and frames == 12 and found.event == 6
    held_out = [i for split in ("validation", "test") for i in data.split(split)]
    for i in range(count):
        span = (frames - 1) * task.spec.action_block
        ends = (data.state[:-span] == found.state[i, 0]) & (data.state[span:] == found.state[i, -1])
        row = np.flatnonzero(ends.all(1))[0]
        rows = row + np.arange(frames) * task.spec.action_block
        assert np.searchsorted(data.first_row, row, side="right") - 1 in held_out
        assert np.array_equal(data.state[rows], found.state[i])
        assert np.array_equal(data.proprio[rows], found.proprio[i])
        assert np.array_equal(data.read_pixels(rows), found.pixels[i])
        taken = data.actions[row : rows[-1]].reshape(frames - 1, -1)
        assert np.array_equal(taken, found.actions[i])


def test_an_event_changes_its_own_part_of_the_state_and_from_its_frame_on(drawn):
    task, _, found = drawn
    for kind, state, pixels in zip(found.kinds, found.event_state, found.event_pixels, strict=True):
        there, shown = found.state[:, found.event :], found.pixels[:, found.event :]
        assert state.shape == there.shape and pixels.shape == shown.shape
        assert (pixels[:, 0] != shown[:, 0]).any(axis=(1, 2, 3)).all(), kind
        if kind == "recoloured":
            assert np.array_equal(state, there)
            continue
        differs = np.flatnonzero((state[:, 0] != there[:, 0]).any(axis=0))
        assert len(differs) and set(differs) <= set(CHANGED[task.spec.name, kind]), kind
        assert (state[:, 0] != there[:, 0]).any(axis=1).all(), kind


def test_recolouring_changes_few_pixels_by_colour_alone(drawn):
    _, _, found = drawn
    own = found.event_pixels[found.kinds.index("recoloured")]
    differs = (own != found.pixels[:, found.event :]).any(axis=2)  # (n, F - e, size, size)
    assert 0 < differs.mean() < 0.2


def test_after_the_event_the_world_goes_its_usual_way(drawn):
    task, _, found = drawn
    block, event = task.spec.action_block, found.event
    for state in found.event_state:
        simulator = task.simulator(len(state), 16)
        simulator.set_state(np.array(state[:, 0]))
        for actions in found.actions[:, event].reshape(len(state), block, -1).transpose(1, 0, 2):
            simulator.step(actions)
        assert np.array_equal(simulator.state(), state[:, 1])
        simulator.close()


def legal(name, state):
    """Which states (..., S) an undisturbed episode could come to, as far as their numbers say."""
    if name == "two_room":
        x, y = state[..., 0], state[..., 1]
        beside = (x < two_room.ZONE_LEFT) | (x > two_room.ZONE_RIGHT)
        inside = ((state >= two_room.LOW) & (state <= two_room.HIGH)).all(-1)
        return inside & (beside | (np.abs(y - two_room.DOOR_Y) <= 15.75))
    if name == "push_t":
        gap = push_t_scene.tee_distance(state[..., 2:5], state[..., :2])
        return (gap >= 15) & push_t_scene.within_walls(state[..., 2:5], 0.0)
    if name == "reacher":
        return np.abs(state[..., 1]) < np.deg2rad(165)  # the limit is soft
    if name == "cube":
        return state[..., 16] > 0.015  # the cube's centre: on the table or above it
    return ((state >= 0) & (state <= 1)).all(-1)


def test_states_at_the_event_are_legal(drawn):
    task, _, found = drawn
    for kind, state in zip(found.kinds, found.event_state[:, :, 0], strict=True):
        assert kind == "recoloured" or legal(task.spec.name, state).all(), kind


def test_a_teleported_cube_lies_away_from_the_arm(drawn):
    task, _, found = drawn
    if task.spec.name != "cube":
        pytest.skip("has no cube")
    state = found.event_state[found.kinds.index("teleported"), :, 0]
    assert np.allclose(state[:, 16], 0.02)
    assert np.allclose(np.linalg.norm(state[:, 17:21], axis=1), 1)
    assert (np.linalg.norm(state[:, 14:16] - state[:, 41:43], axis=1) >= 0.1).all()


def test_clips_are_drawn_once_and_read_again(drawn, monkeypatch):
    task, data, found = drawn
    monkeypatch.setattr(clips, "COUNT", 6)
    monkeypatch.setattr(clips, "_draw", None)
    again = clips.ensure(data, task, "plain", tiny.quiet)
    assert again.kinds == found.kinds and again.event == found.event
    assert all(np.array_equal(*both) for both in zip(again[2:], found[2:], strict=True))
    assert isinstance(again.pixels, np.memmap)


@pytest.fixture
def copy(datasets, tmp_path):
    """The toy's dataset in a folder of its own."""
    folder = tmp_path / "data" / "copy"
    shutil.copytree(tiny.dataset(tiny.spec("noop", *SIZE_WORDS), datasets).folder, folder)
    return episodes.open_dataset(str(folder))


def test_in_a_folder_that_may_only_be_read_clips_are_drawn_and_none_are_kept(copy, caplog):
    toy, root = zoo.TASKS["toy"], os.path.dirname(copy.folder)
    before = sorted(os.listdir(root))
    with rights.read_only(root):
        found = rights.without_root(lambda: clips.ensure(copy, toy, "plain", tiny.quiet))
    assert sorted(os.listdir(root)) == before and "clips are drawn again" in caplog.text
    kept = clips.ensure(copy, toy, "plain", tiny.quiet)
    assert all(np.array_equal(*both) for both in zip(found[2:], kept[2:], strict=True))


def test_other_clips_under_the_same_name_are_refused(copy):
    toy = zoo.TASKS["toy"]
    clips.ensure(copy, toy, "plain", tiny.quiet)
    (folder,) = (e.path for e in os.scandir(os.path.dirname(copy.folder)) if "clips" in e.name)
    manifest = os.path.join(folder, clips.MANIFEST)
    with open(manifest) as source:
        text = source.read()
    with open(manifest, "w") as sink:
        sink.write(text.replace("plain", "full"))
    with pytest.raises(episodes.DatasetError, match="other clips than its name promises; delete"):
        clips.ensure(copy, toy, "plain", tiny.quiet)
    os.remove(manifest)
    with pytest.raises(episodes.DatasetError, match=r"manifest\.json.*; delete the folder"):
        clips.ensure(copy, toy, "plain", tiny.quiet)


def test_interrupted_drawing_is_done_again(copy):
    def dies(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clips.ensure(copy, zoo.TASKS["toy"], "plain", dies)
    assert clips.ensure(copy, zoo.TASKS["toy"], "plain", tiny.quiet) is not None


def test_short_episodes_have_no_clips(datasets, caplog):
    spec = tiny.spec("noop", "data.max_steps=30", *SIZE_WORDS)
    data = tiny.dataset(spec, datasets)
    assert clips.ensure(data, zoo.TASKS["toy"], "plain", tiny.quiet) is None
    assert "no held-out episode has 31 steps" in caplog.text


def test_families_take_turns():
    assert clips._occurrence(np.array([5, 3, 5, 5, 3, 9])).tolist() == [0, 0, 1, 2, 1, 0]


def test_a_ceiling_sees_poses_in_clips(datasets):
    task = zoo.TASKS["reacher"]
    state = np.arange(16.0).reshape(1, 4, 4)
    empty = np.zeros((1, 4, 0))
    one = clips.Clips(("a",), 2, *[np.zeros(1)] * 2, empty, empty, state, empty, empty, state[None])
    shown = privileged.clips_with_pose(one, task)
    assert np.array_equal(shown.proprio[0], task.pose(state[0]).astype(np.float32))
    assert shown.event_proprio.shape == (1, 1, 4, 4)
