"""iCEM, the improved cross-entropy method (Pinneri et al. 2020), over plans in z-scored actions.

CEM (cem.py) with noise that is correlated over the blocks of a plan, with the best elites of one
iteration among the candidates of the next, and with a mean and a std that keep a share of their
last values. The plan is the cheapest candidate and not the mean.

Two parts of the original are left out: the number of candidates does not fall from iteration to
iteration, so that planners are compared at equal numbers of rollouts, and elites are not carried
over from one plan to the next.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.planning import CostFn, IterationRunner, Noise, Plan
from harness.contracts.setting import setting
from harness.planning.candidates import spread, take
from harness.planning.cem import CEMConfig


@dataclass(frozen=True)
class ICEMConfig(CEMConfig):
    """CEM's settings, and three of its own; defaults of these are the source's."""

    colour: float = setting(
        2.0, "Exponent of the noise's spectrum over the blocks; 0: white, as in CEM.", ge=0
    )
    kept_share: float = setting(
        0.3, "Share of the elites that are candidates of the next iteration.", ge=0, le=1
    )
    momentum: float = setting(
        0.1, "Share of the last mean and std that an iteration keeps.", ge=0, lt=1
    )


class ICEM:
    """iCEM as a planner (contracts.Planner)."""

    def __init__(self, config: ICEMConfig):
        self.config = config
        self.iterations = config.iterations

    def plan(
        self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = operator.call
    ) -> Plan:
        """Search for plans from a first mean `init` (B, K, A); the plan is the cheapest of the
        last candidates.
        """
        config, keep = self.config, round(self.config.kept_share * self.config.elites)
        colours = coloured(init.shape[1], config.colour).to(init.device)

        def iterate(
            iteration: Tensor, mean: Tensor, std: Tensor, best: Tensor
        ) -> tuple[Tensor, ...]:
            draws = noise(iteration, (config.candidates, *init.shape[1:]))  # (B, N, K, A)
            candidates = spread(_mixed(colours, draws), mean, std)
            if keep:
                candidates[:, 1 : keep + 1] = best[:, :keep]
            elite_cost, index = cost_fn(candidates).topk(config.elites, dim=1, largest=False)
            elites = take(candidates, index)  # (B, elites, K, A), the cheapest first
            mean = torch.lerp(elites.mean(1), mean, config.momentum)
            std = torch.lerp(elites.std(1), std, config.momentum)
            return mean, std, elites, elite_cost[:, 0]

        mean, std, costs = init, torch.full_like(init, config.initial_std), []
        best = init[:, None].expand(-1, config.elites, -1, -1)
        for iteration in torch.arange(config.iterations, device=init.device):
            mean, std, best, cost = run(iterate, iteration, mean, std, best)
            costs.append(cost)
        return Plan(best[:, 0], costs[-1], torch.stack(costs))


def coloured(blocks: int, exponent: float) -> Tensor:
    """(K, K): the map from white noise over K blocks to noise of the same variance whose spectrum
    falls with the frequency to the power of `exponent`.
    """
    frequencies = torch.fft.rfftfreq(blocks).clamp_min(1 / blocks)
    spectrum = torch.fft.rfft(torch.eye(blocks), dim=0) * frequencies[:, None] ** (-exponent / 2)
    colours = torch.fft.irfft(spectrum, n=blocks, dim=0)
    return colours / colours.pow(2).sum(1, keepdim=True).sqrt()


def _mixed(colours: Tensor, draws: Tensor) -> Tensor:
    """Blocks of draws (B, N, K, A) mixed by colours (K, K). By sums and not by a matrix product,
    which would round a pair's numbers in another way beside other pairs.
    """
    parts = (colours[:, k, None] * draws[:, :, k, None] for k in range(len(colours)))
    return sum(parts)  # type: ignore[return-value] # there is at least one
