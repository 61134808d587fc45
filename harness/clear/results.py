"""The results of a finished run in CLEAR-LeWM's format (`clear-lewm-result-v1`): one JSON file for
each trial and evaluation seed, with the random policy on the same pairs beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness import zoo
from harness.clear import criteria, manifests
from harness.contracts.method import WorldModel
from harness.data import collect
from harness.data.episodes import open_dataset
from harness.experiment import config
from harness.experiment.identity import TrialSpec
from harness.records import manifest, run_tables, storage
from harness.records.manifest import Listed, Manifest
from harness.report import stats

SCHEMA = "clear-lewm-result-v1"
RANDOM = "random"  # the method whose outcomes stand beside all others

_Group = tuple[str, str, int, str]  # task, hash of the protocol, evaluation seed, hash of the data


class ResultError(ValueError):
    """A trial whose result cannot be exported; one line says why and what to do."""


class Places(NamedTuple):
    """The folders that an export reads and writes."""

    run: str  # the folder of the run
    datasets: str
    to: str
    repository: str  # where readers find the code that trained the models


class Evaluation(NamedTuple):
    """A trial on the pairs of one seed, in the order of their manifest."""

    trial: Any  # its rows.TrialRow, as a named tuple
    spec: TrialSpec
    eval_seed: int
    episodes: pd.DataFrame

    @property
    def outcomes(self) -> np.ndarray:
        """(P,) bool."""
        return self.episodes["success"].to_numpy(bool)


def export(places: Places) -> Iterator[tuple[str, str]]:
    """Write the results of every trial that is ok: (path, "") for each file, ("", reason) for each
    that cannot be. Raises OSError.
    """
    tables = run_tables.read(places.run)
    found = sorted(_evaluations(tables), key=lambda e: e.trial.method != RANDOM)
    listed: dict[_Group, Listed] = {}
    floors: dict[_Group, Evaluation] = {}
    for evaluation in found:
        trial = evaluation.trial
        group = trial.task, trial.protocol_hash, evaluation.eval_seed, trial.dataset_hash
        try:
            if group not in listed:
                listed[group] = _manifest(evaluation, places)
            evaluation = _in_order(evaluation, listed[group].manifest)
            if evaluation.trial.method == RANDOM:
                floors.setdefault(group, evaluation)
            if group not in floors:
                raise ResultError(
                    f"there is no random policy on the same pairs: issue the run's command with "
                    f"methods={RANDOM} too"
                )
            content = result(evaluation, listed[group], floors[group], places.repository)
        except ResultError as error:
            yield "", f"{evaluation.trial.key}, seed {evaluation.eval_seed}: {error}"
            continue
        path = f"{places.to.rstrip('/')}/results/{_file_name(evaluation, content)}"
        storage.write_json(path, content)
        yield path, ""


def result(
    evaluation: Evaluation, listed: Listed, floor: Evaluation, repository: str
) -> dict[str, Any]:
    """The result of one evaluation as CLEAR writes it. Raises ResultError where the manifest's
    protocol is not the one that it was judged by.
    """
    trial, spec = evaluation.trial, evaluation.spec
    if different := criteria.differences(spec, listed.manifest.protocol):
        raise ResultError(f"the manifest is of another protocol: {'; '.join(different)}")
    return {
        "schema_version": SCHEMA,
        "task": listed.manifest.task,
        "protocol": dict(listed.manifest.protocol),
        "policy": trial.method_label or trial.method,
        "policy_seed": evaluation.eval_seed,
        "training_seed": int(trial.seed),
        "manifest_sha256": listed.hash,
        "dataset_name": listed.manifest.dataset.get("name"),
        "dataset_fingerprint": listed.manifest.dataset.get("fingerprint"),
        "criterion": criteria.criterion(spec),
        "checkpoint": _checkpoint(trial, spec, repository),
        **_solver(spec),
        "metrics": _metrics(evaluation, floor),
        "episode_successes": evaluation.outcomes.tolist(),
        "topology": _topology(evaluation) if trial.task == "two_room" else None,
        "environment": _environment(trial, spec),
        "runtime": {"evaluation_seconds": trial.eval_s},
    }


def _evaluations(tables: run_tables.Tables) -> Iterator[Evaluation]:
    """Every trial with a control stage, once for each evaluation seed."""
    main = tables.episodes[tables.episodes["sample"] == "pairs"]
    for trial in tables.trial[tables.trial["status"] == "ok"].sort_values("key").itertuples():
        own = main[(main["key"] == trial.key) & (main["config_hash"] == trial.config_hash)]
        if own.empty:
            continue
        spec = config.from_yaml(trial.config_yaml)
        for seed, episodes in own.groupby("eval_seed"):
            yield Evaluation(trial, spec, int(seed), episodes)


def _manifest(evaluation: Evaluation, places: Places) -> Listed:
    """The manifest that was evaluated; that of drawn pairs is written first."""
    protocol, trial = evaluation.spec.config.protocol, evaluation.trial
    path = protocol.manifest
    if not path:
        spec = evaluation.spec
        task = zoo.task(spec.task, spec.config.data.scene)
        if not collect.has(task, spec.config.data, places.datasets):
            raise ResultError(f"its dataset is not in {places.datasets}: give datasets=FOLDER")
        dataset = open_dataset(collect.ensure(task, spec.config.data, places.datasets))
        if dataset.hash != trial.dataset_hash:
            raise ResultError(f"its dataset is not the one in {dataset.folder}")
        drawn = manifests.of_draw(spec, dataset, evaluation.eval_seed)
        path = manifests.write(f"{places.to.rstrip('/')}/manifests", drawn)
    try:
        listed = manifest.read(path)
    except manifest.ManifestError as error:
        raise ResultError(str(error)) from None
    if listed.hash != (protocol.manifest_hash or listed.hash):
        raise ResultError(f"{path} has changed since the run")
    return listed


def _in_order(evaluation: Evaluation, listed: Manifest) -> Evaluation:
    """The evaluation with its episodes in the manifest's order; raises ResultError where they are
    of other pairs.
    """
    own = evaluation.episodes.set_index("pair_id")
    places = [(pair.episode_id, pair.start_step) for pair in listed.pairs]
    ids = [pair.pair_id for pair in listed.pairs]
    same = set(own.index) == set(ids) and places == list(
        zip(own.loc[ids, "source_episode"], own.loc[ids, "start_step"], strict=True)
    )
    if not same:
        raise ResultError("its pairs are not those of the manifest")
    return evaluation._replace(episodes=own.loc[ids].reset_index())


def _metrics(evaluation: Evaluation, floor: Evaluation) -> dict[str, Any]:
    """Success in percent, with the intervals of this project's tables; the pairs of one recorded
    episode count together.
    """
    own, random = evaluation.outcomes.astype(float), floor.outcomes.astype(float)
    clusters = np.unique(evaluation.episodes["source_episode"], return_inverse=True)[1]
    estimate = stats.estimate(own[None], clusters)
    metrics = {
        "episodes": len(own),
        "success_rate_percent": 100 * own.mean(),
        "success_rate_ci95_percent": [100 * estimate.low, 100 * estimate.high],
    }
    if evaluation.trial.method == RANDOM:
        return metrics
    gain = stats.paired_difference(own, random, clusters)
    above, room = metrics["success_rate_percent"] - 100 * random.mean(), 1 - random.mean()
    return metrics | {
        "random_success_rate_percent": 100 * random.mean(),
        "excess_over_random_pp": above,
        "normalized_success_percent": above / room if room > 0 else None,
        "paired_gain_ci95_pp": [100 * gain.low, 100 * gain.high],
    }


def _solver(spec: TrialSpec) -> dict[str, Any]:
    """How actions were found: `solver` and `inference`."""
    method, planner = zoo.METHODS[spec.method], spec.config.planner
    plans = isinstance(method.build, type) and issubclass(method.build, WorldModel)
    names = {"num_samples": "candidates", "n_steps": "iterations", "topk": "elites"}
    solver = {theirs: getattr(planner, own, None) for theirs, own in names.items()}
    solver |= {
        "batch_size": spec.config.resources.pairs_per_rollout,
        "name": spec.config.planner_name,
    }
    mode = spec.config.planner_name if plans else "direct" if method.trained else "control"
    return {
        "solver": solver if plans else dict.fromkeys(solver),
        "inference": {"mode": mode, "precision": spec.config.mpc.precision},
    }


def _checkpoint(trial: Any, spec: TrialSpec, repository: str) -> dict[str, Any] | None:
    """The weights that were evaluated; None for a control."""
    if not zoo.METHODS[spec.method].trained:
        return None
    return {
        "policy_id": trial.key,
        "runtime_file": "weights.safetensors",
        "runtime_sha256": trial.checkpoint_hash,
        "config_sha256": trial.config_hash,
        "source": {"repository": repository, "revision": trial.git_commit or "unknown"},
    }


def _topology(evaluation: Evaluation) -> dict[str, Any]:
    """How many episodes passed through the wall. Raises ResultError where that was not counted."""
    illegal = evaluation.episodes["illegal_steps"]
    if (illegal < 0).any():
        raise ResultError("its rows are older than the count of illegal steps: run it again")
    counts = zip(evaluation.episodes["pair_id"], illegal, strict=True)
    return {
        "invalid_routes": int((illegal > 0).sum()),
        "route_valid_episodes": int((illegal == 0).sum()),
        "episodes": [
            {"pair_id": int(pair), "route_valid": bool(steps == 0), "illegal_steps": int(steps)}
            for pair, steps in counts
        ],
    }


def _environment(trial: Any, spec: TrialSpec) -> dict[str, Any]:
    """Code, versions and device that ran the evaluation, and a hash of each part."""
    code = {"project": "jepa-bench", "commit": trial.git_commit, "dirty": bool(trial.git_dirty)}
    parts = {
        "physics": {**code, "task": trial.task, "versions": trial.versions},
        "numerics": {
            "versions": trial.versions,
            "device": trial.device,
            "driver": trial.driver,
            "precision": spec.config.mpc.precision,
        },
        "execution": code,
    }
    return {**parts, **{f"{name}_fingerprint": _hash(part) for name, part in parts.items()}}


def _hash(part: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _file_name(evaluation: Evaluation, content: Mapping[str, Any]) -> str:
    """ "pusht-strict-lewm-s0-seed42-n100.json"."""
    trial = evaluation.trial
    of_trial = manifests.slug(trial.key.removeprefix(f"{trial.task}."))
    name = manifests.slug(content["protocol"]["name"])
    count = len(content["episode_successes"])
    return f"{content['task']}-{name}-{of_trial}-seed{evaluation.eval_seed}-n{count}.json"
