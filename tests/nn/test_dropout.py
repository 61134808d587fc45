"""Dropout with shared random numbers: rate, scale, gradient, seed; attention with it."""

import pytest
import torch
import torch.nn.functional as F

from harness.nn.dropout import Dropout, dropout
from harness.nn.transformer import attend


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
def test_p_of_the_values_are_dropped_and_the_mean_stays(p):
    n = 1_000_003  # not a multiple of the values that share a number
    torch.manual_seed(0)
    out = dropout(torch.ones(n), p)
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)


def test_values_are_dropped_independently_of_their_neighbours():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert (kept[lag:] * kept[:-lag]).mean().abs() < 0.25 * 5 / 400_000**0.5


def test_the_gradient_goes_where_the_value_went():
    x = torch.randn(7, 5, requires_grad=True)
    out = dropout(x, 0.4)
    out.sum().backward()
    assert torch.allclose(x.grad * x.detach(), out.detach())
    assert (x.grad == 0).any() and (x.grad > 0).any()


def test_the_seed_decides_the_mask_and_evaluation_has_none():
    layer, x = Dropout(0.3), torch.randn(33, 3)
    first, again = (torch.manual_seed(seed) and layer(x) for seed in (4, 4))
    assert torch.equal(first, again) and not torch.equal(first, layer(x))
    assert torch.equal(layer.eval()(x), x)


def test_attention_with_dropout_is_torchs_on_average():
    q, k, v = torch.randn(3, 2, 4, 6, 8).unbind()
    visible = torch.ones(6, 6, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    assert torch.equal(attend(q, k, v, visible, 0.0), expected)
    torch.manual_seed(0)
    mean = torch.stack([attend(q, k, v, visible, 0.2) for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, expected, atol=0.06)
    assert not torch.allclose(attend(q, k, v, visible, 0.2), expected, atol=0.06)
