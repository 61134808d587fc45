"""Push-T's collector: scripted pushers that bring the block to sampled poses. Speeds, noise and
starts give the moments of the published set (README.md).

All arrays have a row per episode. Lengths are px of the arena.
"""

from __future__ import annotations

import math

import numpy as np

from harness.tasks import push_t_scene
from harness.tasks.push_t_scene import (
    ACTION_SCALE,
    AGENT,
    AGENT_RADIUS,
    AGENT_VELOCITY,
    BAR_HALF,
    POSE,
    SCALE,
    TEE_COG,
    TEE_INERTIA,
    TEE_MASS,
    WALLS,
)

FAMILY_EPISODES = 4  # episodes that share an initial state

BLOCK_LOW, BLOCK_HIGH = 170.0, 340.0  # where the block's origin is drawn
AGENT_LOW, AGENT_HIGH = 50.0, 450.0
WALL_MARGIN = 15.0  # least distance of a drawn block from the walls
AGENT_MARGIN = 5.0  # least distance of the drawn agent from the block
ARENA_LOW, ARENA_HIGH = 25.0, 486.0  # targets of the behaviours stay between these

NOISE_STD = 0.1  # noise on a pusher's action, per component, before clipping
ANGLE_PX = 60.0  # px that weigh as much as a radian when a push is chosen
GOAL_STEPS = 90  # steps after which a pusher draws a new pose
GOAL_REACHED = 25.0  # px, with the angle in ANGLE_PX: the pose counts as reached below this error
APPROACH_STEPS = 14  # steps of an approach after which another push is chosen
STANDOFF = 10.0  # distance between agent and block where a push begins
ARRIVED = 12.0  # distance from that point at which the approach ends
ORBIT = 115.0  # radius of the circle round the block's centre of gravity
ORBIT_STEP = 0.6  # rad
APPROACH_PX, PUSH_PX = (6.0, 14.0), (4.0, 12.0)  # speeds, px per step; each push draws its own
PUSH_STEPS = (4, 12)  # shortest and longest push
LONGEST_PUSH = 96.0
DETOUR_COST, CHOICE_NOISE = 0.2, 0.1  # in shares of the error that a push removes

# A step moves the agent by STEP_TARGET (target - position) + STEP_VELOCITY velocity.
STEP_TARGET, STEP_VELOCITY = 0.2957, 0.0299


def _contacts() -> tuple[np.ndarray, np.ndarray]:
    """The points where the agent can push and their outward normals, (c, 2) in the tee's frame."""
    end, stem, tip = BAR_HALF[0], SCALE / 2, 4 * SCALE
    above = [((u, 0.0), (0, -1)) for u in (-50, -25, 0, 25, 50)]
    below = [((u, SCALE), (0, 1)) for u in (-45, 45)]
    ends = [((side * end, SCALE / 2), (side, 0)) for side in (-1, 1)]
    sides = [((side * stem, v), (side, 0)) for side in (-1, 1) for v in (60, 85, 110)]
    points, normals = zip(*above, *below, *ends, *sides, ((0.0, tip), (0, 1)), strict=True)
    return np.array(points, float), np.array(normals, float)


CONTACTS, NORMALS = _contacts()
BEGIN = CONTACTS + (AGENT_RADIUS + STANDOFF) * NORMALS  # the agent's centre before a push
_ARM = CONTACTS - TEE_COG
_LEVER = _ARM[:, 1] * NORMALS[:, 0] - _ARM[:, 0] * NORMALS[:, 1]  # lever arm of a push
_YIELD = 1 + TEE_MASS * _LEVER**2 / TEE_INERTIA
SHIFT = -NORMALS / _YIELD[:, None]  # how far the centre of gravity moves per px of a push
TURN = TEE_MASS * _LEVER / TEE_INERTIA / _YIELD  # how far the tee turns, rad per px of a push


