"""One trial in reading order: data, train, look inside, surprise, control, plan time. No Ray in it.

python -m harness.trial SPEC.yaml [results=FOLDER] [datasets=FOLDER]
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import dataclasses
import functools
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from harness import trial_context, zoo
from harness.contracts.method import LatentModel, Method, StatePolicy, WorldModel
from harness.data import clips, privileged
from harness.evaluate import (
    control,
    decoder,
    film,
    geometry,
    held_out,
    latents,
    open_loop,
    pairs,
    plan_time,
    plans,
    probing,
    surprise,
)
from harness.experiment import config, identity, trial_row
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import folder_lock, plan, rows, storage
from harness.runtime import command, deterministic, memory, provenance, threads, yardstick
from harness.runtime.progress import Display, Progress
from harness.training import checkpoint, loop, pretraining, weight_files
from harness.training.checkpoint import Checkpoint
from harness.trial_context import Context, Result

log = logging.getLogger(__name__)


class TrialError(RuntimeError):
    """A trial that cannot run here, and what to do about it."""


def run(spec: TrialSpec, folders: RunFolders, progress: Progress) -> rows.TrialRow:
    """Run a trial to its end and write its rows; any failure becomes a row with status "error".

    Raises OSError only where even that row cannot be written.
    """
    with plan.marked(folders.trial(spec), progress) as marked:
        return _run(spec, folders, marked)


def _run(spec: TrialSpec, folders: RunFolders, progress: Progress) -> rows.TrialRow:
    """Run a trial whose folder says meanwhile how far it is."""
    started, clock, before = time.time(), time.monotonic(), time.process_time()
    for folder in (folders.trial(spec), folders.checkpoint(spec)):
        storage.remove_parts(folder)  # what killed processes have left
    provenance.git()  # now, since the checkout may be another when the trial ends
    results, error, earlier = [], "", _earlier(spec, folders)
    try:
        for result in _results(spec, folders, progress, earlier):
            results.append(result)
    except Exception as failure:  # noqa: BLE001  the trial boundary
        log.debug("%s", traceback.format_exc())
        results.append(Result(facts=_failure_facts(failure)))
        error = trial_row.error_line(failure, folders)
    results.append(Result(facts=rows.CPUFacts(time.process_time() - before)))
    total_s = time.monotonic() - clock
    row = _write(spec, folders, results, error, started, total_s, earlier)
    if row.status == "ok":
        checkpoint.drop_training(folders.checkpoint(spec))
    return row


def _failure_facts(failure: Exception) -> rows.FailureFacts:
    """The kind of a failure. What follows from the configuration and the data alone comes
    again with them.
    """
    diverged = isinstance(failure, loop.DivergedError)
    return rows.FailureFacts(diverged, diverged or isinstance(failure, pairs.PairError))


def record_failure(
    spec: TrialSpec, folders: RunFolders, error: str, permanent: bool = False
) -> rows.TrialRow:
    """Write the row of a trial that could not be started or whose process died; `permanent`: the
    same command would end so again.
    """
    facts = Result(facts=rows.FailureFacts(diverged=False, permanent=permanent))
    return _write(spec, folders, [facts], error, time.time(), 0.0, _earlier(spec, folders))


def _earlier(spec: TrialSpec, folders: RunFolders) -> rows.Written | None:
    """The tables of this trial where it is finished and lacks some of these stages, else None."""
    written = rows.read_back(folders.trial(spec))
    if written is None or written.trial.status != "ok":
        return None
    lacking = set(identity.stage_names(spec)) - set(rows.stages_of(written.trial))
    return written if lacking else None


def _results(
    spec: TrialSpec, folders: RunFolders, progress: Progress, earlier: rows.Written | None
) -> Iterator[Result]:
    """Yield the results of a trial: first its data, then the stages that its spec names and that an
    earlier run has not done.
    """
    done = set(rows.stages_of(earlier.trial)) if earlier else set()
    _check(spec, done)
    device = torch.device(spec.config.device)
    if device.type == "cuda":
        deterministic.use()
        memory.keep_to_share(device, spec.config.resources.gpu)
    threads.use_one()
    memory.keep_freed()
    memory.reset_peak(device)
    progress("data", 0, 1)
    context = trial_context.with_data(spec, folders, device, progress)
    yield Result(facts=rows.DataFacts(context.dataset.hash, context.dataset.split_hash))
    method = zoo.METHODS[spec.method]
    if method.trained and device.type == "cpu":
        yield Result(facts=rows.SpeedFacts(yardstick.steps_per_cpu_s()))
    if "control" in spec.stages:
        for eval_seed in spec.config.protocol.eval_seeds:
            context.pairs(eval_seed)  # a PairError before anything is trained
    if spec.config.weights.identity:
        result = take_weights(context)
        yield result
        context = dataclasses.replace(context, model=result.model)
    elif earlier and "train" in done and method.trained:
        model = trained_before(context, earlier.trial.checkpoint_hash)
        context = dataclasses.replace(context, model=model)
    names = dict(zip(spec.stages, identity.stage_names(spec), strict=True))
    for name, stage in STAGES.items():
        if name in names and names[name] not in done and stage.applies(method):
            result = stage.run(context)
            yield result
            if result.model is not None:  # else the context keeps what it has read
                context = dataclasses.replace(context, model=result.model)
    yield Result(facts=rows.MemoryFacts(memory.peak(device)))


def train(context: Context) -> Result:
    """Train the model, from its last checkpoint on where there is one, and look inside it."""
    spec, cfg, device, progress = context.spec, context.config, context.device, context.progress
    model = _new_model(context)
    sizes = latents.size_rows(context.key, model, context.dims)
    inputs = pretraining.inputs(model, context.dataset)
    saved = Checkpoint(context.folders.checkpoint(spec), identity.config_hash(spec), inputs)
    windows = context.training_windows(model)
    with threads.torch_uses(cfg.train.threads):
        result = loop.train(model, windows, cfg.train, spec.seed, device, saved, progress)
    facts = loop.facts(model, result, saved.finish(model, config.to_yaml(spec)))
    facts = dataclasses.replace(facts, resident_bytes=windows.resident_bytes)
    metrics = [*sizes, *loop.metric_rows(context.key, result), *diagnostics(context, model)]
    return Result(metrics + _normalizer_rows(context), facts=facts, model=model)


def take_weights(context: Context) -> Result:
    """Load the weights that take the place of a training, and look inside the model."""
    weights, model = context.config.weights, _new_model(context)
    taken, digest = loop.NOT_TRAINED, weights.sha256
    if weights.trial:
        taken, digest = _on_its_way(context, model)
    else:
        weight_files.load(model, weights.path, weights.sha256)
    sizes = latents.size_rows(context.key, model, context.dims)
    model = loop.ready_to_act(model)
    facts = loop.facts(model, taken, digest)
    metrics = [*sizes, *diagnostics(context, model), *_normalizer_rows(context)]
    return Result(metrics, facts=facts, model=model)


def _on_its_way(context: Context, model: LatentModel) -> tuple[loop.TrainResult, str]:
    """Load the weights that another trial of the run kept while it trained; how far it had come,
    and their sha256. Raises TrialError where it kept none.
    """
    weights = context.config.weights
    folder = storage.parent(weights.path)
    name = checkpoint.snapshot_name(weights.share)
    training = rows.read_trial(storage.parent(folder))
    found = Checkpoint(folder, weights.config_hash).load_weights(model, name)
    if found is None or training is None:
        raise TrialError(f"{weights.trial} has not trained as far: the same command goes on there")
    steps = math.ceil(weights.share * training.train_steps)
    return loop.TrainResult(steps, weights.share * training.train_s, 0.0, []), found


def trained_before(context: Context, checkpoint_hash: str) -> LatentModel:
    """The model with the weights that this trial's training left, whose sha256 its row has. Raises
    TrialError where they are gone or others.
    """
    spec, model = context.spec, _new_model(context)
    folder = context.folders.checkpoint(spec)
    found = Checkpoint(folder, identity.config_hash(spec)).load_weights(model)
    if found != checkpoint_hash:
        reason = (
            "has no weights any more" if found is None else "has other weights than its row says"
        )
        raise TrialError(f"{folder} {reason}: delete the trial's folder to train again")
    return loop.ready_to_act(model)


def _new_model(context: Context) -> LatentModel:
    """The trial's model as its training starts, a frozen encoder with its weights."""
    method = pretraining.ready(
        *(context.config.method, context.pool, context.folders.datasets),
        *(context.device, context.progress),
    )
    return context.new_model(method)


