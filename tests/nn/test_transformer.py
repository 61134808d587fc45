"""The conditioned transformer: causal, and the same in each way of computing it."""

import pytest
import tiny
import torch

from harness.nn.cached_rollout import KeyValueCache
from harness.nn.transformer import ConditionedTransformer

FRAMES, LATENT = 4, 12


def build(latent=LATENT, dropout=0.0):
    torch.manual_seed(0)
    sizes = {"width": 12, "depth": 2, "heads": 3, "head_width": 5, "hidden": 24}
    return ConditionedTransformer(latent=latent, frames=FRAMES, dropout=dropout, **sizes)


def inputs(latent=LATENT):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(6, FRAMES, latent, generator=generator) for _ in range(2))


@pytest.mark.parametrize("latent", [LATENT, 8])
@torch.no_grad()
def test_fused_and_plain_attention_agree(latent):
    """Training uses the fused kernel, evaluation on a CPU the plain products."""
    model = tiny.stir(build(latent))
    x, condition = inputs(latent)
    fused, plain = model.train()(x, condition), model.eval()(x, condition)
    assert fused.shape == x.shape
    assert torch.allclose(fused, plain, atol=1e-5)
    last = model.modulated(x, model.modulations(condition), last_only=True)
    assert torch.allclose(last, plain[:, -1:], atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_cached_keys_and_values_give_what_all_positions_at_once_do(training):
    model = tiny.stir(build()).train(training)
    x, condition = inputs()
    whole, modulations = model(x, condition), model.modulations(condition)
    cache, first = KeyValueCache(len(model.blocks)), 0
    for end in (1, 3, FRAMES):
        own = [modulation[:, first:end] for modulation in modulations]
        found = model.modulated(x[:, first:end], own, cache=cache)
        assert torch.allclose(found, whole[:, first:end], atol=1e-5)
        assert cache.positions == end
        first = end


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
