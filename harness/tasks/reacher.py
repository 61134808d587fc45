"""Reacher: a planar arm of two joints; bring both to the angles that the goal picture shows.

The model is dm_control's `reacher`; README.md lists how the two compare.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts.task import FileColumns, Surprise, TaskSpec
from harness.tasks import rendering, surprises
from harness.tasks.env import WithEnv

if TYPE_CHECKING:
    import mujoco

ACTION_REPEAT = 2  # physics steps of 0.02 s in a control step
CAMERA = "fixed"
WRIST_LIMIT = np.deg2rad(160.0)  # the shoulder has none
SUCCESS_ANGLE = 0.05  # rad, largest error of a joint
SUCCESS_FINGERTIP = 0.01  # m: rule "fingertip"
LINKS = (0.12, 0.12)  # m, from the shoulder to the wrist and from there to the fingertip
FAR = 0.5  # rad; a pair with more to go is "far"

GAIN = 4.0  # the controller's torque per rad of error, in units of the largest torque
DAMPING = 0.1  # and per rad/s of speed

NOISE_STD = 0.1  # noise on a reaching episode's action, per component, before clipping
STRENGTH = (0.05, 0.3)  # largest torque of a reaching episode; each draws its own
ARM, OTHER_COLOUR = ("arm", "hand", "finger"), (0.2, 0.35, 0.75)  # of a surprise
TELEPORT = 1.0  # rad, least change of a joint by a teleport
TELLING_SPEED = 2.0  # rad/s, least speed of a joint whose reversal is an event
REACHED = 0.1  # rad; within this distance of its target an episode draws the next

SPEC = TaskSpec(
    name="reacher",
    label="Reacher",
    about="An arm of two joints takes the pose of the goal picture.",
    version=2,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    state_names=("shoulder [rad]", "wrist [rad]", "shoulder_speed [rad/s]", "wrist_speed [rad/s]"),
    proprio_names=(
        "shoulder [rad]",
        "wrist [rad]",
        "shoulder_speed [rad/s]",
        "wrist_speed [rad/s]",
    ),
    distance_unit="rad",
    strata=("near", "far"),
    released_actions=((0.0, 0.0), (3**-0.5, 3**-0.5)),  # uniform torques
    success_rules={
        "default": "Every joint within 0.05 rad of the goal; turns of the shoulder count.",
        "wrapped": "Every joint within 0.05 rad of the goal; the shoulder modulo a turn.",
        "fingertip": "The fingertip within 1 cm of where the goal's joints put it.",
    },
    slow_to_draw=True,
)


def _from_file(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """States (R, 4) from MuJoCo's angles and speeds (R, 2) each."""
    return np.concatenate([columns["qpos"], columns["qvel"]], axis=1, dtype=np.float64)


@dataclass(frozen=True)
class Reacher(WithEnv):
    """The task (contracts.Task); a state is two angles and two speeds, `scene` a rendering scene.

    Success rule "default" compares the shoulder's angle as it is, as the released code does: a
    shoulder that is a full turn away has not reached the goal.
    """

    scene: str = "plain"
    spec = SPEC
    file_columns = FileColumns(({"qpos": 2, "qvel": 2},), _from_file)

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies, drawn at image_size."""
        return Simulator(n, image_size, self.scene)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool, by a rule of SPEC.success_rules."""
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {[*SPEC.success_rules]}"
        if rule == "fingertip":
            apart = np.linalg.norm(fingertip(state) - fingertip(goal), axis=-1)
            return apart <= SUCCESS_FINGERTIP
        error = _error(state, goal)
        if rule == "wrapped":
            error[..., 0] = (error[..., 0] + np.pi) % (2 * np.pi) - np.pi
        return (np.abs(error) < SUCCESS_ANGLE).all(axis=-1)

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) rad, the larger error of the two joints, not wrapped."""
        return np.abs(_error(state, goal)).max(axis=-1)

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) str: far where a joint has more than 0.5 rad to go, near elsewhere."""
        return np.where(self.distance(start, goal) > FAR, "far", "near")

    def collector(self, rng: np.random.Generator, n: int) -> UniformAndReaching:
        """Uniform torques in half of the episodes, reaching for targets in the others."""
        return UniformAndReaching(rng, n)

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B, 2) actions of the controller that brings each joint to the goal's angle."""
        return controller(state, np.asarray(goal)[..., :2])

    def surprises(self) -> tuple[Surprise, ...]:
        """The arm turns blue, takes another pose, or swings back."""
        return SURPRISES


def fingertip(state: np.ndarray) -> np.ndarray:
    """Position of the fingertip in the plane, (B, 2) m, from the shoulder on."""
    shoulder = np.asarray(state)[..., 0]
    angles = shoulder, shoulder + np.asarray(state)[..., 1]
    links = [
        length * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        for length, angle in zip(LINKS, angles, strict=True)
    ]
    return links[0] + links[1]


