"""Why plans fail: worlds in which it is known what loses every pair."""

import dataclasses

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.contracts.method import WorldModel
from harness.data import normalize
from harness.evaluate import pairs, plans
from harness.evaluate.plans import Costs
from harness.planning.cem import CEM, CEMConfig
from harness.planning.plan_search import PlanSearch
from harness.planning.receding_horizon import MPCPolicy
from harness.records import metric_names
from harness.tasks import toy

HORIZON, BLOCK = 5, 5
CONFIG = plans.PlansConfig(pairs=12, ranked=4, candidates=64)
SEARCH = CEMConfig(candidates=200, elites=20, iterations=8)


class Known(WorldModel):
    """A model of the toy that reads the position from proprioception. It believes that an action
    moves by `moves` times what it does, and its latents hold `seen` times the position.
    """

    history = 1

    def __init__(self, normalizer, moves=(1.0, 1.0), seen=(1.0, 1.0)):
        super().__init__()
        self.normalizer = normalizer
        self.moves, self.seen = torch.tensor(moves), torch.tensor(seen)

    def encode(self, obs):
        std, mean = self.normalizer.proprio_std, self.normalizer.proprio_mean
        return (obs.proprio * torch.from_numpy(std) + torch.from_numpy(mean)) * self.seen

    def rollout(self, z, past, plan):
        actions = self.normalizer.decode_actions(plan).unflatten(-1, (BLOCK, 2)).clamp(-1, 1)
        position, path = z[:, -1], []
        for k in range(plan.shape[1]):
            for step in range(BLOCK):
                moved = position + toy.SPEED * self.moves * actions[:, k, step]
                position = moved.clamp(0, toy.SIDE)
            path.append(position * self.seen)
        return torch.stack(path, dim=1)

    def predict(self, z, actions):
        raise NotImplementedError("it is only rolled out")

    def rollout_bytes(self, blocks):
        return 1000, 1000

    def loss(self, batch):
        return {}


@pytest.fixture(scope="module")
def case(datasets):
    spec = tiny.spec("lewm", "protocol.pairs=40")
    dataset = tiny.dataset(spec, datasets)
    chosen, _ = pairs.draw(dataset, zoo.TASKS["toy"], spec.config.protocol, 0)
    return dataset, chosen, normalize.fit(dataset), spec.config.protocol


def found(case, search=SEARCH, protocol=None, **world):
    """name -> values of the pairs, in a world whose model is known."""
    dataset, chosen, normalizer, settings = case
    known = PlanSearch(Known(normalizer, **world), CEM(search), HORIZON, block_dim=10)
    policy = MPCPolicy(known, HORIZON, normalizer.decode_actions, seed=3, pairs_per_call=12)
    made = plans.measure(
        *("a.b.s0", policy, zoo.TASKS["toy"], chosen, dataset, normalizer),
        *(protocol or settings, CONFIG, tiny.quiet),
    )
    ids = [row.index for row in made if row.name == "outcome"]
    unsolved = [pair.pair_id for pair in chosen if not pair.initially_solved]
    assert ids in ([], unsolved[: CONFIG.pairs]) and len(unsolved) < len(chosen)
    names = {row.name for row in made}
    return {name: np.array([r.value for r in made if r.name == name]) for name in names}


def outcomes(values):
    return [metric_names.PLAN_OUTCOMES[int(i)] for i in values["outcome"]]


def test_an_exact_model_solves_every_pair_and_its_costs_come_true(case):
    values = found(case)
    assert outcomes(values) == ["solved"] * CONFIG.pairs
    assert values["predicted"] == pytest.approx(values["executed"], abs=1e-6)
    assert values["recorded"] == pytest.approx(0, abs=1e-6)  # they lead to the goal
    assert (values["executed"] < values["start"]).all()
    assert 0 < values["tolerance"].max() < toy.SUCCESS_DISTANCE**2 * 2
    for name in ("rank_first", "rank_last"):
        assert len(values[name]) == CONFIG.ranked and values[name].min() > 0.999


def test_wrong_dynamics_lose_by_the_model(case):
    """It takes left for right and up for down."""
    values = found(case, moves=(-1.0, -1.0))
    assert set(outcomes(values)) == {"model"}
    assert (values["predicted"] < values["executed"] / 10).all()
    assert (values["executed"] > values["start"]).mean() > 0.8  # away from the goal
    assert values["rank_first"].max() < 0


def test_a_cost_that_sees_half_of_the_state_loses_by_the_cost(case):
    """The model is exact and the search good; what is up and down does not count."""
    values = found(case, seen=(1.0, 0.0), search=dataclasses.replace(SEARCH, iterations=30))
    assert {"cost"} <= set(outcomes(values)) <= {"cost", "solved"}
    assert outcomes(values).count("cost") >= CONFIG.pairs // 2
    lost = values["outcome"] > 0
    assert (values["executed"] <= values["tolerance"])[lost].all()
    assert values["rank_first"].min() > 0.999  # the model is right about the cost


def test_a_search_that_hardly_looks_loses_by_the_search(case):
    values = found(case, search=CEMConfig(candidates=2, elites=2, iterations=1))
    assert {"search"} <= set(outcomes(values)) <= {"search", "solved"}
    assert outcomes(values).count("search") >= CONFIG.pairs // 2
    lost = values["outcome"] > 0
    assert (values["recorded"] < values["predicted"])[lost].all()


def test_a_collapsed_latent_loses_by_the_cost_and_ranks_nothing(case):
    values = found(case, seen=(0.0, 0.0))
    assert set(outcomes(values)) <= {"cost", "solved"}
    assert (values["rank_first"] == 0).all() and (values["start"] == 0).all()


@pytest.mark.parametrize(
    ("costs", "solved", "found"),
    [
        (Costs(predicted=9, executed=9, recorded=0, tolerance=1, start=9), True, "solved"),
        (Costs(predicted=0, executed=1, recorded=0, tolerance=1, start=9), False, "cost"),
        (Costs(predicted=9, executed=1, recorded=0, tolerance=1, start=9), False, "cost"),
        (Costs(predicted=1, executed=5, recorded=0, tolerance=1, start=9), False, "model"),
        (Costs(predicted=3, executed=5, recorded=4, tolerance=1, start=9), False, "model"),
        (Costs(predicted=3, executed=5, recorded=2, tolerance=1, start=9), False, "search"),
    ],
)
def test_what_loses_a_pair(costs, solved, found):
    assert plans.outcome(costs, solved) == found


@pytest.mark.parametrize(
    ("executed", "rank"), [([1, 2, 3, 9], 1.0), ([4, 3, 2, 1], -1.0), ([2, 2, 2, 2], 0.0)]
)
def test_spearman_of_known_orders(executed, rank):
    assert plans.spearman(np.array([1.0, 2, 3, 4]), np.array(executed)) == pytest.approx(rank)


def test_nothing_is_said_of_goals_beyond_a_plan_s_reach(case):
    dataset, chosen, normalizer, settings = case
    far = dataclasses.replace(settings, offset_steps=30)
    chosen, _ = pairs.draw(dataset, zoo.TASKS["toy"], far, 0)
    assert found((dataset, chosen, normalizer, far)) == {}


def test_success_is_judged_as_the_protocol_says(case):
    """A model that believes in half of an action's way plans past the goal."""
    ever, end = (
        outcomes(
            found(case, moves=(0.5, 0.5), protocol=dataclasses.replace(case[3], success_at=at))
        )
        for at in ("ever", "end")
    )
    pairs_of = list(zip(ever, end, strict=True))
    assert ("solved", "model") in pairs_of and ("model", "solved") not in pairs_of
