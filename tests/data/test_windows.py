"""Windows and the normaliser."""

import numpy as np
import pytest
import torch

from harness.contracts.data import GoalConfig, GoalSampling
from harness.data import episodes, normalize, windows

FRAMES, BLOCK = 3, 5


@pytest.fixture
def normalizer(dataset):
    return normalize.fit(dataset)


def test_normalised_training_steps_have_mean_0_and_std_1(dataset, normalizer):
    train = [dataset.episode(i) for i in dataset.split("train")]
    for values in (
        normalizer.encode_actions(np.concatenate([episode.actions for episode in train])),
        normalizer.encode_proprio(np.concatenate([episode.proprio for episode in train])),
    ):
        assert values.mean(axis=0) == pytest.approx(0, abs=1e-4)
        assert values.std(axis=0) == pytest.approx(1, abs=1e-4)


def test_normaliser_on_blocks_and_tensors(normalizer):
    block = np.random.default_rng(0).normal(size=(4, 7, 10)).astype(np.float32)
    encoded = normalizer.encode_actions(block)
    assert np.array_equal(encoded[..., 4:6], normalizer.encode_actions(block[..., 4:6]))
    tensor = normalizer.encode_actions(torch.from_numpy(block))
    assert torch.is_tensor(tensor) and np.allclose(tensor.numpy(), encoded, atol=1e-6)
    assert np.allclose(normalizer.decode_actions(encoded), block, atol=1e-5)
    with pytest.raises(AssertionError, match="multiple"):
        normalizer.encode_actions(block[..., :3])


def test_constant_dimensions_do_not_blow_up():
    mean, std = normalize._statistics(np.full((10, 1), 7.0, np.float32))
    assert mean == 7 and std == np.float32(normalize.STD_FLOOR)


def test_every_window_fits_and_none_is_missing(dataset, normalizer):
    for split in episodes.SPLITS:
        all_windows = windows.Windows(dataset, split, FRAMES, BLOCK, normalizer)
        lengths = dataset.lengths[dataset.split(split)]
        assert len(all_windows) == np.maximum(lengths - FRAMES * BLOCK + 1, 0).sum()
        last = all_windows.take(np.arange(len(all_windows)))
        assert set(last.episode) <= set(dataset.split(split))
        assert (last.start + FRAMES * BLOCK <= dataset.lengths[last.episode]).all()


def test_windows_hold_the_right_frames_and_actions(dataset, normalizer):
    window = windows.Windows(dataset, "train", FRAMES, BLOCK, normalizer).sample(
        np.random.default_rng(0), 32
    )
    batch = window.batch
    assert batch.goals is None
    assert batch.obs.pixels.shape == (32, FRAMES, 3, 16, 16)
    assert batch.obs.pixels.dtype == torch.uint8 and batch.obs.pixels.is_contiguous()
    assert batch.actions.dtype == batch.obs.proprio.dtype == torch.float32
    assert window.state.dtype == torch.float64
    for i in range(32):
        episode, start = dataset.episode(window.episode[i]), window.start[i]
        for t in range(FRAMES):
            step = start + t * BLOCK
            assert np.array_equal(batch.obs.pixels[i, t].numpy(), episode.pixels[step])
            assert np.array_equal(window.state[i, t].numpy(), episode.state[step])
            proprio = normalizer.encode_proprio(episode.proprio[step])
            assert np.allclose(batch.obs.proprio[i, t].numpy(), proprio, atol=1e-6)
            block = episode.actions[step : step + BLOCK].reshape(-1)
            actions = normalizer.decode_actions(batch.actions[i, t].numpy())
            assert np.allclose(actions, block, atol=1e-5)


def test_batches_are_reproducible_and_read_forward(dataset, normalizer):
    source = windows.Windows(dataset, "train", FRAMES, BLOCK, normalizer)
    first, second = (source.sample(np.random.default_rng(4), 16) for _ in range(2))
    assert torch.equal(first.batch.actions, second.batch.actions)
    assert (np.diff(dataset.first_row[first.episode] + first.start) >= 0).all()


def test_windows_longer_than_every_episode(dataset, normalizer):
    with pytest.raises(episodes.DatasetError, match="needs an episode of 100 steps"):
        windows.Windows(dataset, "train", 20, 5, normalizer)


@pytest.mark.parametrize("goals", [None, GoalSampling(policy=GoalConfig(), value=GoalConfig())])
def test_windows_of_frames_that_reside_are_the_same(dataset, normalizer, goals):
    mapped, resident = (
        windows.Windows(dataset, "train", FRAMES, BLOCK, normalizer, goals) for _ in range(2)
    )
    bytes_needed = len(dataset.state) * 3 * 16**2
    assert not resident.reside(torch.device("cpu"), bytes_needed - 1)
    assert resident.reside(torch.device("cpu"), bytes_needed)
    want, got = (w.sample(np.random.default_rng(3), 20).batch for w in (mapped, resident))
    assert torch.equal(want.obs.pixels, got.obs.pixels) and torch.equal(want.actions, got.actions)
    if goals is not None:
        assert torch.equal(want.goals.policy.pixels, got.goals.policy.pixels)
        assert torch.equal(want.goals.value.pixels, got.goals.value.pixels)
