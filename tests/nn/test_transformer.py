"""The conditioned transformer: causal, and the same in each way of computing it."""

import pytest
import tiny
import torch

from harness.nn import conditioned_rollout, mlp
from harness.nn.cached_rollout import LayerCache
from harness.nn.conditioned_rollout import FastTransformer
from harness.nn.transformer import ConditionedTransformer

FRAMES, LATENT = 4, 12


def build(latent=LATENT, dropout=0.0):
    torch.manual_seed(0)
    sizes = {"width": 12, "depth": 2, "heads": 3, "head_width": 5, "hidden": 24}
    return ConditionedTransformer(latent=latent, frames=FRAMES, dropout=dropout, **sizes)


def inputs(latent=LATENT):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(6, FRAMES, latent, generator=generator) for _ in range(2))


def fast_last(model, x, condition, ends):
    """The fast form's output at the last position, the positions before each of `ends` taken in
    turn, with a cache.
    """
    fast = FastTransformer(model)
    x, condition = x.transpose(0, 1), condition.transpose(0, 1)
    modulations = fast.modulations(condition)
    caches, first = [LayerCache(dim=0) for _ in range(2 * len(fast.blocks))], 0
    for end in ends:
        own = [modulation[first:end] for modulation in modulations]
        found = fast.last(fast.project_in(x[first:end]), own, first, caches)
        first = end
    return found


@pytest.mark.parametrize("latent", [LATENT, 8])
@pytest.mark.parametrize("ends", [(FRAMES,), (1, 3, FRAMES), (1, 2, 3, FRAMES)])
@torch.no_grad()
def test_the_fast_form_is_the_plain_one_at_the_last_position(latent, ends):
    """All positions at once, and with keys and values of earlier ones from a cache."""
    model = tiny.stir(build(latent)).eval()
    x, condition = inputs(latent)
    whole = model(x, condition)
    assert torch.allclose(fast_last(model, x, condition, ends), whole[:, -1], atol=1e-5)


@torch.no_grad()
def test_attention_query_by_query_is_the_fused_one():
    q, k, v = torch.randn(3, FRAMES, 5, 3 * 7, generator=torch.Generator().manual_seed(1))
    for queries in range(1, FRAMES + 1):
        few, fused = (
            attend(q[-queries:], k, v, 7)
            for attend in (conditioned_rollout._attend_few, conditioned_rollout._attend_fused)
        )
        assert torch.allclose(few, fused, atol=1e-6)


@torch.no_grad()
def test_a_folded_batch_norm_and_a_folded_layer_are_the_plain_ones():
    torch.manual_seed(0)
    projector, embedder = mlp.Projector(6, 8, 5), mlp.ActionEmbedder(4, 6)
    projector(3 + 2 * torch.randn(50, 2, 6))  # running statistics that are not the first ones
    projector.eval()
    x, actions = torch.randn(3, 2, 6), torch.randn(3, 2, 4)
    fast = conditioned_rollout.FastProjector(projector)
    assert torch.allclose(fast(x), projector(x), atol=1e-6)
    fast = conditioned_rollout.FastActionEmbedder(embedder)
    assert torch.allclose(fast(actions), embedder(actions), atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_later_positions_are_not_seen(training):
    model = tiny.stir(build()).train(training)
    x, condition = inputs()
    before = model(x, condition)
    for t in range(1, FRAMES):
        later_x, later_condition = x.clone(), condition.clone()
        later_x[:, t] *= -1  # a LayerNorm would not see a constant added
        later_condition[:, t] *= -1
        for after in (model(later_x, condition), model(x, later_condition)):
            assert torch.allclose(after[:, :t], before[:, :t], atol=1e-6)
            assert (after - before)[:, t].abs().max() > 1e-2


@torch.no_grad()
def test_adaln_zero_blocks_are_the_identity_at_first():
    model = build().eval()
    x, condition = inputs()
    expected = model.norm(x + model.positions)
    assert torch.allclose(model(x, condition), expected, atol=1e-6)


@torch.no_grad()
def test_dropout_acts_in_training_alone():
    model = tiny.stir(build(dropout=0.5))
    x, condition = inputs()
    assert not torch.equal(model.train()(x, condition), model(x, condition))
    assert torch.equal(model.eval()(x, condition), model(x, condition))