def diagnostics(context: Context, model: LatentModel) -> list[rows.MetricRow]:
    """The health of a world model's latent space on validation episodes."""
    if not isinstance(model, WorldModel):
        return []
    block = context.task.spec.action_block
    return latents.measure(
        *(context.key, model, context.dataset, context.normalizer, block, context.device)
    )


def _normalizer_rows(context: Context) -> list[rows.MetricRow]:
    """Mean and std of the actions: without them, nobody else can use the weights."""
    statistics = ("action_mean", "action_std")
    return [
        rows.MetricRow(context.key, "normalizer", name, i, float(value), "of the task's actions")
        for name in statistics
        for i, value in enumerate(getattr(context.normalizer, name))
    ]


def look_inside(context: Context) -> Result:
    """Read the state out of the latents by probes, out of an untrained encoder's, and out of
    pictures of the latent's size.
    """
    context.progress("probing", 0, 1)
    untrained = held_out.latent(context.new_model(context.config.method.untrained()))
    size = latents.floats_per_frame(context.trained, context.dims, context.device)
    controls = [
        context.read_pairs(lambda obs: {"untrained": untrained(obs)["latent"]}),
        context.read_pairs(probing.grey(size)),
    ]
    spec = context.task.spec
    return Result(probing.measure(context.key, context.probed, controls, context.probe, spec))


