"""Pictures are drawn without a display, whatever the variables of the user's desktop say."""

import os
import subprocess
import sys

import pytest

from harness.tasks import rendering

DRAW = """
import logging
from harness.tasks.reacher import Reacher
logging.basicConfig(format="%(message)s", level=logging.WARNING)
try:
    print(Reacher("plain").simulator(1, 32).render().mean() > 0)
except Exception as error:
    print(type(error).__name__, error)
"""


def draw(**variables):
    """Standard output and error of a process that draws Reacher."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        env={**os.environ, **dict.fromkeys(rendering.VARIABLES, ""), **variables},
        capture_output=True,
        text=True,
    )
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize(
    ("variables", "passed_over"),
    [
        ({"PYOPENGL_PLATFORM": "glx"}, "PYOPENGL_PLATFORM=glx"),
        ({"MUJOCO_GL": "glfw", "PYOPENGL_PLATFORM": "egl"}, "MUJOCO_GL=glfw"),
        ({"MUJOCO_GL": "off"}, "MUJOCO_GL=off"),
        ({"MUJOCO_GL": "OSMesa", "PYOPENGL_PLATFORM": "egl"}, "PYOPENGL_PLATFORM=egl"),
    ],
)
def test_variables_of_a_desktop_do_not_matter(variables, passed_over):
    drawn, said = draw(**variables)
    assert drawn == "True", (drawn, said)
    (line,) = said.splitlines()
    assert line.startswith("pictures are drawn by") and line.endswith(f"{passed_over} is ignored")


def test_a_backend_that_is_named_and_does_not_start_is_one_line_with_what_to_do():
    drawn, said = draw(MUJOCO_GL="egl", MUJOCO_EGL_DEVICE_ID="999")
    assert drawn.startswith("GraphicsError no pictures can be drawn (egl: ") and not said
    assert "unset MUJOCO_GL, or see what " in drawn
    assert drawn.endswith("python -m harness.doctor says")
    assert len(drawn.splitlines()) == 1


DEVICE = """
import os
from harness.tasks import rendering
rendering.load()
print(os.environ["MUJOCO_GL"], os.environ.get("MUJOCO_EGL_DEVICE_ID"))
"""


@pytest.mark.parametrize(
    ("variables", "device"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "999"}, "None"),  # EGL has no such device: it chooses itself
        ({"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "0"}, "0"),  # the user's word
    ],
)
def test_egl_draws_on_the_gpu_that_cuda_may_use(variables, device):
    own = {name: value for name, value in os.environ.items() if name != rendering.EGL_DEVICE}
    words = [sys.executable, "-c", DEVICE]
    done = subprocess.run(words, env=own | variables, capture_output=True, text=True)
    backend, chosen = done.stdout.split()
    if backend != "egl":
        pytest.skip("no EGL here")
    assert chosen == device, done.stderr
