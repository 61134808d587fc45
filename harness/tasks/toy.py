"""Toy: a point on an open square, drawn as a disc; small and fast, for tests."""

from __future__ import annotations

import numpy as np

from harness.contracts.task import Surprise, TaskSpec
from harness.tasks import surprises
from harness.tasks.env import WithEnv

SIDE = 1.0  # side of the square, the unit of every length below
RADIUS = 0.12  # radius of the disc that is drawn
SPEED = 0.04  # distance per step and unit of action
SUCCESS_DISTANCE = 0.1
NOISE_STD = 0.3  # noise on the collector's action, per component, before clipping
REACHED = 0.1  # distance from its waypoint at which the collector draws the next
TELEPORT = 0.25  # least distance of a teleport
TELLING = 0.05  # least way in a block that an ignored action takes away

SPEC = TaskSpec(
    name="toy",
    label="Toy",
    about="A point on an open square, for tests.",
    version=1,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    state_names=("x [side]", "y [side]"),
    proprio_names=("x [side]", "y [side]"),
    distance_unit="side",
    strata=("all",),
)


class Toy(WithEnv):
    """The task (contracts.Task); a state is the point's position (2,)."""

    spec = SPEC

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies, drawn at image_size."""
        return Simulator(n, image_size)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool: the point is within the success distance."""
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {[*SPEC.success_rules]}"
        return self.distance(state, goal) < SUCCESS_DISTANCE

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Distances (B,) in sides of the square."""
        return np.linalg.norm(np.asarray(state) - np.asarray(goal), axis=-1)

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) str: all pairs are alike."""
        return np.full(len(start), SPEC.strata[0])

    def collector(self, rng: np.random.Generator, n: int) -> Wanderer:
        """Walks from waypoint to waypoint, n episodes."""
        return Wanderer(rng, n)

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B, 2) actions straight to the goal."""
        delta = np.asarray(goal) - np.asarray(state)
        reach = np.abs(delta).max(axis=-1, keepdims=True)
        return (delta / np.maximum(reach, SPEED)).astype(np.float32)

    def surprises(self) -> tuple[Surprise, ...]:
        """The disc turns red, is elsewhere, or stands still against its action."""
        return SURPRISES


class Simulator:
    """n copies (contracts.Simulator)."""

    def __init__(self, n: int, image_size: int):
        self.n = n
        self._position = np.full((n, 2), SIDE / 2)
        self._pixel = (np.arange(image_size) + 0.5) * SIDE / image_size
        self._sharpness = image_size / SIDE
        self._channel = 2  # the one that the disc does not darken

    def set_state(self, state: np.ndarray) -> None:
        """Positions (n, 2)."""
        assert state.shape == self._position.shape, f"{state.shape} != {self._position.shape}"
        self._position = np.array(state, np.float64)

    def state(self) -> np.ndarray:
        """Positions (n, 2) float64."""
        return self._position.copy()

    def step(self, actions: np.ndarray) -> None:
        """Move by speed times the clipped action and stay in the square."""
        assert actions.shape == self._position.shape, f"{actions.shape} != {self._position.shape}"
        moved = self._position + SPEED * np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        self._position = np.clip(moved, 0.0, SIDE)

    def proprio(self) -> np.ndarray:
        """Positions (n, 2) float32."""
        return self._position.astype(np.float32)

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """A disc, blue at first, with a soft edge on white, (len(rows), 3, size, size) uint8."""
        position = self._position if rows is None else self._position[rows]
        squared = (self._pixel - position[..., None]) ** 2  # (m, 2, size)
        distance = np.sqrt(squared[:, 1, :, None] + squared[:, 0, None, :])  # (m, size, size)
        cover = np.clip((RADIUS - distance) * self._sharpness + 0.5, 0.0, 1.0)
        out = np.full((len(position), 3, *cover.shape[1:]), 255, np.uint8)
        dark = [channel for channel in range(3) if channel != self._channel]
        out[:, dark] = (255 * (1 - cover)).astype(np.uint8)[:, None]
        return out

    def recolour(self) -> None:
        """Draw the disc in red."""
        self._channel = 0

    def close(self) -> None:
        """Nothing to free."""


class Wanderer:
    """Walks from one random waypoint to the next, with noise (contracts.Collector)."""

    parameters = {"noise_std": NOISE_STD, "reached": REACHED}  # noqa: RUF012

    def __init__(self, rng: np.random.Generator, n: int):
        self._rng = rng
        self._start = rng.uniform(0.0, SIDE, (n, 2))
        self._waypoint = rng.uniform(0.0, SIDE, (n, 2))

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Uniform positions; every episode is a family of its own (-1)."""
        return self._start.copy(), np.full(len(self._start), -1)

    def act(self, state: np.ndarray) -> np.ndarray:
        """A unit step to the waypoint plus noise, clipped."""
        fresh = self._rng.uniform(0.0, SIDE, state.shape)
        delta = self._waypoint - state
        reached = np.linalg.norm(delta, axis=-1) < REACHED
        self._waypoint[reached] = fresh[reached]
        delta = self._waypoint - state
        direction = delta / np.maximum(np.linalg.norm(delta, axis=-1, keepdims=True), 1e-8)
        noise = self._rng.normal(0.0, NOISE_STD, state.shape)
        return np.clip(direction + noise, -1.0, 1.0).astype(np.float32)

    def done(self, state: np.ndarray) -> np.ndarray:
        """Never: episodes run to the step limit."""
        return np.zeros(len(state), bool)


def _elsewhere(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return surprises.redraw(
        lambda count: rng.uniform(0.0, SIDE, (count, 2)),
        lambda drawn: np.linalg.norm(drawn - state, axis=-1) < TELEPORT,
        len(state),
    )


SURPRISES = (
    surprises.recoloured("The disc turns from blue to red."),
    surprises.teleported("The disc is elsewhere in the square.", _elsewhere),
    surprises.ignored(
        "The disc stands still for a block.",
        lambda before, after, actions: np.linalg.norm(after - before, axis=-1) > TELLING,
    ),
)
