"""A task in a file of its own: a ball that is pushed over a frictionless floor with walls.

    ./run.sh suite=smoke scale=tiny tasks=examples/my_task.py methods=lewm,heuristic,random

Its data are collected, its pairs drawn and its pictures filmed as those of any other task. States
are rows of a (B, 4) array, in the units that the specification names.
"""

from __future__ import annotations

import numpy as np

from harness.contracts.task import TaskSpec
from harness.tasks.env import WithEnv

RADIUS = 0.12  # of the ball, in sides of the floor
PUSH = 0.01  # speed that an action of 1 adds in a step
LARGEST_SPEED = 0.06  # per step
CLOSE = 0.1  # distance to the goal that counts as success

SPEC = TaskSpec(
    name="ball",
    label="Ball",
    about="A ball on a frictionless floor, an example from outside.",
    version=1,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    state_names=("x [side]", "y [side]", "x speed [side/s]", "y speed [side/s]"),
    proprio_names=("x speed [side/s]", "y speed [side/s]"),
    distance_unit="side",
    strata=("all",),
)


class Ball(WithEnv):
    """contracts.Task; WithEnv adds make_env, reset_to and pose."""

    spec = SPEC

    def simulator(self, n: int, image_size: int) -> Simulator:
        return Simulator(n, image_size)

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return np.linalg.norm(state[:, :2] - goal[:, :2], axis=-1)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {SPEC.success_rules}"
        return self.distance(state, goal) < CLOSE

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return np.full(len(start), "all")

    def collector(self, rng: np.random.Generator, n: int) -> Collector:
        return Collector(rng, n)

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Towards the goal, against the present speed."""
        wanted = 0.2 * (goal[:, :2] - state[:, :2]) - state[:, 2:]
        return np.clip(wanted / PUSH, -1, 1).astype(np.float32)


class Simulator:
    """contracts.Simulator: n balls, stepped and drawn together."""

    def __init__(self, n: int, image_size: int):
        self.n = n
        self._state = np.zeros((n, 4))
        self._pixel = (np.arange(image_size) + 0.5) / image_size

    def set_state(self, state: np.ndarray) -> None:
        self._state = np.array(state, np.float64)

    def state(self) -> np.ndarray:
        return self._state.copy()

    def step(self, actions: np.ndarray) -> None:
        position, speed = self._state[:, :2], self._state[:, 2:]
        speed = speed + PUSH * np.clip(np.asarray(actions, np.float64), -1, 1)
        moved = position + np.clip(speed, -LARGEST_SPEED, LARGEST_SPEED)
        inside = np.clip(moved, 0, 1)
        self._state = np.concatenate([inside, inside - position], axis=1)  # a wall stops the ball

    def proprio(self) -> np.ndarray:
        return self._state[:, 2:].astype(np.float32)

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        state = self._state if rows is None else self._state[rows]
        squared = (self._pixel - state[:, :2, None]) ** 2  # (m, 2, size)
        distance = np.sqrt(squared[:, 1, :, None] + squared[:, 0, None, :])
        cover = np.clip((RADIUS - distance) * len(self._pixel) + 0.5, 0, 1)  # soft edge
        pictures = np.full((len(state), 3, *cover.shape[1:]), 255, np.uint8)
        pictures[:, 1:] = (255 * (1 - cover[:, None])).astype(np.uint8)
        return pictures

    def close(self) -> None:
        pass


class Collector:
    """contracts.Collector: a push lasts for some steps, then another one follows."""

    def __init__(self, rng: np.random.Generator, n: int):
        self._rng, self._push = rng, rng.uniform(-1, 1, (n, 2))

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        n = len(self._push)
        state = np.concatenate([self._rng.uniform(0, 1, (n, 2)), np.zeros((n, 2))], axis=1)
        return state, np.full(n, -1)  # -1: an episode is a family of its own

    def act(self, state: np.ndarray) -> np.ndarray:
        fresh = self._rng.uniform(-1, 1, self._push.shape)
        again = self._rng.random((len(fresh), 1)) < 0.2
        self._push = np.where(again, fresh, self._push)
        return self._push.astype(np.float32)

    def done(self, state: np.ndarray) -> np.ndarray:
        return np.zeros(len(state), bool)


TASK = Ball()
