"""Pairs: held out, the same for every method, in the shares that the protocol asks for."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tiny

from harness import zoo
from harness.evaluate import pairs
from harness.records import manifest

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


def test_episodes_give_one_pair_each_before_any_gives_another(dataset):
    words = ["protocol.sampling=episodes"]
    first, again = (draw(dataset, *words, "protocol.pairs=100")[0] for _ in range(2))
    assert places(first) == places(again) and len({pair.episode for pair in first}) == 100
    many, _ = draw(dataset, *words, "protocol.pairs=1000")
    assert places(many)[:100] == places(first)
    taken = Counter(pair.episode for pair in many)
    for episode in dataset.split("test"):
        starts = max(0, int(dataset.lengths[episode]) - 25)
        assert taken[episode] in (max(taken.values()), max(taken.values()) - 1, starts)


def test_pairs_of_some_strata_alone(dataset):
    found, extra = draw(
        dataset, "protocol.strata=[detour,through door]", "protocol.stratum_pairs=20"
    )
    assert {pair.stratum for pair in [*found, *extra]} == {"detour", "through door"}


def test_under_corrected_physics_every_recorded_step_is_legal(dataset):
    task, words = zoo.TASKS["two_room"], ["protocol.strata=[through door]", "protocol.pairs=20"]

    def legal(pair):
        states = dataset.episode(pair.episode).state[pair.step : pair.step + 26]
        return task.legal(states[:-1], states[1:]).all()

    released, _ = draw(dataset, *words)
    corrected, _ = draw(dataset, *words, "protocol.physics=corrected")
    assert not all(map(legal, released)) and all(map(legal, corrected))
    legal_ones = [
        place for place, pair in zip(places(released), released, strict=True) if legal(pair)
    ]
    assert places(corrected)[: len(legal_ones)] == legal_ones


def test_any_episode_may_give_pairs_where_that_is_asked_for(dataset):
    found, _ = draw(dataset, "protocol.split=any", "protocol.pairs=400")
    for split in ("train", "validation", "test"):
        assert {pair.episode for pair in found} & set(dataset.split(split).tolist())


# -- manifests


def listed(dataset, *changed, count=3):
    """The first pairs of the draw as a manifest's, the first of them with other values."""
    pairs_drawn = []
    for pair in draw(dataset)[0][:count]:
        row = int(dataset.first_row[pair.episode]) + pair.step
        where = (pair.episode, pair.step, pair.step + 25, row, row + 25)
        pairs_drawn.append(manifest.ManifestPair(10 + pair.pair_id, *where, 1.0, False))
    pairs_drawn[0] = dataclasses.replace(pairs_drawn[0], **dict(changed))
    return manifest.Manifest("tworoom", {}, 0, 0, "heldout", {}, tuple(pairs_drawn))


def draw_listed(dataset, folder, content, *words):
    path = f"{folder}/pairs.json"
    manifest.write(path, content, "2026-11-01T00:00:00+00:00")
    return draw(dataset, f"protocol.manifest={path}", *words)


def test_a_manifest_gives_the_pairs_that_it_lists(dataset, tmp_path):
    drawn = draw(dataset)[0][:3]
    found, extra = draw_listed(dataset, tmp_path, listed(dataset), "protocol.stratum_pairs=9")
    assert places(found) == places(drawn) and not extra
    assert [pair.pair_id for pair in found] == [10, 11, 12]
    for one, other in zip(found, drawn, strict=True):
        for name in pairs.Pair._fields[1:]:
            assert np.array_equal(getattr(one, name), getattr(other, name))


def trained_on(dataset):
    """(episode, its first row) of one that a model is trained on."""
    episode = int(dataset.split("train")[0])
    return episode, int(dataset.first_row[episode])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: {"episode_id": 300}, "pair 10 is of episode 300; the dataset has 0 to 299"),
        (
            lambda d: {"start_step": 90, "goal_step": 115},
            r"pair 10 has its goal at step 115 of episode \d+, which has steps 0 to \d+",
        ),
        (
            lambda d: {"start_step": 0, "goal_step": 5, "start_row": 0, "goal_row": 5},
            "pair 10 has its goal 5 steps later, and protocol.offset_steps is 25",
        ),
        (
            lambda d: {"start_row": 7, "goal_row": 32},
            r"pair 10 starts in row 7, and step \d+ of episode \d+ is row \d+ here: the manifest "
            "is of another dataset",
        ),
        (
            lambda d: {
                **dict(zip(("episode_id", "start_row"), trained_on(d), strict=True)),
                **{"start_step": 0, "goal_step": 25, "goal_row": trained_on(d)[1] + 25},
            },
            r"pair 10 is of episode \d+, which is in the train split, and protocol.split is test",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(dataset, tmp_path, change, said):
    content = listed(dataset, *change(dataset).items())
    with pytest.raises(pairs.PairError, match=f"^{tmp_path}/pairs.json: {said}$"):
        draw_listed(dataset, tmp_path, content)


def test_a_manifest_of_training_episodes_is_taken_where_that_is_asked_for(dataset, tmp_path):
    episode, row = trained_on(dataset)
    change = {"episode_id": episode, "start_step": 0, "goal_step": 25}
    content = listed(dataset, *(change | {"start_row": row, "goal_row": row + 25}).items())
    found, _ = draw_listed(dataset, tmp_path, content, "protocol.split=any")
    assert places(found)[0] == (episode, 0)


def test_a_manifest_that_changed_since_the_command_is_refused(dataset, tmp_path):
    path = f"{tmp_path}/pairs.json"
    manifest.write(path, listed(dataset), "2026-11-01T00:00:00+00:00")
    protocol = settings(f"protocol.manifest={path}")
    manifest.write(path, listed(dataset, count=2), "2026-11-01T00:00:00+00:00")
    with pytest.raises(pairs.PairError, match="has changed since the command was issued"):
        pairs.draw(dataset, zoo.TASKS["two_room"], protocol, 0)


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
        (
            ["protocol.offset_steps=100"],
            r"^no pairs with offset 100 in the test split, whose longest episode has 100 steps: "
            r"raise data.max_steps or lower protocol.offset_steps$",
        ),
    ],
)
def test_what_the_dataset_cannot_give_is_said(dataset, words, said):
    with pytest.raises(pairs.PairError, match=said):
        draw(dataset, *words)
