"""Hygiene of the protocol: nothing that is fitted reads a held-out episode, and nothing that acts
reaches the simulator.
"""

import dataclasses
import functools
import gc
import types

import foreign
import numpy as np
import pytest
import tiny
import torch

from harness import policies, zoo
from harness.contracts.data import Pair
from harness.contracts.task import Simulator, Task
from harness.data import collect, episodes, normalize
from harness.data.episodes import Dataset
from harness.data.windows import Windows
from harness.evaluate import control, held_out, pairs, probing
from harness.planning import cem
from harness.runtime.threads import torch_uses
from harness.training import loop, pretraining
from harness.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
SPLITS = ("train", "validation", "test")


# -- what is fitted


@pytest.fixture(scope="module")
def clean(datasets):
    return tiny.dataset(tiny.spec("lewm"), datasets)


class Poisoned(Dataset):
    """The dataset with another content of every episode of some splits."""

    def __init__(self, dataset, *splits):
        self.__dict__ = dict(dataset.__dict__)
        rows = np.concatenate([dataset.split_rows(name) for name in splits])
        self._hit = np.zeros(len(dataset.state), bool)
        self._hit[rows] = True
        for name in ("state", "proprio", "actions"):
            values = getattr(dataset, name).copy()
            values[rows] = 1e3 + 7 * values[rows]
            setattr(self, name, values)

    def read_pixels(self, rows, out=None):
        out = super().read_pixels(rows, out)
        out[self._hit[rows]] ^= 255
        return out


@pytest.fixture(scope="module")
def poisoned(clean):
    return Poisoned(clean, "validation", "test")


def test_poison_reaches_what_reads_it(clean, poisoned):
    """The tests below could not fail otherwise."""
    row = clean.split_rows("test")[:1]
    assert not np.array_equal(clean.read_pixels(row), poisoned.read_pixels(row))
    everything = [normalize.fit(d, "file").action_mean for d in (clean, poisoned)]
    assert not np.array_equal(*everything)


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("sampling", ["starts", "episodes"])
def test_no_pair_s_episode_or_family_is_in_another_split(clean, split, sampling):
    words = [f"protocol.split={split}", f"protocol.sampling={sampling}", "protocol.pairs=8"]
    settings = tiny.spec("lewm", *words, "protocol.stratum_pairs=4").config.protocol
    main, extra = pairs.draw(clean, zoo.TASKS["toy"], settings, 0)
    drawn = {pair.episode for pair in [*main, *extra]}
    families = np.array(clean.manifest.families)
    for other in {*SPLITS} - {split}:
        others = clean.split(other)
        assert len(others) and drawn.isdisjoint(others.tolist())
        assert set(families[sorted(drawn)].tolist()).isdisjoint(families[others].tolist())


def test_families_of_several_episodes_are_never_divided():
    config = collect.DataConfig(episodes=90, validation=0.2, test=0.2)
    families = np.random.default_rng(0).integers(20, size=90)
    split = collect._split("toy", config, families)
    parts = [set(families[split[name]].tolist()) for name in SPLITS]
    assert all(parts) and sum(map(len, parts)) == len(set(families.tolist()))


def test_a_held_out_part_of_a_source_shares_no_family_with_training():
    config = collect.DataConfig(episodes=40, validation=0.2, test=0.2)
    families = np.arange(40) // 4
    held_out = np.zeros(40, bool)
    held_out[[1, 2, 17]] = True  # episodes 0 and 3 start as 1 and 2 do
    split = collect._split("push_t", config, families, held_out)
    assert {1, 2, 17} <= set(split["test"])
    test = set(families[split["test"]].tolist())
    assert test.isdisjoint(families[[*split["train"], *split["validation"]]].tolist())
    assert sorted(i for name in SPLITS for i in split[name]) == list(range(40))


