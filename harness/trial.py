"""One trial: episodes -> windows -> train -> control -> plan time -> rows. No Ray in it.

python -m harness.trial SPEC.yaml [results=FOLDER] [datasets=FOLDER]
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from harness import policies, zoo
from harness.contracts.data import Pair
from harness.contracts.method import LatentModel, Policy, StatePolicy, TimedPolicy, WorldModel
from harness.contracts.task import ModelDims, Task
from harness.data import collect, normalize
from harness.data.episodes import Dataset, open_dataset
from harness.data.normalize import Normalizer
from harness.data.windows import Windows
from harness.evaluate import control, film, latents, pairs, plan_time, probing
from harness.experiment import config, identity
from harness.experiment.identity import TrialSpec
from harness.records import folder_lock, rows
from harness.runtime import flops, memory, provenance, seeding
from harness.runtime.progress import Display
from harness.training import pretraining
from harness.training.checkpoint import Checkpoint
from harness.training.loop import train

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # stage, done, total


_RESIDENT_SHARE = 0.5  # of a GPU's free memory, for the frames of a dataset
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TrialError(RuntimeError):
    """A trial that cannot run here, and what to do about it."""


@dataclass(frozen=True)
class Place:
    """Where a run's trials lie and how they are called."""

    folder: str  # results/<run>
    run: str
    suite: str
    datasets: str


@dataclass
class _Record:
    """What the stages leave: the rows of the tables, and the checkpoint they came from."""

    fields: dict = field(default_factory=dict)  # of rows.TrialRow
    episodes: list[rows.EpisodeRow] = field(default_factory=list)
    metrics: list[rows.MetricRow] = field(default_factory=list)
    frames: list[rows.FrameRow] = field(default_factory=list)
    checkpoint: Checkpoint | None = None


def folder(place: Place, spec: TrialSpec) -> str:
    """The trial's folder; a changed configuration has another one."""
    return f"{place.folder}/trials/{rows.folder_name(spec.key, identity.config_hash(spec))}"


def run(spec: TrialSpec, place: Place, progress: Progress) -> rows.TrialRow:
    """Run a trial to its end and write its rows; any failure becomes a row with status "error".

    Raises OSError only where even that row cannot be written.
    """
    started = time.time()
    provenance.git()  # now, since the checkout may be another when the trial ends
    record, error = _Record(), ""
    try:
        _stages(spec, place, record, progress)
    except Exception as failure:  # noqa: BLE001  the trial boundary
        log.debug("%s", traceback.format_exc())
        error = _line(failure, place)
    row = _finish(spec, place, record, error, started)
    if record.checkpoint is not None and row.status == "ok":
        record.checkpoint.drop_training()
    return row


def record_failure(spec: TrialSpec, place: Place, error: str) -> rows.TrialRow:
    """The row of a trial that could not be started or whose process died."""
    return _finish(spec, place, _Record(), error, time.time())


def _line(failure: Exception, place: Place) -> str:
    """One line that says what failed, and for a full disk what to do."""
    words = "".join(c if c.isprintable() else " " for c in str(failure))  # no colours, no half text
    line = f"{type(failure).__name__}: {' '.join(words.split())}"[:500]
    if isinstance(failure, OSError) and failure.errno in _DISK_FULL:
        word = "datasets" if str(failure.filename).startswith(place.datasets) else "results"
        line += f": free disk space or give another {word}=FOLDER, then issue the command again"
    return line


