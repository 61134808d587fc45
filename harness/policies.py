"""What acts for a trained model: a planner over a world model, or the model itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness import seeding, zoo
from harness.interfaces import TrialSpec
from harness.planning.feed_forward import FeedForwardPolicy
from harness.planning.mpc import MPCPolicy


def of_model(
    spec: TrialSpec,
    model: nn.Module,
    decode_actions: Callable[[Tensor], Tensor],
    eval_seed: int,
    device: torch.device,
) -> MPCPolicy | FeedForwardPolicy:
    """The policy of a trial: MPC for a model that has `rollout`, for others its own `act`."""
    if hasattr(model, "rollout"):
        return _planned(spec, model, decode_actions, eval_seed, device)
    resources = spec.config.resources
    return FeedForwardPolicy(
        model.eval(),
        decode_actions,
        device,
        resources.pairs_per_solve,
        resources.pairs_per_rollout,
    )


def _planned(
    spec: TrialSpec,
    model: nn.Module,
    decode_actions: Callable[[Tensor], Tensor],
    eval_seed: int,
    device: torch.device,
) -> MPCPolicy:
    cfg, task = spec.config, zoo.TASKS[spec.task].spec
    return MPCPolicy(
        model.eval(),
        zoo.PLANNERS[cfg.planner_name].build(cfg.planner),
        cfg.mpc,
        decode_actions,
        task.action_dim * task.action_block,
        seeding.integer(spec.seed, eval_seed),
        device,
        cfg.resources.pairs_per_solve,
        cfg.resources.pairs_per_rollout,
        threads=max(1, round(cfg.resources.cpu)),
    )