def test_an_imported_source_keeps_starts_that_are_alike_together(tmp_path):
    own = foreign.recorded("push_t", tmp_path / "own", episodes=16)
    file = foreign.hdf5(tmp_path / "a.h5", foreign.all_columns("push_t", own, nan_last=True))
    config = collect.DataConfig(episodes=16, max_steps=30, image_size=32, source=file,
                                validation=0.25, test=0.25)  # fmt: skip
    theirs = episodes.open_dataset(collect.ensure(zoo.TASKS["push_t"], config, str(tmp_path / "d")))
    first = np.rint(theirs.state[theirs.first_row, :5]).tolist()
    starts = {name: {tuple(first[i]) for i in theirs.split(name)} for name in SPLITS}
    assert len({tuple(start) for start in first}) < 16  # some do start alike
    assert sum(map(len, starts.values())) == len(set().union(*starts.values()))


def test_the_normaliser_is_fitted_on_training_episodes_alone(clean, poisoned):
    one, other = normalize.fit(clean), normalize.fit(poisoned)
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize("method", ["lewm", "gcivl"])
def test_training_reads_no_held_out_step(method, clean, poisoned, tmp_path):
    spec = tiny.spec(method, "train.steps=4")

    def weights(dataset, name):
        model = tiny.model(spec)
        windows = Windows(dataset, "train", model.window_frames, 5, normalize.fit(dataset),
                          model.goal_sampling)  # fmt: skip
        saved = Checkpoint(str(tmp_path / name), "hash")
        with torch_uses(1):
            loop.train(model, windows, spec.config.train, 0, CPU, saved, tiny.quiet)
        return model.state_dict()

    one, other = weights(clean, "a"), weights(poisoned, "b")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_frozen_encoder_s_pool_has_no_held_out_frame(clean, poisoned):
    frames = [pretraining._Frames([dataset]) for dataset in (clean, poisoned)]
    drawn = [f.sample(np.random.default_rng(0), 200) for f in frames]
    assert np.isin(drawn[0].start, clean.split_rows("train")).all()
    assert torch.equal(drawn[0].batch.obs.pixels, drawn[1].batch.obs.pixels)
    rows = pretraining._some_rows(clean)  # of which tokens are standardized
    assert np.isin(rows, clean.split_rows("train")).all()


