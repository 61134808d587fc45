"""Writes the weights of a finished trial, with a model card, for others to load; or a run's rows.

python -m harness.export TRIAL [format=swm|safetensors] [to=FOLDER] [transformers=4|5]
python -m harness.export RUN format=packed [to=FOLDER] [pictures=false]

TRIAL is a folder results/RUN/trials/KEY.HASH. format=swm, the default, is what stable-worldmodel's
load_pretrained reads: weights.pt under the names of the released weights, and config.json. Its ViT
has other names under transformers 5. format=safetensors has this project's names, for any method:
weights.safetensors and config.yaml. Both folders can be given as method.lewm.weights=FOLDER.

format=packed writes the rows of a whole run, results/RUN, in one Parquet file a table, a fifth of
the size: for a repository or an appendix. harness.report and harness.verify read FOLDER as they
read the run, and a run command there counts its trials as done; it has no weights.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import io
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd
import torch
from pyarrow import fs as pafs

from harness import zoo
from harness.contracts.setting import Settings, setting
from harness.experiment import command_line, config
from harness.experiment.identity import TrialSpec
from harness.nn import published_names
from harness.nn.jepa import JEPAConfig
from harness.records import rows, run_tables, storage
from harness.records.metric_names import ProbeName
from harness.report import stats
from harness.runtime import command
from harness.training import checkpoint, weight_files

log = logging.getLogger(__name__)

CARD, NORMALIZER = "README.md", "normalizer.json"


class ExportError(RuntimeError):
    """A trial that cannot be exported, and what to do about it."""


@dataclass(frozen=True)
class Options(Settings):
    """The words of the command."""

    format: Literal["swm", "safetensors", "packed"] = setting("swm", "Which names and files.")
    to: str = setting("", "The folder; without it exports/NAME-FORMAT.", text="a path")
    transformers: Literal[4, 5] = setting(4, "Whose names of a ViT, for format=swm.")
    pictures: bool = setting(True, "Whether format=packed keeps pictures of episodes.")


class Trial(NamedTuple):
    """A finished trial that trained its weights."""

    row: rows.TrialRow
    spec: TrialSpec
    tables: run_tables.Tables
    weights: str  # path of the file


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failures = (OSError, ExportError, weight_files.WeightsError)
    return command.main(argv, lambda _: __doc__.strip(), _parse, lambda p: _execute(*p), failures)


def export(folder: str, options: Options) -> str:
    """Write the trial, or the run, of the folder; returns the folder of what was written.

    Raises ExportError, WeightsError or OSError.
    """
    if options.format == "packed":
        return _pack(folder, options)
    trial = _read(folder)
    name = rows.folder_name(trial.row.key, trial.row.config_hash)
    target = options.to or f"exports/{name}-{options.format}"
    files = _swm(trial, options) if options.format == "swm" else _safetensors(trial)
    files[NORMALIZER] = json.dumps(_normalizer(trial.tables), indent=2).encode()
    files[CARD] = card(trial, options.format).encode()
    fs, base = storage.filesystem(target)
    _check_empty(fs, base, files)
    fs.create_dir(base, recursive=True)
    for file, data in files.items():
        with storage.whole_file(fs, f"{base}/{file}") as sink:
            sink.write(data)
    return target


def card(trial: Trial, format: str) -> str:
    """The model card; every number in it is a row's."""
    row, spec = trial.row, trial.spec
    lines = [
        *("---", "license: mit", "tags: [world-model, jepa]", "---", ""),
        f"# {row.method_label} on {row.task_label}, seed {row.seed}",
        "",
        f"Trained by JEPA bench at scale {row.scale}: {row.train_steps} steps in "
        f"{row.train_s:.0f} s on {row.device}, {row.parameters_trained:,} trained parameters.",
        "",
        *_bullets(
            {
                "configuration": f"{row.config_hash}, in full in config.yaml of the trial",
                "code": f"{row.git_commit}{' with changes' if row.git_dirty else ''}",
                "data": f"{row.dataset_hash}, split {row.split_hash}",
                "weights": f"sha256 {row.checkpoint_hash} (weights.safetensors of the trial)",
                "versions": row.versions,
            }
        ),
        "",
        f"## Success under protocol {row.protocol} ({row.protocol_hash[:8]})",
        "",
        *_success(trial.tables.episodes),
        "",
        "## Latents",
        "",
        *_measured(trial.tables.metrics),
        "",
        "## Use",
        "",
        f"Pictures are {spec.config.data.image_size} px, normalised by ImageNet's mean and std. A "
        f"block has {zoo.TASKS[spec.task].spec.action_block} actions, z-scored by {NORMALIZER}.",
        "",
        *_USE[format],
        "",
    ]
    return "\n".join(lines)


_USE = {
    "swm": [
        "```python",
        "from stable_worldmodel.wm.utils import load_pretrained",
        "",
        'model = load_pretrained("FOLDER")  # below the checkpoints of its cache',
        "```",
    ],
    "safetensors": [
        "Names of tensors are JEPA bench's; config.yaml says the method and its sizes. Weights of "
        "LeWM are evaluated by `./run.sh ... method.lewm.weights=FOLDER`."
    ],
}


def _parse(argv: Sequence[str]) -> tuple[str, Options]:
    return command_line.folder_and_options(argv, Options(), "TRIAL or RUN", "format")


def _execute(folder: str, options: Options) -> int:
    log.info("wrote %s", export(folder, options))
    return command.OK


