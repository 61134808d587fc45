"""Copies of a run for the tools that show experiments: log=tensorboard, log=wandb, log=mlflow.

Parquet is the record, and a logger is one of its readers: when a trial's rows are there, its
training curve, its numbers and its success are sent, and at the end of the command the figures.
What was sent is noted in logged/ in the run's folder: the same command again sends what is missing,
and all of it where that folder is deleted. A logger that fails costs no trial.

tensorboard   event files in tensorboard/ in the run's folder
wandb         project jepa-bench or WANDB_PROJECT, one wandb run a trial, grouped by the run's name;
              WANDB_MODE=offline writes into wandb/ in the run's folder
mlflow        experiment jepa-bench/<run>; at MLFLOW_TRACKING_URI, or else in mlflow.db there
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import math
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
from PIL import Image
from pyarrow import fs as pafs

from harness.records import run_tables, storage
from harness.report import load
from harness.runtime import command
from harness.runtime.command import ConfigError

T = TypeVar("T")

log = logging.getLogger(__name__)

_POLL_S = 10.0
_COLUMNS = ("total_s", "train_s", "eval_s", "parameters_trained", "peak_memory_bytes")
_TAGS = ("task", "method", "variant", "scale", "protocol", "config_hash", "git_commit", "device")
_PROJECT = "jepa-bench"


class Record(NamedTuple):
    """The facts of a finished trial that a logger is sent."""

    key: str  # "push_t.lewm.s0"
    folder: str  # its name below trials/
    config: dict[str, Any]  # by dotted key
    tags: dict[str, str]
    curves: dict[str, list[tuple[int, float]]]  # "train/loss" -> (step, value)
    numbers: dict[str, float]  # "control/success_pct" -> value


class Logger(Protocol):
    """A tool that shows experiments; it may raise whatever it likes."""

    def trial(self, record: Record) -> None:
        """Send a finished trial."""

    def figures(self, images: dict[str, Image.Image]) -> None:
        """Send the run's figures, by name."""


def check(names: Sequence[str], folder: str) -> None:
    """Raises ConfigError where a logger cannot work here, and says what to do."""
    for name in names:
        package = _LOGGERS[name].package
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"log={name} needs the package {package}: "
                f"{command.module('pip', 'install', _LOGGERS[name].install)}"
            )
        if name != "wandb" and "://" in folder and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ConfigError(
                f"log={name} needs a folder on this machine: results={folder} is none"
            )


@contextlib.contextmanager
def following(names: Sequence[str], folder: str, run: str) -> Iterator[None]:
    """Within, the trials of the run's folder are sent as they end; after it the last ones, and the
    figures where a trial was sent.
    """
    followers = [_Follower(name, folder, run) for name in dict.fromkeys(names)]
    ended = threading.Event()
    thread = threading.Thread(target=_poll, args=(followers, ended), name="loggers", daemon=True)
    if followers:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if followers:
            thread.join()
    for follower in followers:
        follower.send_trials()
        follower.send_figures()


def record(folder: str) -> Record | None:
    """A trial as a logger is told of it, from its rows; None where it is not done."""
    fs, base = storage.filesystem(folder)
    if fs.get_file_info(f"{base}/trial.parquet").type == pafs.FileType.NotFound:
        return None
    tables = run_tables.read_one(folder)
    if tables is None or tables.trial["status"].iloc[0] != "ok":
        return None
    trial = tables.trial.iloc[0]
    curves, numbers = _curves(tables.metrics), _numbers(tables.metrics)
    pairs = tables.episodes[tables.episodes["sample"] == "pairs"]
    numbers |= {"control/success_pct": 100 * float(pairs["success"].mean())} if len(pairs) else {}
    numbers |= {f"trial/{name}": float(trial[name]) for name in _COLUMNS}
    return Record(
        key=trial["key"],
        folder=folder.rstrip("/").rpartition("/")[2],
        config=load.flat_config(trial["config_yaml"]),
        tags={name: str(trial[name]) for name in _TAGS},
        curves=curves,
        numbers={name: value for name, value in numbers.items() if math.isfinite(value)},
    )


def _curves(metrics: pd.DataFrame) -> dict[str, list[tuple[int, float]]]:
    """The training curve, by "train/NAME"."""
    curves: dict[str, list[tuple[int, float]]] = {}
    train = metrics[(metrics["stage"] == "train") & np.isfinite(metrics["value"])]
    for name, points in train.sort_values("index").groupby("name"):
        curves[f"train/{name}"] = list(zip(points["index"], points["value"], strict=True))
    return curves


def _numbers(metrics: pd.DataFrame) -> dict[str, float]:
    """The metrics of one value, by "stage/NAME"."""
    others = metrics[metrics["stage"] != "train"]
    single = others[~others.duplicated(["stage", "name"], keep=False)]
    return {f"{m.stage}/{m.name}": m.value for m in single.drop(columns="key").itertuples(False)}


# -- which trials are sent


