"""The set-up scripts, and what README says about files and commands."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import outside_entries
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import trial
from harness.experiment import config, manual, suites
from harness.sweep import compare, space

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SCRIPTS = ("run.sh", "test.sh", "setup.sh")
SCRIPTS += (".ci/run", ".ci/lock", ".ci/newest", ".ci/audit", ".ci/coverage")
ENTRY = re.compile(
    r"^[\w.<>-]+(/[\w.<>-]+)*(/|\.\w+)$"
)  # "harness/", "rows.py", "results/published/"


# -- scripts


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_valid_bash_and_executable(script):
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
    assert script == "setup.sh" or os.access(ROOT / script, os.X_OK)


def bash(folder: Path, commands: str, **environment: str) -> str:
    """Source setup.sh in `folder` and run commands there; standard output."""
    script = f"set -euo pipefail; source {shlex.quote(str(ROOT / 'setup.sh'))}; {commands}"
    base = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**base, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


DECIDE = "if setup_needed; then echo install; else echo nothing; fi"


@pytest.fixture
def installed(tmp_path):
    """A folder that looks as after an installation."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "requirements.lock").write_text("rich==15.0.0\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    bash(tmp_path, 'wanted_stamp >"$STAMP"')
    return tmp_path


def test_nothing_to_do_when_the_stamp_matches(installed):
    assert bash(installed, DECIDE) == "nothing"
    assert bash(installed, "prepare 2>&1; echo end") == "end"


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_install_when_a_list_of_packages_changed(installed, name):
    (installed / name).write_text("# changed\n")
    assert bash(installed, DECIDE) == "install"


def test_install_when_the_newest_are_asked_for(installed):
    assert bash(installed, DECIDE, NEWEST="1") == "install"


def test_install_when_there_is_no_stamp_or_no_environment(installed):
    (installed / ".venv" / "bin" / "python").unlink()
    assert bash(installed, DECIDE) == "install"
    (installed / ".venv" / "setup.stamp").unlink()
    assert bash(installed, DECIDE) == "install"


def test_install_when_another_python_is_asked_for(installed):
    other = installed / "other"
    other.write_text("#!/bin/sh\necho Python 3.99.0\n")
    other.chmod(0o755)
    assert bash(installed, DECIDE, PYTHON=str(other)) == "install"
    assert bash(installed, DECIDE, PYTHON=sys.executable) == "nothing"


