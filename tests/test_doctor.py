"""The doctor runs here, and says what to do where something lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rights

from harness import doctor

ROOT = Path(__file__).parent.parent


def test_doctor_runs_and_its_exit_code_says_whether_something_is_missing(tmp_path):
    command = [
        sys.executable,
        "-m",
        "harness.doctor",
        f"results={tmp_path}",
        f"datasets={tmp_path}",
    ]
    environment = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == int("missing" in done.stdout), done.stdout + done.stderr
    for name in ("python", "packages", "ray", "cores", "memory", "gpu", "drawing, egl", "DINOv2"):
        assert name in done.stdout
    assert not done.stderr, done.stderr


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match="results=FOLDER"):
        doctor.parse(["resluts=x"])
    assert doctor.main(["resluts=x"]) == 2
    assert doctor.parse(["datasets=/d"]) == {"results": "results", "datasets": "/d"}


@pytest.fixture
def graphics(monkeypatch):
    """The doctor's words about drawing in an environment."""

    def checks(**variables):
        for name in doctor.GL_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return doctor.graphics()

    return checks


def test_without_mujoco_gl_osmesa_takes_the_place_of_a_broken_egl(graphics):
    osmesa, egl = graphics(MUJOCO_EGL_DEVICE_ID="999")  # no such device
    if osmesa.status != "ok":
        pytest.skip(f"no OSMesa here: {osmesa.detail}")
    assert osmesa.name == "drawing, osmesa"
    assert (egl.name, egl.status) == ("drawing, egl", "warning") and "999" in egl.detail
    assert egl.fix == "apt-get install -y libegl1 libgl1 libosmesa6 libgl1-mesa-dri"


def test_a_broken_backend_that_is_named_keeps_runs_from_drawing(graphics):
    drawing, *_ = graphics(MUJOCO_GL="egl", MUJOCO_EGL_DEVICE_ID="999")
    assert (drawing.name, drawing.status) == ("drawing", "missing")
    assert drawing.fix == "unset MUJOCO_GL PYOPENGL_PLATFORM"


def test_a_display_that_is_named_is_passed_over_as_in_a_run(graphics):
    """And a frame has the same checksum every time."""
    first, *_ = graphics(PYOPENGL_PLATFORM="glx", MUJOCO_GL="glfw")
    if first.status != "ok":
        pytest.skip(f"no drawing here: {first.detail}")
    assert first.detail.endswith("in spite of MUJOCO_GL=glfw and PYOPENGL_PLATFORM=glx")
    second, *_ = graphics()
    assert first.detail.split(",")[0] == second.detail.split(",")[0]
    assert len(first.detail.split(",")[0].removeprefix("frame ")) == 12


def test_packages_that_lack_or_differ_are_named_with_the_command(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[project]\ndependencies = ["numpy<1", "no-such-package>=2", "rich>=1"]\n')
    right, numpy, absent = doctor.packages(pyproject)
    assert right.status == "ok" and right.detail.startswith("rich ")
    assert numpy.status == absent.status == "missing"
    assert numpy.fix.endswith("-m pip install 'numpy<1'")
    assert "installed none" in absent.detail


def test_the_installation_meets_the_pins():
    assert [c for c in doctor.packages(ROOT / "pyproject.toml") if c.status != "ok"] == []


def test_too_many_threads_are_a_warning_and_few_are_not():
    (check,) = doctor.threads({"OMP_NUM_THREADS": "4096"})
    assert check.status == "warning" and check.fix == "unset OMP_NUM_THREADS"
    assert doctor.threads({"OMP_NUM_THREADS": "1"})[0].status == "ok"


def test_a_folder_that_cannot_be_written_is_missing(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    check = doctor.folder("results", str(file / "results"))
    assert check.status == "missing" and "results=" in check.fix
    assert doctor.folder("results", str(tmp_path / "new" / "deep")).status != "missing"
    assert not (tmp_path / "new").exists()
    assert doctor.folder("results", "s3://bucket/results").status == "info"


def test_datasets_that_may_only_be_read_are_a_warning_where_there_are_some(tmp_path):
    def status(name):
        with rights.read_only(tmp_path):
            return rights.without_root(lambda: doctor.folder(name, str(tmp_path))).status

    assert (status("datasets"), status("results")) == ("missing", "missing")
    (tmp_path / "toy-0123").mkdir()
    assert (status("datasets"), status("results")) == ("warning", "missing")


def test_brackets_in_a_detail_are_shown(capsys):
    doctor.show(doctor.Console(), [doctor.Check("a", "warning", "ray[tune]", "pip 'ray[tune]'")])
    assert capsys.readouterr().out.count("ray[tune]") == 2
