"""Every method, task and planner by name; the only importer of lewm, baselines and tasks. The order
of METHODS and TASKS is that of the tables and colours of a report.

Entries from outside come behind these, when they are asked for: `methods=./my_method.py` names a
file that defines METHOD (or METHODS, TASK, PLANNER, PLANNERS), and an installed package may have
entry points of the groups jepa_bench.methods, jepa_bench.tasks and jepa_bench.planners.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from baselines import (
    controls,
    dino_wm,
    ema_jepa,
    gcbc,
    gciql,
    gcivl,
    oracle,
    pldm,
    smwm,
    true_state,
)
from harness.contracts.method import Method
from harness.contracts.planning import PlannerEntry
from harness.contracts.task import Task
from harness.planning import cem, gradient, icem, mppi, predictive_sampling
from harness.runtime import outside
from harness.runtime.command import ConfigError
from harness.tasks import cube, push_t, reacher, toy, two_room
from lewm import inverse_dynamics as lewm_inverse_dynamics
from lewm import model as lewm

METHODS: dict[str, Method] = {
    "lewm": Method(
        "LeWM",
        lewm.LeWMConfig,
        lewm.LeWM,
        trained=True,
        version=2,
        about="Predicts the next latent; SIGReg keeps latents Gaussian; plans.",
    ),
    "lewm_idm": Method(
        "LeWM + inverse dynamics",
        lewm_inverse_dynamics.LeWMInverseDynamicsConfig,
        lewm_inverse_dynamics.LeWMInverseDynamics,
        trained=True,
        version=2,
        about="LeWM, whose latents must also tell the block between them; plans.",
    ),
    "smwm": Method(
        "SMWM",
        smwm.SMWMConfig,
        smwm.SMWM,
        trained=True,
        version=2,
        about="LeWM's network under inverse dynamics instead of SIGReg; plans.",
    ),
    "pldm": Method(
        "PLDM",
        pldm.PLDMConfig,
        pldm.PLDM,
        trained=True,
        version=3,
        about="LeWM's network under variance and covariance terms; plans.",
    ),
    "dino_wm": Method(
        "DINO-WM",
        dino_wm.DinoWMConfig,
        dino_wm.DinoWM,
        trained=True,
        version=2,
        about="Predicts a frozen encoder's patch tokens; plans.",
    ),
    "dino_wm_proprio": Method(
        "DINO-WM + proprio",
        dino_wm.DinoWMConfig,
        dino_wm.DinoWMProprio,
        trained=True,
        version=2,
        about="DINO-WM with proprioception beside the tokens; plans.",
    ),
    "ema_jepa": Method(
        "EMA JEPA",
        ema_jepa.EMAJEPAConfig,
        ema_jepa.EMAJEPA,
        trained=True,
        version=2,
        about="LeWM's network, targets by a moving average of it, no regulariser; plans.",
    ),
    "gcbc": Method(
        "GCBC",
        gcbc.GCBCConfig,
        gcbc.GCBC,
        trained=True,
        about="Clones the recorded actions that led to the goal.",
    ),
    "gcivl": Method(
        "GCIVL",
        gcivl.GCIVLConfig,
        gcivl.GCIVL,
        trained=True,
        version=3,
        about="Implicit value learning; a policy weighted by the advantage.",
    ),
    "gciql": Method(
        "GCIQL",
        gciql.GCIQLConfig,
        gciql.GCIQL,
        trained=True,
        version=3,
        about="Implicit Q-learning; a policy weighted by the advantage.",
    ),
    "collapsed": Method(
        "LeWM without SIGReg",
        lewm.CollapsedConfig,
        lewm.LeWM,
        trained=True,
        version=2,
        about="The control that shows collapse; plans.",
    ),
    "true_state": Method(
        "True state",
        true_state.TrueStateConfig,
        true_state.TrueState,
        trained=True,
        version=2,
        about="The ceiling: LeWM's predictor and planner over the simulator's pose.",
        role="ceiling",
    ),
    "oracle": Method(
        "Simulator",
        oracle.OracleConfig,
        oracle.pose_distance,
        trained=False,
        about="The second ceiling: plans in the simulator itself, by the distance of poses.",
        role="ceiling",
    ),
    "heuristic": Method(
        "Heuristic",
        controls.ControlConfig,
        controls.Heuristic,
        trained=False,
        about="The task's trivial policy; sees the simulator's state.",
        role="floor",
    ),
    "random": Method(
        "Random",
        controls.ControlConfig,
        controls.Random,
        trained=False,
        about="Uniform actions: the floor of every table.",
        role="floor",
    ),
    "noop": Method(
        "No-op",
        controls.ControlConfig,
        controls.Noop,
        trained=False,
        about="The zero action.",
        role="floor",
    ),
    "replay": Method(
        "Replay",
        controls.ControlConfig,
        controls.Replay,
        trained=False,
        about="The recorded actions from start to goal.",
        role="check",
    ),
}

TASKS: dict[str, Task] = {
    "two_room": two_room.TwoRoom(),
    "push_t": push_t.PushT(),
    "reacher": reacher.Reacher(),
    "cube": cube.Cube(),
    "toy": toy.Toy(),
}

PLANNERS: dict[str, PlannerEntry] = {
    "cem": PlannerEntry(
        cem.CEMConfig, cem.CEM, about="Cross-entropy method over plans in z-scored action space."
    ),
    "icem": PlannerEntry(
        icem.ICEMConfig, icem.ICEM, about="CEM with coloured noise that keeps its best elites."
    ),
    "mppi": PlannerEntry(
        mppi.MPPIConfig, mppi.MPPI, about="Path integral control: a mean weighted by the costs."
    ),
    "predictive_sampling": PlannerEntry(
        predictive_sampling.PredictiveSamplingConfig,
        predictive_sampling.PredictiveSampling,
        about="The cheapest of random changes to the best plan so far.",
    ),
    "adam": PlannerEntry(
        gradient.GradientConfig, gradient.adam, about="Adam on the actions of several plans."
    ),
    "rmsprop": PlannerEntry(
        gradient.GradientConfig, gradient.rmsprop, about="RMSProp on the actions of several plans."
    ),
    "sgd": PlannerEntry(
        gradient.SGDConfig, gradient.sgd, about="Gradient descent on the actions of several plans."
    ),
}


def task(name: str, scene: str) -> Task:
    """The task `name`; a task with several scenes is drawn in `scene` (DataConfig.scene)."""
    entry: Any = TASKS[name]
    return dataclasses.replace(entry, scene=scene) if hasattr(entry, "scene") else entry


# -- from outside

_ENTRIES: dict[str, dict[str, Any]] = {"method": METHODS, "task": TASKS, "planner": PLANNERS}
_CLASSES = {"method": Method, "task": Task, "planner": PlannerEntry}


def find(kind: str, word: str) -> list[str]:
    """The names of the entries that a word of the command line means: those that the file
    "./my_method.py" defines, or the word itself. They are entries from then on, and so is an
    installed one. Raises ConfigError where its code cannot be loaded or is no such entry.
    """
    if outside.is_file(word):
        module, code = outside.read(kind, word)
        _enter_all(module, code)
        if names := _defined(module, kind):
            return list(names)
        capital = kind.upper()
        raise ConfigError(f"{code.origin} defines no {capital}: write {capital} = ...")
    if word not in _ENTRIES[kind] and word in outside.installed(kind):
        entry, code = outside.load(kind, word)
        _enter(kind, word, entry, code)
    return [word]


def word(kind: str, name: str) -> str:
    """The word of the command line for the entry: the path of its file, or its name."""
    code = outside.code(kind, name)
    return code.origin if code and outside.is_file(code.origin) else name


def same(kind: str, name: str, code: outside.Code) -> None:
    """Find the entry from outside by its code. Raises ConfigError where that is another now."""
    find(kind, code.origin if outside.is_file(code.origin) else name)
    now = outside.code(kind, name)
    if now is None or now.sha256 != code.sha256:
        raise ConfigError(
            f"{kind} {name} of {code.origin} is not the code that this trial is of (sha256 "
            f"{code.sha256[:12]}): its file or package has changed"
        )


def restore(sources: Iterable[outside.Source]) -> None:
    """Enter all that another process had loaded (outside.sources)."""
    sources = list(sources)
    outside.restore_modules(sources)
    for source in sources:
        find(source.kind, source.word)


def _enter_all(module: types.ModuleType, code: outside.Code) -> None:
    """All entries of a file."""
    for kind in _ENTRIES:
        for name, entry in _defined(module, kind).items():
            if outside.code(kind, name) != code:
                _enter(kind, name, entry, code)


def _defined(module: types.ModuleType, kind: str) -> dict[str, Any]:
    """The entries of this kind in a file, by name: METHOD has that of the file, TASK its own."""
    several = getattr(module, f"{kind.upper()}S", {})
    if not isinstance(several, dict):
        raise ConfigError(f"{module.__file__}: {kind.upper()}S must be {{name: {kind}}}")
    one = getattr(module, kind.upper(), None)
    if one is None:
        return several
    is_task = kind == "task" and isinstance(one, Task)
    return several | {one.spec.name if is_task else Path(module.__file__ or "").stem: one}


def _enter(kind: str, name: str, entry: Any, code: outside.Code) -> None:
    if not isinstance(entry, _CLASSES[kind]):
        wanted = f"{_CLASSES[kind].__module__}.{_CLASSES[kind].__name__}"
        raise ConfigError(f"{code.origin}: {kind} {name} is a {type(entry).__name__}, no {wanted}")
    if isinstance(entry, Task) and entry.spec.name != name:
        raise ConfigError(f"{code.origin}: task {name} calls itself {entry.spec.name}")
    if not name.isidentifier():
        raise ConfigError(f'{code.origin}: "{name}" is no name: letters, digits and _ alone')
    others = ("planner",) if kind == "planner" else ("method", "task")  # for.NAME means either
    if taken := [other for other in others if name in _ENTRIES[other]]:
        raise ConfigError(f"{code.origin}: there is a {taken[0]} {name} already; rename this one")
    outside.note(kind, name, code)
    _ENTRIES[kind][name] = entry
