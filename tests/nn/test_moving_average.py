"""Targets that follow by an exponential moving average."""

import pytest
import torch
from torch import nn

from harness.nn import moving_average


def test_after_n_steps_it_is_the_closed_form():
    torch.manual_seed(0)
    online = nn.Linear(3, 2)
    target = moving_average.frozen_copy(online)
    first = target.weight.clone()
    with torch.no_grad():
        online.weight.add_(1)
    for _ in range(20):
        moving_average.follow(target, online, 0.1)
    left = 0.9**20
    assert torch.allclose(target.weight, left * first + (1 - left) * online.weight, atol=1e-6)
    assert torch.equal(target.bias, online.bias)


def test_a_copy_is_saved_but_not_trained_and_keeps_its_own_statistics():
    model = nn.ModuleDict({"online": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))})
    model["target"] = moving_average.frozen_copy(model["online"])
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        f"online.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")
    }
    assert "target.1.running_mean" in model.state_dict()
    model["online"](torch.randn(8, 3) + 5)
    moving_average.follow(model["target"], model["online"], 0.5)
    assert not model["target"][1].running_mean.any() and model["online"][1].running_mean.any()


def test_networks_of_different_size_are_refused():
    with pytest.raises(ValueError):
        moving_average.follow(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), 0.5)
