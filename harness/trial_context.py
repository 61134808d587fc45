"""The context that every stage of a trial reads, and the result that it leaves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from harness import policies, zoo
from harness.contracts.data import Obs, Pair
from harness.contracts.method import (
    EndCost,
    LatentModel,
    MethodConfig,
    StatePolicy,
    TimedPolicy,
    WorldModel,
)
from harness.contracts.task import ModelDims, Simulator, Task
from harness.data import collect, normalize, privileged
from harness.data.episodes import Dataset, open_dataset
from harness.data.normalize import Normalizer
from harness.data.privileged import PoseTask
from harness.data.windows import Windows
from harness.evaluate import control, held_out, pairs, probing
from harness.experiment.config import TrialConfig
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import rows
from harness.runtime import machine, memory, seeding
from harness.runtime.progress import Progress
from harness.training import pretraining

_RESIDENT_SHARE = 0.5  # of a GPU's free memory, for the frames of a dataset


class Result(NamedTuple):
    """The result of a stage: rows, columns of the trial's own row, and a trained model."""

    metrics: Sequence[rows.MetricRow] = ()
    episodes: Sequence[rows.EpisodeRow] = ()
    frames: Sequence[rows.FrameRow] = ()
    facts: rows.Facts | None = None
    model: LatentModel | None = None


