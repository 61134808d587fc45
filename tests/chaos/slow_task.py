"""The toy task, drawn slowly: its data are collected by several processes, which can be killed."""

from __future__ import annotations

import dataclasses
import time

from harness.tasks import toy

SPEC = dataclasses.replace(toy.SPEC, name="slow_toy", label="Slow toy", slow_to_draw=True)
PAUSE_S = 0.01  # a step


class SlowToy(toy.Toy):
    """contracts.Task."""

    spec = SPEC

    def simulator(self, n: int, image_size: int) -> Simulator:
        return Simulator(n, image_size)


class Simulator(toy.Simulator):
    """n copies."""

    def render(self, rows=None):
        time.sleep(PAUSE_S)
        return super().render(rows)


TASK = SlowToy()
