"""plan: one CEM plan of a world model, and many together, LeWM's against the peer's solver.

The same random weights, frames and numbers for the candidates on every side. "plain" is our model
by its `rollout`, which predicts each latent anew from the whole history; ratios are to it where the
peer is not installed. The peer plans many pairs one after the other, its default, and on another
side all in one call of the model (batch_size); ratios are to the first on a CPU, where it is the
quicker one, and to the second on CUDA. The outcome is the cost of the plan found, by the
plain form in fp32. bf16 is a side of its own, where the device multiplies it fast.

The ceiling is measured first (ceiling.py), and each side has its share of it: the
operations of a plan, a second, in percent of the ceiling in the side's number format. Operations
are those of our fast form, counted from shapes (harness/runtime/flops.py): matrix products and
attention that it carries out, nothing that it saves by a cache or by predicting the last position
alone, and no elementwise operation. They are the same for all sides, so that a side which computes
more for the same plan has the smaller share.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness import zoo
from harness.bench import ceiling, peer, settings, versus
from harness.contracts.data import Batch, Obs
from harness.contracts.method import WorldModel
from harness.contracts.planning import Noise
from harness.contracts.setting import setting
from harness.experiment import config
from harness.experiment.identity import TrialSpec
from harness.planning import cost
from harness.runtime import seeding

NAME = "plan"


@dataclass(frozen=True)
class Config(settings.OfModels):
    """The options of this figure."""

    method: str = setting("lewm", "The world model that plans.", text="a method that plans")
    iterations: int = setting(10, "Iterations of a plan.", ge=1)
    pairs: int = setting(50, "Pairs that are planned together.", ge=1)


def run(options: Config) -> str:
    """Measure, write the rows and show the table; returns the path of the rows."""
    torch.set_num_threads(options.threads)
    caption = "Seconds of a solve, from pixels. Outcome: cost of the plan, median."
    peaks = ceiling.measure(options.threads, options.device)
    operations: dict[str, int] = {}
    measured = versus.measure(_figures(options, operations), options.repeats, options.device)
    measured += _shares(measured, operations, peaks)
    said = ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {mode}" for mode, peak in peaks.items())
    caption += f" Share: operations of our fast form a second, of the ceiling: {said}."
    title = f"CEM plans of {options.method}, scale={options.scale}, {options.threads} thread(s)"
    name = settings.file(NAME, options)
    name += f"-{options.method}" if options.method != "lewm" else ""
    return versus.publish(options.results, name, measured, title, caption)


def _shares(
    measured: Sequence[versus.BenchRow], operations: dict[str, int], peaks: dict[str, float]
) -> list[versus.BenchRow]:
    """Each time's share of the ceiling in the number format that the side's name ends in."""
    return [
        dataclasses.replace(
            row,
            figure=f"{row.figure}: share of the ceiling",
            value=100 * operations[row.figure] / row.value / peaks[row.side.split(", ")[-1]],
            unit="%",
            larger_is_better=True,
            outcome=math.nan,
            outcome_name="",
        )
        for row in measured
    ]


def _figures(options: Config, operations: dict[str, int]) -> Iterator[versus.Figure]:
    """The figures, one for each number of pairs; the operations of a solve are written to
    `operations` by the figure's name.
    """
    trial = settings.spec(
        options.scale,
        options.task,
        options.method,
        f"planner.cem.iterations={options.iterations}",
        device=options.device,
    )
    model = settings.model(trial, options.device)
    if not isinstance(model, WorldModel):
        raise config.ConfigError(f"method={options.method} does not plan: lewm or dino_wm does")
    shape = f"{trial.config.planner.candidates} x {options.iterations} x {_blocks(trial)}"
    modes = settings.modes(options.device)
    for pairs in dict.fromkeys((1, options.pairs)):
        bench = _Bench(options, trial, model, pairs)
        sides = bench.peers() if options.method == "lewm" and peer.find() else []
        if pairs == 1 or not sides:
            once = bench.ours(plain(trial, options.device), "fp32")
            sides.append(versus.Side("plain, fp32", once))
        sides += [versus.Side(f"ours, {mode}", bench.ours(model, mode)) for mode in modes]
        words = "one pair" if pairs == 1 else f"{pairs} pairs together"
        names = [side.name for side in sides]
        reference = (
            names[1] if options.device == "cuda" and names[1].startswith("peer") else names[0]
        )
        operations[f"{words}, {shape}"] = bench.operations()
        yield versus.Figure(f"{words}, {shape}", sides, reference, outcome_name="plan cost")


class Plain(WorldModel):
    """A world model that plans by its plain rollout: its fast one is left out."""

    def __init__(self, model: WorldModel):
        super().__init__()
        self.model, self.history = model, model.history

    def encode(self, obs: Obs) -> Tensor:
        """The model's own."""
        return self.model.encode(obs)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """The model's own."""
        return self.model.predict(z, actions)

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """The model's own, in the plain form; fast_rollout returns it too."""
        return self.model.rollout(z, past, plan)

    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """The model's own; its fast rollout takes about as much."""
        return self.model.rollout_bytes(blocks)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The model's own."""
        return self.model.loss(batch)


