"""The physics of Push-T, in pymunk.

pymunk is imported when a Physics is built, since other tasks run without it.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from harness.tasks import push_t_scene
from harness.tasks.push_t_scene import (
    AGENT,
    AGENT_RADIUS,
    ANGLE,
    BLOCK,
    POSE,
    WALL_RADIUS,
    WALL_SIDES,
)

if TYPE_CHECKING:
    import pymunk

SUBSTEPS = 10  # physics steps in a control step of 0.1 s
SUBSTEP_S = 0.01
CLEARANCE = 1.0  # px; bodies with more room between them do not touch
MARK = 2.0  # px by which a contact's mark is longer than the penetration, at each end


class Physics:
    """Moves the tee of one state by one control step.

    A pymunk space remembers contacts (impulses to start from, the order of its search tree) that
    are not part of a state. Every control step therefore gets a new space, into which the bodies
    are moved.
    """

    def __init__(self) -> None:
        import pymunk

        self._new_space = pymunk.Space
        self._agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        self._tee = pymunk.Body(push_t_scene.TEE_MASS, push_t_scene.TEE_INERTIA)
        self._tee.center_of_gravity = push_t_scene.TEE_COG
        self._boxes = [pymunk.Poly(self._tee, corners.tolist()) for corners in push_t_scene.BOXES]
        self._objects: tuple[pymunk.Body | pymunk.Shape, ...] = (
            *_walls(pymunk),
            self._agent,
            pymunk.Circle(self._agent, AGENT_RADIUS),
            self._tee,
            *self._boxes,
        )
        self._space = self._new_space()
        self._space.add(*self._objects)

    def step(
        self, state: list[float], velocities: list[list[float]]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The tee's pose (x, y, angle) and its velocities (x, y, angular) after a control step, in
        which the agent has the given velocity (x, y) in each substep.
        """
        agent, tee = self._agent, self._tee
        self._space.remove(*self._objects)
        agent.position, agent.velocity = _point(state[AGENT]), _point(velocities[0])
        tee.angle = state[ANGLE]  # set first: the position depends on the turned centre of gravity
        tee.position = _point(state[BLOCK])
        tee.velocity, tee.angular_velocity = _point(state[7:9]), state[9]
        space = self._space = self._new_space()
        space.damping = 0.0  # a body that is not pushed stops at once
        space.add(*self._objects)
        for velocity in velocities:
            agent.velocity = _point(velocity)
            space.step(SUBSTEP_S)
        pose = (*tee.position, tee.angle % (2 * math.pi))
        return pose, _motion(tee)

    def contacts(self, state: list[float]) -> list[np.ndarray]:
        """The tee's contacts with agent and walls as Chipmunk's debug drawing marks them: lines
        (2, 2) along the contact's normal, from one surface to the other and MARK farther.
        """
        pose, agent = np.array(state[POSE]), np.array(state[AGENT])
        near = push_t_scene.tee_distance(pose, agent) < AGENT_RADIUS + CLEARANCE
        if not near and push_t_scene.within_walls(pose, CLEARANCE):
            return []
        self._agent.position, self._tee.angle = _point(state[AGENT]), state[ANGLE]
        self._tee.position = _point(state[BLOCK])
        self._space.reindex_shapes_for_body(self._agent)
        return [
            np.array([point.point_a - MARK * normal, point.point_b + MARK * normal])
            for box in self._boxes
            for touching in self._space.shape_query(box)
            if touching.shape.body is not self._tee
            for normal in [touching.contact_point_set.normal]
            for point in touching.contact_point_set.points
        ]


def _point(values: list[float]) -> tuple[float, float]:
    """The pair (x, y) that pymunk takes, of a list of two."""
    x, y = values
    return x, y


def _motion(body: pymunk.Body) -> tuple[float, float, float]:
    """The velocities (x, y, angular) with which the next substep moves a body: its own plus those
    that the solver adds to end a penetration. pymunk does not show the latter, so the body is moved
    for 1 s and its displacement is read.
    """
    (x, y), angle = body.local_to_world(body.center_of_gravity), body.angle
    body.update_position(body, 1.0)
    to_x, to_y = body.local_to_world(body.center_of_gravity)
    return to_x - x, to_y - y, body.angle - angle


def _walls(pymunk: ModuleType) -> list[pymunk.Body | pymunk.Shape]:
    body = pymunk.Body(body_type=pymunk.Body.STATIC)
    return [body, *(pymunk.Segment(body, a, b, WALL_RADIUS) for a, b in WALL_SIDES)]
