"""Push-T's scene: the layout of a state, the geometry of agent, tee and walls, and their picture.

Lengths are px of the arena, x to the right and y down. A pose is x, y of the tee's origin (the
middle of the bar's outer edge) and its angle in rad. Values follow `stable-worldmodel` 0.1.1.
"""

from __future__ import annotations

import math

import numpy as np

# where a state (..., 10) has what; BLOCK is the tee's origin, POSE its origin and angle
AGENT, BLOCK, POSE = slice(0, 2), slice(2, 4), slice(2, 5)
AGENT_VELOCITY, BLOCK_MOTION = slice(5, 7), slice(7, 10)
ANGLE = 4

ARENA = 512  # width and height of the picture
WALLS = (5.0, 506.0)  # centre lines of the walls
WALL_RADIUS = 2.0
WALL_SIDES = [  # their ends, in the reference's order, in which contacts are solved
    ((WALLS[0], WALLS[1]), (WALLS[0], WALLS[0])),
    ((WALLS[0], WALLS[0]), (WALLS[1], WALLS[0])),
    ((WALLS[1], WALLS[0]), (WALLS[1], WALLS[1])),
    ((WALLS[0], WALLS[1]), (WALLS[1], WALLS[1])),
]
AGENT_RADIUS = 15.0
ACTION_SCALE = 100.0  # distance from the agent to its target per unit of action
SCALE = 30.0  # the tee's unit: the bar is 4 x 1, the stem 1 x 3
BAR_CENTRE, BAR_HALF = (0.0, SCALE / 2), (2 * SCALE, SCALE / 2)
STEM_CENTRE, STEM_HALF = (0.0, 2.5 * SCALE), (SCALE / 2, 1.5 * SCALE)
TEE_MASS = 1.0
TEE_COG = (0.0, 1.5 * SCALE)  # midway between the centres of bar and stem
# px^2: the reference adds the bar's moment about the origin twice, each with the full mass
TEE_INERTIA = 2 * ((4 * SCALE**2 + SCALE**2 / 4) / 3 + SCALE**2 / 4)
TEE_REACH = math.hypot(SCALE / 2, 2.5 * SCALE)  # from the centre of gravity to the far corners

WHITE = 255
WALL_GREY = 211
WALL_LINE = 2.5  # half the width at which a wall is drawn
TEE_LINE = 2.25  # the tee's outline reaches this far to either side of its edges
AGENT_LINE = 2.0  # half the width of the agent's outline, which lies inside its edge
AGENT_DARK, AGENT_LIGHT = (65, 105, 225), (78, 126, 255)
TEE_DARK, TEE_LIGHT = (119, 136, 153), (143, 163, 184)
OTHER_TEE_DARK, OTHER_TEE_LIGHT = (178, 84, 60), (214, 112, 84)  # of a surprise

CHUNK = 32  # pictures drawn together; their working set stays in the second-level cache


