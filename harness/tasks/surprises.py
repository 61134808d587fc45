"""Kinds of events that several tasks have, and what their own kinds are made of.

A task has the three kinds of LeWM's experiment on violated expectations that a simulator can show
(nothing happens, an object changes its colour, an object is elsewhere) and one beyond it, which
breaks the task's physics while every single picture could be one of an undisturbed episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from harness.contracts.task import Simulator, Surprise


class Recolourable(Simulator, Protocol):
    """A simulator that can draw one of its objects in another colour."""

    def recolour(self) -> None:
        """Draw the object in its other colour from now on; nothing else changes."""


def play(simulator: Simulator, actions: np.ndarray) -> None:
    """Take the steps of actions (n, steps, a)."""
    for step in range(actions.shape[1]):
        simulator.step(actions[:, step])


def always(before: np.ndarray, after: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """contracts.Surprise.telling of an event that shows everywhere."""
    return np.ones(len(before), bool)


def recoloured(about: str) -> Surprise:
    """The simulator's object has its other colour from the event on."""

    def happen(simulator: Recolourable, actions: np.ndarray, rng: np.random.Generator) -> None:
        play(simulator, actions)
        simulator.recolour()

    return Surprise("recoloured", about, happen, always)


def teleported(
    about: str, elsewhere: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> Surprise:
    """`elsewhere(state, rng)` takes the place of the states (n, S) at the event; they are legal."""

    def happen(simulator: Simulator, actions: np.ndarray, rng: np.random.Generator) -> None:
        play(simulator, actions)
        simulator.set_state(elsewhere(simulator.state(), rng))

    return Surprise("teleported", about, happen, always)


def ignored(
    about: str, telling: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> Surprise:
    """Zero actions are carried out instead of those of the block before the event."""

    def happen(simulator: Simulator, actions: np.ndarray, rng: np.random.Generator) -> None:
        play(simulator, np.zeros_like(actions))

    return Surprise("action_ignored", about, happen, telling)


def redraw(
    draw: Callable[[int], np.ndarray], bad: Callable[[np.ndarray], np.ndarray], n: int
) -> np.ndarray:
    """Values of `draw(n)`, of which those that are `bad` (n,) are drawn again until none is."""
    values = draw(n)
    while (again := bad(values)).any():
        values[again] = draw(again.sum())
    return values
