"""Push-T drawn as `stable-worldmodel` 0.1.1 draws it, pixel by pixel.

There pygame fills shapes on a canvas of 512 px, with corners rounded to pixels and edges not
smoothed, and OpenCV scales the canvas to 224 px. A picture shows bar, stem, disc and walls, in this
order, over a green tee that never moves, and a red mark at each contact.
"""

from __future__ import annotations

import math

import numpy as np

from harness.tasks import push_t_scene, swm_scene
from harness.tasks.push_t_physics import Physics
from harness.tasks.push_t_scene import (
    AGENT,
    AGENT_DARK,
    AGENT_LIGHT,
    ARENA,
    BOXES,
    OTHER_TEE_DARK,
    OTHER_TEE_LIGHT,
    POSE,
    TEE_COG,
    TEE_DARK,
    TEE_LIGHT,
    TEE_REACH,
    WALL_GREY,
    WALL_SIDES,
    WHITE,
)

GREEN = (144, 238, 144)
GREEN_POSE = np.array([256.0, 256.0, math.pi / 4])  # of the tee that never moves
RED = (231, 76, 60)
LINE = 4  # px, width of the walls and of the tee's outline
DISC, FACE = 15, 11  # px, radii of the disc and of its lighter part

PATCH = 2 * math.ceil(TEE_REACH + LINE) + 1  # side of a square that holds the tee and its marks
PAD = PATCH  # px of the canvas beyond each side of the picture, so that no shape is clipped
CANVAS = ARENA + 2 * PAD
ONE = 1 << 11  # of OpenCV's fixed-point weights

BAR, BAR_LINE, STEM, STEM_LINE = range(4)  # masks of the tee, in the order of painting

Patch = tuple[slice, slice]  # rows and columns of the canvas


class Painter:
    """Draws states at a given picture size."""

    def __init__(self, size: int):
        self._size = size
        self._tee = TEE_DARK, TEE_LIGHT
        self._physics = Physics()
        self._tee_masks = np.array([BAR, STEM] + 4 * [BAR_LINE] + 4 * [STEM_LINE])
        self._disc, self._face = circle(DISC), circle(FACE)
        self._walls = _walls()
        self._clean = np.full((CANVAS, CANVAS, 3), WHITE, np.uint8)
        self._clean[filled(_corners(GREEN_POSE) + PAD, np.zeros(2, int), 1, CANVAS)[0]] = GREEN
        self._clean[self._walls] = WALL_GREY
        self._canvas = self._clean.copy()
        self._reduction = Reduction(ARENA, swm_scene.SIZE, PAD)
        everything = (slice(0, CANVAS), slice(0, CANVAS))
        self._background = self._reduction(self._clean, everything)[1]

    def recolour_tee(self) -> None:
        """Draw the tee in its other colour from now on."""
        self._tee = OTHER_TEE_DARK, OTHER_TEE_LIGHT

    def draw(self, state: np.ndarray) -> np.ndarray:
        """Pictures (m, 3, size, size) uint8 of states (m, >= 5): agent x, y and the tee's pose."""
        out = np.empty((len(state), 3, swm_scene.SIZE, swm_scene.SIZE), np.uint8)
        for row, picture in zip(state, out, strict=True):
            picture[:] = self._background
            patches = self._paint_tee(row[POSE]), self._paint_agent(row[AGENT])
            for patch in patches:
                self._canvas[patch][self._walls[patch]] = WALL_GREY
            for ends in self._physics.contacts(row.tolist()):
                paint_mark(self._canvas, _pixel(ends))
            for patch in patches:
                (y, x), part = self._reduction(self._canvas, patch)
                picture[:, y, x] = part
            for patch in patches:
                self._canvas[patch] = self._clean[patch]
        return swm_scene.resized(out, self._size)

    def _paint_tee(self, pose: np.ndarray) -> Patch:
        corner = _pixel(push_t_scene.to_world(pose, np.array(TEE_COG))) - PATCH // 2
        corners = _corners(pose) - corner
        ends = np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(8, 2, 2)
        outlines = self._tee_masks[2:]
        masks = filled(np.concatenate([corners, _quads(ends)]), self._tee_masks, 4, PATCH)
        add_lines(masks, outlines, ends, corner)
        patch = _patch(corner, PATCH)
        dark = masks[STEM_LINE] | (masks[BAR_LINE] & ~masks[STEM])
        view = self._canvas[patch]
        view[(masks[BAR] | masks[STEM]) & ~dark] = self._tee[1]
        view[dark] = self._tee[0]
        return patch

    def _paint_agent(self, position: np.ndarray) -> Patch:
        patch = _patch(_pixel(position) - DISC, 2 * DISC + 1)
        view, rim = self._canvas[patch], DISC - FACE
        view[self._disc] = AGENT_DARK
        view[rim:-rim, rim:-rim][self._face] = AGENT_LIGHT
        return patch


