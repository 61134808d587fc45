"""How long trials will take on this machine if it does nothing else, estimated from finished trials
in this results folder and in the reference runs, each scaled to the speed of this machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from pyarrow import fs as pafs

from harness import zoo
from harness.experiment import suites
from harness.experiment.identity import TrialSpec
from harness.records import packed, rows, run_tables, storage

_NEWEST = 500  # trials that are read; more would take longer than they tell
_REFERENCE = str(Path(__file__).resolve().parents[2] / "results" / "reference")


class Estimator:
    """Estimates from the medians of finished trials of the same (variant, stages, method, task,
    scale, protocol), or else of fewer of these: seconds of a training step, and seconds of
    everything else. Trials that took the weights of others stand for those that will, and for no
    training. A search in a simulator takes as long as that simulator, so other tasks and ways to
    plan say nothing of it.
    `speed` is this machine's yardstick (runtime/yardstick.py); 0 leaves times as they were.
    """

    def __init__(self, results: str, speed: float):
        self._known: dict[tuple[str, ...], list[_Cost]] = {}
        for root in (_REFERENCE, results):
            for row in _trials(root):
                if row.status == "ok":
                    cost = _cost(row, speed)
                    of = row.variant, row.method, row.task, row.scale, row.protocol
                    for key in _kinds(*of, rows.stages_of(row), trains=not row.weights):
                        self._known.setdefault(key, []).append(cost)

    def seconds(self, spec: TrialSpec) -> float | None:
        """The estimate for one trial; None when nothing like it has run."""
        cfg = spec.config
        of = spec.variant, spec.method, spec.task, cfg.scale, cfg.protocol.name
        trains = not cfg.weights.identity
        keys = _kinds(*of, spec.stages, trains)
        if zoo.METHODS[spec.method].plans_in_simulator or cfg.mpc.dynamics == "simulator":
            keys = [key for key in keys if _of_variant(spec.variant) in key]
        elif not trains:  # else a trial that trained, without its training
            keys += _kinds(*of, spec.stages, trains=True)
        for key in keys:
            if key in self._known:
                costs = self._known[key]
                steps = float(cfg.train.steps or statistics.median(c.steps for c in costs))
                step_s = statistics.median(c.step_s for c in costs)  # 0 for a control
                steps *= "train" in spec.stages
                return steps * step_s + statistics.median(c.rest_s for c in costs)
        return None

    def total(
        self, specs: Sequence[TrialSpec], machine: Mapping[str, float] | None
    ) -> tuple[float, int]:
        """Seconds of wall time for all trials, and how many have no estimate. The trials of a wave
        (suites.waves) run side by side on a machine with that many "CPU" and "GPU", or one after
        the other where it is None; one wave follows the other.
        """
        parts = [self._of_wave(wave, machine) for wave in suites.waves(specs)]
        return sum(seconds for seconds, _ in parts), sum(unknown for _, unknown in parts)

    def _of_wave(
        self, specs: Sequence[TrialSpec], machine: Mapping[str, float] | None
    ) -> tuple[float, int]:
        """The total of trials that wait for no other."""
        costs = [(self.seconds(spec), _share(spec, machine) if machine else 1.0) for spec in specs]
        known = [(seconds, share) for seconds, share in costs if seconds is not None]
        shared = sum(seconds * share for seconds, share in known)
        longest = max((seconds for seconds, _ in known), default=0.0)
        return max(shared, longest), len(costs) - len(known)


def _share(spec: TrialSpec, machine: Mapping[str, float]) -> float:
    """The share of the machine's CPUs or of its GPUs that a trial takes, the larger; at most 1."""
    request = spec.config.resources
    gpus = request.gpu / max(request.gpu, machine["GPU"]) if request.gpu else 0.0
    return float(max(request.cpu / max(request.cpu, machine["CPU"]), gpus))


class _Cost(NamedTuple):
    steps: int
    step_s: float
    rest_s: float


def _kinds(
    variant: str,
    method: str,
    task: str,
    scale: str,
    protocol: str,
    stages: Sequence[str],
    trains: bool,
) -> list[tuple[str, ...]]:
    """Keys that trials share whose times resemble each other, the closest likeness first."""
    names = " ".join(sorted(name.partition("@")[0] for name in stages))
    kind, variant = "trains" if trains else "weights of others", _of_variant(variant)
    whole, less = (method, task, scale, protocol), (method, task, scale)
    keys = [(variant, names, *whole), (names, *whole), whole, (variant, *less), less]
    return [(kind, *key) for key in (*keys, (method, scale))]


def _of_variant(variant: str) -> str:
    return f"variant {variant}"  # else the name of none could be that of a task


def _cost(row: rows.TrialRow, speed: float) -> _Cost:
    """The cost on this machine alone: of a trial on a CPU that had to share it, the time without
    what others took.
    """
    scale = row.cpu_yardstick / speed if row.cpu_yardstick and speed else 1.0
    if row.cpu_s and not row.driver:  # a CPU has none
        scale *= min(1.0, row.cpu_s / row.total_s)
    if row.weights:  # `train_s` is of the trial that trained
        return _Cost(0, 0.0, scale * row.total_s)
    step_s = row.train_s / row.train_steps if row.train_steps else 0.0
    rest_s = max(0.0, row.total_s - row.train_s)
    return _Cost(row.train_steps, scale * step_s, scale * rest_s)


def _trials(root: str) -> list[rows.TrialRow]:
    fs, base = storage.filesystem(root)
    selector = pafs.FileSelector(base, recursive=True, allow_not_found=True)
    try:
        infos = fs.get_file_info(selector)
    except NotADirectoryError:  # the run says so when it comes to writing
        return []
    found: list[tuple[int, str]] = []  # when a trial was written, and its folder
    for info in infos:
        path, written = PurePath(info.path[len(base) :].lstrip("/")), info.mtime_ns or 0
        if path.match("trials/*/trial.parquet"):
            found.append((written, storage.join(root, *path.parent.parts)))
        elif path.match(f"{packed.FOLDER}/trial.parquet"):
            run = storage.join(root, *path.parent.parent.parts)
            names = run_tables.names(run)
            found += [(written, storage.join(run, "trials", name)) for name in names]
    read = [rows.read_trial(folder) for _, folder in sorted(found)[-_NEWEST:]]
    # a copy of a whole run holds the same trials
    once = {(row.key, row.config_hash, row.started): row for row in read if row is not None}
    return list(once.values())
