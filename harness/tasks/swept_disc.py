"""A disc that moves among solid rectangles: whether a straight step is free, and where a step ends
that slides along what it meets.

Rectangles are (W, 4): left, right, low, high. Positions (B, 2) are those of the disc's centre. It
may not enter a rectangle that is widened by the radius: a box that is wider in x, a box that is
wider in y and a circle at each corner.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOUCH = 1e-6  # a disc that overlaps a rectangle by less only touches it
GAP = 1e-4  # a disc that was stopped stays this far off
CONTACTS = 4  # of one step; a disc that meets more stops at the last one


class _Contacts(NamedTuple):
    """The points at which each disc first meets each of M shapes."""

    time: np.ndarray  # (B, M), as a share of the step; inf where it does not
    normal: np.ndarray  # (B, M, 2), away from the shape, of length 1


def free(start: np.ndarray, end: np.ndarray, rectangles: np.ndarray, radius: float) -> np.ndarray:
    """(B,) bool: a disc that goes straight from `start` to `end` enters no rectangle."""
    step = end - start
    entry, leave = _times(start, step, rectangles)
    crosses = np.maximum(entry.max(-1), 0) <= np.minimum(leave.min(-1), 1)  # (B, W)
    gaps = [_gap(start, rectangles), _gap(end, rectangles)]
    length = np.maximum((step**2).sum(-1), np.finfo(float).tiny)[:, None]
    for corner in _corners(rectangles):
        offset = corner - start[:, None]  # (B, W, 2)
        along = np.clip((offset * step[:, None]).sum(-1) / length, 0, 1)
        gaps.append(np.linalg.norm(offset - along[..., None] * step[:, None], axis=-1))
    return (~crosses & (np.min(gaps, axis=0) > radius - TOUCH)).all(axis=1)


def slide(start: np.ndarray, end: np.ndarray, rectangles: np.ndarray, radius: float) -> np.ndarray:
    """The positions (B, 2) at which discs stop that want to go straight from `start` to `end`. A
    rectangle takes away the part of the step that leads into it.
    """
    position, rest = start.copy(), end - start
    rows = np.arange(len(position))
    for _ in range(CONTACTS):
        contacts = _contacts(position, rest, rectangles, radius)
        first = contacts.time.argmin(axis=1)
        time, normal = contacts.time[rows, first][:, None], contacts.normal[rows, first]
        met = np.isfinite(time)
        position = position + np.where(met, time, 1.0) * rest + met * GAP * normal
        rest = met * (1 - np.where(met, time, 1.0)) * rest
        rest = rest - np.minimum((rest * normal).sum(-1, keepdims=True), 0) * normal
    return position


def _contacts(
    start: np.ndarray, step: np.ndarray, rectangles: np.ndarray, radius: float
) -> _Contacts:
    """The contacts with all boxes and circles."""
    parts = [_with_boxes(start, step, rectangles + radius * np.array([-1, 1, 0, 0]))]
    parts += [_with_boxes(start, step, rectangles + radius * np.array([0, 0, -1, 1]))]
    parts += [_with_circles(start, step, corner, radius) for corner in _corners(rectangles)]
    return _Contacts(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))


def _with_boxes(start: np.ndarray, step: np.ndarray, boxes: np.ndarray) -> _Contacts:
    entry, leave = _times(start, step, boxes)
    normal = -np.eye(2)[entry.argmax(-1)] * np.sign(step)[:, None]
    entry, leave = entry.max(-1), leave.min(-1)
    met = (entry <= leave) & (leave >= 0) & (entry <= 1) & normal.any(-1)
    return _Contacts(np.where(met, np.maximum(entry, 0), np.inf), normal)


def _with_circles(
    start: np.ndarray, step: np.ndarray, centres: np.ndarray, radius: float
) -> _Contacts:
    offset = start[:, None] - centres  # (B, W, 2)
    squared, towards = (step**2).sum(-1)[:, None], (offset * step[:, None]).sum(-1)
    under_root = towards**2 - squared * ((offset**2).sum(-1) - radius**2)
    met = (towards < 0) & (under_root > 0)
    root = np.sqrt(np.where(met, under_root, 0.0))
    time = np.where(met, (-towards - root) / np.where(met, squared, 1.0), np.inf)
    time = np.where((time > -TOUCH) & (time <= 1), np.maximum(time, 0), np.inf)
    there = offset + np.where(np.isfinite(time), time, 0.0)[..., None] * step[:, None]
    return _Contacts(time, there / np.linalg.norm(there, axis=-1, keepdims=True))


def _times(start: np.ndarray, step: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When each disc's centre enters and leaves each box along each axis, (B, W, 2) twice, as
    shares of the step. Along an axis in which it rests it is inside all the time or never.
    """
    low, high = boxes[:, [0, 2]], boxes[:, [1, 3]]
    start, step = start[:, None], np.broadcast_to(step[:, None], (len(start), *low.shape))
    moves = step != 0
    divisor = np.where(moves, step, 1.0)
    first, second = (low - start) / divisor, (high - start) / divisor
    always = np.where((low <= start) & (start <= high), np.inf, -np.inf)
    entry = np.where(moves, np.minimum(first, second), -always)
    return entry, np.where(moves, np.maximum(first, second), always)


def _gap(position: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Distance (B, W) of points from rectangles, 0 inside."""
    low, high = rectangles[:, [0, 2]], rectangles[:, [1, 3]]
    beyond = np.maximum(low - position[:, None], position[:, None] - high)
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1)


def _corners(rectangles: np.ndarray) -> list[np.ndarray]:
    """The four corners of every rectangle, each (W, 2)."""
    return [rectangles[:, [x, y]] for x in (0, 1) for y in (2, 3)]
