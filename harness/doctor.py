"""Checks that this machine has everything that `suite=all` needs, and says how to install the rest:
`python -m harness.doctor [results=FOLDER] [datasets=FOLDER]`

Every check is a small function that returns Checks. A part that may crash (a GL backend, Ray) is
tried in a child process. Heavy packages are imported only by the check that tries them, so that the
doctor runs where only rich, psutil and packaging are installed. It also removes the remains of
killed commands.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.runtime import command, machine, processes

ROOT = Path(__file__).parent.parent
GL_FIX = "apt-get install -y libegl1 libgl1 libosmesa6 libgl1-mesa-dri"
BACKENDS = ("egl", "osmesa")
GL_VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
DINOV2 = "facebook/dinov2-small"
MEMORY_ADVISED = 6 * 2**30  # bytes
DISK_NEEDED, DISK_ADVISED = 2 * 2**30, 20 * 2**30  # bytes
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TIMEOUT_S = 120.0
RAY_TIMEOUT_S = 300.0  # Ray tries twice on a busy machine
FRAMES = 20
FRAME_SIZE = 64
SCENE = """
<mujoco>
  <visual><global offwidth="64" offheight="64"/></visual>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1" castshadow="false"/>
    <camera name="fixed" pos="0 -2 1.2" xyaxes="1 0 0 0 0.5 0.87"/>
    <geom type="plane" size="2 2 0.1" rgba="0.8 0.8 0.8 1"/>
    <geom type="box" size="0.2 0.3 0.1" pos="0.3 0 0.1" euler="0 0 30" rgba="0.2 0.5 0.8 1"/>
    <geom type="sphere" size="0.2" pos="-0.4 0.1 0.2" rgba="0.9 0.2 0.2 1"/>
  </worldbody>
</mujoco>
"""

Status = Literal["ok", "info", "warning", "missing"]
COLOURS = {"ok": "green", "info": "cyan", "warning": "yellow", "missing": "red"}


class Check(NamedTuple):
    """One line of the table. Only "missing" keeps `suite=all` from working. `fix` is a
    command or "".
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


_USAGE = (
    "Shows what is missing on this machine and the commands that install it: "
    "python -m harness.doctor [results=FOLDER] [datasets=FOLDER]"
)


def main(argv: list[str]) -> int:
    """Run all checks and show them; 0 when nothing needed is missing, 2 for unknown arguments."""
    return command.main(argv, lambda _: _USAGE, parse, check_all)


def check_all(folders: dict[str, str]) -> int:
    """Run all checks, with those of these folders, and show them; the exit code."""
    console = Console(emoji=False)
    with console.status("checking"):
        checks = [
            python(),
            *packages(ROOT / "pyproject.toml"),
            leftovers(),
            ray(ROOT / "pyproject.toml"),
            cores(),
            *threads(dict(os.environ)),
            memory(),
            cpu_features(),
            gpu(),
            *[folder(name, path) for name, path in folders.items()],
            *graphics(),
            weights(),
        ]
    show(console, checks)
    return int(any(check.status == "missing" for check in checks))


def parse(argv: Sequence[str]) -> dict[str, str]:
    """Read the folders to check, {"results": ..., "datasets": ...}. Raises command.ConfigError."""
    return command.read_words(argv, {"results": "results", "datasets": "data"})[1]


def show(console: Console, checks: list[Check]) -> None:
    """Show the table of checks and, below it, the commands, unwrapped so that they can be
    copied.
    """
    table = Table(show_edge=False, pad_edge=False)
    for column in ("check", "status", "detail"):
        table.add_column(column)
    for check in checks:
        table.add_row(
            escape(check.name), f"[{COLOURS[check.status]}]{check.status}", escape(check.detail)
        )
    console.print(table)
    for check in checks:
        if check.fix:
            line = f"\n{check.name} ({check.status}):\n  {check.fix}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def python() -> Check:
    """The version of Python."""
    good = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()}, {sys.executable}"
    fix = "" if good else "apt-get install -y python3.11 python3.11-venv"
    return Check("python", "ok" if good else "missing", detail, fix)


def packages(pyproject: Path) -> list[Check]:
    """Installed versions against the pinned ones: one line for all that fit, one for each
    misfit.
    """
    right, wrong = [], []
    for requirement in _requirements(pyproject):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = "none"
        good = version != "none" and requirement.specifier.contains(version, prereleases=True)
        if good:
            right.append(f"{requirement.name} {version}")
        else:
            detail = f"needed {requirement.specifier}, installed {version}"
            wrong.append(Check(requirement.name, "missing", detail, _pip(str(requirement))))
    return [Check("packages", "ok", ", ".join(right) or "none"), *wrong]


