"""The variations of suites beside tasks, methods and seeds: a table of settings that need a
training each, and the ways in which one training is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from harness import zoo
from harness.experiment.identity import TrialSpec


class Axis(NamedTuple):
    """A key of the configuration and the values that a suite gives it, a training each."""

    about: str
    key: str
    values: tuple[Any, ...]
    layer: Mapping[str, Any] = {}  # what goes with every value
    methods: tuple[str, ...] = ("lewm",)


# LeWM's appendix; the published numbers are in report/papers/paper_ablations.csv
ABLATIONS: dict[str, Axis] = {
    "sigreg_weight": Axis(
        "the weight of SIGReg (Fig. 16)",
        "method.lewm.sigreg_weight",
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    ),
    "directions": Axis(
        "SIGReg's random directions (Fig. 15)",
        "method.lewm.sigreg_directions",
        (4, 16, 64, 256, 1024),
    ),
    "knots": Axis("knots of SIGReg's integral (Fig. 15)", "method.lewm.sigreg_knots", (5, 9, 17)),
    "latent": Axis(
        "floats of a latent (Fig. 15)", "method.lewm.latent_dim", (4, 8, 16, 32, 64, 128)
    ),
    "predictor": Axis(
        "layers of the predictor (Tab. 6 varies its size)",
        "method.lewm.predictor_depth",
        (1, 2, 4, 6),
    ),
    "dropout": Axis(
        "dropout in the predictor (Tab. 9)", "method.lewm.dropout", (0.0, 0.1, 0.2, 0.5)
    ),
    "encoder": Axis(
        "the encoder's kind (Tab. 8)",
        "method.lewm.encoder.kind",
        ("conv", "vit", "resnet18"),
        {"method": {"lewm": {"encoder": {"depth": 4, "heads": 4, "patch": 8}}}},
    ),
    "decoder": Axis(
        "a decoder's picture error beside the loss (Tab. 7)",
        "method.lewm.decoder_weight",
        (0.0, 0.1, 1.0),
    ),
    "history": Axis("frames that the predictor sees", "method.lewm.history", (1, 2, 3, 4)),
    "batch": Axis("windows of a batch", "train.batch_size", (16, 32, 64, 128)),
    "data": Axis(
        "share of the training episodes, for every method",
        "train.data_share",
        (0.05, 0.1, 0.25, 0.5, 1.0),
        methods=("lewm", "pldm", "dino_wm_proprio", "gcbc", "gciql"),
    ),
}


class Evaluation(NamedTuple):
    """A way to evaluate a training: a layer of the configuration, and the planner where it is
    another one. `key` is what varies; controls that do not plan take part where `of_controls`.
    """

    key: str
    layer: Mapping[str, Any]
    planner: str = ""
    of_controls: bool = False


Evaluations = Callable[[TrialSpec], Mapping[str, Evaluation]]  # by variant, of a trial as it is

ITERATION_SHARES = (1 / 8, 1 / 4, 1 / 2, 1)
_POPULATION = ("cem", "icem", "mppi", "predictive_sampling")
_GRADIENT = ("adam", "rmsprop", "sgd")
_ROLLOUTS_OF_A_STEP = 3  # of a gradient planner: forwards, and twice as much backwards
_DESCENDING_SHARE = 10  # one in so many of CEM's candidates descends a gradient


def planners(spec: TrialSpec) -> Mapping[str, Evaluation]:
    """Every planner with as many rollouts as the trial's CEM, and stopped early after a share of
    its iterations (LeWM table 10, and success at equal compute): of shares that are the same number
    of iterations after a larger one the larger alone. Nothing for methods that do not plan.
    """
    if not zoo.METHODS[spec.method].plans:
        return {}
    cem = spec.config.planner
    found = {}
    for name in (*_POPULATION, *_GRADIENT):
        candidates, iterations = cem.candidates, cem.iterations
        if name in _GRADIENT:
            candidates = max(1, candidates // _DESCENDING_SHARE)
            iterations = cem.candidates * cem.iterations // (_ROLLOUTS_OF_A_STEP * candidates)
        key = f"planner.{name}.iterations"
        rounded = {share: max(1, math.ceil(share * iterations)) for share in ITERATION_SHARES}
        for share, number in rounded.items():
            if any(rounded[other] == number for other in ITERATION_SHARES if other > share):
                continue
            settings = {"candidates": candidates, "iterations": number}
            if hasattr(cem, "elites") and name in ("icem", "mppi"):
                settings["elites"] = cem.elites
            variant = name if share == 1 else f"{name}-{share:g}"
            found[variant] = Evaluation(key, {"planner": {name: settings}}, name)
    return found


def blame(spec: TrialSpec) -> Mapping[str, Evaluation]:
    """The model as it is, with the simulator's dynamics, and with a cost that a probe reads: which
    of the two loses pairs.
    """
    layers = {
        "model": ("mpc.dynamics", {}),
        "simulated": ("mpc.dynamics", {"mpc": {"dynamics": "simulator"}}),
        "probed": ("mpc.cost", {"mpc": {"cost": "probe"}}),
    }
    return {name: Evaluation(key, layer) for name, (key, layer) in layers.items()}


OFFSETS_STEPS = (25, 50, 75, 100)
HORIZONS_BLOCKS = (2, 3, 5, 8)
EXECUTED_BLOCKS = (1, 2, 3, 4, 5)


def horizons(spec: TrialSpec) -> Mapping[str, Evaluation]:
    """Goals further away, with twice their distance as budget; of methods that plan also longer
    plans and earlier replans.
    """
    found = {}
    for offset in OFFSETS_STEPS:
        layer = {"protocol": {"offset_steps": offset, "budget_steps": 2 * offset}}
        key = "protocol.offset_steps"
        found[f"offset-{offset}"] = Evaluation(key, layer, of_controls=True)
    if not zoo.METHODS[spec.method].plans:
        return found
    executed = spec.config.mpc.execute_blocks
    for blocks in HORIZONS_BLOCKS:
        mpc = {"horizon_blocks": blocks, "execute_blocks": min(blocks, executed)}
        found[f"horizon-{blocks}"] = Evaluation("mpc.horizon_blocks", {"mpc": mpc})
    for blocks in EXECUTED_BLOCKS:
        layer = {"mpc": {"execute_blocks": blocks}}
        found[f"execute-{blocks}"] = Evaluation("mpc.execute_blocks", layer)
    return found


def with_value(axis: Axis, value: Any) -> dict[str, Any]:
    """The layer of the configuration that gives the axis's key this value."""
    *path, last = axis.key.split(".")
    tree = {last: value}
    for name in reversed(path):
        tree = {name: tree}
    return tree


def variant(axis_name: str, value: Any) -> str:
    """The name of the trial with this value."""
    return f"{axis_name}-{value:g}" if isinstance(value, float | int) else f"{axis_name}-{value}"


def of(names: tuple[str, ...], method: str) -> Iterator[tuple[str, Axis]]:
    """Yield the ablations among `names` that vary the method."""
    for name in names:
        if method in ABLATIONS[name].methods:
            yield name, ABLATIONS[name]