@dataclass(frozen=True)
class Context:
    """The trial, its data and, once it is trained, its model."""

    spec: TrialSpec
    folders: RunFolders
    device: torch.device
    progress: Progress
    dataset: Dataset
    normalizer: Normalizer
    model: LatentModel | None = None  # None before the training, and for a control

    @property
    def key(self) -> str:
        """The trial's name, which all its rows carry."""
        return self.spec.key

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration."""
        return self.spec.config

    @property
    def trained(self) -> LatentModel:
        """The model, for stages that come after its training."""
        assert self.model is not None, self.key
        return self.model

    @property
    def world_model(self) -> WorldModel:
        """The same, for stages of methods that plan."""
        assert isinstance(self.model, WorldModel), (self.key, type(self.model))
        return self.model

    @property
    def task(self) -> Task:
        """The task as the method sees it, in the scene of the trial's data and under the physics of
        its protocol.
        """
        task = zoo.task(self.spec.task, self.config.data.scene)
        if self.config.protocol.physics == "corrected":
            task = task.corrected()
        return PoseTask(task) if zoo.METHODS[self.spec.method].sees_pose else task

    @property
    def dims(self) -> ModelDims:
        """The sizes that the task gives a model."""
        return self.task.spec.model_dims(self.config.data.image_size)

    @property
    def pool(self) -> list[Dataset]:
        """The datasets that the method's encoder is trained on first; for most methods none."""
        root = self.folders.datasets
        return [
            open_dataset(collect.ensure(zoo.task(name, data.scene), data, root))
            for name, data in self.config.pool.items()
        ]

    def new_model(self, method: MethodConfig) -> LatentModel:
        """The model as its training starts."""
        torch.manual_seed(seeding.integer("model", self.spec.seed))
        return zoo.METHODS[self.spec.method].build(method, self.dims).to(self.device)

    def training_windows(self, model: LatentModel) -> Windows:
        """The windows that the model learns from, in the GPU's memory where they fit."""
        tokens: np.ndarray | None
        if zoo.METHODS[self.spec.method].sees_pose:
            tokens = np.empty((len(self.dataset.state), 0, 0), np.float16)  # no picture is read
        else:
            tokens = pretraining.tokens(model, self.dataset, self.device, self.progress)
        windows = Windows(
            self.dataset.with_training_share(self.config.train.data_share),
            "train",
            model.window_frames,
            self.task.spec.action_block,
            self.normalizer,
            model.goal_sampling,
            tokens,
        )
        if self.device.type == "cuda":
            room = memory.free(self.device, self.config.resources.gpu)
            windows.reside(self.device, int(_RESIDENT_SHARE * room))
        return windows

    @functools.cached_property
    def rollouts(self) -> held_out.Rollouts:
        """Held-out windows, and what the world model predicts for them."""
        model, block = self.world_model, self.task.spec.action_block
        return held_out.rollouts(model, self.dataset, self.normalizer, block, self.device)

    @functools.cached_property
    def probed(self) -> dict[str, probing.Pairs]:
        """The model's latents of the frames that probes are fitted on and evaluated on."""
        return self.read_pairs(held_out.latent(self.trained))

    @functools.cached_property
    def probe(self) -> probing.Probe:
        """The probe that is fitted to the model's latents of single frames."""
        return probing.of_frames(self.probed, self.task.spec)

    def read_pairs(self, features: held_out.Read) -> dict[str, probing.Pairs]:
        """The same frames by another encoder."""
        block = self.task.spec.action_block
        return probing.read_pairs(features, self.dataset, self.normalizer, block, self.device)

    def pairs(self, eval_seed: int) -> tuple[list[Pair], list[Pair]]:
        """The protocol's pairs, and those that are drawn for their stratum alone; of a method that
        is evaluated on few pairs the first ones alone.
        """
        main, extra = pairs.draw(self.dataset, self.task, self.config.protocol, eval_seed)
        most = self.config.method.most_pairs
        return (main[:most], []) if most else (main, extra)

    def policy(self, eval_seed: int) -> TimedPolicy | StatePolicy:
        """The policy of this trial: the model's, the control, or a search in the simulator."""
        method, decode = zoo.METHODS[self.spec.method], self.normalizer.decode_actions
        if method.plans_in_simulator:
            encode = self.normalizer.encode_proprio
            return self._in_simulator(
                method.build(self.config.method, self.task, encode), eval_seed
            )
        if self.model is None:
            seed = seeding.integer(self.spec.seed, eval_seed)
            return method.build(self.config.method, self.task, seed)
        if method.plans and self.config.mpc.dynamics == "simulator":
            return self._in_simulator(self._latent_cost(), eval_seed)
        read = None
        if method.plans and self.config.mpc.cost == "probe":
            read = self.probe.reader(self.device)
        return policies.of_model(self.spec, self.model, decode, eval_seed, self.device, read)

    def device_is_shared(self) -> bool:
        """Whether other trials or programs may use this trial's device now."""
        if self.config.resources.shares or self.device.type == "cpu":
            return self.config.resources.shares
        return machine.gpu_is_shared(f"GPU-{torch.cuda.get_device_properties(self.device).uuid}")

    def _in_simulator(self, end_cost: EndCost, eval_seed: int) -> StatePolicy:
        """The policy that plans in the task's simulator by this cost."""
        told = functools.partial(self.progress, "search")
        decode = self.normalizer.decode_actions
        return policies.in_simulator(self.spec, self.task, end_cost, decode, eval_seed, told)

    def _latent_cost(self) -> EndCost:
        """The cost of states of the simulator by the model's latents of their pictures."""

        def now(simulator: Simulator) -> Obs:
            return control.observation(simulator.render(), simulator.proprio(), self.normalizer)

        def wanted(pair: Pair) -> Obs:
            return control.goal_observation([pair], self.normalizer)

        return policies.latent_cost(self.world_model, now, wanted, self.device)


def with_data(
    spec: TrialSpec, folders: RunFolders, device: torch.device, progress: Progress
) -> Context:
    """The context of a trial that begins: its data, collected where they are missing, and the
    normalizer that is fitted to them.
    """
    task = zoo.task(spec.task, spec.config.data.scene)
    dataset = open_dataset(collect.ensure(task, spec.config.data, folders.datasets))
    if zoo.METHODS[spec.method].sees_pose:
        dataset = privileged.with_pose(dataset, task)
    normalizer = normalize.fit(dataset, spec.config.data.normalizer, task.spec.released_actions)
    return Context(spec, folders, device, progress, dataset, normalizer)
