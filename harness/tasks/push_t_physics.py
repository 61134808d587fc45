"""The physics of Push-T: the only importer of pymunk, which other tasks do not need."""

from __future__ import annotations

import math

import pymunk

from harness.tasks import push_t_scene
from harness.tasks.push_t import AGENT, ANGLE, BLOCK, SUBSTEP_S
from harness.tasks.push_t_scene import AGENT_RADIUS, WALL_RADIUS, WALLS


class Physics:
    """Agent, tee and walls in pymunk.

    A space remembers contacts (impulses to start from, the order of its search tree), which no
    state holds. So every control step has a space of its own; the bodies move from one to the next.
    """

    def __init__(self):
        self._agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        self._tee = pymunk.Body(push_t_scene.TEE_MASS, push_t_scene.TEE_INERTIA)
        self._tee.center_of_gravity = push_t_scene.TEE_COG
        self._objects = (
            *_walls(),
            *(self._agent, pymunk.Circle(self._agent, AGENT_RADIUS)),
            self._tee,
            *(pymunk.Poly(self._tee, corners.tolist()) for corners in push_t_scene.BOXES),
        )
        self._space = pymunk.Space()
        self._space.add(*self._objects)

    def step(
        self, state: list[float], velocities: list[list[float]]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The tee's pose and motion after a control step with these velocities of the agent."""
        agent, tee = self._agent, self._tee
        self._space.remove(*self._objects)
        agent.position, agent.velocity = state[AGENT], velocities[0]
        tee.angle = state[ANGLE]  # before the position, which turns the centre of gravity with it
        tee.position = state[BLOCK]
        tee.velocity, tee.angular_velocity = state[7:9], state[9]
        space = self._space = pymunk.Space()
        space.damping = 0.0  # what is not pushed stops at once
        space.add(*self._objects)
        for velocity in velocities:
            agent.velocity = velocity
            space.step(SUBSTEP_S)
        pose = (*tee.position, tee.angle % (2 * math.pi))
        return pose, _motion(tee)


def _motion(body: pymunk.Body) -> tuple[float, float, float]:
    """Velocities with which the next substep moves a body: its own and those that the solver adds
    to end a penetration, which pymunk does not show. Moves the body for 1 s to see them.
    """
    (x, y), angle = body.local_to_world(body.center_of_gravity), body.angle
    pymunk.Body.update_position(body, 1.0)
    to_x, to_y = body.local_to_world(body.center_of_gravity)
    return to_x - x, to_y - y, body.angle - angle


def _walls() -> list[pymunk.Body | pymunk.Shape]:
    body = pymunk.Body(body_type=pymunk.Body.STATIC)
    low, high = WALLS
    sides = [  # in the reference's order, which decides what is solved first
        ((low, high), (low, low)),
        ((low, low), (high, low)),
        ((high, low), (high, high)),
        ((low, high), (high, high)),
    ]
    return [body, *(pymunk.Segment(body, a, b, WALL_RADIUS) for a, b in sides)]
