"""Every method, task and planner by name: one line each. The only importer of lewm, baselines and
tasks.
"""

from __future__ import annotations

import dataclasses

from baselines import controls, dino_wm, ema_jepa, gcbc, gciql, gcivl, pldm
from harness.interfaces import Method, PlannerEntry, Task
from harness.planning import cem
from harness.tasks import cube, push_t, reacher, toy, two_room
from lewm import model as lewm

METHODS: dict[str, Method] = {
    "lewm": Method("LeWM", lewm.LeWMConfig, lewm.LeWM, trained=True),
    "pldm": Method("PLDM", pldm.PLDMConfig, pldm.PLDM, trained=True, version=2),
    "dino_wm": Method("DINO-WM", dino_wm.DinoWMConfig, dino_wm.DinoWM, trained=True),
    "dino_wm_proprio": Method(
        "DINO-WM + proprio", dino_wm.DinoWMConfig, dino_wm.DinoWMProprio, trained=True
    ),
    "ema_jepa": Method("EMA JEPA", ema_jepa.EMAJEPAConfig, ema_jepa.EMAJEPA, trained=True),
    "gcbc": Method("GCBC", gcbc.GCBCConfig, gcbc.GCBC, trained=True),
    "gcivl": Method("GCIVL", gcivl.GCIVLConfig, gcivl.GCIVL, trained=True, version=3),
    "gciql": Method("GCIQL", gciql.GCIQLConfig, gciql.GCIQL, trained=True, version=3),
    "collapsed": Method("LeWM without SIGReg", lewm.CollapsedConfig, lewm.LeWM, trained=True),
    "heuristic": Method("heuristic", controls.ControlConfig, controls.Heuristic, trained=False),
    "random": Method("random", controls.ControlConfig, controls.Random, trained=False),
    "noop": Method("no-op", controls.ControlConfig, controls.Noop, trained=False),
    "replay": Method("replay", controls.ControlConfig, controls.Replay, trained=False),
}

TASKS: dict[str, Task] = {
    "two_room": two_room.TwoRoom(),
    "push_t": push_t.PushT(),
    "reacher": reacher.Reacher(),
    "cube": cube.Cube(),
    "toy": toy.Toy(),
}

PLANNERS: dict[str, PlannerEntry] = {
    "cem": PlannerEntry(cem.CEMConfig, cem.CEM),
}


def task(name: str, scene: str) -> Task:
    """The task `name`, drawn as DataConfig.scene says where it has scenes to choose from."""
    found = TASKS[name]
    return dataclasses.replace(found, scene=scene) if hasattr(found, "scene") else found
