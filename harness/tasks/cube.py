"""Cube: an arm with a gripper on a table; bring the cube to where the goal picture shows it.

Model, controller and expert are ogbench's cube-single; README.md lists how the two compare.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.contracts.task import FileColumns, Surprise, TaskSpec
from harness.tasks import cube_robot, rendering, surprises
from harness.tasks.env import WithEnv

if TYPE_CHECKING:
    import mujoco

PHYSICS_STEPS = 25  # physics steps of 0.002 s in a control step
CAMERA = "front_pixels"
SUCCESS_DISTANCE = 0.04  # m
POSE_DISTANCE, POSE_ANGLE = 0.03, np.pi / 12  # m, rad: rule "pose"
CUBE_HEIGHT = 0.02  # m, of the centre of a cube that lies on the table

ARM_START = np.array([[0.25, -0.35, 0.20], [0.6, 0.35, 0.35]])  # m
CUBE_START = np.array([[0.3, -0.3], [0.55, 0.3]])  # m; targets are drawn here too
NOISE_STD = 0.1  # largest noise on the expert's action; each episode draws its own
NOISE_SCALE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # of the five components of an action
MIN_NORM = 0.4  # m; the expert lengthens shorter displacements to this before scaling
ASTRAY_EVERY = 2  # every second episode goes astray: it has stretches of random actions
ASTRAY_RATE = 1 / 15  # chance that a stretch begins at a step
ASTRAY_STEPS = (5, 20)  # shortest and longest stretch
ASTRAY_HOLD = (1, 5)  # steps for which one random action is repeated

CUBE_GEOM, OTHER_COLOUR = "object_0", (0.25, 0.45, 0.95)  # of a surprise
TELEPORT, AWAY = 0.1, 0.1  # m, least way of a teleported cube; its least distance to the arm
TELLING = 0.05  # m, least way of the effector in a block that an ignored action takes away

POSITIONS, SPEEDS = slice(0, 21), slice(21, 41)  # parts of a state
EFFECTOR, CONTACT, SOLVER = slice(41, 45), 45, slice(46, 66)
CUBE = slice(14, 17)
CUBE_TURN = slice(17, 21)
CUBE_SPEED = slice(35, 41)

SPEC = TaskSpec(
    name="cube",
    label="Cube",
    about="A robot arm moves a cube to where the goal picture shows it.",
    version=2,
    action_low=(-1.0,) * 5,
    action_high=(1.0,) * 5,
    state_names=(
        *(f"{name} [rad]" for name in cube_robot.JOINTS),
        *(f"cube_{axis} [m]" for axis in "xyz"),
        *(f"cube_q{axis} [1]" for axis in "wxyz"),
        *(f"{name}_speed [rad/s]" for name in cube_robot.JOINTS),
        *(f"cube_{axis}_speed [m/s]" for axis in "xyz"),
        *(f"cube_turn_{axis} [rad/s]" for axis in "xyz"),
        *(f"effector_{axis} [m]" for axis in "xyz"),
        "effector_yaw [rad]",
        "gripper_contact [1]",
        *(f"solver_{i} [rad/s2, m/s2]" for i in range(len(cube_robot.JOINTS) + 6)),
    ),
    proprio_names=(
        *(f"{name} [rad]" for name in cube_robot.ARM),
        *(f"{name}_speed [rad/s]" for name in cube_robot.ARM),
        *(f"effector_{axis} [m]" for axis in "xyz"),
        "effector_yaw [rad]",
        "gripper_opening [1]",
        "gripper_speed [rad/s]",
        "gripper_contact [1]",
    ),
    distance_unit="m",
    strata=("cube still", "cube moved"),
    success_rules={
        "default": "The cube's centre within 4 cm of the goal.",
        "pose": "The cube within 3 cm and 15 degrees of the goal, whichever face is up.",
    },
    quantities=(
        ("effector", tuple(f"effector_{axis}" for axis in "xyz")),
        ("cube", tuple(f"cube_{axis}" for axis in "xyz")),
        ("cube_quaternion", tuple(f"cube_q{axis}" for axis in "wxyz")),
        ("arm", cube_robot.ARM),
        ("gripper", cube_robot.FINGERS),
        ("arm_speed", tuple(f"{name}_speed" for name in cube_robot.ARM)),
        ("gripper_speed", tuple(f"{name}_speed" for name in cube_robot.FINGERS)),
        ("cube_speed", tuple(f"cube_{axis}_speed" for axis in "xyz")),
        ("cube_turn", tuple(f"cube_turn_{axis}" for axis in "xyz")),
    ),
    slow_to_draw=True,
)

OBSERVED_EFFECTOR, OBSERVED_CONTACT = slice(12, 17), 18  # in ogbench's observation of numbers
OBSERVED_CENTRE, OBSERVED_SCALE = np.array([0.425, 0.0, 0.0]), 10.0  # m, and per m: the effector's


def _from_file(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """States (R, 66) from MuJoCo's positions (R, 21) and speeds (R, 20), the solver at zero.

    The effector's pose and the contact come from ogbench's observation (R, 28), which has them as
    old as the controller saw them; without it the pose is that of the positions, and the contact 0.
    """
    qpos = columns["qpos"].astype(np.float64)
    if "observation" not in columns:
        state = np.stack([_at_rest(row) for row in qpos])
    else:
        observed = columns["observation"].astype(np.float64)
        x, y, z, cosine, sine = observed[:, OBSERVED_EFFECTOR].T
        state = np.zeros((len(qpos), len(SPEC.state_names)))
        state[:, POSITIONS] = qpos
        state[:, EFFECTOR][:, :3] = np.stack([x, y, z], 1) / OBSERVED_SCALE + OBSERVED_CENTRE
        state[:, EFFECTOR][:, 3] = np.arctan2(sine, cosine)
        state[:, CONTACT] = observed[:, OBSERVED_CONTACT]
    state[:, SPEEDS] = columns["qvel"]
    return state


@dataclass(frozen=True)
class Cube(WithEnv):
    """The task (contracts.Task); `scene` is a rendering scene.

    A state has the positions and speeds that MuJoCo integrates, the accelerations that its solver
    starts from, and the effector's pose and contact. The latter two are as old as the controller
    sees them: from the beginning of the last physics step.
    """

    scene: str = "plain"
    spec = SPEC
    file_columns = FileColumns(
        ({"qpos": 21, "qvel": 20, "observation": 28}, {"qpos": 21, "qvel": 20}), _from_file
    )

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies, drawn at image_size."""
        return Simulator(n, image_size, self.scene)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool, by a rule of SPEC.success_rules."""
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {[*SPEC.success_rules]}"
        if rule == "pose":
            near = self.distance(state, goal) <= POSE_DISTANCE
            turned = turn(np.asarray(state)[..., CUBE_TURN], np.asarray(goal)[..., CUBE_TURN])
            return near & (turned <= POSE_ANGLE)
        return self.distance(state, goal) <= SUCCESS_DISTANCE

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) m, the distance between the cubes' centres."""
        return np.linalg.norm(np.asarray(state)[..., CUBE] - np.asarray(goal)[..., CUBE], axis=-1)

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) str: whether the cube moves between start and goal; a still cube is solved
        already.
        """
        return np.where(self.success(start, goal), "cube still", "cube moved")

    def pose(self, state: np.ndarray) -> np.ndarray:
        """(B, 11): the effector's position and yaw, the gripper's opening, the cube's position and
        yaw; yaws as sine and cosine.
        """
        state = np.asarray(state)
        w, x, y, z = np.moveaxis(state[..., CUBE_TURN], -1, 0)
        sine, cosine = 2 * (w * z + x * y), 1 - 2 * (y**2 + z**2)  # of the yaw, times cos(pitch)
        return np.concatenate(
            [
                state[..., EFFECTOR][..., :3],
                np.stack(
                    [np.sin(state[..., EFFECTOR][..., 3]), np.cos(state[..., EFFECTOR][..., 3])], -1
                ),
                cube_robot.opening(state)[..., None],
                state[..., CUBE],
                np.stack([sine, cosine], -1),
            ],
            axis=-1,
        )

    def collector(self, rng: np.random.Generator, n: int) -> NoisyOracle:
        """ogbench's expert with noise, for n episodes."""
        return NoisyOracle(rng, n)

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B, 5) actions that bring the effector to its pose and opening at the goal; the cube is
        ignored.
        """
        state, goal = np.asarray(state), np.asarray(goal)
        delta = goal[..., EFFECTOR] - state[..., EFFECTOR]
        delta[..., 3] = (delta[..., 3] + np.pi) % (2 * np.pi) - np.pi
        opening = cube_robot.opening(goal) - cube_robot.opening(state)
        action = np.concatenate([delta, opening[..., None]], axis=-1) / cube_robot.ACTION_SCALE
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def surprises(self) -> tuple[Surprise, ...]:
        """The cube turns blue, lies elsewhere, or the arm stands still against its actions."""
        return SURPRISES


def turn(orientation: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The smallest angle (B,) rad between two orientations (B, 4) of a cube whose faces are alike,
    given as quaternions w, x, y, z of any length.

    The rotation between them is taken modulo the cube's 24 rotations. As unit quaternions these are
    (1, 0, 0, 0), (1, 1, 0, 0) / sqrt 2 and (1, 1, 1, 1) / 2 in every order and with every sign, so
    the largest product with one of them follows from the sorted components.
    """
    w, v = goal[..., :1], -goal[..., 1:]  # the conjugate
    scalar = w * orientation[..., :1] - (v * orientation[..., 1:]).sum(-1, keepdims=True)
    vector = w * orientation[..., 1:] + orientation[..., :1] * v + np.cross(v, orientation[..., 1:])
    between = np.concatenate([scalar, vector], axis=-1)
    parts = np.sort(np.abs(between) / np.linalg.norm(between, axis=-1, keepdims=True), axis=-1)
    products = [parts[..., 3], parts[..., 2:].sum(-1) / np.sqrt(2), parts.sum(-1) / 2]
    return 2 * np.arccos(np.clip(np.max(products, axis=0), 0.0, 1.0))


