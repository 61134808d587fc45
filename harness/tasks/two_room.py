"""Two-Room: a red dot in two rooms that share one door; go to where the goal picture shows it.

Dynamics, picture and expert follow `stable-worldmodel` 0.1.1; README.md lists how they compare.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.contracts.task import FileColumns, Surprise, TaskSpec
from harness.tasks import rendering, surprises, swept_disc, swm_scene
from harness.tasks.env import WithEnv

ARENA = 224  # px; every length below is in px of this arena
BORDER = 14.0  # distance of the border lines' inner edge from the arena's
BORDER_LINE = 4  # thickness of a border line
WALL_X = 112.0  # centre of the wall
WALL_HALF = 5.0  # half its thickness
DOOR_Y = 49.0  # centre of the door
DOOR_HALF = 14.0  # half its height
DOOR_MARGIN = 1.75  # the agent's centre may be this far outside the opening
RADIUS = 7.0  # the agent's
DOT_STD = 7.0  # std of the Gaussian dot by which the agent is drawn
PUSHBACK = 0.5  # a blocked agent stands this far off the wall zone
SPEED = 5.0  # px per step and unit of action
SUCCESS_DISTANCE = 16.0
NEAR_DISTANCE = 8.0  # rule "near"

LOW, HIGH = BORDER + RADIUS, ARENA - BORDER - RADIUS  # where the agent's centre may be
ZONE_LEFT, ZONE_RIGHT = WALL_X - WALL_HALF - RADIUS, WALL_X + WALL_HALF + RADIUS
DOOR = np.array([WALL_X, DOOR_Y])
WALL = np.array(  # above and below the door: left, right, low, high
    [
        [WALL_X - WALL_HALF, WALL_X + WALL_HALF, 0.0, DOOR_Y - DOOR_HALF],
        [WALL_X - WALL_HALF, WALL_X + WALL_HALF, DOOR_Y + DOOR_HALF, ARENA],
    ]
)

SAMPLE_LOW, SAMPLE_HIGH = 14.0, 209.0  # px, where starts and targets are drawn
NOISE_STD = 2.0  # noise on the expert's action, per component, before clipping
REPEAT = 0.05  # probability that the expert repeats its last action
DOOR_REACHED = 10.5  # px from the door's centre at which the expert turns to its target
MIN_STEPS = 25  # of the straight way from start to door to target, at full speed

TELEPORT = 56.0  # px, least distance of a teleport

ALPHA_BITS = 25  # 1 - alpha is 1 in float32 below 2**-25, so the dot ends there
CHUNK = 32  # pictures drawn together; their working set stays in the second-level cache
SWM_PATCH = 88  # px of the 224 px picture, side of a square outside which the dot ends

SPEC = TaskSpec(
    name="two_room",
    label="Two-Room",
    about="A dot in two rooms with one door goes to where the goal picture shows it.",
    version=2,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    state_names=("agent_x [px]", "agent_y [px]"),
    proprio_names=("agent_x [px]", "agent_y [px]"),
    distance_unit="px",
    strata=("same room", "through door", "detour"),
    success_rules={
        "default": "The agent's centre within 16 px of the goal.",
        "near": "The agent's centre within 8 px of the goal and in its room.",
    },
    quantities=(("agent", ("agent_x", "agent_y")),),
)


def _from_file(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Positions (R, 2) from whichever column holds them."""
    (position,) = columns.values()
    return position.astype(np.float64)