def controller(state: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(B, 2) torques that bring the joints to the angles `target` (B, 2) and to rest there."""
    angle, speed = np.asarray(state)[..., :2], np.asarray(state)[..., 2:]
    return np.clip(GAIN * (target - angle) - DAMPING * speed, -1.0, 1.0).astype(np.float32)


class Simulator:
    """n copies (contracts.Simulator)."""

    def __init__(self, n: int, image_size: int, scene: str):
        mujoco = rendering.load()
        self.n = n
        self._advance = mujoco.mj_step
        self._model = _model()
        self._copies = [mujoco.MjData(self._model) for _ in range(n)]
        self._camera = rendering.Camera(self._model, CAMERA, image_size, scene)

    def set_state(self, state: np.ndarray) -> None:
        """Angles and speeds (n, 4)."""
        assert state.shape == (self.n, 4), f"{state.shape} != {(self.n, 4)}"
        for data, row in zip(self._copies, state, strict=True):
            data.qpos[:], data.qvel[:] = row[:2], row[2:]

    def state(self) -> np.ndarray:
        """Angles and speeds (n, 4) float64."""
        return np.array([(*data.qpos, *data.qvel) for data in self._copies]).reshape(self.n, 4)

    def step(self, actions: np.ndarray) -> None:
        """Torques (n, 2), clipped, held for two physics steps."""
        assert actions.shape == (self.n, 2), f"{actions.shape} != {(self.n, 2)}"
        clipped = np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        for data, action in zip(self._copies, clipped, strict=True):
            data.ctrl[:] = action
            data.qacc_warmstart[:] = 0  # else the solver starts from memory that no state holds
            self._advance(self._model, data, nstep=ACTION_REPEAT)

    def proprio(self) -> np.ndarray:
        """Angles and speeds (n, 4) float32."""
        return self.state().astype(np.float32)

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pictures of the copies in `rows`, (len(rows), 3, size, size) uint8."""
        shown = range(self.n) if rows is None else rows
        return self._camera.draw([self._copies[row] for row in shown])

    def recolour(self) -> None:
        """Draw the arm in blue."""
        self._camera.recolour(ARM, OTHER_COLOUR)

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()


class UniformAndReaching:
    """Uniform random torques in every second episode; the others go from target to target with
    noise (contracts.Collector).
    """

    parameters = {  # noqa: RUF012
        "uniform_share": 0.5,
        "gain": GAIN,
        "damping": DAMPING,
        "noise_std": NOISE_STD,
        "strength": list(STRENGTH),
        "reached": REACHED,
    }

    def __init__(self, rng: np.random.Generator, n: int):
        self._rng = rng
        self._uniform = np.arange(n) % 2 == 0
        self._start = np.zeros((n, 4))
        self._start[:, :2] = _angles(rng, n)
        self._target = _angles(rng, n)
        self._strength = rng.uniform(*STRENGTH, (n, 1))

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """At rest, angles uniform; every episode is a family of its own (-1)."""
        return self._start.copy(), np.full(len(self._start), -1)

    def act(self, state: np.ndarray) -> np.ndarray:
        """Uniform torques (n, 2), or those of the controller plus noise."""
        fresh = _angles(self._rng, len(state))
        reached = np.abs(self._target - state[:, :2]).max(axis=-1) < REACHED
        self._target[reached] = fresh[reached]
        reaching = np.clip(controller(state, self._target), -self._strength, self._strength)
        reaching = reaching + self._rng.normal(0.0, NOISE_STD, reaching.shape)
        uniform = self._rng.uniform(-1.0, 1.0, (len(state), 2))
        action = np.where(self._uniform[:, None], uniform, reaching)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def done(self, state: np.ndarray) -> np.ndarray:
        """Never: episodes run to the step limit."""
        return np.zeros(len(state), bool)


def _error(state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.asarray(state)[..., :2] - np.asarray(goal)[..., :2]


def _angles(rng: np.random.Generator, n: int) -> np.ndarray:
    """Joint angles (n, 2), uniform over the joints' ranges."""
    return np.stack(
        [rng.uniform(-np.pi, np.pi, n), rng.uniform(-WRIST_LIMIT, WRIST_LIMIT, n)], axis=1
    )


@functools.cache
def _model() -> mujoco.MjModel:
    """dm_control's model with its target made transparent: goals are pictures here."""
    mujoco = rendering.load()
    from dm_control.suite import reacher

    model = mujoco.MjModel.from_xml_string(*reacher.get_model_and_assets())
    model.mat("target").rgba[3] = 0.0
    return model


def _elsewhere(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other angles, at the speeds of `state`."""
    angles = surprises.redraw(
        lambda count: _angles(rng, count),
        lambda drawn: np.abs(drawn - state[:, :2]).max(axis=-1) < TELEPORT,
        len(state),
    )
    return np.concatenate([angles, state[:, 2:]], axis=1)


def _reverse(simulator: Simulator, actions: np.ndarray, rng: np.random.Generator) -> None:
    simulator.set_state(simulator.state() * (1, 1, -1, -1))
    surprises.play(simulator, actions)


def _swings(before: np.ndarray, after: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return np.abs(before[:, 2:]).max(axis=-1) > TELLING_SPEED


SURPRISES = (
    surprises.recoloured("The arm turns from brown to blue."),
    surprises.teleported("The arm has another pose.", _elsewhere),
    Surprise(
        "velocity_reversed",
        "The speeds of both joints turn round, as if the arm had hit a wall.",
        _reverse,
        _swings,
    ),
)
