"""Held-out frames: which they are, and that a batch of them is encoded as each alone."""

import numpy as np
import pytest
import tiny
import torch

from harness.data import normalize
from harness.evaluate import held_out

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case(datasets):
    spec = tiny.spec("lewm")
    data = tiny.dataset(spec, datasets)
    return tiny.stir(tiny.model(spec)), data, normalize.fit(data)


def test_pairs_are_a_block_apart_in_one_episode(case):
    data = case[1]
    pairs = held_out.pairs(data, "test", 5, 50)
    episode = np.searchsorted(data.first_row, pairs, side="right") - 1
    assert len(pairs) == 50 and (pairs[:, 1] - pairs[:, 0] == 5).all()
    assert (episode[:, 0] == episode[:, 1]).all() and np.isin(episode, data.split("test")).all()
    assert len(np.unique(pairs[:, 0])) == 50


def test_rollouts_are_the_models_own(case):
    model, data, known = case
    made = held_out.rollouts(model, data, known, 5, CPU)
    windows, steps = len(made.z), made.z.shape[1]
    assert steps == held_out.BLOCKS + 1 and windows <= held_out.WINDOWS
    assert made.rolled.shape == (windows, steps - 1, made.z.shape[2])
    assert made.state.shape[:2] == (windows, steps)
    row = int(np.flatnonzero((data.state == made.state[3, 4]).all(1))[0])  # a frame, by its state
    (again,) = held_out.read(held_out.latent(model), data, known, np.array([[row]]), CPU)["latent"]
    assert torch.allclose(torch.from_numpy(again[0]), made.z[3, 4], atol=1e-5)
    start = int(np.flatnonzero((data.state == made.state[3, 0]).all(1))[0])
    steps_taken = known.encode_actions(data.actions[start : start + 5 * held_out.BLOCKS])
    plan = torch.from_numpy(steps_taken).reshape(1, held_out.BLOCKS, -1)
    with torch.inference_mode():
        rolled = model.rollout(made.z[3:4, :1], plan[:, :0], plan)
    assert torch.allclose(rolled[0], made.rolled[3], atol=1e-4)


def test_a_sketch_keeps_distances_on_average(monkeypatch):
    z = torch.randn(40, 1, 30, 50, generator=torch.Generator().manual_seed(0))
    plain = held_out.flat(z)
    assert plain.shape == (40, 1, 1500)
    monkeypatch.setattr(held_out, "MOST_FEATURES", 300)
    small = held_out.flat(z)
    assert small.shape == (40, 1, 300)
    ratio = torch.pdist(small[:, 0]) / torch.pdist(plain[:, 0])
    assert ratio.mean() == pytest.approx(1, abs=0.02) and ratio.std() < 0.1
