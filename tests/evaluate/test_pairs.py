"""Pairs: held out, the same for every method, in the shares that the protocol asks for."""

from collections import Counter

import numpy as np
import pytest
import tiny

from harness import zoo
from harness.evaluate import pairs

DATA = ["data.episodes=300", "data.max_steps=100", "data.image_size=8"]
DATA += ["data.validation=0.3", "data.test=0.6"]  # detours are rare


def settings(*words):
    """Protocol of a Two-Room trial, resolved."""
    return tiny.spec("noop", *DATA, *words, task="two_room").config.protocol


@pytest.fixture(scope="module")
def dataset(datasets):
    return tiny.dataset(tiny.spec("noop", *DATA, task="two_room"), datasets)


def draw(dataset, *words, seed=0):
    return pairs.draw(dataset, zoo.TASKS["two_room"], settings(*words), seed)


def places(found):
    return [(pair.episode, pair.step) for pair in found]


def test_pairs_are_the_same_again_and_others_under_another_seed(dataset):
    first, again, other = (draw(dataset, seed=seed)[0] for seed in (0, 0, 1))
    assert places(first) == places(again) != places(other)
    assert len(set(places(first))) == len(first) == 8


def test_more_pairs_begin_with_the_same_ones(dataset):
    few, many = (draw(dataset, f"protocol.pairs={n}")[0] for n in (8, 40))
    assert set(places(few)) <= set(places(many))


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_pairs_come_from_the_episodes_of_the_split(dataset, split):
    found, _ = draw(dataset, f"protocol.split={split}", "protocol.pairs=100")
    episodes = {pair.episode for pair in found}
    assert episodes <= set(dataset.split(split).tolist()) and len(episodes) > 10


def test_pairs_are_held_out_unless_asked_for(dataset):
    episodes = {pair.episode for pair in draw(dataset, "protocol.pairs=100")[0]}
    assert not episodes & set(dataset.split("train").tolist())


def test_a_pair_is_what_was_recorded(dataset):
    task = zoo.TASKS["two_room"]
    for pair in draw(dataset, "protocol.offset_steps=20")[0]:
        episode = dataset.episode(pair.episode)
        assert np.array_equal(pair.start_state, episode.state[pair.step])
        assert np.array_equal(pair.goal_state, episode.state[pair.step + 20])
        assert np.array_equal(pair.goal_pixels, episode.pixels[pair.step + 20])
        assert np.array_equal(pair.goal_proprio, episode.proprio[pair.step + 20])
        assert np.array_equal(pair.actions, episode.actions[pair.step : pair.step + 20])
        start, goal = pair.start_state[None], pair.goal_state[None]
        assert pair.initially_solved == task.success(start, goal)[0]
        assert pair.stratum == task.strata(start, goal)[0]


def test_the_draw_is_uniform_over_the_candidates(dataset):
    """Half of all candidates hold about half of each stratum."""
    everything, _ = draw(dataset, "protocol.pairs=600")
    half, _ = draw(dataset, "protocol.pairs=300")
    whole = Counter(pair.stratum for pair in everything)
    part = Counter(pair.stratum for pair in half)
    for stratum, count in whole.items():
        assert abs(part[stratum] - count / 2) < 4 * (count / 4) ** 0.5 + 1


STRICT = ["protocol=strict", "protocol.pairs=40", "protocol.stratum_pairs=0"]


def test_strict_has_no_solved_pairs_and_the_wanted_shares(dataset):
    plain, _ = draw(dataset, "protocol.pairs=40")
    strict, extra = draw(dataset, *STRICT)
    assert any(pair.initially_solved for pair in plain)
    assert not any(pair.initially_solved for pair in strict) and not extra
    assert len(set(places(strict))) == len(strict) == 40
    shares = Counter(pair.stratum for pair in strict)
    assert shares["through door"] >= 10 and shares["detour"] >= 10
    assert Counter(pair.stratum for pair in plain)["detour"] < 10  # it had to be asked for


def test_shares_that_add_up_to_all_pairs_fill_them(dataset):
    words = ["protocol.strata_min={detour: 0.07, through door: 0.93}", "protocol.pairs=100"]
    found, _ = draw(dataset, *words)
    assert Counter(pair.stratum for pair in found) == {"detour": 7, "through door": 93}


def test_extras_fill_the_strata_and_are_disjoint_from_the_draw(dataset):
    words = ["protocol.pairs=30", "protocol.stratum_pairs=25"]
    main, extra = draw(dataset, *words)
    assert places(main) == places(draw(dataset, "protocol.pairs=30")[0])
    assert extra and not set(places(main)) & set(places(extra))
    assert len(set(places(extra))) == len(extra)
    assert [pair.pair_id for pair in [*main, *extra]] == list(range(len(main) + len(extra)))
    in_main, in_all = (Counter(p.stratum for p in found) for found in (main, [*main, *extra]))
    for stratum in zoo.TASKS["two_room"].spec.strata:
        assert in_all[stratum] == max(25, in_main[stratum])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["protocol.pairs=50000"],
            r"^only \d+ of 50000 pairs in all with offset 25 in the test split: raise "
            r"data.episodes or lower protocol.pairs$",
        ),
        (
            ["protocol.pairs=10000", "protocol.strata_min={detour: 0.9}"],
            r'^only \d+ of 9000 pairs of stratum "detour" with offset 25',
        ),
        (["protocol.offset_steps=100"], r"^only 0 of 8 pairs in all with offset 100"),
        (
            ["protocol.strata_min={swamp: 0.1}"],
            r"^protocol.strata_min names \['swamp'\]; two_room has "
            r"\['same room', 'through door', 'detour'\]$",
        ),
    ],
)
def test_what_the_dataset_cannot_give_is_said(dataset, words, said):
    with pytest.raises(pairs.PairError, match=said):
        draw(dataset, *words)
