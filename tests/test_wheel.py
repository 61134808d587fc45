"""The wheel: it has every file that the code reads, and runs outside a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.records import run_tables

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "lewm", "baselines", "jepa_bench")
ABOUT = (
    "from harness import run; from harness.report import published; from harness.nn import frozen"
)
ABOUT += "; import jepa_bench, os; print(run.__file__, len(published._successes()) > 20"
ABOUT += ", os.path.exists(frozen.SHIPPED + '/model.safetensors'), jepa_bench.__file__)"


def pip(*words):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the tree, in which a build leaves its folders."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in PACKAGES:
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip("wheel", copy, "--no-deps", "--no-build-isolation", "--no-index", "-w", out)
    (file,) = out.glob("jepa_bench-*.whl")
    return file


def test_it_has_every_file_of_the_packages(wheel):
    files = {path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.suffix != ".md"
    }
    assert any(name.endswith(".csv") for name in wanted)
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_it_runs_in_an_empty_folder(wheel, tmp_path):
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    pip("install", wheel, "--no-deps", "--no-index", "--target", site)

    def python(*words):
        environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    words = ["suite=smoke", "scale=tiny", "backend=loop", "device=cpu", "train.steps=2"]
    done = python(site / "bin" / "jepa-bench", *words, "methods=lewm,random")
    assert done.returncode == 0, done.stderr
    run, published, shipped, gym = python("-c", ABOUT).stdout.split()
    assert {Path(run).parents[1], Path(gym).parents[1]} == {site}
    assert (published, shipped) == ("True", "True")
    trials = run_tables.read(str(folder / "results" / "smoke-tiny")).trial
    assert set(trials["status"]) == {"ok"} and len(trials) == 2
    version = f"jepa-bench {wheel.name.split('-')[1]}"
    assert set(trials["git_commit"]) == {version}
    assert f"no commit can be recorded, the rows say {version} instead" in done.stderr
    assert (folder / "results" / "smoke-tiny" / "index.html").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["data", "results"]
