"""Who may import whom (DESIGN of the rooms), and the habits that a syntax tree can show.

A room is a module or a folder directly in harness/, or one of lewm, baselines, examples and
jepa_bench. A room may always import itself. "room.module" in the table allows that module of the
room alone.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "lewm", "baselines", "examples", "jepa_bench")
MAX_FUNCTION_LINES = 60

GROUND = {"contracts", "records", "runtime"}  # every room may import these, except where said
MODEL = {"contracts", "nn", "runtime.seeding"}
EVERY_PART = {"contracts", "data", "evaluate", "nn", "planning", "records", "runtime", "tasks"}
MAY_IMPORT = {
    "contracts": set(),
    "records": set(),
    "runtime": set(),
    "nn": {"contracts", "runtime.seeding"},
    "lewm": MODEL,
    "baselines": MODEL,
    "report": {"records", "runtime.command", "runtime.quiet_start"},
    "planning": {"contracts", "runtime"},
    "tasks": {"contracts", "runtime"},
    "data": {"contracts", "records.storage", "runtime"},
    "evaluate": GROUND | {"data", "nn.picture_decoder", "nn.straightness"},
    "training": GROUND | {"data", "nn"},
    "examples": MODEL | {"tasks.env"},
    "jepa_bench": {"tasks.env"},
    "zoo": {"contracts", "lewm", "baselines", "tasks", "planning"}
    | {"runtime.outside", "runtime.command"},
    "policies": GROUND | {"experiment", "planning", "zoo"},
    "experiment": GROUND  # it gathers the dataclasses of these
    | {"zoo", "training.loop", "training.weight_files", "training.checkpoint"}
    | {"data.collect", "planning", "evaluate.plan_time", "evaluate.plans", "evaluate.decoder"},
    "trial_context": GROUND | {"data", "evaluate", "experiment", "policies", "training", "zoo"},
    "trial": GROUND | {"data", "evaluate", "experiment", "training", "trial_context", "zoo"},
    "launch": GROUND | {"data", "evaluate.pairs", "experiment", "training", "trial", "zoo"},
    "data.__main__": GROUND | {"data", "experiment", "zoo"},
    "moments": GROUND | {"data", "evaluate.moments", "experiment", "zoo"},
    "doctor": GROUND | {"tasks.rendering"},
    "clear": GROUND | {"data", "evaluate.pairs", "experiment", "report.stats", "tasks", "zoo"},
    "export": GROUND | {"experiment", "nn", "training", "zoo", "report.stats"},
    "loggers": GROUND | {"report"},
    "run": GROUND | {"experiment", "launch", "loggers", "report", "trial", "zoo"},
    "__main__": {"run", "runtime.quiet_start"},
    "sweep": GROUND | {"experiment", "launch", "loggers", "report", "trial", "zoo"},
    "verify": GROUND
    | {"data", "evaluate", "experiment", "report", "training", "trial", "trial_context", "zoo"},
    "bench": EVERY_PART
    | {"experiment", "launch", "training", "trial", "zoo", "report.published", "report.figures"},
}
ENTRY_POINTS = {"data.__main__"}  # commands of a room that stand above it, as rooms of their own
ONLY_IN = {  # third-party package -> rooms that may import it
    "ray": {"launch", "sweep"},
    "optuna": {"sweep"},
    "seaborn": {"report"},
    "matplotlib": {"report"},
    "mujoco": {"tasks", "doctor"},
    "dm_control": {"tasks", "doctor"},
    "ogbench": {"tasks", "doctor"},
    "pymunk": {"tasks", "doctor"},
    "wandb": {"loggers"},
    "mlflow": {"loggers"},
    "transformers": {"nn", "lewm", "baselines", "doctor"},
    **{key: {"data"} for key in ("h5py", "hdf5plugin", "lance", "av")},
    "torchvision": set(),
    "timm": set(),
}
NOT_IN = {"torch": {"report", "records"}}  # third-party package -> rooms that must do without it
CATCH_ALL = {"trial", "launch"}  # the trial boundary
CATCH_ALL_FILES = {  # the boundaries of a process, of a user's code and of another's service
    "harness/loggers.py",
    "harness/runtime/supervised.py",
    "harness/runtime/outside.py",
}
SIDE_EFFECTS = ENTRY_POINTS | {
    *("run", "sweep", "trial", "doctor", "moments", "bench", "launch", "export", "clear"),
    "jepa_bench",  # it registers environments
}
SIDE_EFFECT_FILES = {"harness/report/__main__.py"}
EMPTY_NAMES = {"utils", "common", "misc", "helpers"}


class Source(NamedTuple):
    """A module: its path from the root, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """ "harness" for harness/__init__.py itself."""
        parts = self.path.removesuffix(".py").split("/")
        if parts[0] != "harness":
            return parts[0]
        if ".".join(parts[1:]) in ENTRY_POINTS:
            return ".".join(parts[1:])
        return "harness" if parts[1] == "__init__" else parts[1]