def _stages(spec: TrialSpec, place: Place, record: _Record, progress: Progress) -> None:
    cfg, task, method = spec.config, _task(spec), zoo.METHODS[spec.method]
    _one_thread()
    device = _device(cfg)
    lacking = pretraining.lacks(cfg.method, spec.method)
    if lacking:  # said before data are collected for nothing
        raise TrialError(lacking)
    memory.keep_freed()
    memory.reset_peak(device)
    record.fields["note"] = pretraining.note(cfg.method)
    progress("data", 0, 1)
    dataset = open_dataset(collect.ensure(task, cfg.data, place.datasets))
    record.fields |= {"dataset_hash": dataset.hash, "split_hash": dataset.split_hash}
    normalizer = normalize.fit(dataset)
    if method.trained:
        model = _trained_model(spec, place, dataset, normalizer, record, progress, device)
        _look_inside(spec, model, dataset, normalizer, record, progress, device)
    for eval_seed in cfg.protocol.eval_seeds:
        main, extra = pairs.draw(dataset, task, cfg.protocol, eval_seed)
        if method.trained:
            policy = policies.of_model(spec, model, normalizer.decode_actions, eval_seed, device)
        else:
            policy = method.build(cfg.method, task, seeding.integer(spec.seed, eval_seed))
        _control(spec, policy, main, extra, eval_seed, normalizer, record, progress)
        record.metrics += _families(spec.key, dataset, [*main, *extra])
        if (
            "plan_time" in spec.stages
            and eval_seed == cfg.protocol.eval_seeds[0]
            and method.trained
        ):
            _plan_time(spec, policy, main, normalizer, record, progress)
    record.fields["peak_memory_bytes"] = memory.peak(device)


def _task(spec: TrialSpec) -> Task:
    return zoo.task(spec.task, spec.config.data.scene)


def _device(cfg: config.TrialConfig) -> torch.device:
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise TrialError("device=cuda was asked for and there is no CUDA device: use device=cpu")
    return torch.device(cfg.device)


def _one_thread() -> None:
    """One thread inside every operation: more would add up in another order, so that outcomes
    would depend on the machine.
    """
    import scipy.linalg  # noqa: F401  loads the BLAS of scikit-learn, to be limited with numpy's

    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


def _trained_model(
    spec: TrialSpec,
    place: Place,
    dataset: Dataset,
    normalizer: Normalizer,
    record: _Record,
    progress: Progress,
    device: torch.device,
) -> LatentModel:
    """The model of this trial, trained from its last checkpoint on where there is one."""
    cfg, task = spec.config, _task(spec)
    method = pretraining.ready(cfg.method, _pool(spec, place), place.datasets, device, progress)
    dims = task.spec.model_dims(cfg.data.image_size)
    model = _untrained(spec, method, device)
    record.metrics += _sizes(spec, model, dims)
    inputs = pretraining.inputs(model, dataset)
    checkpoint = Checkpoint(f"{folder(place, spec)}/checkpoint", identity.config_hash(spec), inputs)
    record.checkpoint = checkpoint  # its training state stays until the rows are written
    block = task.spec.action_block
    tokens = pretraining.tokens(model, dataset, device, progress)
    windows = Windows(
        *(dataset, "train", model.window_frames, block, normalizer, model.goal_sampling, tokens)
    )
    if device.type == "cuda":
        windows.reside(device, int(_RESIDENT_SHARE * memory.free(device)))
    torch.set_num_threads(cfg.train.threads)
    result = train(model, windows, cfg.train, spec.seed, device, checkpoint, progress)
    torch.set_num_threads(1)
    record.metrics.append(rows.MetricRow(spec.key, "train_time", "wait_s", 0, result.wait_s, "s"))
    digest = checkpoint.finish(model, config.to_yaml(spec))
    record.metrics += [
        rows.MetricRow(spec.key, "train", entry.name, entry.step, entry.value, "")
        for entry in result.curve
    ]
    record.fields |= {
        "checkpoint_hash": digest,
        "parameters_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "parameters_frozen": sum(p.numel() for p in model.parameters() if not p.requires_grad),
        "tokens_per_frame": model.tokens_per_frame,
        "train_steps": result.steps,
        "train_s": result.seconds,
    }
    return model


def _untrained(spec: TrialSpec, method: Any, device: torch.device) -> LatentModel:
    """The model as its training starts, with the configuration `method`."""
    torch.manual_seed(seeding.integer("model", spec.seed))
    dims = _task(spec).spec.model_dims(spec.config.data.image_size)
    return zoo.METHODS[spec.method].build(method, dims).to(device)


def _pool(spec: TrialSpec, place: Place) -> list[Dataset]:
    """The datasets that the method's encoder is trained on first; mostly none."""
    return [
        open_dataset(collect.ensure(zoo.task(name, data.scene), data, place.datasets))
        for name, data in spec.config.pool.items()
    ]