def test_a_failed_installation_is_not_taken_as_done(installed):
    (installed / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    out = bash(installed, "(prepare) 2>&1 || echo failed", PIP_REQUIRE_VIRTUALENV="1")
    assert out.endswith("failed")  # pip refuses: nothing around this test can be changed by it
    assert not (installed / ".venv" / "setup.stamp").exists()
    assert bash(installed, DECIDE) == "install"


def test_a_python_that_is_too_old_or_absent_is_named(tmp_path):
    command = f"source {shlex.quote(str(ROOT / 'setup.sh'))}; pick_python"
    environment = {**os.environ, "PYTHON": "no-such-python"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no-such-python" in done.stderr and "3.11" in done.stderr


# -- ways of calling them, and other people's environments

STUB = """#!/bin/sh
if [ "$1" = -V ]; then echo Python 3.11.0; exit; fi
pwd -P
env | grep -E '^(PYTHON|PIP_)' | sort | tr '\\n' ' '
echo
for word in "$@"; do echo "$word"; done
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout after its installation, whose Python shows how it was called."""
    root = tmp_path / "a checkout"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "requirements.lock").write_text("")
    (root / ".venv" / "bin" / "python").write_text(STUB)
    (root / ".venv" / "bin" / "python").chmod(0o755)
    for script in ("run.sh", "test.sh", "setup.sh"):
        shutil.copy(ROOT / script, root)
    bash(root, 'wanted_stamp >"$STAMP"')
    return root


def call(folder, *command, **environment):
    """The folder that Python was called in, its variables, and its arguments."""
    base = {name: v for name, v in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        command, cwd=folder, env={**base, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    where, variables, *arguments = done.stdout.splitlines()
    return where, variables.split(), arguments


def test_the_command_is_the_same_however_it_is_called(checkout, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bench").symlink_to(checkout / "run.sh")
    (tmp_path / "decoy" / "a checkout").mkdir(parents=True)
    words = ["suite=all", "run=a b"]
    expected = ["PIP_USER=0"], ["-P", "-m", "harness.run", *words]
    decoy = str(tmp_path / "decoy")
    assert call(checkout, "./run.sh", *words) == (str(checkout), *expected)
    assert call(checkout, "sh", "run.sh", *words) == (str(checkout), *expected)
    assert call("/", checkout / "run.sh", *words) == ("/", *expected)
    assert call(tmp_path, "bash", "a checkout/run.sh", *words, CDPATH=decoy) == (
        *(str(tmp_path), *expected),
    )
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert call("/", "bench", *words, PATH=path) == ("/", *expected)
    here = str(checkout), *expected
    assert call(checkout, "./run.sh", *words, LC_ALL="C", HOME="") == here
    assert call(checkout, "env", "-i", "PATH=/usr/bin:/bin", "./run.sh", *words) == here
    assert call(checkout, "bash", "-c", "set -u; umask 077; ./run.sh suite=all 'run=a b'") == here
    assert call(checkout, "./run.sh")[2] == ["-P", "-m", "harness.run"]


def test_variables_of_another_python_do_not_reach_ours(checkout):
    names = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    others = {name: "/opt/other" for name in names} | {"PIP_INDEX_URL": "https://mirror"}
    _, variables, _ = call(checkout, "./run.sh", **others, VIRTUAL_ENV="/opt", CONDA_PREFIX="/opt")
    assert variables == ["PIP_INDEX_URL=https://mirror", "PIP_USER=0"]


def test_pip_installs_into_the_environment_of_a_user_who_installs_with_user(tmp_path):
    again = f"{shlex.quote(sys.executable)} -m pip -q install --dry-run --no-index rich"
    own = f"own_environment; {again} 2>&1; echo installed"
    assert bash(tmp_path, own, PIP_USER="1", PYTHONHOME="/opt/other") == "installed"


def test_a_file_of_the_callers_folder_hides_no_module(checkout, tmp_path):
    assert call(tmp_path, checkout / "run.sh", "suite=x") == (
        *(str(tmp_path), ["PIP_USER=0"], ["-P", "-m", "harness.run", "suite=x"]),
    )


def test_torch_is_pinned_exactly_and_found_by_the_script():
    pin = bash(ROOT, """sed -n 's/^ *"\\(torch==[^"]*\\)".*/\\1/p' pyproject.toml""")
    assert pin == "torch==2.13.0"


def locked() -> dict[str, str]:
    """Name and version by requirements.lock, for this Python on this system."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    all_of_them = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [r for r in all_of_them if not r.marker or r.marker.evaluate()]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in here}


def test_the_lock_has_every_package_in_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in project["dependencies"] + extras["test"] + extras["field"]:
        wanted = Requirement(line)
        if wanted.name != "torch":  # pinned by itself, see setup.sh
            assert wanted.specifier.contains(locked()[canonicalize_name(wanted.name)]), line


def test_these_tests_run_with_what_the_lock_says():
    """In an environment of setup.sh, so that a clone of next year installs what was tested."""
    unlocked = ROOT / ".venv" / "setup.unlocked"
    if unlocked.exists() or not (ROOT / ".venv" / "setup.stamp").exists():
        pytest.skip(unlocked.read_text() if unlocked.exists() else "no environment of setup.sh")
    wrong = {
        name: (version, importlib.metadata.version(name))
        for name, version in locked().items()
        if importlib.metadata.version(name) != version
    }
    assert not wrong, "locked and installed; .ci/lock writes the lock anew"


# -- README


def blocks(markdown: str) -> list[str]:
    """Bodies of the fenced code blocks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)


def tree_paths(block: str) -> list[str]:
    """Paths that an annotated tree names; an entry belongs to the nearest less indented folder."""
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for raw in block.splitlines():
        line = re.sub(r"[│├└─]", " ", raw).split("#")[0]
        indent = len(line) - len(line.lstrip())
        folders = [(i, f) for i, f in folders if i < indent]
        parent = inside = folders[-1][1] if folders else ""
        for word in line.split():
            if not ENTRY.match(word) or "<" in word:
                break
            if word.endswith("/"):
                inside = parent + word  # files after it on this line, or indented below, are in it
                folders.append((indent, inside))
            paths.append(inside if word.endswith("/") else inside + word)
    return paths


def commands(markdown: str) -> list[list[str]]:
    """Command lines of this project in the code blocks, as words."""
    found = []
    for block in blocks(markdown):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"^\s*\$?\s*(\w+=\S+\s+)*", "", line)
            if re.match(
                r"(\./(run|test)\.sh|(\.venv/bin/)?python3? -m (harness|lewm|baselines))", line
            ):
                found.append(shlex.split(line, comments=True))
    return found


def parse_run(words: list[str]) -> None:
    if words[0] == "protocols":
        manual.answer(words, "")
    else:
        suites.expand(config.parse(words), trial.STAGES)


PARSERS = {  # what the module does with its words before anything runs
    "harness.run": parse_run,
    "harness.sweep": lambda words: (
        compare.parse(words[1:]) if words[0] == "compare" else space.parse(words)
    ),
}


NOT_HERE = ("cannot be had from", "holds no trials")  # the words are right


def problem(words: list[str]) -> str:
    """The fault of a command line, or an empty string."""
    program, *arguments = words
    if program.endswith(".sh"):
        module = "harness.run" if program == "./run.sh" else "pytest"
        if not (ROOT / program).exists():
            return f"{program} does not exist"
    else:
        module, arguments = arguments[1], arguments[2:]
    if not runnable(module):
        return f"module {module} cannot be run"
    if module not in PARSERS or arguments == ["--help"]:
        return ""
    try:
        PARSERS[module](arguments)
    except config.ConfigError as error:
        return "" if any(part in str(error) for part in NOT_HERE) else str(error)
    return ""


def runnable(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
        package = spec is not None and spec.submodule_search_locations is not None
        return importlib.util.find_spec(f"{module}.__main__") is not None if package else bool(spec)
    except ModuleNotFoundError:
        return False


def test_every_path_in_the_readme_tree_exists():
    trees = [b for b in blocks(README.read_text()) if b.lstrip().startswith("harness/")]
    assert trees, 'README.md needs a code block that starts with "harness/"'
    paths = [path for tree in trees for path in tree_paths(tree)]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_command_in_the_readme_can_be_run():
    found = commands(README.read_text())
    with outside_entries.forgotten():
        wrong = {" ".join(words): problem(words) for words in found if problem(words)}
    assert any(words[0] == "./run.sh" for words in found)
    assert wrong == {}


def test_the_tree_reader_sees_nesting_groups_and_comments():
    block = (
        "harness/\n  run.py    python -m harness.run\n  contracts.py rows.py  train.py\n"
        "  tasks/   one file a task:\n           toy  two_room\n    toy.py\n"
        "lewm/   model.py  sigreg.py\nresults/  data only: results/<run>/\n"
    )
    assert tree_paths(block) == [
        "harness/",
        "harness/run.py",
        "harness/contracts.py",
        "harness/rows.py",
        "harness/train.py",
        "harness/tasks/",
        "harness/tasks/toy.py",
        "lewm/",
        "lewm/model.py",
        "lewm/sigreg.py",
        "results/",
    ]


def test_the_command_reader_finds_what_is_wrong():
    text = "```\n$ ./run.sh suite=all \\\n  seed=1  # note\npython -m harness.nothing x\nls\n```\n"
    assert commands(text) == [
        ["./run.sh", "suite=all", "seed=1"],
        ["python", "-m", "harness.nothing", "x"],
    ]
    assert problem(["python", "-m", "harness.nothing"]) == "module harness.nothing cannot be run"
    assert problem(["python", "-m", "harness.doctor"]) == ""
    assert 'unknown key "sede"' in problem(["./run.sh", "suite=all", "sede=1"])
    assert 'unknown suite "al"' in problem(["./run.sh", "suite=al"])
    assert "nothing to vary" in problem(
        ["python", "-m", "harness.sweep", "task=toy", "method=lewm", "scale=tiny"]
    )