Found = Iterator[tuple[int, str]]  # line, what is wrong


# -- imports


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything imported, also inside functions."""
    folder = source.path.split("/")[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def room_of(name: str) -> tuple[str, str] | None:
    """(room, room.module) of an imported name, None for other people's packages."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    if parts[0] == "harness" and len(parts) > 1:
        parts = parts[1:]
    return parts[0], ".".join(parts[:2])


def rooms(source: Source) -> Found:
    if source.room != "harness" and source.room not in MAY_IMPORT:
        yield 1, f"room {source.room} is not in the table MAY_IMPORT"
    allowed = MAY_IMPORT.get(source.room, set())
    for line, name in imported(source):
        room, module = room_of(name) or (source.room, "")
        if room != source.room and not {room, module} & allowed:
            yield line, f"{source.room} may not import {room} ({name}); it may: {sorted(allowed)}"


def other_packages(source: Source) -> Found:
    for line, name in imported(source):
        package = name.split(".")[0]
        if package in ONLY_IN and source.room not in ONLY_IN[package]:
            where = sorted(ONLY_IN[package]) or "nowhere"
            yield line, f"{package} may be imported only in: {where}"
        if source.room in NOT_IN.get(package, set()):
            yield line, f"{source.room} must do without {package}"


# -- habits


def prints(source: Source) -> Found:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield node.lineno, "print; use logging"


def handlers(source: Source) -> Found:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield node.lineno, "bare except"
            continue
        types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {ast.unparse(t) for t in types}
        last = node.body[-1]
        raised_again = isinstance(last, ast.Raise) and last.exc is None
        swallowed = "BaseException" in names and not raised_again
        if (
            ("Exception" in names or swallowed)
            and source.path not in CATCH_ALL_FILES
            and source.room not in CATCH_ALL
        ):
            yield node.lineno, f"except {', '.join(sorted(names))} outside the trial boundary"


def lengths(source: Source) -> Found:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = node.end_lineno - node.lineno + 1
            if count > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {count} lines, at most {MAX_FUNCTION_LINES}"


def names(source: Source) -> Found:
    for part in source.path.removesuffix(".py").split("/"):
        if part in EMPTY_NAMES:
            yield 1, f"{part} says nothing; name the module after what it holds"


DECLARATIONS = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.Assert, ast.Pass),
)


def side_effects(source: Source) -> Found:
    if source.room not in SIDE_EFFECTS and source.path not in SIDE_EFFECT_FILES:
        yield from _effects(source.tree.body)