class Simulator:
    """n copies (contracts.Simulator)."""

    def __init__(self, n: int, image_size: int, scene: str):
        self._mujoco = rendering.load()
        self.n = n
        self._robot = cube_robot.load()
        self._copies = [self._mujoco.MjData(self._robot.model) for _ in range(n)]
        self._sensed = np.empty((n, 5))  # effector pose and contact
        self._camera = rendering.Camera(_drawn(scene), CAMERA, image_size, scene)
        self._lags = scene == "swm"  # a picture there shows where things were a physics step ago
        self.set_state(np.tile(_at_rest(self._robot.model.qpos0), (n, 1)))

    def set_state(self, state: np.ndarray) -> None:
        """States (n, 66)."""
        expected = (self.n, len(SPEC.state_names))
        assert state.shape == expected, f"{state.shape} != {expected}"
        self._sensed[:, :4], self._sensed[:, 4] = state[:, EFFECTOR], state[:, CONTACT]
        for data, row in zip(self._copies, state, strict=True):
            data.qpos[:], data.qvel[:] = row[POSITIONS], row[SPEEDS]
            data.qacc_warmstart[:] = row[SOLVER]

    def state(self) -> np.ndarray:
        """States (n, 66) float64."""
        out = np.empty((self.n, len(SPEC.state_names)))
        out[:, EFFECTOR], out[:, CONTACT] = self._sensed[:, :4], self._sensed[:, 4]
        for data, row in zip(self._copies, out, strict=True):
            row[POSITIONS], row[SPEEDS] = data.qpos, data.qvel
            row[SOLVER] = data.qacc_warmstart
        return out

    def step(self, actions: np.ndarray) -> None:
        """Change the effector's pose and the opening by the clipped, scaled actions (n, 5)."""
        assert actions.shape == (self.n, 5), f"{actions.shape} != {(self.n, 5)}"
        clipped = np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        model = self._robot.model
        for data, sensed, action in zip(self._copies, self._sensed, clipped, strict=True):
            data.ctrl[:] = self._robot.control(data.qpos, sensed[:4], action)
            self._mujoco.mj_step(model, data, nstep=PHYSICS_STEPS)
            self._mujoco.mj_rnePostConstraint(model, data)  # contact forces
            sensed[:4], sensed[4] = self._robot.pose(data), self._robot.contact(data)

    def proprio(self) -> np.ndarray:
        """The 19 numbers that ogbench calls proprioception, (n, 19) float32."""
        state = self.state()
        arm, speed = state[:, : len(cube_robot.ARM)], state[:, SPEEDS][:, : len(cube_robot.ARM)]
        gripper = [
            cube_robot.opening(state),
            state[:, SPEEDS][:, cube_robot.OPENING_JOINT],
            state[:, CONTACT],
        ]
        parts = [arm, speed, state[:, EFFECTOR], np.stack(gripper, axis=1)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pictures of the copies in `rows`, (len(rows), 3, size, size) uint8."""
        copies = [self._copies[row] for row in (range(self.n) if rows is None else rows)]
        return self._camera.draw([self._before(data) for data in copies] if self._lags else copies)

    def recolour(self) -> None:
        """Draw the cube in blue."""
        self._camera.recolour((CUBE_GEOM,), OTHER_COLOUR)

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()

    def _before(self, data: mujoco.MjData) -> mujoco.MjData:
        """The positions before the last physics step, which added the speeds times its length."""
        before = self._mujoco.MjData(self._robot.model)
        before.qpos[:] = data.qpos
        step = self._robot.model.opt.timestep
        self._mujoco.mj_integratePos(self._robot.model, before.qpos, data.qvel, -step)
        return before


class NoisyOracle:
    """Records ogbench's Markov oracle with noise, from target to target (contracts.Collector).

    In every second episode, random actions replace the oracle's for some stretches; the oracle then
    goes on from the state that they led to. Were all actions the oracle's, a picture alone would
    tell what follows, and a model would not have to learn the effect of other actions (README.md
    has the figures).
    """

    parameters = {  # noqa: RUF012
        "astray_every": ASTRAY_EVERY,
        "astray_rate": ASTRAY_RATE,
        "astray_steps": ASTRAY_STEPS,
        "astray_hold_steps": ASTRAY_HOLD,
        "oracle": "ogbench.manipspace.oracles.markov.cube_markov",
        "noise_std_max": NOISE_STD,
        "noise_scale": NOISE_SCALE.tolist(),
        "min_norm": MIN_NORM,
    }

    def __init__(self, rng: np.random.Generator, n: int):
        self._rng = rng
        self._start = np.stack([_random_state(rng) for _ in range(n)])
        self._targets = [_random_target(rng) for _ in range(n)]
        self._oracles = [_oracle_class()(rng) for _ in range(n)]
        self._noise_std = rng.uniform(0.0, NOISE_STD, n)[:, None] * NOISE_SCALE
        self._goes_astray = np.arange(n) % ASTRAY_EVERY == ASTRAY_EVERY - 1
        self._astray = np.zeros(n, int)  # steps left of the stretch
        self._hold = np.zeros(n, int)  # steps left of the random action
        self._random = np.zeros((n, 5))

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Gripper above the table, cube on it; every episode is a family of its own (-1)."""
        return self._start.copy(), np.full(len(self._start), -1)

    def act(self, state: np.ndarray) -> np.ndarray:
        """The oracle's action plus noise, clipped."""
        action = np.empty((len(state), 5))
        for i, row in enumerate(state):
            if self._oracles[i].done:
                self._targets[i] = _random_target(self._rng)
                self._oracles[i].reset()
            action[i] = self._oracles[i].select_action(None, _oracle_info(row, self._targets[i]))
        action += self._noise_std * self._rng.normal(size=action.shape)
        action = np.where(self._strays()[:, None], self._random, action)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _strays(self) -> np.ndarray:
        """(n,) bool: the episodes that act at random in this step. Draws their actions."""
        n = len(self._astray)
        begins = self._goes_astray & (self._astray == 0) & (self._rng.random(n) < ASTRAY_RATE)
        length = self._rng.integers(*ASTRAY_STEPS, endpoint=True, size=n)
        self._astray = np.where(begins, length, np.maximum(self._astray - 1, 0))
        redraw = begins | (self._hold == 0)
        hold = self._rng.integers(*ASTRAY_HOLD, endpoint=True, size=n)
        self._hold = np.where(redraw, hold, self._hold) - 1
        self._random[redraw] = self._rng.uniform(-1.0, 1.0, (n, 5))[redraw]
        return self._astray > 0

    def done(self, state: np.ndarray) -> np.ndarray:
        """Never: episodes run to the step limit."""
        return np.zeros(len(state), bool)


class Target(NamedTuple):
    """The pose to which the expert brings the cube."""

    position: np.ndarray  # (3,) m
    yaw: float  # rad


def _at_rest(qpos: np.ndarray) -> np.ndarray:
    """The state (66,) at rest with MuJoCo's positions `qpos` (21,)."""
    mujoco, robot = rendering.load(), cube_robot.load()
    data = mujoco.MjData(robot.model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(robot.model, data)
    state = np.zeros(len(SPEC.state_names))
    state[POSITIONS], state[EFFECTOR] = qpos, robot.pose(data)
    return state


def _random_state(rng: np.random.Generator) -> np.ndarray:
    """A state (66,): the effector above the table, the cube on it, both turned at random."""
    robot = cube_robot.load()
    qpos = robot.model.qpos0.copy()
    qpos[:6] = robot.joints(rng.uniform(*ARM_START), rng.uniform(-np.pi, np.pi), cube_robot.HOME)
    position, yaw = _random_target(rng)
    qpos[CUBE], qpos[CUBE_TURN] = position, (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
    return _at_rest(qpos)


def _random_target(rng: np.random.Generator) -> Target:
    return Target(np.append(rng.uniform(*CUBE_START), CUBE_HEIGHT), rng.uniform(0, 2 * np.pi))


def _oracle_info(state: np.ndarray, target: Target) -> dict[str, Any]:
    """The quantities that the oracle reads, by ogbench's names; state (66,)."""
    w, x, y, z = state[CUBE_TURN]
    return {
        "proprio/effector_pos": state[EFFECTOR][:3],
        "proprio/effector_yaw": state[EFFECTOR][3:],
        "proprio/gripper_opening": cube_robot.opening(state),
        "proprio/gripper_contact": state[CONTACT],
        "privileged/block_0_pos": state[CUBE],
        "privileged/block_0_yaw": [np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))],
        "privileged/target_block": 0,
        "privileged/target_block_pos": target.position,
        "privileged/target_block_yaw": [target.yaw],
    }


@functools.cache
def _drawn(scene: str) -> mujoco.MjModel:
    return rendering.drawn(cube_robot.load().model, scene)


@functools.cache
def _oracle_class() -> type:
    from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle

    class Oracle(CubeMarkovOracle):
        """ogbench's oracle with random numbers from a given generator, not numpy's global one."""

        def __init__(self, rng: np.random.Generator):
            super().__init__(env=None, min_norm=MIN_NORM)
            self._rng = rng
            self.reset()

        def reset(self, ob: Any = None, info: Any = None) -> None:
            """Get ready for a new target."""
            self._done, self._step = False, 0
            self._final_pos = self._rng.uniform(*ARM_START)
            self._final_yaw = self._rng.uniform(-np.pi, np.pi)

    return Oracle


def _elsewhere(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The cube at rest elsewhere on the table, away from the effector."""

    def bad(place: np.ndarray) -> np.ndarray:
        near = np.linalg.norm(place[:, :2] - state[:, CUBE][:, :2], axis=-1) < TELEPORT
        return near | (np.linalg.norm(place[:, :2] - state[:, EFFECTOR][:, :2], axis=-1) < AWAY)

    def draw(count: int) -> np.ndarray:
        targets = [_random_target(rng) for _ in range(count)]
        return np.array([[*target.position, target.yaw] for target in targets])

    place = surprises.redraw(draw, bad, len(state))
    half, nothing = place[:, 3] / 2, np.zeros(len(state))
    state = state.copy()
    state[:, CUBE] = place[:, :3]
    state[:, CUBE_TURN] = np.stack([np.cos(half), nothing, nothing, np.sin(half)], axis=1)
    state[:, CUBE_SPEED] = 0.0
    return state


def _moves(before: np.ndarray, after: np.ndarray, actions: np.ndarray) -> np.ndarray:
    way = after[:, EFFECTOR][:, :3] - before[:, EFFECTOR][:, :3]
    return np.linalg.norm(way, axis=-1) > TELLING


SURPRISES = (
    surprises.recoloured("The cube turns from red to blue."),
    surprises.teleported("The cube lies elsewhere on the table.", _elsewhere),
    surprises.ignored("The arm stands still for a block.", _moves),
)