@dataclass(frozen=True)
class TwoRoom(WithEnv):
    """The task (contracts.Task); a state is the agent's position (2,). The scene `swm` is that of
    stable-worldmodel; the others are one.

    The released physics looks only at the end of a step and lets the agent's disc overlap the edges
    of the door by up to 8.75 px. Where the wall is `solid` it stops the whole disc on its whole
    way: of the 31.5 px that the centre may pass through, 14 are left.
    """

    scene: str = "plain"
    solid: bool = False
    spec = SPEC
    file_columns = FileColumns(({"pos_agent": 2}, {"proprio": 2}), _from_file)

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies, drawn at image_size."""
        return Simulator(n, image_size, self.scene, self.solid)

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool, by a rule of SPEC.success_rules."""
        assert rule in SPEC.success_rules, f"rule {rule!r} is not one of {[*SPEC.success_rules]}"
        if rule == "near":
            same_room = _is_left(np.asarray(state)) == _is_left(np.asarray(goal))
            return (self.distance(state, goal) < NEAR_DISTANCE) & same_room
        return self.distance(state, goal) < SUCCESS_DISTANCE

    def legal(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(B,) bool: the whole disc stays out of the wall and within the borders on the straight
        way between two positions.
        """
        ends = np.stack([before, after])
        slack = swept_disc.TOUCH
        inside = ((ends >= LOW - slack) & (ends <= HIGH + slack)).all(axis=(0, 2))
        return inside & swept_disc.free(ends[0], ends[1], WALL, RADIUS)

    def corrected(self) -> TwoRoom:
        """The task with a solid wall."""
        return dataclasses.replace(self, solid=True)

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) px in a straight line, through the wall."""
        return np.linalg.norm(np.asarray(state) - np.asarray(goal), axis=-1)

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) str: same room, through door or detour.

        A detour has start and goal in different rooms and both above or both below the door, so
        that a straight line ends at the wall.
        """
        start, goal = np.asarray(start), np.asarray(goal)
        crosses = _is_left(start) != _is_left(goal)
        reach = DOOR_HALF + DOOR_MARGIN
        above = np.maximum(start[:, 1], goal[:, 1]) < DOOR_Y - reach
        below = np.minimum(start[:, 1], goal[:, 1]) > DOOR_Y + reach
        return np.select(
            [crosses & (above | below), crosses], ["detour", "through door"], "same room"
        )

    def collector(self, rng: np.random.Generator, n: int) -> NoisyExpert:
        """The noisy expert, for n episodes."""
        return NoisyExpert(rng, n)

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B, 2) actions straight to the goal, as fast as the bounds allow; the wall is ignored."""
        delta = np.asarray(goal) - np.asarray(state)
        reach = np.abs(delta).max(axis=-1, keepdims=True)
        return (delta / np.maximum(reach, SPEED)).astype(np.float32)

    def surprises(self) -> tuple[Surprise, ...]:
        """The dot turns blue, is elsewhere, or passes through the wall."""
        return SURPRISES