class _Follower:
    """Sends the trials of a run's folder to one logger, each once."""

    def __init__(self, name: str, folder: str, run: str):
        self._name, self._folder, self._run = name, folder.rstrip("/"), run
        self._fs, self._base = storage.filesystem(self._folder)
        self._logger: Logger | None = None
        self._sent = set(self._names(f"logged/{name}"))
        self._failed = self._has_news = False

    def send_trials(self) -> None:
        """Send the trials that have ended and were not sent yet."""
        for name in sorted(set(self._names("trials")) - self._sent):
            if not self._failed and (entry := record(f"{self._folder}/trials/{name}")):
                self._call(lambda logger, entry=entry: logger.trial(entry))
                self._note(name)

    def send_figures(self) -> None:
        """Send the run's figures, where a trial was sent."""
        names = [n for n in self._names("figures") if n.endswith(".png")] if self._has_news else []
        images = {name.removesuffix(".png"): self._image(f"figures/{name}") for name in names}
        if images and not self._failed:
            self._call(lambda logger: logger.figures(images))

    def _call(self, send: Any) -> None:
        try:
            self._logger = self._logger or _LOGGERS[self._name].build(self._folder, self._run)
            send(self._logger)
        except Exception as error:  # noqa: BLE001  another's service may raise anything
            self._failed = True
            log.warning(
                "log=%s: %s: %s. Nothing more is sent; the rows are whole, and the same command "
                "again sends the rest",
                *(self._name, type(error).__name__, storage.one_line(error)),
            )

    def _note(self, name: str) -> None:
        if not self._failed:
            self._has_news = True
            self._sent.add(name)
            self._fs.create_dir(f"{self._base}/logged/{self._name}", recursive=True)
            with self._fs.open_output_stream(f"{self._base}/logged/{self._name}/{name}"):
                pass

    def _names(self, below: str) -> list[str]:
        where = pafs.FileSelector(f"{self._base}/{below}", allow_not_found=True)
        return [info.base_name for info in self._fs.get_file_info(where)]

    def _image(self, path: str) -> Image.Image:
        with self._fs.open_input_file(f"{self._base}/{path}") as source:
            return Image.open(io.BytesIO(source.read())).convert("RGB")


def _poll(followers: Sequence[_Follower], ended: threading.Event) -> None:
    while not ended.wait(_POLL_S):
        for follower in followers:
            follower.send_trials()


# -- the loggers


class _TensorBoard:
    package = "tensorboard"
    install = "tensorboard"

    def __init__(self, folder: str):
        self._folder = f"{folder}/tensorboard"

    @classmethod
    def build(cls, folder: str, run: str) -> _TensorBoard:
        return cls(folder)

    def trial(self, record: Record) -> None:
        with self._writer(record.folder) as writer:
            for name, points in record.curves.items():
                for step, value in points:
                    writer.add_scalar(name, value, step)
            for name, value in record.numbers.items():
                writer.add_scalar(name, value, 0)
            lines = {**record.tags, **record.config}
            writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in lines.items()))

    def figures(self, images: dict[str, Image.Image]) -> None:
        with self._writer("report") as writer:
            for name, image in images.items():
                writer.add_image(f"figures/{name}", np.asarray(image), dataformats="HWC")

    def _writer(self, name: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(f"{self._folder}/{name}")


class _Wandb:
    package = "wandb"
    install = "wandb"

    def __init__(self, folder: str, run: str):
        self._folder, self._run = folder, run

    @classmethod
    def build(cls, folder: str, run: str) -> _Wandb:
        return cls(folder, run)

    def trial(self, record: Record) -> None:
        with self._open(record.key, record.config | record.tags) as run:
            steps: dict[int, dict[str, float]] = {}
            for name, points in record.curves.items():
                for step, value in points:
                    steps.setdefault(int(step), {})[name] = value
            for step, values in sorted(steps.items()):
                run.log(values, step=step)
            run.summary.update(record.numbers)

    def figures(self, images: dict[str, Image.Image]) -> None:
        import wandb

        with self._open("report", {}) as run:
            run.log({f"figures/{name}": wandb.Image(image) for name, image in images.items()})

    def _open(self, name: str, config: dict[str, Any]) -> Any:
        import wandb

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            group=self._run,
            name=name,
            config=config,
            dir=None if "://" in self._folder else self._folder,
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )


class _MLflow:
    package = "mlflow"
    install = "mlflow-skinny"

    def __init__(self, client: Any, experiment: str):
        self._client, self._experiment = client, experiment

    @classmethod
    def build(cls, folder: str, run: str) -> _MLflow:
        from mlflow import MlflowClient

        own = not os.environ.get("MLFLOW_TRACKING_URI")
        client = MlflowClient(f"sqlite:///{os.path.abspath(folder)}/mlflow.db" if own else None)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", f"{_PROJECT}/{run}")
        if found := client.get_experiment_by_name(name):
            return cls(client, found.experiment_id)
        where = f"{os.path.abspath(folder)}/mlflow_artifacts" if own else None
        return cls(client, client.create_experiment(name, artifact_location=where))

    def trial(self, record: Record) -> None:
        from mlflow.entities import Metric, Param

        with self._run(record.key, record.tags) as run_id:
            curves = {**record.curves, **{n: [(0, v)] for n, v in record.numbers.items()}}
            metrics = [
                Metric(_plain(name), float(value), 0, int(step))
                for name, points in curves.items()
                for step, value in points
            ]
            for part in _parts(metrics, 1000):  # as many as a call takes
                self._client.log_batch(run_id, metrics=part)
            params = [Param(_plain(key), str(value)[:6000]) for key, value in record.config.items()]
            for part in _parts(params, 100):
                self._client.log_batch(run_id, params=part)

    def figures(self, images: dict[str, Image.Image]) -> None:
        with self._run("report", {}) as run_id:
            for name, image in images.items():
                self._client.log_image(run_id, image, artifact_file=f"figures/{name}.png")

    @contextlib.contextmanager
    def _run(self, name: str, tags: dict[str, str]) -> Iterator[str]:
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        yield run.info.run_id
        self._client.set_terminated(run.info.run_id)


def _plain(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-./ :" else "_" for c in name)


def _parts(entries: list[T], size: int) -> Iterator[list[T]]:
    for first in range(0, len(entries), size):
        yield entries[first : first + size]


_LOGGERS: dict[str, Any] = {"tensorboard": _TensorBoard, "wandb": _Wandb, "mlflow": _MLflow}