def _requirements(pyproject: Path) -> list[Requirement]:
    """The dependencies by pyproject.toml or, without it, by the installed distribution."""
    if pyproject.exists():
        lines = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    else:
        lines = importlib.metadata.requires("jepa-bench") or []
    requirements = [Requirement(line) for line in lines]
    return [r for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]


def _pip(*arguments: str) -> str:
    return command.module("pip", "install", *arguments)


def leftovers() -> Check:
    """Remove processes and folders that killed commands of this user left."""
    removed = [leftover.words() for leftover in processes.remove_leftovers()]
    return Check(
        "leftovers", "info" if removed else "ok", f"removed {', '.join(removed) or 'nothing'}"
    )


def ray(pyproject: Path) -> Check:
    """Whether Ray Tune can be imported and a local Ray starts."""
    code = "import ray, ray.tune, sys; sys.stdout.write(ray.__version__)"
    done = _run([sys.executable, "-c", code], dict(os.environ))
    if done.returncode != 0:
        pins = [str(r) for r in _requirements(pyproject) if r.name == "ray"]
        return Check("ray", "missing", _last_line(done.stderr), _pip("--force-reinstall", *pins))
    began = time.monotonic()
    code = "from harness import launch; launch.try_ray()"
    tried = _run([sys.executable, "-c", code], dict(os.environ), RAY_TIMEOUT_S)
    if tried.returncode == 0:
        detail = f"{done.stdout.strip()}, started a worker in {time.monotonic() - began:.0f} s"
        return Check("ray", "ok", detail)
    reason = _last_line(tried.stderr).removeprefix("harness.launch.LaunchError: ")
    return Check("ray", "missing", reason, "./run.sh suite=all backend=loop")


def cores() -> Check:
    """The cores that this process may use."""
    usable = machine.cores()
    physical = psutil.cpu_count(logical=False) or usable
    detail = f"{usable} usable, {os.cpu_count()} logical, {physical} physical"
    return Check("cores", "ok", detail)


def threads(environment: dict[str, str]) -> list[Check]:
    """Variables that set numbers of threads: more threads than cores are slower than one."""
    usable = machine.cores()
    variables = {name: environment[name] for name in THREAD_VARIABLES if environment.get(name)}
    checks = []
    for name, value in variables.items():
        if not value.isdigit() or int(value) > usable:
            detail = f"{name}={value} on {usable} usable cores oversubscribes"
            checks.append(Check("threads", "warning", detail, f"unset {name}"))
    shown = ", ".join(f"{name}={value}" for name, value in variables.items())
    return checks or [Check("threads", "ok", shown or "no thread variables set")]


def memory() -> Check:
    """Memory of the machine or of the container, whichever is smaller."""
    total, free = machine.memory()
    detail = f"{_gib(free)} available of {_gib(total)}"
    if free >= MEMORY_ADVISED:
        return Check("memory", "ok", detail)
    detail += f"; under {_gib(MEMORY_ADVISED)}, run one trial at a time and a smaller scale"
    return Check("memory", "warning", detail, "./run.sh suite=all scale=tiny")