def _box(centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """Corners (4, 2) in the tee's frame, counter-clockwise."""
    return np.array(centre) + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * np.array(half)


BOXES = (_box(BAR_CENTRE, BAR_HALF), _box(STEM_CENTRE, STEM_HALF))


def to_world(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) of the tee's frame in the arena, for poses (..., 3)."""
    return pose[..., :2] + rotate(pose[..., 2], points)


def rotate(angle: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) turned by angles (...)."""
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = points[..., 0], points[..., 1]
    return np.stack([cos * u - sin * v, sin * u + cos * v], axis=-1)


def tee_distance(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance (...) of points from the tee's surface, negative inside, for poses (..., 3) and
    points (..., 2) in the arena. It is measured in the maximum norm of the tee's frame, which is
    never more than the Euclidean distance.
    """
    u, v = np.moveaxis(rotate(-pose[..., 2], points - pose[..., :2]), -1, 0)
    return _tee_distance(u, v)


def within_walls(pose: np.ndarray, margin: float) -> np.ndarray:
    """(...) bool: every corner of the tee is at least `margin` from the walls' inner faces."""
    corners = to_world(pose[..., None, :], np.concatenate(BOXES))  # (..., 8, 2)
    low, high = WALLS[0] + WALL_RADIUS + margin, WALLS[1] - WALL_RADIUS - margin
    return np.asarray(((corners >= low) & (corners <= high)).all(axis=(-1, -2)))


class Painter:
    """Draws agent, tee and walls at a given picture size, with edges blurred over one pixel."""

    def __init__(self, size: int):
        self._size, self._pitch = size, ARENA / size
        self._background = _background(size)
        self._tee = TEE_DARK, TEE_LIGHT

    def recolour_tee(self) -> None:
        """Draw the tee in its other colour from now on."""
        self._tee = OTHER_TEE_DARK, OTHER_TEE_LIGHT

    def draw(self, state: np.ndarray) -> np.ndarray:
        """Pictures (m, 3, size, size) uint8 of states (m, >= 5): agent x, y and the tee's pose."""
        out = np.empty((len(state), 3, self._size, self._size), np.uint8)
        for i in range(0, len(state), CHUNK):
            rows, part = state[i : i + CHUNK], out[i : i + CHUNK]
            part[:] = self._background
            self._paint_tee(rows[:, POSE], part)
            self._paint_agent(rows[:, AGENT], part)
        return out

    def _paint_tee(self, pose: np.ndarray, out: np.ndarray) -> None:
        corner, offset = self._patch(to_world(pose, np.array(TEE_COG)), TEE_REACH + 2 * TEE_LINE)
        dx, dy = np.moveaxis((offset - pose[:, :2, None]).astype(np.float32), 1, 0)  # (m, patch)
        angle = np.ascontiguousarray(pose[:, 2])
        cos = np.cos(angle).astype(np.float32)[:, None]
        sin = np.sin(angle).astype(np.float32)[:, None]
        u = (cos * dx)[:, None, :] + (sin * dy)[:, :, None]  # (m, patch, patch)
        v = (cos * dy)[:, :, None] - (sin * dx)[:, None, :]
        self._paint(out, corner, _tee_distance(u, v), TEE_LINE, *self._tee)

    def _paint_agent(self, centre: np.ndarray, out: np.ndarray) -> None:
        corner, offset = self._patch(centre, AGENT_RADIUS)
        dx, dy = np.moveaxis((offset - centre[..., None]).astype(np.float32) ** 2, 1, 0)
        distance = np.sqrt(dx[:, None, :] + dy[:, :, None]) - np.float32(AGENT_RADIUS - AGENT_LINE)
        self._paint(out, corner, distance, AGENT_LINE, AGENT_DARK, AGENT_LIGHT)

    def _patch(self, centre: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """First pixel (m, 2) of the squares around centres (m, 2), and their pixels' x and y
        (m, 2, patch) in the arena.
        """
        patch = min(2 * math.ceil(reach / self._pitch + 1) + 1, self._size)
        nearest = np.rint((centre + 0.5) / self._pitch - 0.5).astype(np.int64)
        corner = np.clip(nearest - patch // 2, 0, self._size - patch)
        pixel = corner[..., None] + np.arange(patch)
        return corner, (pixel + 0.5) * self._pitch - 0.5

    def _paint(
        self,
        out: np.ndarray,
        corner: np.ndarray,
        distance: np.ndarray,
        line: float,
        dark: tuple[int, ...],
        light: tuple[int, ...],
    ) -> None:
        """Blend a shape over `out`: light inside, dark within `line` of distance 0."""
        patch = distance.shape[-1]
        target = np.lib.stride_tricks.sliding_window_view(
            out, (patch, patch), axis=(2, 3), writeable=True
        )
        copies, (x, y) = np.arange(len(out)), corner.T
        scaled = distance * np.float32(-1 / self._pitch)
        outer = np.clip(scaled + np.float32(0.5 + line / self._pitch), 0.0, 1.0)
        inner = np.clip(scaled + np.float32(0.5 - line / self._pitch), 0.0, 1.0)
        for channel in range(3):
            below = target[copies, channel, y, x].astype(np.float32)
            below += (dark[channel] - below) * outer
            below += (light[channel] - dark[channel]) * inner
            target[copies, channel, y, x] = (below + 0.5).astype(np.uint8)


def _tee_distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance of points (u, v) of the tee's frame from bar and stem together; 0 at their seam."""
    u = np.abs(u)
    bar = np.maximum(u - BAR_HALF[0], np.abs(v - BAR_CENTRE[1]) - BAR_HALF[1])
    stem = np.maximum(u - STEM_HALF[0], np.abs(v - STEM_CENTRE[1]) - STEM_HALF[1])
    return np.minimum(bar, stem)


def _background(size: int) -> np.ndarray:
    """The four walls on white, (size, size) uint8; each pixel is the mean of the area it covers."""
    edges = np.arange(size + 1) * (ARENA / size) - 0.5
    along = sum(_overlap(edges, w - WALL_LINE, w + WALL_LINE) for w in WALLS)  # (size,)
    within = _overlap(edges, WALLS[0] - WALL_LINE, WALLS[1] + WALL_LINE)
    share = np.maximum(np.outer(along, within), np.outer(within, along)) * (size / ARENA) ** 2
    return np.rint(WHITE + (WALL_GREY - WHITE) * share).astype(np.uint8)


def _overlap(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """The length of [low, high] that lies between each two neighbouring edges."""
    return np.diff(np.clip(edges, low, high))
