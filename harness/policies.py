"""A trained model becomes a policy: a world model plans, a goal-conditioned model acts itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness import zoo
from harness.contracts.data import Obs, Pair
from harness.contracts.method import EndCost, GoalPolicy, LatentModel, TimedPolicy, WorldModel
from harness.contracts.task import Simulator, Task
from harness.experiment.identity import TrialSpec
from harness.planning.cost import Reading, squared_distance
from harness.planning.feed_forward import FeedForwardPolicy
from harness.planning.plan_search import PlanSearch
from harness.planning.receding_horizon import MPCPolicy
from harness.planning.simulator_search import SimulatorPolicy
from harness.runtime import seeding

_FRAMES_PER_CALL = 128  # that are encoded together


def of_model(
    spec: TrialSpec,
    model: LatentModel,
    decode_actions: Callable[[Tensor], Tensor],
    eval_seed: int,
    device: torch.device,
    read: Reading | None = None,
) -> TimedPolicy:
    """The policy of a trial: a WorldModel plans, a GoalPolicy acts by itself. `read` gives what of
    the latents is compared with the goal, None: all of them.
    """
    cfg, resources = spec.config, spec.config.resources
    sizes = resources.pairs_per_solve, resources.pairs_per_rollout
    model.eval()
    if isinstance(model, GoalPolicy):
        return FeedForwardPolicy(model, decode_actions, device, *sizes)
    assert isinstance(model, WorldModel), type(model)
    search = PlanSearch(
        model,
        zoo.PLANNERS[cfg.planner_name].build(cfg.planner),
        cfg.mpc.horizon_blocks,
        zoo.TASKS[spec.task].spec.block_dim,
        cfg.mpc.precision,
        device,
        threads=max(1, round(resources.cpu)),
        read=read,
    )
    seed = seeding.integer(spec.seed, eval_seed)
    return MPCPolicy(
        search, cfg.mpc.execute_blocks, decode_actions, seed, *sizes, warm_start=cfg.mpc.warm_start
    )


def in_simulator(
    spec: TrialSpec,
    task: Task,
    end_cost: EndCost,
    decode_actions: Callable[[Tensor], Tensor],
    eval_seed: int,
    on_progress: Callable[[int, int], None],
) -> SimulatorPolicy:
    """The policy of a trial whose model is the simulator."""
    cfg = spec.config
    return SimulatorPolicy(
        zoo.PLANNERS[cfg.planner_name].build(cfg.planner),
        task,
        end_cost,
        cfg.mpc.horizon_blocks,
        cfg.mpc.execute_blocks,
        decode_actions,
        seeding.integer(spec.seed, eval_seed),
        cfg.mpc.warm_start,
        cfg.data.image_size,
        on_progress,
    )


def latent_cost(
    model: WorldModel,
    now: Callable[[Simulator], Obs],
    wanted: Callable[[Pair], Obs],
    device: torch.device,
) -> EndCost:
    """The cost of plans that really ended where a simulator stands: the squared distance between
    the latents of its pictures and of the goal's, as the model sees both.
    """
    model.eval()

    def cost(simulator: Simulator, pair: Pair) -> Tensor:
        obs, goal = now(simulator), model.encode(wanted(pair).to(device))[:, -1]
        assert obs.pixels is not None
        parts = torch.arange(len(obs.pixels)).split(_FRAMES_PER_CALL)
        z = torch.cat([model.encode(obs.rows(part).to(device))[:, -1] for part in parts])
        return squared_distance(z, goal).cpu()

    return cost
