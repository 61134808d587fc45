"""The tasks as gymnasium environments:

    import gymnasium, jepa_bench
    env = gymnasium.make("jepa_bench/PushT-v0", image_size=96)
    observation, info = env.reset(seed=0)

The ids are jepa_bench/TwoRoom-v0, PushT-v0, Reacher-v0, Cube-v0 and Toy-v0. The import registers
them: since version 1.0 gymnasium reads no entry points. An id with the module before it is imported
by gymnasium.make itself: "jepa_bench:jepa_bench/PushT-v0".

An observation is {"pixels": (3, size, size) uint8, "proprio": (p,) float32}, where proprio has the
quantities of the task's spec.proprio_names. `reset(seed=)` draws a start and a goal state as the
task's collector draws the starts of its episodes; options={"state": s, "goal": g} gives either. The
reward is 1 in the step that reaches the goal, where the episode terminates, and else 0; after 150
steps, the length of a recorded episode, it is truncated. `info` has the simulator's "state" and the
"goal" (harness/tasks/README.md has their units), which no method sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import load_env_creator, register

if TYPE_CHECKING:
    from harness.tasks.env import SimulatorEnv

MAX_STEPS = 150
TASKS = {
    "TwoRoom": "harness.tasks.two_room:TwoRoom",
    "PushT": "harness.tasks.push_t:PushT",
    "Reacher": "harness.tasks.reacher:Reacher",
    "Cube": "harness.tasks.cube:Cube",
    "Toy": "harness.tasks.toy:Toy",
}


def make(
    task: str, image_size: int = 64, render_mode: str | None = "rgb_array", **settings: object
) -> SimulatorEnv:
    """The environment of the task at "module:Class"; `settings`, as scene="full", are the task's
    own. `render()` gives the picture whatever the mode.
    """
    from harness.tasks.env import SimulatorEnv

    create: Callable[..., Any] = load_env_creator(task)  # it imports any "module:Class"
    env = SimulatorEnv(create(**settings), None, image_size)
    env.render_mode = render_mode
    return env


for _name, _task in TASKS.items():
    register(
        f"jepa_bench/{_name}-v0",
        entry_point="jepa_bench:make",
        max_episode_steps=MAX_STEPS,
        kwargs={"task": _task},
    )