def through_door(state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Directions (B, 2) of the expert: to the door's centre first, then to the goal."""
    state, goal = np.asarray(state), np.asarray(goal)
    to_door = (_is_left(state) != _is_left(goal)) & (
        np.linalg.norm(state - DOOR, axis=-1) > DOOR_REACHED
    )
    delta = np.where(to_door[..., None], DOOR, goal) - state
    return delta / np.maximum(np.linalg.norm(delta, axis=-1, keepdims=True), 1e-8)


class Simulator:
    """n copies (contracts.Simulator); `solid` is that of TwoRoom."""

    def __init__(self, n: int, image_size: int, scene: str = "plain", solid: bool = False):
        assert scene in rendering.SCENES, f"scene {scene!r} is not one of {list(rendering.SCENES)}"
        self.n = n
        self._solid = solid
        self._position = np.full((n, 2), LOW)
        self._painter = (SwmPainter if scene == "swm" else Painter)(image_size)

    def set_state(self, state: np.ndarray) -> None:
        """Positions (n, 2)."""
        assert state.shape == self._position.shape, f"{state.shape} != {self._position.shape}"
        self._position = np.array(state, np.float64)

    def state(self) -> np.ndarray:
        """Positions (n, 2) float64."""
        return self._position.copy()

    def step(self, actions: np.ndarray) -> None:
        """Move by speed times the clipped action. Border and wall stop only the end point of a
        step; a solid wall stops the disc.
        """
        assert actions.shape == self._position.shape, f"{actions.shape} != {self._position.shape}"
        if not self._solid:
            self._position = _moved(self._position, actions)
            return
        moved = self._position + SPEED * np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        moved = swept_disc.slide(self._position, np.clip(moved, LOW, HIGH), WALL, RADIUS)
        self._position = np.clip(moved, LOW, HIGH)

    def proprio(self) -> np.ndarray:
        """Positions (n, 2) float32."""
        return self._position.astype(np.float32)

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pictures of the copies in `rows`, (len(rows), 3, size, size) uint8."""
        return self._painter.draw(self._position if rows is None else self._position[rows])

    def recolour(self) -> None:
        """Draw the dot in blue from now on."""
        self._painter.recolour()

    def close(self) -> None:
        """Nothing to free."""


class Painter:
    """Draws the background, and the dot where its alpha is not 0, at a given picture size."""

    def __init__(self, size: int):
        self._size = size
        self._pitch = ARENA / size  # arena px per picture px
        self._background = _background(size)
        self._channel = 0  # the one that the dot brightens
        squared = 2 * DOT_STD**2 * ALPHA_BITS * math.log(2) + self._pitch**2 / 2
        self._patch = min(size, 2 * math.ceil(math.sqrt(squared) / self._pitch) + 1)
        self._patches = np.lib.stride_tricks.sliding_window_view(
            self._background.astype(np.float32), (self._patch, self._patch)
        )

    def draw(self, position: np.ndarray) -> np.ndarray:
        """Pictures (m, 3, size, size) uint8 of positions (m, 2)."""
        out = np.empty((len(position), 3, self._size, self._size), np.uint8)
        for i in range(0, len(position), CHUNK):
            self._draw(position[i : i + CHUNK], out[i : i + CHUNK])
        return out

    def recolour(self) -> None:
        """Draw the dot in blue from now on."""
        self._channel = 2

    def _draw(self, position: np.ndarray, out: np.ndarray) -> None:
        out[:] = self._background
        nearest = np.rint((position + 0.5) / self._pitch - 0.5).astype(np.int64)
        corner = np.clip(nearest - self._patch // 2, 0, self._size - self._patch)  # (m, 2)
        pixel = (corner[..., None] + np.arange(self._patch) + 0.5) * self._pitch - 0.5
        squared = ((pixel - position[..., None]) ** 2).astype(np.float32)  # (m, 2, patch)
        squared -= squared.min(axis=-1, keepdims=True)  # the brightest pixel has alpha 1
        profile = np.exp(squared * np.float32(-1 / (2 * DOT_STD**2)))
        alpha = profile[:, 1, :, None] * profile[:, 0, None, :]  # (m, patch, patch)
        x, y = corner.T
        below = self._patches[y, x]
        target = np.lib.stride_tricks.sliding_window_view(
            out, (self._patch, self._patch), axis=(2, 3), writeable=True
        )
        copies = np.arange(len(position))
        dark = (below * (1 - alpha)).astype(np.uint8)
        for channel in range(3):
            target[copies, channel, y, x] = dark
        bright = (below + (255 - below) * alpha).astype(np.uint8)
        target[copies, self._channel, y, x] = bright


class SwmPainter:
    """Draws the scene `swm`: as Painter at 224 px, but with positions and blending in float32 as in
    stable-worldmodel. There rounding takes 1 from the red of some white pixels around the dot.
    """

    def __init__(self, size: int):
        import torch

        self._torch = torch
        self._size = size
        self._background = _background(swm_scene.SIZE)
        self._channel = 0

    def recolour(self) -> None:
        """Draw the dot in blue from now on."""
        self._channel = 2

    def draw(self, position: np.ndarray) -> np.ndarray:
        """Pictures (m, 3, size, size) uint8 of positions (m, 2)."""
        out = np.empty((len(position), 3, swm_scene.SIZE, swm_scene.SIZE), np.uint8)
        out[:] = self._background
        for centre, picture in zip(position.astype(np.float32), out, strict=True):
            corner = np.clip(np.rint(centre) - SWM_PATCH // 2, 0, ARENA - SWM_PATCH)
            x, y = corner.astype(int)
            part = picture[:, y : y + SWM_PATCH, x : x + SWM_PATCH]
            below, alpha = part[0].astype(np.float32), self._alpha(centre - corner)
            part[:] = below * (1 - alpha)
            part[self._channel] = below * (1 - alpha) + np.float32(255) * alpha
        return swm_scene.resized(out, self._size)

    def _alpha(self, centre: np.ndarray) -> np.ndarray:
        """The dot (SWM_PATCH, SWM_PATCH) around x, y of the patch."""
        squared = (np.arange(SWM_PATCH, dtype=np.float32) - centre[:, None]) ** 2
        exponent = (squared[0] + squared[1][:, None]) / np.float32(-2 * DOT_STD**2)
        alpha = self._torch.from_numpy(exponent).exp().numpy()  # numpy rounds it otherwise
        return alpha / alpha.max()


class NoisyExpert:
    """Goes through the door to a target in the other room that is not near, with noise
    (contracts.Collector).
    """

    parameters = {  # noqa: RUF012
        "noise_std": NOISE_STD,
        "repeat": REPEAT,
        "door_reached": DOOR_REACHED,
        "min_steps": MIN_STEPS,
    }

    def __init__(self, rng: np.random.Generator, n: int):
        self._rng = rng
        self._last: np.ndarray | None = None
        self._start, self._target = _free(rng, n), _free(rng, n)
        while (near := ~_far_and_beyond_the_wall(self._start, self._target)).any():
            self._target[near] = _free(rng, near.sum())

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions uniform in free space; every episode is a family of its own (-1)."""
        return self._start.copy(), np.full(len(self._start), -1)

    def act(self, state: np.ndarray) -> np.ndarray:
        """The expert's direction plus noise, clipped; sometimes the last action again."""
        action = through_door(state, self._target)
        action = action + self._rng.normal(0.0, NOISE_STD, action.shape)
        repeat = self._rng.random(len(action)) < REPEAT
        if self._last is not None:
            action[repeat] = self._last[repeat]
        self._last = np.clip(action, -1.0, 1.0).astype(np.float32)
        return self._last

    def done(self, state: np.ndarray) -> np.ndarray:
        """Whether the target is reached, (n,) bool."""
        return np.linalg.norm(state - self._target, axis=-1) < SUCCESS_DISTANCE


def _moved(position: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Positions (n, 2) after one step from `position` (n, 2)."""
    moved = position + SPEED * np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
    x, y = np.clip(moved, LOW, HIGH).T
    left = _is_left(position)
    closed = np.abs(y - DOOR_Y) > DOOR_HALF + DOOR_MARGIN
    x = np.where(closed & left & (x > ZONE_LEFT), ZONE_LEFT - PUSHBACK, x)
    x = np.where(closed & ~left & (x < ZONE_RIGHT), ZONE_RIGHT + PUSHBACK, x)
    return np.stack([x, y], axis=1)


def _far_and_beyond_the_wall(start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(n,) bool: the target is in the other room, and the way to it takes at least MIN_STEPS."""
    way = np.linalg.norm(start - DOOR, axis=-1) + np.linalg.norm(target - DOOR, axis=-1)
    return (_is_left(start) != _is_left(target)) & (way >= MIN_STEPS * SPEED)


def _is_left(state: np.ndarray) -> np.ndarray:
    return state[..., 0] < WALL_X


def _free(rng: np.random.Generator, count: int) -> np.ndarray:
    """Positions (count, 2), uniform over the sampling square without the wall zone."""
    position = rng.uniform(SAMPLE_LOW, SAMPLE_HIGH, (count, 2))
    while (inside := (position[:, 0] >= ZONE_LEFT) & (position[:, 0] <= ZONE_RIGHT)).any():
        position[inside] = rng.uniform(SAMPLE_LOW, SAMPLE_HIGH, (inside.sum(), 2))
    return position


def _background(size: int) -> np.ndarray:
    """The picture without the agent, (size, size) uint8; a pixel is the mean of the area it
    covers.
    """
    pixel = np.arange(ARENA)
    across, along = np.meshgrid(pixel, pixel)  # x, y
    wall = (np.abs(across - WALL_X) <= WALL_HALF) & (np.abs(along - DOOR_Y) > DOOR_HALF)
    edge = int(BORDER)
    for line in (edge - BORDER_LINE, ARENA - edge):
        wall[line : line + BORDER_LINE] = wall[:, line : line + BORDER_LINE] = True
    share = _coverage(size)
    return np.rint(share @ np.where(wall, 0.0, 255.0) @ share.T).astype(np.uint8)


def _coverage(size: int) -> np.ndarray:
    """Along one axis, the share of arena pixel j in picture pixel i, (size, ARENA)."""
    edges = np.arange(size + 1) * (ARENA / size)
    low = np.maximum(edges[:-1, None], np.arange(ARENA))
    high = np.minimum(edges[1:, None], np.arange(ARENA) + 1)
    return np.clip(high - low, 0.0, None) * (size / ARENA)


def _elsewhere(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return surprises.redraw(
        lambda count: np.clip(_free(rng, count), LOW, HIGH),
        lambda drawn: np.linalg.norm(drawn - state, axis=-1) < TELEPORT,
        len(state),
    )


def _stopped(state: np.ndarray) -> np.ndarray:
    """(n,) bool: the wall has just stopped the agent."""
    return np.isin(state[:, 0], (ZONE_LEFT - PUSHBACK, ZONE_RIGHT + PUSHBACK))


def _pass_through(simulator: Simulator, actions: np.ndarray, rng: np.random.Generator) -> None:
    """An agent that the wall stops is on its other side instead, once."""
    passed = np.zeros(simulator.n, bool)
    for step in range(actions.shape[1]):
        simulator.step(actions[:, step])
        state = simulator.state()
        passes = _stopped(state) & ~passed
        state[passes, 0] = 2 * WALL_X - state[passes, 0]
        simulator.set_state(state)
        passed |= passes


def _runs_into_the_wall(before: np.ndarray, after: np.ndarray, actions: np.ndarray) -> np.ndarray:
    stopped, state = np.zeros(len(before), bool), before
    for step in range(actions.shape[1]):
        state = _moved(state, actions[:, step])
        stopped |= _stopped(state)
    return stopped


SURPRISES = (
    surprises.recoloured("The dot turns from red to blue."),
    surprises.teleported("The dot is elsewhere in the two rooms.", _elsewhere),
    Surprise(
        "wall_passed_through",
        "The dot passes through the wall where the wall would stop it.",
        _pass_through,
        _runs_into_the_wall,
    ),
)
