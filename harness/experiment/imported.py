"""Trials that evaluate weights which they do not train: given by a key, or those of another run."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from harness import zoo
from harness.experiment import config, identity
from harness.experiment.identity import TrialSpec, Weights
from harness.records import rows, run_tables, storage
from harness.runtime.command import ConfigError
from harness.training import checkpoint, weight_files

_DECIDES = ("data", "train", "method")  # branches of the configuration, for a training


def with_given(spec: TrialSpec) -> TrialSpec:
    """The trial with the weights that its method's key `weights` names: sizes as they are in the
    file, no training. A trial without such a key stays as it is. Raises ConfigError.
    """
    text = spec.config.method.given_weights
    if not text:
        return spec
    try:
        file = weight_files.find(text, spec.task)
        method = _checked(spec, file)
    except (weight_files.WeightsError, OSError) as error:
        raise ConfigError(f"method.{spec.method}.weights={text}: {error}") from None
    weights = Weights(identity=file.sha256, origin=file.origin, path=file.path, sha256=file.sha256)
    return _untrained(spec, weights, method=dataclasses.replace(method, weights=text))


def from_run(specs: Sequence[TrialSpec], run: config.RunConfig) -> list[TrialSpec]:
    """The trials with the weights that the same trainings left in the run `run.from_`; where there
    is none, Weights.missing says so. Controls, and trials with given weights, stay as they are.

    Raises ConfigError where that folder is no run.
    """
    trials = run_tables.read(run.from_).trial
    if trials.empty:
        raise ConfigError(f"from={run.from_} holds no trials: give the folder of a run")
    names = {(spec.task, spec.method, spec.seed) for spec in specs}
    alike = trials[[key in names for key in zip(*map(trials.get, _SAME), strict=True)]]
    sources = dict(_trainings(alike.sort_values("ended").to_dict("records")))
    return [
        _untrained(spec, _taken(spec, run, sources.get(_training(spec))))
        if zoo.METHODS[spec.method].trained and not spec.config.weights.identity
        else spec
        for spec in specs
    ]


_SAME = ("task", "method", "seed")


def _untrained(spec: TrialSpec, weights: Weights, **changed: Any) -> TrialSpec:
    """The trial without its training."""
    settings = dataclasses.replace(spec.config, weights=weights, **changed)
    stages = tuple(name for name in spec.stages if name != "train")
    return dataclasses.replace(spec, stages=stages, config=settings)


def _checked(spec: TrialSpec, file: weight_files.WeightsFile) -> Any:
    """The method's own configuration as the file's network has it, every tensor in its place.
    Raises WeightsError.
    """
    dims = zoo.TASKS[spec.task].spec.model_dims(spec.config.data.image_size)
    if file.config_name == checkpoint.CONFIG:
        own = config.from_yaml(file.config)
        if own.method != spec.method:
            raise weight_files.WeightsError(f"{file.path} is of the method {own.method}")
        method = own.config.method
    else:
        method = weight_files.sized(spec.config.method, file, dims.image_size, dims.block_dim)
    with torch.device("meta"):
        expected = zoo.METHODS[spec.method].build(method, dims).state_dict()
    actual = weight_files.shapes(file.path, file.sha256)
    if misfit := weight_files.difference(expected, actual):
        raise weight_files.WeightsError(f"{file.path} is not this model's: {misfit}")
    return method


def _training(spec: TrialSpec) -> tuple[int, str]:
    return spec.seed, identity.training_hash(spec)


def _trainings(trials: list[dict[str, Any]]) -> Iterator[tuple[tuple[int, str], dict[str, Any]]]:
    """The trials that trained their weights under the present code, by seed and training."""
    for row in trials:
        try:
            spec = config.from_yaml(row["config_yaml"])
        except ConfigError:  # of another version
            continue
        trained = row["status"] == "ok" and "train" in spec.stages
        if trained and identity.config_hash(spec) == row["config_hash"]:
            yield _training(spec), row


def _taken(spec: TrialSpec, run: config.RunConfig, source: Mapping[str, Any] | None) -> Weights:
    """The weights of a finished trial; their identity is the training, which is known even where
    they are missing, so that the trial keeps its folder.
    """
    weights = Weights(
        identity=f"trained as {identity.training_hash(spec)}",
        origin=f"of {os.path.basename(run.from_.rstrip('/'))}",
    )
    if source is None:
        return dataclasses.replace(
            weights,
            missing=f"{run.from_} has no finished training of {spec.key} with the same data, "
            f"training and method; this trains it: {_command(spec, run)}",
        )
    name = rows.folder_name(source["key"], source["config_hash"])
    path = storage.join(run.from_, "trials", name, "checkpoint", checkpoint.WEIGHTS)
    weights = dataclasses.replace(
        weights, sha256=source["checkpoint_hash"], config_hash=source["config_hash"]
    )
    if not storage.is_file(path):
        return dataclasses.replace(
            weights,
            missing=f"{path} is gone: put it back, or delete its trial's folder and train again: "
            f"{_command(spec, run)}",
        )
    return dataclasses.replace(weights, path=path)


def _command(spec: TrialSpec, run: config.RunConfig) -> str:
    """The command that trains the weights of the trial in the run that lacks them."""
    results, _, name = run.from_.rstrip("/").rpartition("/")
    words = [f"suite={run.suite}", f"scale={run.scale}", f"tasks={spec.task}"]
    words += [f"methods={spec.method}", f"seeds=[{spec.seed}]"]
    words += [f"run={name}", f"results={results}", f"datasets={run.datasets}"]
    layers = {"": run.overrides}
    layers |= {f"for.{key}.": part for key, part in run.overrides.get("for", {}).items()}
    for prefix, layer in layers.items():
        for branch in _DECIDES:
            words += _typed(f"{prefix}{branch}", layer.get(branch, {}))
    return shlex.join(["./run.sh", *words])


def _typed(key: str, value: Any) -> list[str]:
    """The words of the command line that gave this part of the configuration."""
    if not isinstance(value, Mapping):
        return [f"{key}={value}"]
    return [word for name, inner in value.items() for word in _typed(f"{key}.{name}", inner)]