def test_a_probe_is_fitted_without_test_episodes(clean, monkeypatch):
    monkeypatch.setattr(probing, "EPOCHS", 2)
    monkeypatch.setattr(probing, "SEEDS", 1)
    model, spec = tiny.model(tiny.spec("lewm")), zoo.TASKS["toy"].spec
    known = normalize.fit(clean)
    found = []
    for dataset in (clean, Poisoned(clean, "test")):
        splits = probing.read_pairs(held_out.latent(model), dataset, known, 5, CPU)
        found.append(probing.of_frames(splits, spec))
    one, other = found
    for name in ("middle", "spread", "centre", "scale", "linear"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    for mine, theirs in zip(one.networks, other.networks, strict=True):
        assert all(map(torch.equal, mine.parameters(), theirs.parameters()))


# -- what acts


FORBIDDEN = (Simulator, Task, Dataset, Pair, control._Episodes)


def reachable(*roots):
    """Everything that an attacker finds from these objects by attributes, closures and views. A
    module, a class and the globals of a function are code that everybody can import.
    """
    waiting, known = list(roots), {}
    while waiting:
        thing = waiting.pop()
        if id(thing) in known or isinstance(thing, types.ModuleType | type | types.FrameType):
            continue
        known[id(thing)] = thing
        if isinstance(thing, types.FunctionType):
            cells = [cell.cell_contents for cell in thing.__closure__ or ()]
            waiting += [*cells, thing.__defaults__, thing.__kwdefaults__]
            continue
        waiting += gc.get_referents(thing)
        waiting += [thing.base] if isinstance(thing, np.ndarray) and thing.base is not None else []
    return list(known.values())


def forbidden(*roots):
    """The names of the forbidden classes that are reachable."""
    return {type(t).__name__ for t in reachable(*roots) if isinstance(t, FORBIDDEN)}


def arrays(*roots):
    return [thing for thing in reachable(*roots) if isinstance(thing, np.ndarray)]


def test_the_search_finds_what_is_hidden(clean):
    task = zoo.TASKS["toy"]
    simulator = task.simulator(1, 16)
    assert forbidden(lambda: (task, simulator)) >= {type(task).__name__, type(simulator).__name__}
    assert forbidden(functools.partial(len, [clean])) == {"Dataset"}
    view = clean.state[3:5]
    assert any(np.shares_memory(found, clean.state) for found in arrays({"a": [view]}))
    assert not forbidden(normalize.fit(clean).decode_actions)


class Peeking:
    """A planner that looks for the simulator wherever it can, and notes what it finds."""

    def __init__(self, config):
        self.inner, self.iterations, self.found = cem.CEM(config), config.iterations, []

    def plan(self, cost_fn, init, noise, run=lambda iterate, *state: iterate(*state)):
        self.found.append((forbidden(cost_fn, init, noise, run), arrays(cost_fn, init, noise, run)))
        return self.inner.plan(cost_fn, init, noise, run)


@pytest.fixture(scope="module")
def case(clean):
    spec = tiny.spec("lewm")
    return spec, pairs.draw(clean, zoo.TASKS["toy"], spec.config.protocol, 0)[0]


def evaluated(spec, policy, chosen, normalizer):
    size = spec.config.data.image_size
    found = control.run(policy, zoo.TASKS["toy"], chosen, spec.config.protocol, normalizer, size,
                        tiny.quiet)  # fmt: skip
    assert len(found) == len(chosen)


def test_a_planner_cannot_reach_the_simulator_or_success(case, clean, monkeypatch):
    spec, chosen = case
    made = []

    def build(config):
        made.append(Peeking(config))
        return made[-1]

    entry = zoo.PLANNERS["cem"]._replace(build=build)
    monkeypatch.setitem(zoo.PLANNERS, "cem", entry)
    normalizer = normalize.fit(clean)
    policy = policies.of_model(spec, tiny.stir(tiny.model(spec)), normalizer.decode_actions, 0, CPU)
    evaluated(spec, policy, chosen, normalizer)
    (planner,) = made
    assert planner.found
    for classes, seen in planner.found:
        assert not classes
        assert not any(np.shares_memory(array, clean.state) for array in seen)


@pytest.mark.parametrize("method", ["lewm", "gcbc"])
def test_a_policy_cannot_reach_the_simulator_or_success(method, case, clean, monkeypatch):
    """Neither the policy nor the model in it, at any call, by anything that it is given."""
    chosen, normalizer = case[1], normalize.fit(clean)
    spec = tiny.spec(method)
    model = tiny.stir(tiny.model(spec))
    policy = policies.of_model(spec, model, normalizer.decode_actions, 0, CPU)
    found, act = [], policy.act

    def peeking(obs, goal, rows):
        found.append((forbidden(policy, obs, goal, rows), arrays(policy, obs, goal, rows)))
        return act(obs, goal, rows)

    monkeypatch.setattr(policy, "act", peeking)
    evaluated(spec, policy, chosen, normalizer)
    assert found
    for classes, seen in found:
        assert not classes
        assert not any(np.shares_memory(array, clean.state) for array in seen)


def test_observations_and_batches_have_no_state(clean):
    spec = tiny.spec("lewm")
    window = Windows(clean, "train", 4, 5, normalize.fit(clean)).take(np.arange(3))
    for array in arrays(window.batch):
        assert not np.shares_memory(array, clean.state)
    assert window.batch._fields == ("obs", "actions", "goals") and spec.method == "lewm"
    assert window.batch.obs._fields == ("pixels", "proprio", "tokens")
