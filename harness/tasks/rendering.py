"""Pictures of MuJoCo models: the GL backend, what is drawn, and the one renderer of a process.

MuJoCo reads MUJOCO_GL when it is first imported, so the tasks import MuJoCo through load(), which
sets the variable first, and never when they are imported themselves.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.runtime import command
from harness.tasks import swm_scene

if TYPE_CHECKING:
    import mujoco

log = logging.getLogger(__name__)

BACKENDS = ("egl", "osmesa")  # both draw without a display; the faster one first
VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM")  # a backend is chosen by both, or by the first
EGL_DEVICE = "MUJOCO_EGL_DEVICE_ID"
PROBE = "import mujoco; mujoco.GLContext(8, 8).free()"
PROBE_TIMEOUT_S = 60.0


class GraphicsError(RuntimeError):
    """No picture can be drawn on this machine; the message says what to do."""


@dataclass(frozen=True)
class Scene:
    """Lights and surroundings that are drawn besides the objects themselves."""

    shadows: bool
    reflections: bool
    skybox: bool  # with the haze in front of it
    samples: int  # samples per pixel; several give smooth edges
    mesh_grid_m: float  # grid to which the vertices of meshes are snapped; 0: none
    side: int | None = None  # px at which a picture is drawn before it is resized; None: as asked


_FULL = Scene(shadows=True, reflections=True, skybox=True, samples=4, mesh_grid_m=0.0)
SCENES = {
    "plain": Scene(shadows=False, reflections=False, skybox=False, samples=0, mesh_grid_m=0.003),
    "full": _FULL,
    "swm": dataclasses.replace(_FULL, side=swm_scene.SIZE),
}


def load() -> ModuleType:
    """Import mujoco with a GL backend that draws without a display: EGL or OSMesa where the user's
    MUJOCO_GL or PYOPENGL_PLATFORM names one, else EGL where it starts, else OSMesa.

    Other values of these variables (glfw, glx, off, ...) are overridden, since a run must draw on
    any machine. Raises GraphicsError where neither starts.
    """
    if sys.platform == "linux":
        _choose_backend()
    import mujoco

    return mujoco


def egl_device(environment: Mapping[str, str]) -> str:
    """The number of the GPU that draws: the first that CUDA may use, which Ray sets for a trial, so
    that trials on other GPUs draw on theirs. "" where CUDA_VISIBLE_DEVICES does not say a number.
    """
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return first if first.isdecimal() else ""


class Camera:
    """Draws pictures through one camera of a model.

    A second renderer in a process breaks the first, so the cameras of a process share one slot: a
    camera that draws closes the renderer of the camera that drew before. Call from one thread.
    """

    _holder: ClassVar[Camera | None] = None

    def __init__(self, model: mujoco.MjModel, name: str, size: int, scene: str):
        """`scene` is one of SCENES; a model with meshes comes from drawn()."""
        assert scene in SCENES, f"scene {scene!r} is not one of {list(SCENES)}"
        self._name, self._size, self._scene = name, size, SCENES[scene]
        self._side = self._scene.side or size
        self._model = copy.copy(model)
        self._model.vis.quality.offsamples = self._scene.samples
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = self._side
        self._renderer: mujoco.Renderer | None = None

    def draw(self, copies: Sequence[mujoco.MjData]) -> np.ndarray:
        """Pictures (len(copies), 3, size, size) uint8; a picture depends on nothing but qpos."""
        mujoco = load()
        out = np.empty((len(copies), 3, self._side, self._side), np.uint8)
        frame = np.empty((self._side, self._side, 3), np.uint8)
        for i, data in enumerate(copies):
            renderer = self._renderer or self._take()
            mujoco.mj_kinematics(
                self._model, data
            )  # mj_step does not update body positions at its end
            mujoco.mj_camlight(self._model, data)
            renderer.update_scene(data, self._name)
            out[i] = renderer.render(out=frame).transpose(2, 0, 1)
        return out if self._side == self._size else swm_scene.resized(out, self._size)

    def recolour(self, geoms: Sequence[str], rgb: tuple[float, float, float]) -> None:
        """Draw these geoms of the model in one colour from now on."""
        for geom in geoms:
            self._model.geom(geom).rgba[:3] = rgb

    def close(self) -> None:
        """Free the renderer, if this camera has it; the next draw opens a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = Camera._holder = None

    def _take(self) -> mujoco.Renderer:
        mujoco = load()
        _close_holder()
        self._renderer, Camera._holder = mujoco.Renderer(self._model, self._side, self._side), self
        # registered again, so that it is called before the GL packages' own exit handlers
        atexit.unregister(_close_holder)
        atexit.register(_close_holder)
        flags, bits = self._renderer.scene.flags, mujoco.mjtRndFlag
        flags[bits.mjRND_SHADOW] = self._scene.shadows
        flags[bits.mjRND_REFLECTION] = self._scene.reflections
        flags[bits.mjRND_SKYBOX] = flags[bits.mjRND_HAZE] = self._scene.skybox
        return self._renderer


