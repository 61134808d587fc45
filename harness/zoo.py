"""Every method, task and planner by name; the only importer of lewm, baselines and tasks. The order
of METHODS and TASKS is that of the tables and colours of a report.
"""

from __future__ import annotations

import dataclasses

from baselines import controls, dino_wm, ema_jepa, gcbc, gciql, gcivl, pldm, smwm, true_state
from harness.contracts.method import Method
from harness.contracts.planning import PlannerEntry
from harness.contracts.task import Task
from harness.planning import cem
from harness.tasks import cube, push_t, reacher, toy, two_room
from lewm import inverse_dynamics as lewm_inverse_dynamics
from lewm import model as lewm

METHODS: dict[str, Method] = {
    "lewm": Method(
        "LeWM",
        lewm.LeWMConfig,
        lewm.LeWM,
        trained=True,
        about="Predicts the next latent; SIGReg keeps latents Gaussian; plans.",
    ),
    "lewm_idm": Method(
        "LeWM + inverse dynamics",
        lewm_inverse_dynamics.LeWMInverseDynamicsConfig,
        lewm_inverse_dynamics.LeWMInverseDynamics,
        trained=True,
        about="LeWM, whose latents must also tell the block between them; plans.",
    ),
    "smwm": Method(
        "SMWM",
        smwm.SMWMConfig,
        smwm.SMWM,
        trained=True,
        about="LeWM's network under inverse dynamics instead of SIGReg; plans.",
    ),
    "pldm": Method(
        "PLDM",
        pldm.PLDMConfig,
        pldm.PLDM,
        trained=True,
        version=2,
        about="LeWM's network under variance and covariance terms; plans.",
    ),
    "dino_wm": Method(
        "DINO-WM",
        dino_wm.DinoWMConfig,
        dino_wm.DinoWM,
        trained=True,
        about="Predicts a frozen encoder's patch tokens; plans.",
    ),
    "dino_wm_proprio": Method(
        "DINO-WM + proprio",
        dino_wm.DinoWMConfig,
        dino_wm.DinoWMProprio,
        trained=True,
        about="DINO-WM with proprioception beside the tokens; plans.",
    ),
    "ema_jepa": Method(
        "EMA JEPA",
        ema_jepa.EMAJEPAConfig,
        ema_jepa.EMAJEPA,
        trained=True,
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
        about="The control that shows collapse; plans.",
    ),
    "true_state": Method(
        "True state",
        true_state.TrueStateConfig,
        true_state.TrueState,
        trained=True,
        about="The ceiling: LeWM's predictor and planner over the simulator's pose.",
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
}


def task(name: str, scene: str) -> Task:
    """The task `name`; a task with several scenes is drawn in `scene` (DataConfig.scene)."""
    entry = TASKS[name]
    return dataclasses.replace(entry, scene=scene) if hasattr(entry, "scene") else entry