def _read(folder: str) -> Trial:
    row, tables = rows.read_trial(folder), run_tables.read_one(folder)
    if row is None or tables is None:
        raise ExportError(f"{folder} holds no trial: give a folder results/RUN/trials/KEY.HASH")
    if row.weights:
        raise ExportError(f"{row.key} evaluates weights {row.weights}: export the trial of those")
    path = storage.join(folder, "checkpoint", checkpoint.WEIGHTS)
    if row.status != "ok" or not storage.is_file(path):
        reason = "has no weights" if row.status == "ok" else f"failed ({row.error})"
        raise ExportError(f"{folder} {reason}: give a finished trial of a trained method")
    try:
        return Trial(row, config.from_yaml(row.config_yaml), tables, path)
    except config.ConfigError as error:
        raise ExportError(f"{folder} is of another version of this project: {error}") from None


def _pack(folder: str, options: Options) -> str:
    target = options.to or f"exports/{folder.rstrip('/').rpartition('/')[2]}-packed"
    fs, base = storage.filesystem(target)
    _check_empty(fs, base, {})
    if not run_tables.names(folder):
        raise ExportError(f"{folder} holds no trials: give the folder of a run, results/RUN")
    run_tables.pack(folder, target, options.pictures)
    return target


def _swm(trial: Trial, options: Options) -> dict[str, bytes]:
    """File name -> content, for stable-worldmodel."""
    tensors = weight_files.read(trial.weights, trial.row.checkpoint_hash).tensors
    published = published_names.theirs(tensors, options.transformers)
    method = trial.spec.config.method
    try:
        if not isinstance(method, JEPAConfig):
            raise ValueError(f"{trial.row.method_label} is not LeWM's network")
        size, task = trial.spec.config.data.image_size, zoo.TASKS[trial.spec.task].spec
        written = published_names.released_config(method, size, task.block_dim)
        if published_names.CLS not in tensors:
            raise ValueError(f"{trial.row.method_label} has no encoder of pictures")
    except ValueError as error:
        raise ExportError(
            f"stable-worldmodel cannot hold {trial.row.key}, since {error}: give format=safetensors"
        ) from None
    sink = io.BytesIO()
    torch.save(published, sink)
    return {"weights.pt": sink.getvalue(), "config.json": json.dumps(written, indent=2).encode()}


def _safetensors(trial: Trial) -> dict[str, bytes]:
    """File name -> content, as the trial has them."""
    weight_files.read(trial.weights, trial.row.checkpoint_hash)
    fs, base = storage.filesystem(trial.weights)
    with fs.open_input_file(base) as source:
        return {
            checkpoint.WEIGHTS: source.read(),
            checkpoint.CONFIG: trial.row.config_yaml.encode(),
        }


def _check_empty(fs: pafs.FileSystem, base: str, files: dict[str, bytes]) -> None:
    """Raises ExportError where the folder holds other files than these would replace."""
    there = fs.get_file_info(pafs.FileSelector(base, allow_not_found=True))
    others = sorted(info.base_name for info in there if info.base_name not in files)
    if others:
        raise ExportError(f"{base} holds {weight_files.listed(others)}: give another to=FOLDER")


def _normalizer(tables: run_tables.Tables) -> dict[str, list[float]]:
    """ "action_mean" and "action_std" of one step's action; empty for a trial of earlier code."""
    own = tables.metrics[tables.metrics["stage"] == "normalizer"].sort_values("index")
    return {name: part["value"].tolist() for name, part in own.groupby("name")}


def _bullets(facts: dict[str, str]) -> list[str]:
    return [f"- {name}: {text}" for name, text in facts.items()]


def _success(episodes: pd.DataFrame) -> list[str]:
    """A table: success on the protocol's pairs, and on every stratum."""
    drawn = {"the protocol's pairs": episodes[episodes["sample"] == "pairs"]}
    drawn |= {f"{name}, drawn besides": e for name, e in _besides(episodes).groupby("stratum")}
    lines = ["| pairs | episodes | success, % | 95 % | solved at the start, % |"]
    lines += ["| :--- | ---: | ---: | :--- | ---: |"]
    for name, part in drawn.items():
        if len(part):
            low, high = stats.wilson(part["success"].sum(), len(part))[:2]
            solved = part["initially_solved"].mean()
            lines.append(
                f"| {name} | {len(part)} | {100 * part['success'].mean():.1f} | "
                f"[{100 * low:.1f}, {100 * high:.1f}] | {100 * solved:.1f} |"
            )
    return lines if len(lines) > 2 else ["The trial was not evaluated."]


def _besides(episodes: pd.DataFrame) -> pd.DataFrame:
    return episodes[episodes["sample"] != "pairs"]


def _measured(metrics: pd.DataFrame) -> list[str]:
    """A table: health of the latent space, and what probes read from it."""
    latents = metrics[(metrics["stage"] == "latents") & (metrics["index"] == 0)]
    named = [(name, value, unit) for name, value, unit in latents[_COLUMNS].itertuples(index=False)]
    for name, value, unit in metrics.loc[metrics["stage"] == "probing", _COLUMNS].itertuples(
        index=False
    ):
        probe = ProbeName.of(name)
        if probe.source == "latent":
            named.append((f"{probe.quantity}, {probe.probe} probe, {probe.measure}", value, unit))
    lines = ["| measure | value |", "| :--- | ---: |"]
    lines += [f"| {name} | {value:.4g} {unit}".rstrip() + " |" for name, value, unit in named]
    return lines if named else ["The latent space was not measured."]


_COLUMNS = ["name", "value", "unit"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
