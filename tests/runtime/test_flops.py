"""Operations are those counted by hand, at no cost, and the same in part as in full."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from harness import policies, zoo
from harness.contracts.data import Obs
from harness.contracts.method import WorldModel
from harness.evaluate import latents
from harness.planning.cem import CEM, CEMConfig
from harness.planning.plan_search import PlanSearch
from harness.runtime import flops

TRAINED = [name for name, method in zoo.METHODS.items() if method.trained]
PIXELS, LATENT, ACTION = 3 * 8 * 8, 5, 4


class Linear(WorldModel):
    """A world model of two matrices: pixels to latents, latent and action to the next latent."""

    history = 1

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(PIXELS, LATENT)
        self.dynamics = nn.Linear(LATENT + ACTION, LATENT)
        self.register_buffer("shift", torch.ones(()))

    def encode(self, obs):
        return self.encoder(obs.pixels.flatten(2).float() + self.shift)

    def rollout(self, z, past, plan):
        latents = [z[:, -1]]
        for block in plan.unbind(1):
            latents.append(self.dynamics(torch.cat([latents[-1], block], dim=-1)))
        return torch.stack(latents[1:], dim=1)

    def predict(self, z, actions):
        return self.dynamics(torch.cat([z, actions], dim=-1))

    def rollout_bytes(self, blocks):
        return 1, 1

    def loss(self, batch):
        return {}


def observation(size=8, proprio=2):
    return Obs(torch.zeros(1, 1, 3, size, size, dtype=torch.uint8), torch.zeros(1, 1, proprio))


def test_a_linear_model_takes_what_is_counted_by_hand():
    planner = CEM(CEMConfig(candidates=7, elites=3, iterations=4))
    search = PlanSearch(Linear(), planner, horizon_blocks=3, block_dim=ACTION)
    encoding = 2 * (2 * PIXELS * LATENT)  # start and goal, 2 operations for each multiply-add
    rollouts = 4 * 7 * 3 * (2 * (LATENT + ACTION) * LATENT)  # iterations, candidates, blocks
    assert search.flops(observation(), observation()) == encoding + rollouts


@pytest.mark.parametrize("name", TRAINED)
def test_a_shape_counted_once_is_every_call_counted(name, monkeypatch):
    """The count of a whole plan, each of its calls counted, is the sum that is recorded."""
    spec = tiny.spec(name, "planner.cem.iterations=3", "planner.cem.candidates=40")
    policy = policies.of_model(spec, tiny.model(spec), lambda a: a, 0, torch.device("cpu"))
    seen = observation(spec.config.data.image_size)
    recorded = policy.flops(seen, seen)
    assert recorded > 0

    class Forgetful(flops.CountedCost):
        def __call__(self, plans):
            self._known.clear()
            return super().__call__(plans)

    monkeypatch.setattr(flops, "CountedCost", Forgetful)
    assert policy.flops(seen, seen) == recorded


@pytest.mark.parametrize("name", ["lewm", "dino_wm"])
def test_a_plan_in_numbers_takes_the_products_that_were_counted_on_shapes(name):
    """Where attention is by kernels that the counter knows, a real plan is counted alike."""
    spec = tiny.spec(name, "planner.cem.iterations=2", "planner.cem.candidates=40")
    model = tiny.model(spec).eval()
    policy = policies.of_model(spec, model, lambda a: a, 0, torch.device("cpu"))
    seen = observation(spec.config.data.image_size)
    shapes = policy.flops(seen, seen)
    start = model.encode(seen).detach()  # (1, 1, *D)
    plans, rollout = torch.zeros(40, spec.config.mpc.horizon_blocks, 10), model.fast_rollout()

    def plan():
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            model.encode(seen), model.encode(seen)
            for _ in range(2):
                rollout(start.expand(40, *start.shape[1:]), plans[:, :0], plans)

    _, real = flops.counted(plan)
    few = name == "lewm"  # its attention over few frames is elementwise on a CPU
    assert real < shapes if few else real == shapes
    assert real > 0.8 * shapes


def test_attention_is_counted():
    q = torch.zeros(2, 3, 10, 8, device=flops.META)
    mask = torch.ones(10, 10, dtype=torch.bool, device=flops.META)
    for extra in ({}, {"attn_mask": mask}, {"is_causal": True}):
        _, found = flops.counted(
            lambda extra=extra: F.scaled_dot_product_attention(q, q, q, **extra)
        )
        assert found == 2 * (2 * 2 * 3 * 10 * 10 * 8)


@pytest.mark.parametrize("name", TRAINED)
def test_counting_changes_neither_model_nor_random_numbers(name):
    spec = tiny.spec(name)
    model = tiny.model(spec)
    policy = policies.of_model(spec, model, lambda a: a, 0, torch.device("cpu"))
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    seen = observation(spec.config.data.image_size)
    policy.flops(seen, seen)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.device.type == "cpu" for p in model.parameters())


@pytest.mark.parametrize("name", TRAINED)
def test_floats_of_a_frame_are_those_of_its_latent(name):
    spec = tiny.spec(name)
    model = tiny.model(spec).eval()
    dims = zoo.TASKS[spec.task].spec.model_dims(spec.config.data.image_size)
    found = latents.floats_per_frame(flops.shapes_only(model), dims, flops.META)
    seen = observation(dims.image_size, dims.proprio_dim)
    with torch.inference_mode():
        assert found == model.encode(seen)[0, 0].numel()
    if name == "lewm":
        assert found == spec.config.method.latent_dim