def drawn(model: mujoco.MjModel, scene: str) -> mujoco.MjModel:
    """The model that a Camera draws for this scene: its meshes are as fine as the scene says.

    Snapping vertices to a grid makes some triangles collapse or coincide; these are left out. The
    result is good for pictures only, not for physics.
    """
    grid = SCENES[scene].mesh_grid_m
    result = copy.copy(model)
    for mesh in range(model.nmesh if grid else 0):
        first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        vertices = slice(model.mesh_vertadr[mesh], None)
        vertices = model.mesh_vert[vertices][: model.mesh_vertnum[mesh]]
        faces, survivors = _merged(vertices, model.mesh_face[first : first + count], grid)
        rows = slice(first, first + len(survivors))
        result.mesh_facenum[mesh] = len(survivors)
        result.mesh_face[rows] = faces
        result.mesh_facenormal[rows] = model.mesh_facenormal[first + survivors]
        result.mesh_facetexcoord[rows] = model.mesh_facetexcoord[first + survivors]
    return result


def _merged(vertices: np.ndarray, faces: np.ndarray, grid: float) -> tuple[np.ndarray, np.ndarray]:
    """The triangles (k, 3) that are left with one vertex per grid cell, and their indices (k,)."""
    cells = np.rint(vertices / grid).astype(np.int64)
    _, one, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    faces = one[cell.reshape(-1)][faces]  # (f, 3)
    a, b, c = faces.T
    whole = np.flatnonzero((a != b) & (b != c) & (c != a))
    _, first = np.unique(np.sort(faces[whole], axis=1), axis=0, return_index=True)
    survivors = whole[np.sort(first)]
    return faces[survivors], survivors


def _close_holder() -> None:
    if Camera._holder is not None:
        Camera._holder.close()


@functools.cache  # once for each process
def _choose_backend() -> None:
    """Set VARIABLES, for this process and those that it starts."""
    environment = {name: os.environ.get(name, "").strip().lower() for name in VARIABLES}
    requested = [value for value in environment.values() if value in BACKENDS][:1]
    failures = {}
    follows = EGL_DEVICE not in os.environ and bool(device := egl_device(os.environ))
    if follows:
        os.environ[EGL_DEVICE] = device
    for backend in requested or BACKENDS:
        failures[backend] = _failure(backend)
        if failures[backend] and backend == "egl" and follows:  # EGL numbers its devices otherwise
            del os.environ[EGL_DEVICE]
            failures[backend] = _failure(backend)
        if not failures[backend]:
            break
    else:
        reasons = "; ".join(f"{backend}: {reason}" for backend, reason in failures.items())
        fix = (
            f"unset {' and '.join(n for n in VARIABLES if environment[n])}, or "
            if requested
            else ""
        )
        raise GraphicsError(
            f"no pictures can be drawn ({reasons}): {fix}see what "
            f"{command.module('harness.doctor')} says"
        )
    others = [
        f"{name}={value}" for name, value in environment.items() if value not in ("", backend)
    ]
    if others:
        words = " and ".join(others)
        log.warning(
            "pictures are drawn by %s, which needs no display; %s is ignored", backend, words
        )
    elif len(failures) > 1:
        log.info(
            "EGL does not start; OSMesa is used (%s says what to install)",
            command.module("harness.doctor"),
        )
    os.environ.update(dict.fromkeys(VARIABLES, backend))


def _failure(backend: str) -> str:
    """Why a backend does not start, or "". It is tried in a child process, since a failed attempt
    would leave this process without GL.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**os.environ, **dict.fromkeys(VARIABLES, backend)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_TIMEOUT_S:.0f} s"
    lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
    return lines[-1].strip() if done.returncode else ""