class Reduction:
    """OpenCV's bilinear resizing of a canvas with `pad` px around its picture, part by part. There
    weights have eleven bits; the vertical sum drops four bits of a row and sixteen of a product.
    """

    def __init__(self, source: int, target: int, pad: int):
        at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
        self._low = np.floor(at).astype(np.int64)
        share = at - self._low.astype(np.float32)
        self._weights = np.rint(np.stack([1 - share, share]) * np.float32(ONE)).astype(np.int32)
        self._low += pad

    def __call__(self, canvas: np.ndarray, patch: Patch) -> tuple[Patch, np.ndarray]:
        """The rows and columns of the small picture that this patch of the canvas (y, x, 3) may
        change, and their values (3, y, x) uint8.
        """
        rows, columns = (
            slice(*np.searchsorted(self._low, (axis.start - 1, axis.stop))) for axis in patch
        )
        y, x = self._low[rows], self._low[columns]
        if len(y) == 0 or len(x) == 0:
            return (rows, columns), np.empty((3, len(y), len(x)), np.uint8)
        source = canvas[y[0] : y[-1] + 2, x[0] : x[-1] + 2].astype(np.int32)
        y, x = y - y[0], x - x[0]
        (left, right), (above, below) = (
            self._weights[:, columns, None],
            self._weights[:, rows, None, None],
        )
        band = (source[:, x] * left + source[:, x + 1] * right) >> 4
        sums = ((band[y] * above) >> 16) + ((band[y + 1] * below) >> 16)
        return (rows, columns), ((sums + 2) >> 2).astype(np.uint8).transpose(2, 0, 1)


def filled(points: np.ndarray, mask: np.ndarray, count: int, size: int) -> np.ndarray:
    """Masks (count, size, size) bool of polygons (p, n, 2), each filled in the mask (p,) that it
    belongs to, by pygame's rule: a row is filled from its first crossing, cut to a whole pixel, to
    its second, both included; a lower end of an edge does not count but in the last row.
    """
    before = np.roll(points, 1, axis=1)
    falls = (before[..., 1] < points[..., 1])[..., None]
    (x1, y1), (x2, y2) = (
        np.moveaxis(np.where(falls, *pair), -1, 0)[..., None]
        for pair in ((before, points), (points, before))
    )
    top, bottom = points[..., 1].min(axis=1), points[..., 1].max(axis=1)[:, None, None]
    rows = (top[:, None] + np.arange((bottom[:, 0, 0] - top).max() + 1))[:, None, :]  # (p, 1, rows)
    crossed = (y1 < y2) & (rows >= y1) & ((rows < y2) | ((rows == bottom) & (y2 == bottom)))
    at = np.trunc((rows - y1) * (x2 - x1) / np.maximum(y2 - y1, 1) + x1)
    at = np.sort(np.where(crossed, at, np.inf), axis=1)
    change = np.zeros((count, size, size + 1), np.int8)
    polygon, pair, row = np.nonzero(np.isfinite(at[:, 1::2]))
    where = (mask[polygon], rows[polygon, 0, row])
    np.add.at(change, (*where, at[polygon, 2 * pair, row].astype(int)), 1)
    np.add.at(change, (*where, at[polygon, 2 * pair + 1, row].astype(int) + 1), -1)
    return np.cumsum(change, axis=2, dtype=np.int8)[..., :-1] > 0