class Pushers:
    """Four pushers start from each initial state (contracts.Collector).

    The n episodes recorded together belong to f families; episode i is of family i % f.
    """

    parameters = {  # noqa: RUF012
        "family_episodes": FAMILY_EPISODES,
        "noise_std": NOISE_STD,
        "goal_steps": GOAL_STEPS,
        "approach_px": APPROACH_PX,
        "push_px": PUSH_PX,
    }

    def __init__(self, rng: np.random.Generator, n: int):
        # n = 2 makes two families: SimulatorEnv takes one initial state as start, one as goal
        families = max(-(-n // FAMILY_EPISODES), min(n, 2))
        family = np.arange(n) % families
        self._start = _initial_states(rng, families)[family]
        self._family = rng.integers(2**31 - 1, size=families)[family]  # ids that no other chunk has
        self._pusher = Pusher(rng, self._start)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Initial states, each shared by the four episodes of a family, and the families."""
        return self._start.copy(), self._family.copy()

    def act(self, state: np.ndarray) -> np.ndarray:
        """The clipped actions (n, 2) of each pusher."""
        return np.clip(self._pusher.act(state), -1.0, 1.0).astype(np.float32)

    def done(self, state: np.ndarray) -> np.ndarray:
        """Whether the block's centre of gravity was squeezed past a wall."""
        centre = push_t_scene.to_world(state[:, POSE], np.array(TEE_COG))
        return np.asarray(((centre < WALLS[0]) | (centre > WALLS[1])).any(axis=1))


class Pusher:
    """Chooses the point of the tee where a push leads towards a sampled pose, goes round to it and
    pushes.
    """

    def __init__(self, rng: np.random.Generator, state: np.ndarray):
        n = len(state)
        self._rng = rng
        self._goal = state[:, POSE].copy()  # already reached, so the first call draws a new one
        self._goal_steps = np.zeros(n, int)  # steps left until a new one is drawn
        self._contact = np.zeros(n, int)
        self._pushing = np.zeros(n, bool)
        self._steps = np.zeros(n, int)  # steps left of the approach or of the push
        self._push_steps = np.zeros(n, int)
        self._push_px, self._approach_px = np.zeros((2, n, 1))

    def act(self, state: np.ndarray) -> np.ndarray:
        """Actions (n, 2), not yet clipped."""
        agent, pose, velocity = state[:, AGENT], state[:, POSE], state[:, AGENT_VELOCITY]
        self._renew_goals(pose)
        self._choose(agent, pose, self._steps == 0)
        normal = push_t_scene.rotate(pose[:, 2], NORMALS[self._contact])
        contact = push_t_scene.to_world(pose, CONTACTS[self._contact])
        begin = push_t_scene.to_world(pose, BEGIN[self._contact])
        arrived = ~self._pushing & (np.linalg.norm(agent - begin, axis=1) < ARRIVED)
        self._steps[arrived] = self._push_steps[arrived]
        self._pushing |= arrived
        self._steps -= 1
        off = agent - contact
        off -= (off * normal).sum(axis=1, keepdims=True) * normal  # offset from the push's line
        push = -self._push_px * normal - 0.5 * off
        approach = _limited(_way_round(agent, pose, begin) - agent, self._approach_px)
        move = np.where(self._pushing[:, None], push, approach)
        action = (move - STEP_VELOCITY * velocity) / (STEP_TARGET * ACTION_SCALE)
        return action + self._rng.normal(0.0, NOISE_STD, action.shape)

    def _renew_goals(self, pose: np.ndarray) -> None:
        """Draw a new pose where the last one is reached or has taken too long."""
        shift, angle = _error(pose, self._goal)
        near = np.linalg.norm(shift, axis=1) + ANGLE_PX * np.abs(angle) < GOAL_REACHED
        self._goal_steps -= 1
        rows = np.flatnonzero(near | (self._goal_steps <= 0))
        self._goal[rows], self._goal_steps[rows] = poses(self._rng, len(rows)), GOAL_STEPS

    def _choose(self, agent: np.ndarray, pose: np.ndarray, rows: np.ndarray) -> None:
        """Pick the contact from which a push removes most of the error, detours considered."""
        begin = push_t_scene.to_world(pose[:, None], BEGIN)  # (n, c, 2)
        removed, length = self._benefit(pose)
        detour = np.abs(_wrapped(_bearing(pose[:, None], begin) - _bearing(pose, agent)[:, None]))
        score = removed - DETOUR_COST * detour / math.pi
        score += self._rng.gumbel(0.0, CHOICE_NOISE, score.shape)
        score[((begin < ARENA_LOW) | (begin > ARENA_HIGH)).any(axis=-1)] = -np.inf
        best = score.argmax(axis=1)
        speed, approach = (
            self._rng.uniform(*limits, (len(best), 1)) for limits in (PUSH_PX, APPROACH_PX)
        )
        steps = np.ceil(length[np.arange(len(best)), best] / speed[:, 0]).astype(int)
        self._push_px[rows], self._approach_px[rows] = speed[rows], approach[rows]
        self._contact[rows] = best[rows]
        self._push_steps[rows] = np.clip(steps, *PUSH_STEPS)[rows]
        self._pushing[rows] = False
        self._steps[rows] = APPROACH_STEPS

    def _benefit(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The share of the squared error that the best push at each contact removes, and the length
        of that push, (n, c) each.
        """
        shift, angle = _error(pose, self._goal)
        along = push_t_scene.rotate(pose[:, 2:], SHIFT)  # (n, c, 2)
        slope = (along * shift[:, None]).sum(axis=-1) + ANGLE_PX**2 * TURN * angle[:, None]
        curve = (SHIFT**2).sum(axis=-1) + (ANGLE_PX * TURN) ** 2
        length = np.clip(slope / curve, 0.0, LONGEST_PUSH)
        error = (shift**2).sum(axis=-1) + (ANGLE_PX * angle) ** 2
        return (2 * slope - curve * length) * length / np.maximum(error, 1.0)[:, None], length


def _way_round(agent: np.ndarray, pose: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The next point (n, 2) of the way round the block to `end`: on a circle until `end` is
    near.
    """
    centre = push_t_scene.to_world(pose, np.array(TEE_COG))
    bearing = _bearing(pose, agent)
    left = _wrapped(_bearing(pose, end) - bearing)
    bearing = bearing + np.clip(left, -ORBIT_STEP, ORBIT_STEP)
    orbit = centre + ORBIT * np.stack([np.cos(bearing), np.sin(bearing)], axis=-1)
    way = np.where(np.abs(left)[:, None] < ORBIT_STEP, end, orbit)
    return np.clip(way, ARENA_LOW, ARENA_HIGH)


def _bearing(pose: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The direction (...) of a point seen from the block's centre of gravity, rad."""
    off = point - push_t_scene.to_world(pose, np.array(TEE_COG))
    return np.arctan2(off[..., 1], off[..., 0])


def _error(pose: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the centre of gravity (n, 2) and the angle (n,) are from their goals."""
    centre = np.array(TEE_COG)
    shift = push_t_scene.to_world(goal, centre) - push_t_scene.to_world(pose, centre)
    return shift, _wrapped(goal[:, 2] - pose[:, 2])


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """The same angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _limited(move: np.ndarray, longest: float | np.ndarray) -> np.ndarray:
    length = np.linalg.norm(move, axis=1, keepdims=True)
    return move * np.minimum(1.0, longest / np.maximum(length, 1e-8))


def poses(rng: np.random.Generator, count: int) -> np.ndarray:
    """Poses (count, 3) of the tee, uniform where it is clear of the walls."""
    low, high = (BLOCK_LOW, BLOCK_LOW, 0.0), (BLOCK_HIGH, BLOCK_HIGH, 2 * math.pi)
    pose = rng.uniform(low, high, (count, 3))
    while (bad := ~push_t_scene.within_walls(pose, WALL_MARGIN)).any():
        pose[bad] = rng.uniform(low, high, (bad.sum(), 3))
    return pose


def _initial_states(rng: np.random.Generator, count: int) -> np.ndarray:
    """States (count, 10) at rest, the agent clear of the tee."""
    state = np.zeros((count, 10))
    state[:, POSE] = poses(rng, count)
    bad = np.ones(count, bool)
    while bad.any():
        state[bad, AGENT] = rng.uniform(AGENT_LOW, AGENT_HIGH, (bad.sum(), 2))
        gap = push_t_scene.tee_distance(state[:, POSE], state[:, AGENT]) - AGENT_RADIUS
        bad = gap < AGENT_MARGIN
    return state
