"""Push-T: a disc pushes a tee; bring both to where the goal picture shows them.

Dynamics, success and colours follow `stable-worldmodel` 0.1.1; README.md lists how they compare.
"""

from __future__ import annotations

import math

import numpy as np

from harness.contracts.task import TaskSpec
from harness.tasks import push_t_collect, push_t_scene
from harness.tasks.env import WithEnv
from harness.tasks.push_t_physics import SUBSTEP_S, SUBSTEPS, Physics
from harness.tasks.push_t_scene import (
    ACTION_SCALE,
    AGENT,
    AGENT_RADIUS,
    AGENT_VELOCITY,
    ANGLE,
    BLOCK,
    BLOCK_MOTION,
    POSE,
)

K_P, K_V = 100.0, 20.0  # 1/s^2 and 1/s: gains of the agent's PD controller towards its target
SUCCESS_DISTANCE = 20.0  # px, of agent x, y and block x, y taken as one vector
SUCCESS_ANGLE = math.pi / 9  # rad
MOVED_DISTANCE, MOVED_ANGLE = 20.0, math.pi / 9  # px, rad: "block moved" from here on
CLEARANCE = 1.0  # px; a block at rest with this much room around it cannot move in a step

SPEC = TaskSpec(
    name="push_t",
    label="Push-T",
    about="A disc pushes a tee; both must come to where the goal picture shows them.",
    version=3,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    state_names=(
        "agent_x [px]",
        "agent_y [px]",
        "block_x [px]",
        "block_y [px]",
        "block_angle [rad]",
        "agent_velocity_x [px/s]",
        "agent_velocity_y [px/s]",
        "block_velocity_x [px/s]",  # of its centre of gravity
        "block_velocity_y [px/s]",
        "block_angular_velocity [rad/s]",
    ),
    proprio_names=(
        "agent_x [px]",
        "agent_y [px]",
        "agent_velocity_x [px/s]",
        "agent_velocity_y [px/s]",
    ),
    distance_unit="px",
    strata=("block still", "block moved"),
    quantities=tuple(
        (name, (f"{name}_x", f"{name}_y"))
        for name in ("agent", "block", "agent_velocity", "block_velocity")
    ),
)


class PushT(WithEnv):
    """The task (contracts.Task); a state has the 7 published numbers first, then the block's
    velocities, which the next step needs.
    """

    spec = SPEC

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies, drawn at image_size."""
        return Simulator(n, image_size)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool: the distance is below 20 px and the block's angle is within 20 degrees."""
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {SPEC.success_rules}"
        near = self.distance(state, goal) < SUCCESS_DISTANCE
        return near & (turn(state, goal) < SUCCESS_ANGLE)

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) px, the norm of the difference in (agent x, y, block x, y). It leaves the angle out,
        so a distance below the threshold need not be a success.
        """
        return np.linalg.norm(np.asarray(state)[..., :4] - np.asarray(goal)[..., :4], axis=-1)

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) str, "block moved" where the block moves 20 px or turns 20 degrees to the goal."""
        start, goal = np.asarray(start), np.asarray(goal)
        moved = np.linalg.norm(start[:, BLOCK] - goal[:, BLOCK], axis=-1) >= MOVED_DISTANCE
        return np.where(moved | (turn(start, goal) >= MOVED_ANGLE), "block moved", "block still")

    def collector(self, rng: np.random.Generator, n: int) -> push_t_collect.Pushers:
        """Scripted pushers, n episodes."""
        return push_t_collect.Pushers(rng, n)

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B, 2) actions straight to the goal's agent position; the block is ignored."""
        delta = np.asarray(goal)[:, AGENT] - np.asarray(state)[:, AGENT]
        reach = np.abs(delta).max(axis=-1, keepdims=True)
        return (delta / np.maximum(reach, ACTION_SCALE)).astype(np.float32)


def turn(state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The angle (B,) in [0, pi] between the block's orientations, rad."""
    difference = np.abs(np.asarray(goal)[..., ANGLE] - np.asarray(state)[..., ANGLE])
    difference = difference % (2 * np.pi)
    return np.minimum(difference, 2 * np.pi - difference)


class Simulator:
    """n copies (contracts.Simulator). A step depends on the state array and the actions alone: the
    physics keeps nothing from one step to the next.
    """

    def __init__(self, n: int, image_size: int):
        self.n = n
        self._state = np.zeros((n, len(SPEC.state_names)))
        self._physics = Physics()
        self._painter = push_t_scene.Painter(image_size)

    def set_state(self, state: np.ndarray) -> None:
        """States (n, 10)."""
        assert state.shape == self._state.shape, f"{state.shape} != {self._state.shape}"
        self._state = np.array(state, np.float64)

    def state(self) -> np.ndarray:
        """States (n, 10) float64."""
        return self._state.copy()

    def step(self, actions: np.ndarray) -> None:
        """0.1 s towards the agent's position plus 100 px times the clipped action."""
        assert actions.shape == (self.n, 2), f"{actions.shape} != {(self.n, 2)}"
        clipped = np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        positions, velocities = _drive(self._state, clipped)
        for row in np.flatnonzero(~_block_rests(self._state, positions)):
            self._state[row, POSE], self._state[row, BLOCK_MOTION] = self._physics.step(
                self._state[row].tolist(), velocities[:, row].tolist()
            )
        self._state[:, AGENT], self._state[:, AGENT_VELOCITY] = positions[-1], velocities[-1]

    def proprio(self) -> np.ndarray:
        """Position and velocity of the agent, (n, 4) float32."""
        return self._state[:, [0, 1, 5, 6]].astype(np.float32)

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pictures of the copies in `rows`, (len(rows), 3, size, size) uint8."""
        return self._painter.draw(self._state if rows is None else self._state[rows])

    def close(self) -> None:
        """Nothing to free."""


def _drive(state: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The agent's positions and velocities after each substep, (SUBSTEPS, n, 2) each. The agent is
    kinematic, so nothing that it touches changes them.
    """
    position, velocity = state[:, AGENT], state[:, AGENT_VELOCITY]
    target = position + ACTION_SCALE * actions
    positions, velocities = np.empty((2, SUBSTEPS, len(state), 2))
    for k in range(SUBSTEPS):
        velocity = velocity + (K_P * (target - position) - K_V * velocity) * SUBSTEP_S
        position = position + velocity * SUBSTEP_S
        positions[k], velocities[k] = position, velocity
    return positions, velocities


def _block_rests(state: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(n,) bool: the block stands still and nothing can touch it during the step."""
    still = ~state[:, BLOCK_MOTION].any(axis=1)
    gap = push_t_scene.tee_distance(state[:, POSE], positions).min(axis=0) - AGENT_RADIUS
    return still & (gap > CLEARANCE) & push_t_scene.within_walls(state[:, POSE], CLEARANCE)