def plain(trial: TrialSpec, device: str) -> Plain:
    """The trial's model with its plain rollout, by torch's own linear layers."""
    return Plain(settings.unaccelerated(trial, device))


class _Bench:
    """The same pairs, weights and (for one pair) candidates for each side."""

    def __init__(self, options: Config, trial: TrialSpec, model: WorldModel, pairs: int):
        self._trial, self._model, self._pairs = trial, model, pairs
        self._device = torch.device(options.device)
        self._now, self._goal = settings.frames(trial, pairs)
        self._block_dim = zoo.TASKS[trial.task].spec.block_dim

    def ours(self, model: WorldModel, precision: str) -> Callable[[], tuple[float, float]]:
        """Our policy's solve."""
        cfg = self._trial.config
        mpc = dataclasses.replace(cfg.mpc, precision=precision)
        trial = dataclasses.replace(self._trial, config=dataclasses.replace(cfg, mpc=mpc))
        noise = self._same_noise() if self._pairs == 1 else seeding.PairNoise
        policy = settings.policy(trial, model, self._pairs, self._device, noise)

        def once() -> tuple[float, float]:
            plan, seconds = policy.solve(self._now, self._goal, np.arange(self._pairs))
            return seconds, self._cost(plan.actions)

        return once

    def operations(self) -> int:
        """Operations of a solve of all pairs in our fast form."""
        one = np.zeros(1, dtype=int)
        policy = settings.policy(self._trial, self._model, 1, self._device)
        return self._pairs * policy.flops(self._now.rows(one), self._goal.rows(one))

    def peers(self) -> list[versus.Side]:
        """The peer's solver, and with all pairs in one call where it takes them."""
        if self._pairs == 1:
            return [versus.Side("peer, fp32", self._peer(1))]
        sides = [versus.Side("peer, one by one, fp32", self._peer(1))]
        if peer.batches():
            sides.append(versus.Side("peer, together, fp32", self._peer(self._pairs)))
        return sides

    def _peer(self, together: int) -> Callable[[], tuple[float, float]]:
        """The peer's solver, from the same pixels."""
        cfg = self._trial.config
        ours = settings.unaccelerated_lewm(self._trial, self._device.type)
        theirs = peer.lewm(ours, cfg.method).to(self._device).eval()
        now, goal = self._now.pixels, self._goal.pixels
        assert now is not None and goal is not None
        settings_of_peer = {
            "num_samples": cfg.planner.candidates,
            "topk": cfg.planner.elites,
            "n_steps": cfg.planner.iterations,
            "device": self._device,
            "together": together,
        }

        def once() -> tuple[float, float]:
            solver = peer.solver(
                theirs, self._pairs, _blocks(self._trial), self._block_dim, **settings_of_peer
            )
            started = time.perf_counter()
            start, end = (
                ours.encoder.normalised(pixels[:, 0].to(self._device))[:, None]
                for pixels in (now, goal)
            )
            plan = peer.solve(solver, start, end, self._block_dim)
            return time.perf_counter() - started, self._cost(plan.to(self._device))

        return once

    def _same_noise(self) -> Callable[[Tensor, torch.device], Noise]:
        """The numbers that the peer draws for one pair, in its order. They are drawn here and stay
        where they are, since a recorded iteration cannot draw from a generator.
        """
        planner = self._trial.config.planner
        plans = 1, planner.candidates, _blocks(self._trial), self._block_dim
        drawn = torch.Generator(self._device).manual_seed(peer.SEED)
        table = torch.cat(
            [
                torch.randn(plans, generator=drawn, device=self._device)
                for _ in range(planner.iterations)
            ]
        )  # (iterations, N, K, A)

        def noise(draw: Tensor, shape: tuple[int, ...]) -> Tensor:
            assert shape == table.shape[1:], (shape, table.shape)
            return table.index_select(0, draw.reshape(1))

        return lambda keys, device: noise

    @torch.inference_mode()
    def _cost(self, actions: Tensor) -> float:
        """Mean cost of plans (B, K, A), by the plain form in fp32."""
        z, goal = (
            self._model.encode(obs.to(self._device))[:, -1] for obs in (self._now, self._goal)
        )
        rollout = self._model.rollout
        whole = cost.latent_distance(rollout, z, goal, self._pairs, sys.maxsize)
        return whole(actions.float()[:, None]).mean().item()


def _blocks(trial: TrialSpec) -> int:
    return trial.config.mpc.horizon_blocks