def _look_inside(
    spec: TrialSpec,
    model: LatentModel,
    dataset: Dataset,
    normalizer: Normalizer,
    record: _Record,
    progress: Progress,
    device: torch.device,
) -> None:
    """Health of a world model's latent space, and what can be read out of any encoder."""
    task, horizon = _task(spec).spec, spec.config.mpc.horizon_blocks
    if isinstance(model, WorldModel):
        record.metrics += latents.measure(
            spec.key, model, dataset, normalizer, task.action_block, horizon, device
        )
    if "probing" in spec.stages:
        progress("probing", 0, 1)
        other = _untrained(spec, pretraining.untrained(spec.config.method), device)
        record.metrics += probing.measure(spec.key, model, other, dataset, task.state_names, device)


def _sizes(spec: TrialSpec, model: LatentModel, dims: ModelDims) -> list[rows.MetricRow]:
    """Parameters of each part of the model, logged and recorded; frames of a training window, and
    floats that one frame becomes.
    """
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    words = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
    log.info("%s: %s; %.2f M parameters in all", spec.key, words, sum(counts.values()) / 1e6)
    floats = latents.floats_per_frame(flops.shapes_only(model), dims, flops.META)
    return [
        *(rows.MetricRow(spec.key, "model", n, 0, k, "parameters") for n, k in counts.items()),
        rows.MetricRow(spec.key, "model", "window_frames", 0, model.window_frames, "frames"),
        rows.MetricRow(spec.key, "model", "latent_floats", 0, floats, "floats"),
    ]


def _control(
    spec: TrialSpec,
    policy: Policy | StatePolicy,
    main: list[Pair],
    extra: list[Pair],
    eval_seed: int,
    normalizer: Normalizer,
    record: _Record,
    progress: Progress,
) -> None:
    """Success on the protocol's pairs, and on those drawn for their stratum besides; films one."""
    protocol, size = spec.config.protocol, spec.config.data.image_size
    task, started = _task(spec), time.perf_counter()
    chosen = [*main, *extra]
    outcomes = control.run(policy, task, chosen, protocol, normalizer, size, progress)
    for pair, outcome in zip(chosen, outcomes, strict=True):
        sample = "pairs" if pair.pair_id < len(main) else "stratum"
        record.episodes.append(_episode_row(spec, pair, outcome, eval_seed, sample))
    elapsed = time.perf_counter() - started
    record.fields["eval_s"] = record.fields.get("eval_s", 0.0) + elapsed
    if eval_seed == protocol.eval_seeds[0]:
        record.frames = film.draw(spec.key, task, chosen, outcomes, protocol.success_rule)


def _families(key: str, dataset: Dataset, chosen: list[Pair]) -> list[rows.MetricRow]:
    """The family of each source episode, by its number, where families are more than one episode:
    the report's intervals count families then.
    """
    families = dataset.manifest.families
    if len(set(families)) == len(families):
        return []
    sources = sorted({pair.episode for pair in chosen})
    return [rows.MetricRow(key, "pairs", "family", i, float(families[i]), "") for i in sources]


def _episode_row(
    spec: TrialSpec, pair: Pair, outcome: control.Outcome, eval_seed: int, sample: str
) -> rows.EpisodeRow:
    protocol = spec.config.protocol
    at_end = protocol.success_at == "end"
    return rows.EpisodeRow(
        key=spec.key,
        split=protocol.split,
        eval_seed=eval_seed,
        pair_id=pair.pair_id,
        source_episode=pair.episode,
        start_step=pair.step,
        stratum=pair.stratum,
        sample=sample,
        initially_solved=pair.initially_solved,
        success=outcome.success_final if at_end else outcome.success_ever,
        success_ever=outcome.success_ever,
        success_final=outcome.success_final,
        first_hit_step=outcome.first_hit_step,
        dist_init=outcome.dist_init,
        dist_min=outcome.dist_min,
        dist_final=outcome.dist_final,
        replans=len(outcome.solve_s),
        pairs_per_solve=outcome.pairs_per_solve,
        solve_s=outcome.solve_s,
        env_s=outcome.env_s,
        render_s=outcome.render_s,
    )


