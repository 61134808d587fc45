"""Checks weights, and replays episodes from them.

A replay does not read what it checks: whoever changes a cell and every digest that covers it still
has rows that the weights do not lead to, and weights of another training lead to other rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import torch

from harness import trial as trials
from harness import zoo
from harness.data import collect
from harness.evaluate import control
from harness.records import storage
from harness.records.rows import EpisodeRow, TrialRow
from harness.runtime import deterministic, provenance, seeding, threads
from harness.training import checkpoint, pretraining
from harness.trial_context import Context
from harness.verify import data
from harness.verify.check import Check, Note
from harness.verify.record import Run, Trial

_OUTCOME = (  # what a replay must come to; times are the machine's
    *("initially_solved", "success", "success_ever", "success_final", "first_hit_step"),
    *("dist_init", "dist_min", "dist_final", "replans", "illegal_steps"),
)
_NOT_COUNTED = -1  # illegal_steps of older rows
_PIECE = 2**24  # bytes that are read at once


class Kept(NamedTuple):
    """The trials whose weights are here and are theirs, and the outcome of looking for them."""

    names: set[str]
    check: Check


def weights(run: Run) -> Kept:
    """Every file of weights that is here has the checksum in its trial's row."""
    faults, skipped, kept, count = [], [], set(), 0
    for trial in run.ok:
        if not trial.row.checkpoint_hash:
            continue
        taken = trial.spec.config.weights.path if trial.spec else ""
        path = taken or f"{trial.folder}/checkpoint/{checkpoint.WEIGHTS}"
        if not storage.is_file(path):
            skipped.append(Note(trial.name, "its weights are not there"))
            continue
        count += 1
        if _sha256(path) == trial.row.checkpoint_hash:
            kept.add(trial.name)
        else:
            faults.append(Note(trial.name, f"{path} has not the checksum in its row"))
    return Kept(kept, Check("checksums", count, "weight files", faults, skipped))


def episodes(run: Run, present: list[Trial], kept: set[str], sample: int) -> Check:
    """Check that `sample` episodes, of as many trials as possible, end as their rows say."""
    faults: list[Note] = []
    skipped: list[Note] = []
    able = []
    with_data = {trial.name for trial in present}
    for trial in run.ok:
        if not trial.written.episodes:
            continue
        if reason := _obstacle(run, trial, with_data, kept):
            skipped.append(Note(trial.name, reason))
        else:
            able.append(trial)
    threads.use_one()  # as in a trial
    if torch.cuda.is_available():
        deterministic.use()
    count = 0
    for trial, chosen in _chosen(able, sample):
        count += len(chosen)
        try:
            wrong = list(_differences(run, trial, chosen))
        except (trials.TrialError, ValueError) as error:  # of weights, checkpoints, datasets
            wrong = [f"it cannot be replayed: {error}"]
        others = faults if _is_this_machine(trial.row) else skipped
        others += [Note(trial.name, text) for text in wrong]
    return Check("replay", count, "episodes", faults, skipped)


def _obstacle(run: Run, trial: Trial, present: set[str], kept: set[str]) -> str:
    """Why the trial cannot be replayed here, or ""."""
    if not trial.is_recomputable:
        return "not replayed: this code makes another trial of its configuration"
    spec = trial.known_spec
    if trial.name not in present:
        return "not replayed: its data are not there"
    if trial.row.checkpoint_hash and trial.name not in kept:
        return "not replayed: its weights are not there"
    if spec.config.device == "cuda" and not torch.cuda.is_available():
        return "not replayed: it needs CUDA"
    if reason := spec.config.method.unavailable_reason(f"method.{spec.method}"):
        return f"not replayed: {reason}"
    pool = {name: zoo.task(name, config.scene) for name, config in spec.config.pool.items()}
    if not all(collect.has(t, spec.config.pool[name], run.datasets) for name, t in pool.items()):
        return "not replayed: the data of its frozen encoder are not there"
    if pool and not pretraining.has(
        spec.config.method, data.context(run, trial).pool, run.datasets
    ):
        return "not replayed: its frozen encoder is not there"
    return ""


def _chosen(able: list[Trial], sample: int) -> Iterator[tuple[Trial, list[EpisodeRow]]]:
    """The trials with the episodes to replay; every trial has one before any has two."""
    order = seeding.stream("verify", *(trial.name for trial in able)).permutation(len(able))
    shares = Counter(int(order[i % len(able)]) for i in range(sample if able else 0))
    for place, share in shares.items():
        trial = able[place]
        found = trial.written.episodes
        picked = seeding.stream("verify", trial.name).permutation(len(found))[:share]
        yield trial, [found[i] for i in sorted(picked)]


def _differences(run: Run, trial: Trial, chosen: list[EpisodeRow]) -> Iterator[str]:
    """In what the replayed episodes differ from the rows."""
    context = _with_model(data.context(run, trial), trial)
    by_seed = defaultdict(list)
    for row in chosen:
        by_seed[row.eval_seed].append(row)
    for seed, recorded in by_seed.items():
        main, extra = context.pairs(seed)
        known = {pair.pair_id: pair for pair in (*main, *extra)}
        pairs = [known[row.pair_id] for row in recorded]
        protocol, size = context.config.protocol, context.config.data.image_size
        outcomes = control.run(
            context.policy(seed),
            context.task,
            pairs,
            protocol,
            context.normalizer,
            size,
            lambda *_: None,
        )
        again = control.episode_rows(context.key, pairs, outcomes, protocol, seed, len(pairs))
        for row, replayed in zip(recorded, again, strict=True):
            yield from _compared(row, replayed)


def _with_model(context: Context, trial: Trial) -> Context:
    """The context with the trained model of the trial, which a control has not."""
    if not trial.row.checkpoint_hash:
        return context
    if context.config.weights.identity:
        model = trials.take_weights(context).model
    else:
        model = trials.trained_before(context, trial.row.checkpoint_hash)
    return dataclasses.replace(context, model=model)


def _compared(row: EpisodeRow, replayed: EpisodeRow) -> Iterator[str]:
    for name in _OUTCOME:
        recorded, found = getattr(row, name), getattr(replayed, name)
        if recorded != found and not (name == "illegal_steps" and recorded == _NOT_COUNTED):
            yield f"pair {row.pair_id} replayed has {name} {found}, and its row {recorded}"


def _is_this_machine(row: TrialRow) -> bool:
    """Whether a replay must come to the same bits: the same CPU and versions, and no GPU, which
    adds up in another order in another batch.
    """
    here = (*provenance.device("cpu"), provenance.versions())
    return (row.device, row.driver, row.versions) == here


def _sha256(path: str) -> str:
    fs, base = storage.filesystem(path)
    digest = hashlib.sha256()
    with fs.open_input_stream(base) as source:
        while piece := source.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
