"""Linear layers by oneDNN: those of torch to fp32's rounding, forward and backward."""

import copy

import pytest
import torch
from torch import nn

from harness.runtime import onednn


@pytest.fixture(autouse=True)
def _any_cpu(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)


def pair(bias=True):
    """The same layer, torch's own and accelerated, below other modules."""
    torch.manual_seed(0)
    own = nn.Sequential(nn.Linear(74, 256, bias), nn.GELU())
    ours = copy.deepcopy(own)
    onednn.accelerate(ours)
    assert type(ours[0]) is onednn.Linear and type(own[0]) is nn.Linear
    return own, ours


def error(told, exact):
    return ((told - exact).abs().max() / exact.abs().max()).item()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 500, 74), (1500, 74), (2, 3, 74)])
def test_outputs_and_gradients_are_those_of_fp64(shape, bias):
    own, ours = pair(bias)
    x = torch.randn(shape)
    told = results(ours, x)
    exact = results(own.double(), x.double())
    assert len(told) == (4 if bias else 3)
    assert all(error(a, b) < 1e-5 for a, b in zip(told, exact, strict=True))  # bf16 has 4e-3


def results(model, x):
    """The output, and the gradients of the input and the weights."""
    x = x.clone().requires_grad_()
    y = model(x)
    return [y, *torch.autograd.grad(y.square().sum(), (x, *model.parameters()))]


def test_only_large_products_are_onednns(monkeypatch):
    _, ours = pair()
    made, product = [], onednn._product
    monkeypatch.setattr(onednn, "_product", lambda *args: made.append(args) or product(*args))
    with torch.inference_mode():
        ours(torch.randn(2, 74))
        assert not made
        ours(torch.randn(1500, 74))
    assert len(made) == 1
    results(ours, torch.randn(1500, 74))
    assert len(made) == 4  # forward, and backward to the input and to the weight


def test_without_gradients_too():
    own, ours = pair()
    x = torch.randn(1500, 74)
    with torch.inference_mode():
        assert error(ours(x), own(x)) < 1e-5


def test_a_part_that_is_frozen_gets_no_gradient():
    _, ours = pair()
    ours[0].requires_grad_(False)
    x = torch.randn(1500, 74, requires_grad=True)
    ours(x).sum().backward()
    assert x.grad is not None and ours[0].weight.grad is None and ours[0].bias.grad is None


def test_autocast_and_other_types_are_left_to_torch():
    own, ours = pair()
    x = torch.randn(1500, 74)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16 and torch.equal(ours(x), own(x))
    assert torch.equal(ours.double()(x.double()), own.double()(x.double()))
    assert ours.to("meta")(x.to("meta")).device.type == "meta"


def test_names_weights_and_pickles_stay():
    own, ours = pair()
    assert ours.state_dict().keys() == own.state_dict().keys()
    own.load_state_dict(ours.state_dict())
    assert torch.equal(copy.deepcopy(ours)(torch.ones(1, 74)), own(torch.ones(1, 74)))


def test_a_cpu_without_avx512_keeps_torchs(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: False)
    model = nn.Sequential(nn.Linear(2, 2))
    onednn.accelerate(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_give_the_same_products(dtype):
    own, ours = pair()
    own, ours = own.to(dtype), onednn.packed(ours.to(dtype))
    x = torch.randn(1500, 74, dtype=dtype)
    assert dtype == torch.bfloat16 or ours[0]._packed is not None
    with torch.inference_mode():
        assert error(ours(x).float(), own(x).float()) < (1e-5 if dtype == torch.float32 else 1e-2)
