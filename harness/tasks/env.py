"""One gymnasium environment for every task: a Simulator with a single copy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from harness.contracts.task import Surprise, Task, TaskSpec


class SimulatorEnv(gym.Env):
    """A task as a gymnasium environment; observation = {"pixels" (3, size, size), "proprio" (p,)}.

    The reward is 1 where the task is solved and 0 elsewhere; `info` holds the privileged "state"
    and "goal".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's name)
    render_mode: str | None = "rgb_array"

    def __init__(self, task: Task, seed: int | None, image_size: int = 64):
        spec = task.spec
        self._task = task
        self._simulator = task.simulator(1, image_size)
        self._goal = np.zeros(len(spec.state_names))
        self.np_random = np.random.default_rng(seed)
        self.action_space = spaces.Box(
            np.asarray(spec.action_low, np.float32),
            np.asarray(spec.action_high, np.float32),
            dtype=np.float32,
        )
        self.observation_space = spaces.Dict(
            pixels=spaces.Box(0, 255, (3, image_size, image_size), np.uint8),
            proprio=spaces.Box(-np.inf, np.inf, (len(spec.proprio_names),), np.float32),
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Start from options["state"] with goal state options["goal"]; a missing one is drawn."""
        super().reset(seed=seed)
        options = options or {}
        state, goal = options.get("state"), options.get("goal")
        if state is None or goal is None:
            initial, _ = self._task.collector(self.np_random, 2).start()
            state = initial[0] if state is None else state
            goal = initial[1] if goal is None else goal
        self._goal = np.array(goal, np.float64)
        self._simulator.set_state(np.array(state, np.float64)[None])
        return self._observation(), self._info()

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, np.ndarray]]:
        """One control step. It terminates where the task is solved and never truncates."""
        self._simulator.step(np.asarray(action)[None])
        solved = bool(self._task.success(self._simulator.state(), self._goal[None])[0])
        return self._observation(), float(solved), solved, False, self._info()

    def render(self) -> np.ndarray:
        """The picture as (size, size, 3)."""
        return np.ascontiguousarray(self._simulator.render()[0].transpose(1, 2, 0))

    def close(self) -> None:
        """Close the simulator."""
        self._simulator.close()

    def _observation(self) -> dict[str, np.ndarray]:
        return {"pixels": self._simulator.render()[0], "proprio": self._simulator.proprio()[0]}

    def _info(self) -> dict[str, np.ndarray]:
        return {"state": self._simulator.state()[0], "goal": self._goal.copy()}


class WithEnv:
    """Base of the tasks, which gives them make_env, reset_to, pose, legal, corrected and surprises
    of contracts.Task.
    """

    spec: TaskSpec

    def make_env(self: Task, seed: int, image_size: int = 64) -> SimulatorEnv:
        """One copy as a gymnasium environment."""
        return SimulatorEnv(self, seed, image_size)

    def reset_to(
        self, env: SimulatorEnv, state: np.ndarray, goal: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Put `env` into `state` (S,) with goal state `goal` (S,); returns the observation."""
        return env.reset(options={"state": state, "goal": goal})[0]

    def legal(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """contracts.Task.legal: every step."""
        return np.ones(len(before), bool)

    def corrected(self: Task) -> Task:
        """contracts.Task.corrected: the task itself."""
        return self

    def surprises(self) -> tuple[Surprise, ...]:
        """contracts.Task.surprises: none."""
        return ()

    def pose(self, state: np.ndarray) -> np.ndarray:
        """contracts.Task.pose: every number of the state that is no speed, in the order of
        spec.state_names.
        """
        columns = []
        for name, values in zip(self.spec.state_names, np.asarray(state).T, strict=True):
            unit = name.rpartition(" ")[2]
            if not unit.endswith("/s]"):
                columns += [np.sin(values), np.cos(values)] if unit == "[rad]" else [values]
        return np.stack(columns, axis=-1)
