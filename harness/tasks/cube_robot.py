"""The robot of Cube: ogbench's model and its end-effector controller, shared by all copies."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.tasks import rendering

if TYPE_CHECKING:
    import mujoco

ACTION_SCALE = np.array([0.05, 0.05, 0.05, 0.3, 1.0])  # change at action 1: m, m, m, rad, opening
WORKSPACE = np.array(
    [[0.25, -0.35, 0.02], [0.6, 0.35, 0.35]]
)  # m, limits of the effector's targets

ARM = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
FINGERS = tuple(
    f"{side}_{part}"
    for side in ("right", "left")
    for part in ("driver", "coupler", "spring_link", "follower")
)
JOINTS = ARM + FINGERS  # in the order of qpos
HOME = np.array([-1, -1, 1, -1, -1, 0]) * np.pi / 2  # rad, the arm above the table
OPENING_JOINT = JOINTS.index("right_driver")
CLOSED_ANGLE = 0.8  # rad, of that joint
CLOSED_CONTROL = 255.0
CONTACT_FORCE = 50.0  # N on a pad, at which contact is 1


class Robot:
    """ogbench's robot and its end-effector controller, one for all copies."""

    def __init__(self, model: mujoco.MjModel, ik: Any, offset: Any):
        """`ik` (inverse kinematics) places the point that lies at `offset` (lie.SE3) from the
        effector, which is the pinch point of the gripper.
        """
        from ogbench.manipspace import lie

        self.model = model
        self._lie, self._ik, self._offset = lie, ik, offset
        self._down = lie.SO3(np.array([0.0, 1.0, 0.0, 0.0]))
        self._effector = model.site("ur5e/robotiq/pinch").id
        self._pad = model.body("ur5e/robotiq/right_pad").id

    def control(self, qpos: np.ndarray, effector: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Actuator inputs (7,) for an action (5,), from positions (21,) and effector pose (4,)."""
        # written as in ogbench, so that every input equals its controller's to the last bit
        change = 0.5 * (action + 1) * (2 * ACTION_SCALE) - ACTION_SCALE
        turn = self._lie.SO3.from_z_radians
        yaw = (turn(change[3]) @ turn(effector[3]) @ self._down.inverse()).compute_yaw_radians()
        position = np.clip(effector[:3] + change[:3], *WORKSPACE)
        closing = CLOSED_CONTROL * np.clip(opening(qpos) + change[4], 0.0, 1.0)
        return np.append(self.joints(position, yaw, qpos[: len(ARM)]), closing)

    def joints(self, position: np.ndarray, yaw: float, begin: np.ndarray) -> np.ndarray:
        """Arm angles (6,) with the effector at `position` (3,), pointing down; the search for them
        starts from the angles `begin`.
        """
        turn = self._lie.SO3.from_z_radians(yaw) @ self._down
        pose = self._lie.SE3.from_rotation_and_translation(turn, position) @ self._offset
        return self._ik.solve(pose.translation(), pose.rotation().wxyz, begin)

    def pose(self, data: mujoco.MjData) -> np.ndarray:
        """Effector position and yaw (4,) that `data` holds."""
        turn = self._lie.SO3.from_matrix(data.site_xmat[self._effector].reshape(3, 3))
        return np.append(data.site_xpos[self._effector], turn.compute_yaw_radians())

    def contact(self, data: mujoco.MjData) -> float:
        """How firmly the right pad is pressed, 0 to 1."""
        return np.clip(np.linalg.norm(data.cfrc_ext[self._pad]) / CONTACT_FORCE, 0.0, 1.0)


def opening(qpos: np.ndarray) -> np.ndarray:
    """How far the gripper is closed, 0 to 1 (ogbench calls it the opening)."""
    return np.clip(qpos[..., OPENING_JOINT] / CLOSED_ANGLE, 0.0, 1.0)


@functools.cache
def load() -> Robot:
    """The robot, taken from ogbench's own environment; takes a second or two."""
    rendering.load()
    from ogbench.manipspace.envs.cube_env import CubeEnv

    class Parts(CubeEnv):
        """ogbench's environment, which hands out the robot that it builds."""

        def compute_observation(self) -> None:
            """Do nothing: a picture would open a renderer."""

        def robot(self) -> Robot:
            return Robot(self.model, self._ik, self._T_pa)

    env = Parts(
        "single",
        mode="data_collection",
        ob_type="pixels",  # its colours
        pixel_transparent_arm=False,
        visualize_info=False,  # hides the target
    )
    env.reset(seed=0)
    return env.robot()