def add_lines(masks: np.ndarray, mask: np.ndarray, ends: np.ndarray, corner: np.ndarray) -> None:
    """Add lines of LINE px from end to end (e, 2, 2), with round ends, to the mask (e,) that each
    belongs to, by pygame's Bresenham steps. The masks begin at `corner` (x, y) of the picture. A
    steep line is LINE px wide, another LINE px high.

    A line from outside the picture starts at its edge, where its steps start anew: it is another
    line, which ends when both coordinates have reached the end.
    """
    delta = ends[:, 1] - ends[:, 0]
    size, length = masks.shape[-1], np.abs(delta)
    enters, leaves = _visible(ends[:, 0] + corner, delta)
    start = ends[:, 0] + _half_away(delta * enters[:, None])
    rest = np.abs(ends[:, 1] - start)
    steep = (length[:, 0] <= length[:, 1])[:, None]
    long, short = np.where(steep, length[:, ::-1], length).T[..., None]
    long_rest, short_rest = np.where(steep, rest[:, ::-1], rest).T
    step = np.arange((2 if enters.any() else 1) * long.max() + 1)
    aside = -((long // 2 - step * short) // long)
    last = np.maximum(long_rest, (aside < short_rest[:, None]).sum(axis=1))
    drawn = (step <= last[:, None]) & (enters <= leaves)[:, None]
    (x, y), (right, down) = start.T[..., None], np.where(delta > 0, 1, -1).T[..., None]
    x = x + right * np.where(steep, aside, step)
    y = y + down * np.where(steep, step, aside)
    which = np.broadcast_to(mask[:, None], x.shape)
    for shift in range(-((LINE - 1) // 2), LINE // 2 + 1):
        across, along = x + np.where(steep, shift, 0), y + np.where(steep, 0, shift)
        kept = drawn & (np.minimum(across, along) >= 0) & (np.maximum(across, along) < size)
        masks[which[kept], along[kept], across[kept]] = True
    round_end = np.argwhere(circle(LINE // 2)) - LINE // 2  # (pixels, 2) y, x
    at = ends.reshape(-1, 1, 2)[..., ::-1] + round_end
    masks[np.repeat(mask, 2)[:, None], at[..., 0], at[..., 1]] = True


def _visible(start: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares (e,) of lines at which they enter and leave the picture, whose upper limit counts
    as inside there; a line that misses it enters after it leaves.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        limits = np.stack([-start / delta, (ARENA - start) / delta])  # (2, e, 2)
    outside = (start < 0) | (start > ARENA)
    still = np.where(outside, 2.0, [[[0.0]], [[1.0]]])  # where a line runs along the other axis
    limits = np.where(delta == 0, still, limits)
    return limits.min(axis=0).max(axis=1).clip(0), limits.max(axis=0).min(axis=1).clip(None, 1)


def _half_away(values: np.ndarray) -> np.ndarray:
    """Rounded to whole numbers, halves away from zero."""
    return np.trunc(values + np.copysign(0.5, values)).astype(np.int64)


def circle(radius: int) -> np.ndarray:
    """pygame's filled circle, (2 radius + 1, 2 radius + 1) bool, its centre at (radius, radius)."""
    out = np.zeros((2 * radius + 1, 2 * radius + 1), bool)
    error, x, y = 1 - radius, 0, radius
    while x < y:
        if error >= 0:
            y -= 1
            error -= 2 * y
        x += 1
        error += 2 * x + 1
        for across, up in ((x, y), (y, x)) if error >= 0 else ((y, x),):
            out[[radius + up - 1, radius - up], radius - across : radius + across] = True
    return out


def paint_mark(canvas: np.ndarray, ends: np.ndarray) -> None:
    """Paint a red line of 1 px between two pixels (2, 2) of the picture, smoothed as in pygame by
    Wu's algorithm: between its ends, each step along the line is shared by two pixels.
    """
    if not ((ends > -PAD) & (ends < ARENA + PAD)).all():
        return  # far outside the picture
    steep = abs(ends[1, 0] - ends[0, 0]) < abs(ends[1, 1] - ends[0, 1])
    along = 1 if steep else 0
    start, end = sorted(ends.tolist(), key=lambda point: point[along])
    pixels = [(start, np.float32(1)), (end, np.float32(1))]
    length = end[along] - start[along]
    slope = np.float32(end[1 - along] - start[1 - along]) / np.float32(max(length, 1))
    aside = np.float32(start[1 - along] + 1) + slope  # plus 1 as there, for the same rounding
    for step in range(1, length):
        first = math.floor(aside)
        share = 1 - aside + first
        for shift, part in ((-1, share), (0, 1 - share)):
            pixel = [start[along] + step] * 2
            pixel[1 - along] = first + shift
            pixels.append((pixel, part))
        aside += slope
    for (x, y), share in pixels:
        below = canvas[PAD + y, PAD + x]
        canvas[PAD + y, PAD + x] = share * np.array(RED, np.float32) + (1 - share) * below


def _quads(ends: np.ndarray) -> np.ndarray:
    """Corners (e, 4, 2) of the quadrilaterals by which lines (e, 2, 2) are widened there: the
    offset from the line has no sign, so that some of them are slanted.
    """
    offset = np.abs(ends[:, 1] - ends[:, 0])[:, ::-1]
    offset = _pixel(offset * (LINE / 2 / np.linalg.norm(offset, axis=1, keepdims=True)))
    start, end = ends[:, 0], ends[:, 1]
    return np.stack([start - offset, start + offset, end + offset, end - offset], axis=1)


def _walls() -> np.ndarray:
    """(CANVAS, CANVAS) bool."""
    ends, mask = _pixel(np.array(WALL_SIDES)) + PAD, np.zeros(len(WALL_SIDES), int)
    masks = filled(_quads(ends), mask, 1, CANVAS)
    add_lines(masks, mask, ends, np.array([-PAD, -PAD]))
    return masks[0]


def _corners(pose: np.ndarray) -> np.ndarray:
    """Pixels (2, 4, 2) of the corners of bar and stem."""
    return _pixel(push_t_scene.to_world(pose, np.array(BOXES)))


def _pixel(points: np.ndarray) -> np.ndarray:
    return np.rint(points).astype(np.int64)


def _patch(corner: np.ndarray, side: int) -> Patch:
    """The square of the canvas whose first pixel is `corner` (x, y) of the picture; a square that
    lies farther away than one side from the picture is moved to that distance.
    """
    x, y = (np.clip(corner, -PAD, ARENA + PAD - side) + PAD).tolist()
    return slice(y, y + side), slice(x, x + side)
