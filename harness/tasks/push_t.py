"""Push-T: a disc pushes a tee; bring both to where the goal picture shows them.

Dynamics, success and colours follow `stable-worldmodel` 0.1.1; README.md lists how they compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.contracts.task import FileColumns, Surprise, TaskSpec
from harness.tasks import push_t_collect, push_t_scene, push_t_swm, rendering, surprises
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
BLOCK_DISTANCE, BLOCK_ANGLE = 10.0, math.pi / 18  # px, rad: rule "block"
MOVED_DISTANCE, MOVED_ANGLE = 20.0, math.pi / 9  # px, rad: "block moved" from here on
TELEPORT = 80.0  # px, least distance of a teleport
PASS = (10.0, 150.0)  # px, least and longest way on which an agent in the tee gets out of it
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
    released_actions=((-0.0087, 0.0068), (0.2019, 0.2002)),  # gaoyuezhou/dino_wm's constants
    success_rules={
        "default": "Disc and tee within 20 px of the goal (one vector), the tee within 20 degrees.",
        "block": "The tee alone: within 10 px and 10 degrees of the goal.",
    },
    quantities=tuple(
        (name, (f"{name}_x", f"{name}_y"))
        for name in ("agent", "block", "agent_velocity", "block_velocity")
    ),
)
PUBLISHED = 7  # numbers of a state in other people's files: no velocities of the block


def _from_file(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """States (R, 10) with a block at rest, from the published numbers (R, 7)."""
    state = np.zeros((len(columns["state"]), len(SPEC.state_names)))
    state[:, :PUBLISHED] = columns["state"]
    return state


@dataclass(frozen=True)
class PushT(WithEnv):
    """The task (contracts.Task); a state has the 7 published numbers first, then the block's
    velocities, which the next step needs. The scene `swm` is that of stable-worldmodel; the others
    are one.
    """

    scene: str = "plain"
    spec = SPEC
    file_columns = FileColumns(({"state": PUBLISHED},), _from_file)

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies, drawn at image_size."""
        return Simulator(n, image_size, self.scene)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool, by a rule of SPEC.success_rules."""
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {[*SPEC.success_rules]}"
        if rule == "block":
            delta = np.asarray(state)[..., BLOCK] - np.asarray(goal)[..., BLOCK]
            near = np.linalg.norm(delta, axis=-1) < BLOCK_DISTANCE
            return near & (turn(state, goal) < BLOCK_ANGLE)
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

    def surprises(self) -> tuple[Surprise, ...]:
        """The tee turns red, is elsewhere, or lets the agent pass through it."""
        return SURPRISES


def turn(state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The angle (B,) in [0, pi] between the block's orientations, rad."""
    difference = np.abs(np.asarray(goal)[..., ANGLE] - np.asarray(state)[..., ANGLE])
    difference = difference % (2 * np.pi)
    return np.minimum(difference, 2 * np.pi - difference)


class Simulator:
    """n copies (contracts.Simulator). A step depends on the state array and the actions alone: the
    physics keeps nothing from one step to the next.
    """

    def __init__(self, n: int, image_size: int, scene: str):
        assert scene in rendering.SCENES, f"scene {scene!r} is not one of {list(rendering.SCENES)}"
        self.n = n
        self._state = np.zeros((n, len(SPEC.state_names)))
        self._physics = Physics()
        self._painter = (push_t_swm if scene == "swm" else push_t_scene).Painter(image_size)

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

    def recolour(self) -> None:
        """Draw the tee in red."""
        self._painter.recolour_tee()

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


def _elsewhere(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The tee at rest in another pose, clear of the agent and of the walls."""

    def bad(pose: np.ndarray) -> np.ndarray:
        near = np.linalg.norm(pose[:, :2] - state[:, BLOCK], axis=-1) < TELEPORT
        return near | ~_clear(pose, state[:, AGENT], push_t_collect.AGENT_MARGIN)

    state = state.copy()
    state[:, POSE] = surprises.redraw(
        lambda count: push_t_collect.poses(rng, count), bad, len(state)
    )
    state[:, BLOCK_MOTION] = 0.0
    return state


def _clear(pose: np.ndarray, agent: np.ndarray, margin: float) -> np.ndarray:
    """(n,) bool: the agent is at least `margin` px away from the tee."""
    return push_t_scene.tee_distance(pose, agent) >= AGENT_RADIUS + margin


def _pass_through(simulator: Simulator, actions: np.ndarray, rng: np.random.Generator) -> None:
    before = simulator.state()
    surprises.play(simulator, actions)
    after = simulator.state()
    after[:, AGENT] = _beyond(before, after)
    after[:, POSE], after[:, BLOCK_MOTION] = before[:, POSE], 0.0
    simulator.set_state(after)


def _beyond(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The positions (n, 2) of agents `after` a block, moved on along their way, px by px, until
    they are clear of the tee as it was `before`.
    """
    agent = after[:, AGENT].copy()
    way = agent - before[:, AGENT]
    way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-8)
    for _ in range(round(PASS[1])):
        inside = ~_clear(before[:, POSE], agent, 0.0)
        agent[inside] += way[inside]
    return agent


def _pushes(before: np.ndarray, after: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The agent would be inside the tee if that stood still, and comes out within the walls."""
    shows = ~_clear(before[:, POSE], after[:, AGENT], 0.0)
    before, after = before[shows], after[shows]
    agent = _beyond(before, after)
    low, high = push_t_collect.ARENA_LOW, push_t_collect.ARENA_HIGH
    inside = ((agent > low) & (agent < high)).all(axis=1)
    far = np.linalg.norm(agent - after[:, AGENT], axis=1) > PASS[0]
    shows[shows] = inside & far & _clear(before[:, POSE], agent, 0.0)
    return shows


SURPRISES = (
    surprises.recoloured("The tee turns from grey to red."),
    surprises.teleported("The tee lies elsewhere.", _elsewhere),
    Surprise(
        "tee_passed_through",
        "The agent passes through the tee that it would push.",
        _pass_through,
        _pushes,
    ),
)
