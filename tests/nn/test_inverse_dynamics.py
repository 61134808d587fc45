"""Inverse dynamics on latents whose blocks are known."""

import pytest
import torch
from torch import nn

from harness.nn import inverse_dynamics


def test_the_error_is_of_the_block_between_two_latents():
    """Blocks that are differences of latents: exact for a head that subtracts, and each wrong
    block counts once.
    """
    z = torch.randn(5, 4, 3)
    actions = torch.cat([z[:, 1:] - z[:, :-1], torch.full((5, 1, 3), 9.0)], dim=1)
    head = nn.Linear(6, 3, bias=False)
    head.weight.data = torch.cat([-torch.eye(3), torch.eye(3)], dim=1)
    error = inverse_dynamics.block_error
    assert error(head, z, actions).item() == pytest.approx(0, abs=1e-12)
    actions[2, 1, 0] += 6.0
    assert error(head, z, actions).item() == pytest.approx(36 / (5 * 3 * 3), rel=1e-5)


def test_the_head_recovers_a_planted_action_map():
    """A nonlinear function of two latents; the mean explains none of it."""
    torch.manual_seed(0)
    plant = nn.Linear(8, 2)

    def draw(count):
        z = torch.randn(count, 2, 4)
        block = torch.tanh(plant(z.flatten(1))).detach()
        return z, torch.stack([block, torch.zeros_like(block)], dim=1)

    head = inverse_dynamics.mlp_head(4, 64, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        inverse_dynamics.block_error(head, *draw(128)).backward()
        optimizer.step()
    z, actions = draw(2000)
    explained = 1 - inverse_dynamics.block_error(head, z, actions) / actions[:, 0].var()
    assert explained > 0.97
    shuffled = inverse_dynamics.block_error(head, z, actions.roll(1, dims=0))
    assert shuffled > actions[:, 0].var()