def _effects(body: list[ast.stmt]) -> Found:
    for node in body:
        if isinstance(node, ast.If):
            if "__name__" not in ast.unparse(node.test):
                yield from _effects([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            parts = [node.body, *(h.body for h in node.handlers), node.orelse, node.finalbody]
            yield from _effects([statement for part in parts for statement in part])
        elif not _declares(node):
            yield node.lineno, f"happens at import: {ast.unparse(node).splitlines()[0]}"


def _declares(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)  # a docstring, or "..."
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all(isinstance(t, ast.Name | ast.Tuple) for t in targets)
    return isinstance(node, DECLARATIONS)


RULES: dict[str, Callable[[Source], Found]] = {
    rule.__name__: rule
    for rule in (rooms, other_packages, prints, handlers, lengths, names, side_effects)
}


# -- tests


def sources() -> list[Source]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [Source(f.relative_to(ROOT).as_posix(), f.read_text()) for f in files]


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds(rule):
    found = [f"{s.path}:{line}: {what}" for s in sources() for line, what in RULES[rule](s)]
    assert not found, "\n" + "\n".join(found)


PACKAGE_OF = {  # module -> package, where the names differ
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "huggingface_hub": "huggingface-hub",
    "lance": "pylance",
    "mlflow": "mlflow-skinny",
    "yaml": "pyyaml",
}


def test_what_is_imported_is_declared():
    """An installation by pyproject.toml with its extras has every package that the code imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    words = sum(optional.values(), project["dependencies"])
    declared = {re.match(r"[\w-]+", word)[0] for word in words}
    modules = {name.split(".")[0] for source in sources() for _, name in imported(source)}
    others = modules - set(PACKAGES) - sys.stdlib_module_names - {"__future__"}
    assert {PACKAGE_OF.get(name, name) for name in others} <= declared


STRICT = (
    *("check_untyped_defs", "disallow_any_generics", "disallow_incomplete_defs"),
    *("disallow_subclassing_any", "disallow_untyped_calls", "disallow_untyped_decorators"),
    *("disallow_untyped_defs", "extra_checks", "strict_equality"),
)
LOOSER = {"harness.report.*", "harness.tasks.cube", "harness.tasks.cube_robot"}


def test_mypy_leaves_no_module_out_and_is_strict_but_where_it_says_so():
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert all(mypy[flag] for flag in STRICT) and not mypy["implicit_reexport"]
    tables = mypy["overrides"]
    assert {
        name for table in tables for name in table["module"] if False in table.values()
    } == LOOSER
    assert not any(
        {"ignore_errors", "disable_error_code"} & table.keys() for table in [mypy, *tables]
    )


def test_the_table_names_only_rooms():
    named = set().union(*MAY_IMPORT.values())
    assert {name.split(".")[0] for name in named} <= set(MAY_IMPORT)
    inner = [ROOT / "harness" / name.replace(".", "/") for name in named if "." in name]
    assert all(path.is_dir() or path.with_suffix(".py").exists() for path in inner)
    rooms_named = set().union(*ONLY_IN.values(), *NOT_IN.values(), CATCH_ALL, SIDE_EFFECTS)
    assert rooms_named <= set(MAY_IMPORT)


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES
BROKEN = [  # rule, path, text, line
    ("rooms", "lewm/model.py", "import numpy\nfrom baselines import pldm\n", 2),
    ("rooms", "baselines/pldm.py", "from lewm import model\n", 1),
    ("rooms", "baselines/pldm.py", "from harness.records import rows\n", 1),
    ("rooms", "harness/report/stats.py", "from harness.runtime import seeding\n", 1),
    ("rooms", "harness/report/stats.py", "from ..zoo import METHODS\n", 1),
    ("rooms", "harness/planning/cem.py", "def f():\n    from harness.data import windows\n", 2),
    ("rooms", "harness/data/goals.py", "import harness.tasks.toy\n", 1),
    ("rooms", "harness/contracts/data.py", "from harness.records import rows\n", 1),
    ("rooms", "harness/attic.py", "", 1),
    ("rooms", "harness/experiment/config.py", "from harness.evaluate import control\n", 1),
    ("rooms", "harness/experiment/config.py", "import harness.trial\n", 1),
    ("rooms", "harness/training/loop.py", "from harness.launch import cluster\n", 1),
    ("other_packages", "harness/trial.py", "import ray.tune\n", 1),
    ("other_packages", "harness/launch.py", "import optuna\n", 1),
    ("other_packages", "harness/bench/show.py", "from matplotlib import pyplot\n", 1),
    ("other_packages", "harness/run.py", "import seaborn as sns\n", 1),
    ("other_packages", "harness/data/collect.py", "import mujoco\n", 1),
    ("other_packages", "harness/zoo.py", "from transformers import ViTModel\n", 1),
    ("other_packages", "lewm/model.py", "import torchvision\n", 1),
    ("other_packages", "harness/nn/vit.py", "import timm\n", 1),
    ("other_packages", "harness/report/stats.py", "import torch\n", 1),
    ("prints", "harness/training/loop.py", "x = 1\nprint(x)\n", 2),
    ("handlers", "harness/trial.py", "try:\n    x = 1\nexcept:\n    pass\n", 3),
    ("handlers", "harness/training/loop.py", "try:\n    x = 1\nexcept Exception:\n    raise\n", 3),
    ("handlers", "lewm/model.py", "try:\n    x = 1\nexcept (OSError, Exception):\n    x = 2\n", 3),
    ("handlers", "lewm/model.py", "try:\n    x = 1\nexcept BaseException:\n    pass\n", 3),
    ("lengths", "harness/training/loop.py", LONG_FUNCTION, 1),
    ("names", "harness/data/utils.py", "", 1),
    ("side_effects", "harness/training/loop.py", "import os\nos.environ['A'] = 'b'\n", 2),
    ("side_effects", "harness/training/loop.py", "import torch\ntorch.set_num_threads(1)\n", 2),
    ("side_effects", "harness/nn/vit.py", "try:\n    f()\nexcept OSError:\n    pass\n", 2),
    ("side_effects", "harness/nn/vit.py", "for i in range(3):\n    pass\n", 1),
]
SOUND = [  # path, text
    ("harness/experiment/config.py", "from harness.evaluate.plan_time import PlanTimeConfig\n"),
    ("harness/policies.py", "from harness.planning import receding_horizon\n"),
    ("harness/zoo.py", "from lewm import model\nfrom harness.planning import cem\n"),
    ("harness/launch.py", "import ray\nimport os\nos.environ.setdefault('A', 'b')\n"),
    ("harness/trial.py", "try:\n    x = 1\nexcept Exception as error:\n    x = error\n"),
    (
        "harness/records/rows.py",
        "def f():\n    try:\n        g()\n    except BaseException:\n        raise\n",
    ),
    (
        "harness/training/loop.py",
        '"""Text."""\nLR = 1e-3\nif __name__ == "__main__":\n    main()\n',
    ),
    ("harness/report/page.py", "from . import stats\nfrom harness.report import tables\n"),
]


@pytest.mark.parametrize(("rule", "path", "text", "line"), BROKEN)
def test_rule_can_fail(rule, path, text, line):
    assert [where for where, _ in RULES[rule](Source(path, text))] == [line]


@pytest.mark.parametrize(("path", "text"), SOUND)
def test_sound_code_passes_every_rule(path, text):
    assert [what for rule in RULES.values() for _, what in rule(Source(path, text))] == []
