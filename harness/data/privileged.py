"""Views of a task and its dataset for a ceiling: the pose takes the place of proprioception.

A ceiling (baselines/true_state.py) shows how far planner, predictor and data carry a perfect
encoder. No other method sees the simulator's state.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from harness.contracts.task import Simulator, Task
from harness.data.clips import Clips
from harness.data.episodes import Dataset


class PoseTask:
    """A task whose simulators give the pose as proprioception; everything else is the task's."""

    def __init__(self, task: Task):
        self._task = task
        width = task.pose(np.zeros((1, len(task.spec.state_names)))).shape[-1]
        names = tuple(f"pose_{i}" for i in range(width))
        self.spec = dataclasses.replace(task.spec, proprio_names=names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies of the task's simulator."""
        return _PoseSimulator(self._task.simulator(n, image_size), self._task)


class _PoseSimulator:
    def __init__(self, simulator: Simulator, task: Task):
        self._simulator, self._task = simulator, task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._simulator, name)

    def proprio(self) -> np.ndarray:
        return self._task.pose(self._simulator.state()).astype(np.float32)


def with_pose(dataset: Dataset, task: Task) -> Dataset:
    """The dataset with the poses (R, p) of its states as proprioception; files stay as they are."""
    shown = copy.copy(dataset)
    shown.proprio = task.pose(dataset.state).astype(np.float32)
    return shown


def clips_with_pose(clips: Clips, task: Task) -> Clips:
    """The clips with the poses of their states as proprioception."""
    return clips._replace(
        proprio=_poses(task, clips.state), event_proprio=_poses(task, clips.event_state)
    )


def _poses(task: Task, state: np.ndarray) -> np.ndarray:
    """Poses (..., p) of states (..., S)."""
    pose = task.pose(state.reshape(-1, state.shape[-1]))
    return pose.reshape(*state.shape[:-1], -1).astype(np.float32)
