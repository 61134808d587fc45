"""States and pictures of the environments of stable-worldmodel, where it is installed.

    MUJOCO_GL=osmesa python -m tests.tasks.peer_swm push_t 40 /tmp/push_t.npz

steps the environment 40 times and writes every fourth state, in the columns of the released files,
with its picture. It is a process of its own, since its renderer and ours would break each other.
"""

import os
import sys
import warnings

import numpy as np

ENVIRONMENTS = {  # id and arguments as in its scripts of collection; where a state is read
    "two_room": ("swm/TwoRoom-v1", {}, lambda env: env.agent_position.numpy()),
    "push_t": ("swm/PushT-v1", {}, lambda env: env._get_obs()),
    "reacher": (
        "swm/ReacherDMControl-v0",
        {"task": "qpos_match"},
        lambda env: _joints(env.dmc_env),
    ),
    "cube": (
        "swm/OGBCube-v0",
        {
            "env_type": "single",
            "mode": "data_collection",
            "visualize_info": False,
            "terminate_at_goal": False,
            "width": 224,
            "height": 224,
        },
        lambda env: np.concatenate([env.data.qpos, env.data.qvel]),
    ),
}
HOLD, EVERY, EPISODE = 8, 4, 40  # steps: of one random action, between pictures, of an episode


def record(name: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """States (m, S) and pictures (m, 3, 224, 224) uint8 under random actions."""
    import gymnasium
    import stable_worldmodel  # noqa: F401 (it registers its environments)

    identifier, arguments, state = ENVIRONMENTS[name]
    env = gymnasium.make(identifier, render_mode="rgb_array", **arguments).unwrapped
    rng = np.random.default_rng(0)
    states, pictures = [], []
    for step in range(steps):
        if step % EPISODE == 0:
            env.reset(seed=step)
        if step % HOLD == 0:
            action = rng.uniform(-1.0, 1.0, env.action_space.shape)
        env.step(action)
        if step % EVERY == EVERY - 1:
            states.append(np.array(state(env), np.float64))
            pictures.append(env.render().transpose(2, 0, 1))
    return np.array(states), np.array(pictures)


def _joints(env) -> np.ndarray:
    return np.concatenate([env.physics.data.qpos, env.physics.data.qvel])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    name, steps, path = sys.argv[1:]
    states, pictures = record(name, int(steps))
    np.savez_compressed(path, states=states, pictures=pictures)