def roll_out(context: Context) -> Result:
    """How far rollouts go astray, in the latents and in what the probe reads from them."""
    context.progress("open loop", 0, 1)
    return Result(open_loop.measure(context.key, context.rollouts, context.probe))


def survey(context: Context) -> Result:
    """The geometry of the latents, and a map of them."""
    context.progress("geometry", 0, 1)
    known = (context.dataset, context.normalizer, context.task.spec, context.device)
    return Result(
        [
            *geometry.measure(context.key, context.task, context.rollouts),
            *geometry.map_rows(context.key, context.world_model, *known),
        ]
    )


def watch_events(context: Context) -> Result:
    """How surprised a world model is by events on held-out clips that break the task's physics."""
    task, model = context.task, context.world_model
    if not task.surprises():
        return Result()
    context.progress("surprise", 0, 1)
    plain = zoo.task(context.spec.task, context.config.data.scene)
    drawn = clips.ensure(context.dataset, plain, context.config.data.scene, context.progress)
    if drawn is None:
        return Result()
    if zoo.METHODS[context.spec.method].sees_pose:
        drawn = privileged.clips_with_pose(drawn, task)
    return Result(surprise.measure(context.key, model, drawn, context.normalizer, context.device))


def act(context: Context) -> Result:
    """Success on the protocol's pairs and on those drawn for their stratum, and a film of one."""
    key, task, protocol = context.key, context.task, context.config.protocol
    size, normalizer = context.config.data.image_size, context.normalizer
    metrics, episodes, frames, seconds = [], [], [], 0.0
    for eval_seed in protocol.eval_seeds:
        main, extra = context.pairs(eval_seed)
        chosen, policy = [*main, *extra], context.policy(eval_seed)
        started = time.perf_counter()
        outcomes = control.run(policy, task, chosen, protocol, normalizer, size, context.progress)
        seconds += time.perf_counter() - started
        episodes += control.episode_rows(key, chosen, outcomes, protocol, eval_seed, len(main))
        metrics += pairs.family_rows(key, context.dataset, chosen)
        if eval_seed == protocol.eval_seeds[0]:
            frames = film.draw(key, task, chosen, outcomes, protocol.success_rule)
    return Result(metrics, episodes, frames, rows.ControlFacts(seconds))


def time_plans(context: Context) -> Result:
    """How long a plan takes, and its operations, on the first evaluation seed's pairs."""
    eval_seed, size = context.config.protocol.eval_seeds[0], context.config.data.image_size
    policy, (main, _) = context.policy(eval_seed), context.pairs(eval_seed)
    if isinstance(policy, StatePolicy):  # it searches in the simulator
        return Result()
    settings, normalizer = context.config.plan_time, context.normalizer
    shared = context.device_is_shared()
    cost = plan_time.measure(
        policy, context.task, main, normalizer, size, settings, context.progress
    )
    facts = rows.TimingFacts(shared or context.device_is_shared())
    return Result(plan_time.metric_rows(context.key, policy, cost), facts=facts)


def explain_plans(context: Context) -> Result:
    """Judge what loses the pairs that first plans do not solve, of the first evaluation seed."""
    settings, eval_seed = context.config, context.config.protocol.eval_seeds[0]
    policy, (main, _) = context.policy(eval_seed), context.pairs(eval_seed)
    if not isinstance(policy, plans.Planning):  # it searches in the simulator
        return Result()
    return Result(
        plans.measure(
            *(context.key, policy, context.task, main, context.dataset, context.normalizer),
            *(settings.protocol, settings.plans, context.progress),
        )
    )


def decode(context: Context) -> Result:
    """Draw what latents hold of a frame, and what rollouts imagine."""
    block, settings = context.task.spec.action_block, context.config.decoder
    metrics, frames = decoder.measure(
        *(context.key, context.world_model, context.dataset, context.normalizer),
        *(block, settings, context.device, context.progress),
    )
    return Result(metrics, frames=frames)


class Stage(NamedTuple):
    """A part of a trial: of every trained method, of controls where it says so, not of feed-forward
    policies where it asks what a world model predicts, and not of the ceiling where it asks what an
    encoder has learned.
    """

    run: Callable[[Context], Result]
    of_controls: bool = False
    of_policies: bool = True
    of_ceilings: bool = True

    def applies(self, method: Method) -> bool:
        """Whether trials of the method run this stage."""
        if not method.trained:
            return self.of_controls
        if method.sees_pose:
            return self.of_ceilings
        return method.plans or self.of_policies