def _plan_time(
    spec: TrialSpec,
    policy: TimedPolicy,
    chosen: list[Pair],
    normalizer: Normalizer,
    record: _Record,
    progress: Progress,
) -> None:
    task, cfg = _task(spec), spec.config
    size = cfg.data.image_size
    taken = plan_time.measure(policy, task, chosen, normalizer, size, cfg.plan_time, progress)
    record.metrics += [
        rows.MetricRow(spec.key, "plan_time", f"{policy.timed}_s_{together}", index, seconds, "s")
        for together, times in taken.seconds.items()
        for index, seconds in enumerate(times)
    ]
    record.metrics.append(rows.MetricRow(spec.key, "plan_time", "flops", 0, taken.flops, "FLOP"))


def _finish(
    spec: TrialSpec, place: Place, record: _Record, error: str, started: float
) -> rows.TrialRow:
    previous = rows.read_trial(folder(place, spec))
    commit, dirty = provenance.git()
    device, driver = provenance.device(
        "cuda" if spec.config.device == "cuda" and not error else "cpu"
    )
    row = rows.TrialRow(
        key=spec.key,
        run=place.run,
        suite=place.suite,
        task=spec.task,
        method=spec.method,
        variant=spec.variant,
        seed=spec.seed,
        scale=spec.config.scale,
        protocol=spec.config.protocol.name,
        protocol_hash=identity.protocol_hash(spec),
        config_hash=identity.config_hash(spec),
        setting_hash=identity.setting_hash(spec),
        config_yaml=config.to_yaml(spec),
        status="error" if error else "ok",
        error=error,
        git_commit=commit,
        git_dirty=dirty,
        versions=provenance.versions(),
        device=device,
        driver=driver,
        threads=max(1, round(spec.config.resources.cpu)),
        started=started,
        ended=time.time(),
        total_s=time.time() - started,
        attempts=1 if previous is None else previous.attempts + 1,
        method_label=zoo.METHODS[spec.method].label,
        task_label=zoo.TASKS[spec.task].spec.label,
        method_rank=list(zoo.METHODS).index(spec.method),
        task_rank=list(zoo.TASKS).index(spec.task),
        is_control=not zoo.METHODS[spec.method].trained,
    )
    row = dataclasses.replace(row, **record.fields)
    metrics = [*record.metrics, *_swept(spec)]
    rows.write(folder(place, spec), row, record.episodes, metrics, record.frames)
    return row


def _swept(spec: TrialSpec) -> list[rows.MetricRow]:
    """The values that a sweep tries here; a word is no number and stands as the unit of NaN."""
    found = []
    for key in spec.swept:
        branch, *path = key.split(".")
        path = path[1:] if branch in ("method", "planner") else path
        value = functools.reduce(getattr, path, getattr(spec.config, branch))
        is_number = isinstance(value, int | float)
        number, word = (float(value), "") if is_number else (math.nan, str(value))
        found.append(rows.MetricRow(spec.key, "sweep", key, 0, number, word))
    return found


def main(argv: list[str]) -> int:
    """Run the trial of a YAML file; exit code 0 when it is ok, 2 when it could not be started or
    its row could not be written.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if {"-h", "--help", "help"} & set(argv):
        log.info("%s", __doc__)
        return 0
    folders = ("results=", "datasets=")
    options = dict(word.split("=", 1) for word in argv if word.startswith(folders))
    options = {key: os.path.expanduser(value) for key, value in options.items()}
    files = [word for word in argv if not word.startswith(folders)]
    if len(files) != 1 or "" in options.values():
        log.error("usage: python -m harness.trial SPEC.yaml [results=FOLDER] [datasets=FOLDER]")
        return 2
    try:
        spec = config.from_yaml(Path(files[0]).read_text())
    except (OSError, config.ConfigError) as error:
        log.error("%s", error)
        return 2
    place = Place(
        options.get("results", "results/trial"), "trial", "", options.get("datasets", "data")
    )
    try:
        with folder_lock.hold(folder(place, spec)), Display(1) as display:
            row = run(spec, place, functools.partial(display.update, spec.key))
    except OSError as error:
        log.error("%s", error)
        return 2
    log.info(
        "%s: %s %s (%.1f s); rows in %s",
        row.key,
        row.status,
        row.error,
        row.total_s,
        folder(place, spec),
    )
    return 0 if row.status == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
