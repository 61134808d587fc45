"""Hindsight goals: their shares, their distances, and that they never leave the split."""

import collections

import numpy as np
import pytest
import torch

from harness.contracts.data import GoalConfig, GoalSampling
from harness.data import goals, normalize, windows

BLOCK, FRAMES, DRAWS, LEFT = 5, 2, 40_000, 12
FIRST, SPLIT = 1000, np.arange(100, 200)
PUBLISHED = GoalConfig(0.2, 0.5, 0.3, "geometric")


def drawn(config, discount=0.9, left=LEFT):
    """Many goals of one window: rows."""
    first, blocks_left = np.full(DRAWS, FIRST), np.full(DRAWS, left)
    rng = np.random.default_rng(0)
    return goals.draw(rng, config, discount, first, blocks_left, BLOCK, SPLIT)


def blocks(rows):
    """Blocks between the window and its goals, for goals of its own episode."""
    ahead = rows[rows >= FIRST] - FIRST
    assert not (ahead % BLOCK).any()
    return ahead // BLOCK


def test_shares_are_the_configured_ones():
    rows = drawn(PUBLISHED)
    assert (rows == FIRST).mean() == pytest.approx(0.2, abs=0.01)
    assert (rows > FIRST).mean() == pytest.approx(0.5, abs=0.01)
    anywhere = rows[rows < FIRST]
    assert np.array_equal(np.unique(anywhere), SPLIT)
    assert np.bincount(anywhere - SPLIT[0]).std() < 0.15 * 0.3 * DRAWS / len(SPLIT)


def test_uniform_distances_go_from_one_block_to_the_end():
    counts = np.bincount(blocks(drawn(GoalConfig())), minlength=LEFT + 1)
    assert counts[0] == 0 and counts[1:] / DRAWS == pytest.approx(1 / LEFT, abs=0.006)


def test_geometric_distances_have_the_discount_and_end_at_the_last_frame():
    config = GoalConfig(distances="geometric")
    shares = np.bincount(blocks(drawn(config)), minlength=LEFT + 1) / DRAWS
    expected = np.append(0.1 * 0.9 ** np.arange(LEFT - 1), 0.9 ** (LEFT - 1))
    assert shares[0] == 0 and shares[1:] == pytest.approx(expected, abs=0.01)
    assert (blocks(drawn(config, left=1)) == 1).all()


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (0.5, 0.2, 0.2)])
def test_shares_must_add_up(shares):
    with pytest.raises(ValueError, match="add up to 1"):
        GoalConfig(*shares)


@pytest.fixture
def source(dataset):
    wanted = GoalSampling(GoalConfig(), PUBLISHED, discount=0.9)
    return windows.Windows(dataset, "train", FRAMES, BLOCK, normalize.fit(dataset), wanted)


def test_goals_are_frames_of_the_split_where_they_should_be(dataset, source):
    places = collections.defaultdict(set)  # some pictures occur more than once
    for i in dataset.split("train"):
        for t, pixels in enumerate(dataset.episode(i).pixels):
            places[pixels.tobytes()].add((i, t))
    window = source.sample(np.random.default_rng(0), 256)
    found = window.batch.goals
    assert found.policy.pixels.shape == found.value.pixels.shape == (256, 1, 3, 16, 16)
    assert found.policy.proprio.shape[:2] == (256, 1) and found.reached.shape == (256,)
    for i in range(256):
        episode, start = window.episode[i], window.start[i]
        later = {(episode, t) for t in range(start + BLOCK, dataset.lengths[episode], BLOCK)}
        assert places[found.policy.pixels[i, 0].numpy().tobytes()] & later
        value = places[found.value.pixels[i, 0].numpy().tobytes()]
        assert value and ((episode, start) in value or not found.reached[i])
    assert 0.1 < found.reached.float().mean() < 0.35


def test_windows_are_the_same_with_and_without_goals(dataset, source):
    plain = windows.Windows(dataset, "train", FRAMES, BLOCK, normalize.fit(dataset))
    first, second = (w.sample(np.random.default_rng(3), 32) for w in (plain, source))
    assert torch.equal(first.batch.obs.pixels, second.batch.obs.pixels)
    assert torch.equal(first.batch.actions, second.batch.actions)
    assert second.batch.obs.pixels.is_contiguous() and first.batch.goals is None


def test_goals_are_reproducible(source):
    first, second, other = (source.sample(np.random.default_rng(s), 32).batch for s in (1, 1, 2))
    for name in ("policy", "value"):
        pixels = [getattr(batch.goals, name).pixels for batch in (first, second, other)]
        assert torch.equal(pixels[0], pixels[1]) and not torch.equal(pixels[0], pixels[2])


def test_without_a_value_there_is_one_goal_and_every_window_has_a_later_frame(dataset):
    wanted = GoalSampling(GoalConfig())
    short = windows.Windows(dataset, "train", 1, BLOCK, normalize.fit(dataset), wanted)
    lengths = dataset.lengths[dataset.split("train")]
    assert len(short) == np.maximum(lengths - BLOCK, 0).sum()
    found = short.sample(np.random.default_rng(0), len(short)).batch.goals
    assert found.value is None and found.reached is None