def cpu_features() -> Check:
    """Instructions that decide how fast bfloat16 is on the CPU."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    lines = [line for line in text.splitlines() if line.startswith("flags")]
    flags = set(lines[0].split()) if lines else set()
    features = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    detail = ", ".join(f"{name} {'yes' if name in flags else 'no'}" for name in features)
    return Check("cpu features", "info", detail if lines else f"unknown ({platform.machine()})")


def gpu() -> Check:
    """The CUDA devices, or why there is none."""
    try:
        import torch
    except ImportError as error:
        return Check("gpu", "info", f"unknown, torch does not load: {error}")
    driver = _driver()
    if torch.cuda.is_available():
        devices = [
            f"{p.name}, {_gib(p.total_memory)}"
            for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
        detail = f"{'; '.join(devices)}; driver {driver or 'unknown'}, CUDA {torch.version.cuda}"
        return Check("gpu", "ok", detail)
    if not driver:
        return Check("gpu", "info", "none; everything runs on the CPU")
    detail = f"driver {driver}, but torch {torch.__version__} cannot use it"
    if torch.version.cuda is not None:
        return Check("gpu", "warning", f"{detail}: it is built for CUDA {torch.version.cuda}")
    fix = _pip("--force-reinstall", f"torch=={torch.__version__.split('+')[0]}")
    return Check("gpu", "warning", f"{detail}: it is built for the CPU", fix)


def _driver() -> str:
    """Version of the NVIDIA driver, or an empty string."""
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = _run(query, dict(os.environ))
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def folder(name: str, path: str) -> Check:
    """Free space, and whether a file can be written; for a missing folder, in its parent."""
    if "://" in path:
        return Check(name, "info", f"{path} is remote; the first trial will show")
    target = Path(path).absolute()
    # os.path, because Path.exists raises inside a folder that may not be entered
    place = next(p for p in (target, *target.parents) if os.path.exists(p))
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        fix = f"./run.sh suite=all {name}=~/{name}"
        detail = f"{place} cannot be written: {error.strerror}"
        if name == "datasets" and place == target and _holds_something(target):
            detail += "; its datasets can be used, but missing ones cannot be collected"
            return Check(name, "warning", detail, fix)
        return Check(name, "missing", detail, fix)
    free = shutil.disk_usage(place).free
    detail = f"{target}, writable, {_gib(free)} free"
    if free >= DISK_ADVISED:
        return Check(name, "ok", detail)
    status: Status = "missing" if free < DISK_NEEDED else "warning"
    detail += f" (advised: {_gib(DISK_ADVISED)})"
    return Check(name, status, detail, f"./run.sh suite=all {name}=<folder on a larger disk>")


def _holds_something(folder: Path) -> bool:
    try:
        return any(os.scandir(folder))
    except OSError:
        return False


def graphics() -> list[Check]:
    """Draw a frame by the backend that runs would choose here, then one by every other backend."""
    variables = {name: os.environ.get(name, "") for name in GL_VARIABLES}
    needed, backend = _drawn("drawing", variables, "missing")
    if needed.status == "missing" and any(variables.values()):
        needed = needed._replace(fix=f"unset {' '.join(GL_VARIABLES)}")
    others = [
        f"{name}={v}" for name, v in variables.items() if v.strip().lower() not in ("", backend)
    ]
    if others and backend:
        needed = needed._replace(detail=f"{needed.detail}, in spite of {' and '.join(others)}")
    alternatives = [name for name in BACKENDS if name != backend]
    return [needed, *(alternative(name) for name in alternatives)]


def alternative(backend: str) -> Check:
    """Draw a frame by a backend that runs use only if MUJOCO_GL names it."""
    return _drawn(f"drawing, {backend}", {"MUJOCO_GL": backend}, "warning")[0]


def _drawn(name: str, variables: dict[str, str], otherwise: Status) -> tuple[Check, str]:
    """Draw the scene in a child process, which a broken backend may crash; returns the check and
    the backend that drew.
    """
    code = "from harness import doctor; doctor.draw()"
    environment = {**os.environ, **dict.fromkeys(GL_VARIABLES, ""), **variables}
    done = _run([sys.executable, "-c", code], environment)
    if done.returncode:
        detail = _last_line(done.stderr) or f"ended with code {done.returncode}"
        return Check(name, otherwise, detail, GL_FIX), ""
    result = json.loads(done.stdout.splitlines()[-1])
    backend, speed = result["backend"], f"{1e3 * result['frame_s']:.2f} ms per frame"
    label = f"drawing, {backend}" if backend else name
    return Check(label, "ok", f"frame {result['checksum']}, {speed}"), backend


def draw() -> None:
    """Run in the child process of a check: draw by the backend that a run would choose, and write
    its name, the checksum of a frame and the seconds of a frame as JSON.
    """
    from harness.tasks import rendering

    mujoco = rendering.load()
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, FRAME_SIZE, FRAME_SIZE)
    renderer.update_scene(data, "fixed")
    frame = renderer.render()
    start = time.perf_counter()
    for _ in range(FRAMES):
        renderer.update_scene(data, "fixed")
        renderer.render()
    frame_s = (time.perf_counter() - start) / FRAMES
    renderer.close()  # closed at the interpreter's exit, the context would write an error
    checksum = hashlib.sha256(frame.tobytes()).hexdigest()[:12]
    backend = os.environ.get("MUJOCO_GL", "")
    result = {"backend": backend, "checksum": checksum, "frame_s": frame_s}
    sys.stdout.write(json.dumps(result) + "\n")


def weights() -> Check:
    """Whether the weights of DINOv2 are in the local cache; nothing is downloaded."""
    import huggingface_hub

    file = huggingface_hub.try_to_load_from_cache(DINOV2, "model.safetensors")
    if isinstance(file, str):
        return Check("DINOv2 weights", "ok", str(Path(file).parent))
    detail = (
        "not in the cache; weights=dinov2 needs them (or give a folder): methods dino_wm and, with "
        "inputs=tokens, gcbc, gcivl and gciql"
    )
    return Check("DINOv2 weights", "info", detail)


def _run(
    command: list[str], environment: dict[str, str], timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {timeout_s:.0f} s")


def _last_line(text: str) -> str:
    """The last line that begins like an exception, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":")[0]]
    return (errors or lines or [""])[-1][:200]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
