"""Named random streams."""

import numpy as np
import pytest
import torch

from harness.runtime import seeding

KEYS = [seeding.integer("plan", 0, pair, 0) for pair in range(200)]


@pytest.fixture(scope="module")
def draws():
    return seeding.PairNoise(KEYS)(0, (50, 5, 10)).flatten(1)  # (200, 2500)


def test_a_seed_depends_on_every_part_and_on_their_order():
    parts = [("a", 1, 2), ("a", 2, 1), ("a", 12), ("a", 1), ("a", "1", "2", ""), ("b", 1, 2)]
    assert len({seeding.integer(*each) for each in parts}) == len(parts)
    assert seeding.integer("a", 1) == seeding.integer("a", 1) >= 0
    assert seeding.stream("a", 1).random() == seeding.stream("a", 1).random()
    assert seeding.stream("a", 1).random() != seeding.stream("a", 2).random()


def test_noise_is_standard_normal(draws):
    """Moments and quantiles of 500,000 numbers within four standard errors."""
    x = draws.double().flatten()
    count = len(x)
    moments = [(x**power).mean().item() for power in (1, 2, 3, 4)]
    errors = [(variance / count) ** 0.5 for variance in (1, 2, 15, 96)]
    for found, expected, error in zip(moments, (0, 1, 0, 3), errors, strict=True):
        assert found == pytest.approx(expected, abs=4 * error)
    for value, share in ((-1.959964, 0.025), (-0.674490, 0.25), (0, 0.5), (2.326348, 0.99)):
        error = (share * (1 - share) / count) ** 0.5
        assert (x < value).double().mean().item() == pytest.approx(share, abs=4 * error)
    assert x.abs().max() > 4


def test_keys_draws_and_elements_are_independent(draws):
    """Correlations of neighbours are those of independent numbers."""
    count = draws.shape[1]
    between_keys = np.corrcoef(draws.numpy())
    off = between_keys[~np.eye(len(KEYS), dtype=bool)] * count**0.5
    assert np.abs(off).max() < 5.5 and off.std() == pytest.approx(1, abs=0.03)
    later = seeding.PairNoise(KEYS)(1, (50, 5, 10)).flatten(1)
    limit = 4 / draws.numel() ** 0.5
    assert abs((draws * later).mean()) < limit
    assert abs((draws[:, 1:] * draws[:, :-1]).mean()) < limit
    assert abs((draws[:, 1:] * later[:, :-1]).mean()) < limit  # another stream, not one moved on
    half = count // 2  # cosine and sine of one angle
    assert abs((draws[:, :half] * draws[:, half:]).mean()) < 1.5 * limit
    squares = draws[:, :half] ** 2 * draws[:, half:] ** 2
    assert squares.mean() == pytest.approx(1, abs=4 * (8 / squares.numel()) ** 0.5)


def test_neighbouring_keys_are_independent():
    x = seeding.PairNoise([7, 8])(0, (100_000,))
    assert abs(np.corrcoef(x.numpy())[0, 1]) < 4 / 100_000**0.5


def test_what_is_planned_beside_a_pair_changes_nothing(draws):
    alone = seeding.PairNoise(KEYS[17:18])(0, (50, 5, 10)).flatten(1)
    assert torch.equal(alone[0], draws[17])
    order = torch.randperm(len(KEYS), generator=torch.Generator().manual_seed(0))
    shuffled = seeding.PairNoise([KEYS[i] for i in order])(0, (50, 5, 10)).flatten(1)
    assert torch.equal(shuffled, draws[order])


def test_the_same_draw_gives_the_same_numbers_and_another_gives_others():
    noise = seeding.PairNoise(KEYS[:3])
    assert torch.equal(noise(4, (3, 3)), noise(4, (3, 3)))  # 9 numbers: an odd count
    assert not (noise(4, (3, 3)) == noise(5, (3, 3))).any()