STAGES = {  # in the order in which they run; a trial runs those that its spec names
    "train": Stage(train),
    "probing": Stage(look_inside, of_ceilings=False),
    "open_loop": Stage(roll_out, of_policies=False),
    "geometry": Stage(survey, of_policies=False, of_ceilings=False),
    "surprise": Stage(watch_events, of_policies=False),
    "control": Stage(act, of_controls=True),
    "plan_time": Stage(time_plans),
    "plans": Stage(explain_plans, of_policies=False),
    "decoder": Stage(decode, of_policies=False, of_ceilings=False),
}


def stages_of(spec: TrialSpec) -> list[str]:
    """The stages of the trial that its method has."""
    method = zoo.METHODS[spec.method]
    return [name for name in spec.stages if STAGES[name].applies(method)]


def _check(spec: TrialSpec, done: set[str]) -> None:
    """Raises TrialError, or ConfigError, where the trial cannot run here: before data are collected
    for nothing.
    """
    for name in spec.stages:
        config.known("stage", name, STAGES)
    weights = spec.config.weights
    trains = "train" in spec.stages or "train" in done
    if zoo.METHODS[spec.method].trained and bool(weights.identity) == trains:
        reason = "has weights and names" if weights.identity else "has no weights and lacks"
        raise TrialError(f"{spec.key} {reason} the stage train: it must have one of the two")
    if spec.config.method.given_weights and not weights.identity:
        raise TrialError(f"{spec.key} has weights of no known checksum: make it by harness.run")
    if weights.missing:
        raise TrialError(weights.missing)
    if spec.config.device == "cuda" and not torch.cuda.is_available():
        raise TrialError("device=cuda was asked for and there is no CUDA device: use device=cpu")
    if reason := spec.config.method.unavailable_reason(f"method.{spec.method}"):
        raise TrialError(reason)


def _write(
    spec: TrialSpec,
    folders: RunFolders,
    results: list[Result],
    error: str,
    started: float,
    total_s: float,
    earlier: rows.Written | None,
) -> rows.TrialRow:
    """Write the tables of a trial that ends now; returns its own row. What an earlier run has
    finished stays, whatever the stages that were added end with.
    """
    facts = [result.facts for result in results if result.facts is not None]
    trial = trial_row.trial_row(spec, folders, facts, error, started, total_s)
    episodes = [row for result in results for row in result.episodes]
    metrics = [row for result in results for row in result.metrics]
    frames = [row for result in results for row in result.frames]
    metrics += trial_row.sweep_rows(spec)
    if earlier is not None:
        trial = trial_row.joined(earlier.trial, trial)
        if error:
            episodes, metrics, frames = [], [], []
        known = {(row.stage, row.name) for row in metrics}
        metrics = [m for m in earlier.metrics if (m.stage, m.name) not in known] + metrics
        episodes = episodes or earlier.episodes
        stages = {row.stage for row in frames}
        frames = [f for f in earlier.frames if f.stage not in stages] + frames
    return rows.write(folders.trial(spec), trial, episodes, metrics, frames)


def main(argv: Sequence[str]) -> int:
    """Run the trial of a YAML file; returns the command's exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return command.main(argv, lambda _: __doc__.strip(), _parse, lambda parsed: _run_here(*parsed))


def _parse(argv: Sequence[str]) -> tuple[TrialSpec, RunFolders]:
    """The trial of the file that is named. Raises ConfigError."""
    defaults = {"results": "results/trial", "datasets": "data"}
    (file,), folders = command.read_words(argv, defaults, names=("SPEC.yaml",))
    try:
        spec = config.from_yaml(Path(file).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise config.ConfigError(f"{file} cannot be read: {error}") from error
    if "/" in spec.key or not spec.key.isprintable():
        raise config.ConfigError(
            f"{file}: variant={spec.variant!r} is a part of the name of a folder: give one of "
            "printable text without /"
        )
    return spec, RunFolders(folders["results"], "trial", "", folders["datasets"])


def _run_here(spec: TrialSpec, folders: RunFolders) -> int:
    """Run the trial in this process; the exit code."""
    with folder_lock.hold(folders.trial(spec)), Display(1) as display:
        row = run(spec, folders, functools.partial(display.update, spec.key))
    outcome = f"{row.status} {row.error}".strip()
    log.info("%s: %s (%.1f s); rows in %s", row.key, outcome, row.total_s, folders.trial(spec))
    return command.OK if row.status == "ok" else command.FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
