"""Runs trials side by side by Ray Tune, or one after the other in a plain loop.

Ray's own state is disposable: the result files alone say which trials are done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import pickle
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import trial, zoo
from harness.data import collect, importing, sources
from harness.data.episodes import DatasetError
from harness.evaluate import pairs
from harness.experiment import config, identity, suites
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import rows, run_tables, storage
from harness.runtime import command, machine, memory, outside, provenance, supervised
from harness.runtime.progress import Display, Progress
from harness.training import pretraining
from harness.training.checkpoint import TRAINING

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.experiment import Trial

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0
_OBJECT_STORE_BYTES = 100 * 2**20
_FIRST_WORKER_S = 120.0  # that Ray's first worker process may take to start
_CONNECT_S = 10.0
_TOKEN_FILE = "~/.ray/auth_token"  # where `ray get-auth-token --generate` puts it
_RETRIES = 1  # of a trial whose process died; it goes on from its checkpoint

# a machine's resources under Ray's names: "CPU", "GPU"; and under ours, where it is known, the
# memory of the smallest of its GPUs
Node = Mapping[str, float]
GPU_BYTES = "gpu_bytes"


class LaunchError(RuntimeError):
    """The trials cannot be started, and what to do about it."""


class TrialsDisplay(Display):
    """Progress over the trials of a run, whose rows are compacted as trials end: the report of
    thousands would open the files of each.
    """

    def __init__(self, folder: str, *words: Any, **options: Any):
        super().__init__(*words, **options)
        self._folder = folder

    def finish(self, key: str, outcome: str, is_done: bool = True) -> None:
        """The trial `key` has ended."""
        super().finish(key, outcome, is_done)
        if is_done and self.done % run_tables.WORTH_COMPACTING == 0:
            run_tables.compact_trials(self._folder)


def missing(specs: Sequence[TrialSpec], folders: RunFolders) -> list[TrialSpec]:
    """The trials that are not done under their present configuration."""
    return [spec for spec in specs if not _is_done(spec, folders)]


def _is_done(spec: TrialSpec, folders: RunFolders) -> bool:
    stages = identity.stage_names(spec)
    return rows.is_done(folders.trial(spec), identity.config_hash(spec), stages)


def goes_on(spec: TrialSpec, folders: RunFolders) -> bool:
    """Whether an interrupted training of the trial has left a checkpoint to go on from."""
    return storage.is_file(storage.join(folders.checkpoint(spec), TRAINING))


def launch(
    specs: Sequence[TrialSpec],
    folders: RunFolders,
    run: config.RunConfig,
    estimates: Mapping[str, float | None] = MappingProxyType({}),
) -> None:
    """Run the trials, whose datasets are there already (prepare_datasets), those that need the
    weights of others last. Each writes its own rows, also where it fails. `estimates` are the
    seconds that trials may take, by key: progress says by them how long all still take. Raises
    LaunchError.
    """
    if specs:
        provenance.git()  # says once, here, where no commit can be recorded
    costs = {spec.key: estimates.get(spec.key) for spec in specs}
    if run.backend == "loop" and specs:
        with TrialsDisplay(folders.folder, len(specs), costs=costs) as display:
            for wave in suites.waves(_refuse(specs, folders, local_nodes(), display)):
                _loop(wave, folders, display)
    elif specs:
        before = {spec.key: attempts(spec, folders) for spec in specs}
        under_ray(run, _by_ray, specs, before, folders, run, costs)


def under_ray(run: config.RunConfig, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(scratch, *arguments)` in a process of its own that may use Ray. Where a Ray
    that was started for this run dies, the function is called again and goes on from what is done.
    Raises LaunchError.
    """
    restarts = 0 if run.ray.address else supervised.RESTARTS
    where = f"Ray at {run.ray.address}" if run.ray.address else "Ray"
    call = _in_child, outside.sources(), run.verbose, pickle.dumps((function, arguments))
    try:
        supervised.call(*call, restarts=restarts, verbose=run.verbose)
    except supervised.Failed as error:
        raise LaunchError(str(error)) from None
    except supervised.Died as error:
        raise LaunchError(
            f"{where} cannot go on: {error}. What is done is kept: issue the same command again, "
            f"where memory was short with a smaller scale, or use backend=loop"
        ) from None


def missing_datasets(specs: Sequence[TrialSpec], folders: RunFolders) -> list[str]:
    """Tasks whose data have to be collected first."""
    return sorted(
        {
            task
            for task, data in _datasets(specs)
            if not collect.has(zoo.TASKS[task], data, folders.datasets)
        }
    )


def check_sources(specs: Sequence[TrialSpec], folders: RunFolders) -> None:
    """Open the files on this machine that datasets are to be imported from. Raises ConfigError for
    one that is missing, broken, or not of its task.
    """
    for task, data in sorted(_datasets(specs), key=str):
        here = data.is_imported and ":" not in data.source.split("/")[0]
        if here and not collect.has(zoo.TASKS[task], data, folders.datasets):
            try:
                importing.check(zoo.task(task, data.scene), data.source)
            except (DatasetError, OSError) as error:
                raise command.ConfigError(f"data.source for {task}: {error}") from None


def downloads(specs: Sequence[TrialSpec], folders: RunFolders) -> dict[str, int]:
    """The bytes that have to be downloaded for the trials' datasets, by place. Of a hub that does
    not answer nothing is known: its trials will say so.
    """
    needed = {}
    for task, data in _datasets(specs):
        if not collect.has(zoo.TASKS[task], data, folders.datasets):
            with contextlib.suppress(DatasetError):
                needed[data.source] = sources.to_download(data.source, folders.datasets)
    return {place: size for place, size in needed.items() if size}


def _datasets(specs: Sequence[TrialSpec]) -> set[tuple[str, collect.DataConfig]]:
    own = {(spec.task, spec.config.data) for spec in specs}
    return own.union(*(spec.config.pool.items() for spec in specs))


def prepare_datasets(specs: Sequence[TrialSpec], folders: RunFolders) -> None:
    """Collect each dataset once. Any failure is left to its trials, which record it."""
    for task, data in _datasets(specs):
        try:
            workers = machine.cores() if zoo.TASKS[task].spec.slow_to_draw else 1
            collect.ensure(zoo.task(task, data.scene), data, folders.datasets, workers)
        except Exception as error:  # noqa: BLE001  also what a simulator or a renderer raises
            log.error("no dataset for %s: %s", task, error)
    for line in sorted(
        {pretraining.slow_reason(s.config.method, folders.datasets) for s in specs} - {""}
    ):
        log.warning(line)  # here, since what a worker of Ray logs is not shown


def _loop(specs: Sequence[TrialSpec], folders: RunFolders, display: Display) -> None:
    for spec in specs:
        run_here(spec, folders, display)
        display.finish(spec.key, outcome(spec, folders))


def _refuse(
    specs: Sequence[TrialSpec], folders: RunFolders, nodes: Sequence[Node], display: Display
) -> list[TrialSpec]:
    """Record the trials that cannot succeed as failed, before anything trains; the others."""
    reasons = refusals(specs, folders, nodes)
    for spec in specs:
        if reasons[spec.key]:
            _fail(spec, folders, reasons[spec.key], permanent=True)
            display.finish(spec.key, outcome(spec, folders))
    return [spec for spec in specs if not reasons[spec.key]]


def run_here(spec: TrialSpec, folders: RunFolders, display: Display) -> None:
    """One trial in this process."""
    try:
        trial.run(spec, folders, _to_display(display, spec.key))
    except OSError as error:
        log.error("%s: its row cannot be written: %s", spec.key, error)


def _in_child(scratch: str, sources: list[outside.Source], verbose: bool, call: bytes) -> None:
    """Make the function call that was pickled, which may have objects of classes from outside."""
    command.set_up_logging(verbose)
    zoo.restore(sources)
    function, arguments = pickle.loads(call)
    function(scratch, *arguments)


def _by_ray(
    scratch: str,
    specs: Sequence[TrialSpec],
    before: Mapping[str, int],
    folders: RunFolders,
    run: config.RunConfig,
    costs: Mapping[str, float | None],
) -> None:
    """Run one Tune trial for each spec that has not ended since it had `before` attempts, those
    that need the weights of others last. Specs that no node can hold are recorded as failed at
    once.
    """
    nodes = cluster(scratch, run)
    left = [spec for spec in specs if attempts(spec, folders) == before[spec.key]]
    costs = {spec.key: costs[spec.key] for spec in left}
    before_this = len(specs) - len(left)
    with TrialsDisplay(folders.folder, len(specs), before_this, costs=costs) as display:
        for wave in suites.waves(_refuse(left, folders, nodes, display)):
            if wave:
                _tune(scratch, {spec.key: spec for spec in wave}, before, folders, display)


def _tune(
    scratch: str,
    possible: Mapping[str, TrialSpec],
    before: Mapping[str, int],
    folders: RunFolders,
    display: Display,
) -> None:
    texts = {key: config.to_yaml(spec) for key, spec in possible.items()}
    requests = {key: resources(spec) for key, spec in possible.items()}
    from ray import tune

    tune_trials(
        scratch,
        tune.with_parameters(_worker, texts=texts, folders=folders, sources=outside.sources()),
        {"key": tune.grid_search(list(possible))},
        lambda words: requests[words["key"]],
        lambda words: words["key"],
        display,
        finished=lambda key: settle(possible[key], folders, before[key]),
    )
    for key, spec in possible.items():
        settle(spec, folders, before[key])


def _worker(
    words: dict[str, Any],
    texts: dict[str, str],
    folders: RunFolders,
    sources: list[outside.Source],
) -> None:
    """The body of a Ray actor: run the trial whose YAML is texts[words["key"]]."""
    run_text({"spec": texts[words["key"]]}, folders, sources)


def run_text(words: dict[str, Any], folders: RunFolders, sources: list[outside.Source]) -> None:
    """The body of a Ray actor: run the trial whose YAML is words["spec"] and report its progress.

    A trial that is done is not run again: its process may have died after it wrote its row, and
    then Tune starts it once more.
    """
    zoo.restore(sources)
    spec = config.from_yaml(words["spec"])
    if missing([spec], folders):
        trial.run(spec, folders, report_progress())


def settle(spec: TrialSpec, folders: RunFolders, attempts_before: int) -> str:
    """The outcome of an ended trial; a row is written here where its process died before that."""
    if attempts(spec, folders) == attempts_before:
        _fail(
            spec,
            folders,
            "the trial's process ended without a result (interrupted, killed or out of memory): "
            "issue the same command again, it goes on from its checkpoint; where memory was short, "
            "lower data.image_size or train.batch_size first",
        )
    return outcome(spec, folders)


def _fail(spec: TrialSpec, folders: RunFolders, reason: str, permanent: bool = False) -> None:
    try:
        trial.record_failure(spec, folders, reason, permanent)
    except OSError as error:
        log.error("%s: its row cannot be written: %s", spec.key, error)


def attempts(spec: TrialSpec, folders: RunFolders) -> int:
    """How often the trial has ended so far."""
    row = rows.read_trial(folders.trial(spec))
    return 0 if row is None else row.attempts


def outcome(spec: TrialSpec, folders: RunFolders) -> str:
    """ "ok, 81 s" or the error of a trial's row."""
    row = rows.read_trial(folders.trial(spec))
    if row is None:
        return "no row could be written"
    return f"error: {row.error}" if row.error else f"ok, {row.total_s:.0f} s"


def resources(spec: TrialSpec) -> dict[str, float]:
    """Ray's request for a trial."""
    request = spec.config.resources
    return {"cpu": request.cpu, "gpu": request.gpu} if request.gpu else {"cpu": request.cpu}


def refusals(
    specs: Sequence[TrialSpec], folders: RunFolders, nodes: Sequence[Node] | None
) -> dict[str, str]:
    """Why each of the trials cannot succeed, as far as that is known before it runs, or "", by its
    key. `nodes` are the machines that can run it, None where they are not known yet.
    """
    reasons = {
        spec.key: (unavailable_reason(spec, nodes) if nodes is not None else "")
        or no_pairs_reason(spec, folders)
        or _no_room_reason(spec, folders, nodes or ())
        for spec in specs
    }
    users: dict[str, list[str]] = {}  # by a training, the trials that evaluate it
    for spec in specs:
        users.setdefault(spec.config.weights.trial, []).append(spec.key)
    for spec in specs:
        evaluations = users.get(spec.key, [])
        if evaluations and all(reasons[key] for key in evaluations):
            reasons[spec.key] = reasons[spec.key] or (
                "no trial that would evaluate this training can run"
            )
    return reasons


def no_pairs_reason(spec: TrialSpec, folders: RunFolders) -> str:
    """Why the trial's data cannot give the pairs that it is evaluated on, or "". Where they are not
    collected yet, every episode counts as one of the split, and as long as it may be.
    """
    if "control" not in spec.stages:
        return ""
    data, settings = spec.config.data, spec.config.protocol
    manifest = collect.manifest(zoo.TASKS[spec.task], data, folders.datasets)
    if manifest is not None:
        lengths, split = np.array(manifest.lengths), settings.split
        own = lengths if split == "any" else lengths[np.array(manifest.split[split], np.int64)]
        return pairs.shortage(own, settings)
    if data.is_imported:
        return ""
    longest = np.full(data.episodes, data.max_steps)
    return pairs.shortage(longest, dataclasses.replace(settings, split="any"))


def _no_room_reason(spec: TrialSpec, folders: RunFolders, nodes: Sequence[Node]) -> str:
    """Why the trial's share of a GPU is too small, or "": a trial of the same setting took more
    memory than it may have, also without the frames that it kept there since they found room.
    """
    share = spec.config.resources.gpu
    most = max((node.get(GPU_BYTES, 0.0) for node in nodes), default=0.0)
    if not 0 < share < 1 or not most:
        return ""  # before the run's rows are read
    needed = gpu_bytes_of(spec, folders)
    if needed <= memory.of_share(int(most), share):
        return ""
    parts = [1 / n for n in range(2, 100)]
    fitting = [part for part in parts if needed <= memory.of_share(int(most), part)]
    return (
        f"resources.gpu={share:g} leaves a trial {_gib(memory.of_share(int(most), share))} of a "
        f"GPU of {_gib(most)}, and one of the same setting took {_gib(needed)}: use "
        f"resources.gpu={fitting[-1] if fitting else 1:g}"
    )


def gpu_bytes_of(spec: TrialSpec, folders: RunFolders) -> float:
    """The most memory of a GPU that a trial of the same setting has taken in this run, without the
    frames that it kept there; 0 where none has been measured.
    """
    if not spec.config.resources.gpu:
        return 0.0
    known = run_tables.read(folders.folder).trial
    alike = (known["setting_hash"] == identity.setting_hash(spec)) & (known["driver"] != "")
    own = known[alike]
    return float((own["peak_memory_bytes"] - own["resident_bytes"]).max()) if len(own) else 0.0


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def unavailable_reason(spec: TrialSpec, nodes: Sequence[Node]) -> str:
    """Why no single one of these machines can hold the trial, or ""."""
    if missing := spec.config.weights.missing:
        return missing
    request = spec.config.resources
    gpus = max(node.get("GPU", 0) for node in nodes)
    if spec.config.device == "cuda" and not gpus:
        return "device=cuda and no GPU on any machine here: use device=cpu, or one with a GPU"
    if request.gpu > gpus:
        return (
            f"resources.gpu={request.gpu:g} and at most {gpus:g} GPUs on any machine here: use "
            f"resources.gpu={gpus:g}"
        )
    cores = max(node.get("CPU", 0) for node in nodes if node.get("GPU", 0) >= request.gpu)
    if request.cpu > cores:
        those = f"any machine here with {request.gpu:g} GPUs" if request.gpu else "any machine here"
        words = f"resources.cpu={request.cpu:g} and {machine.counted(cores)} on {those}"
        return f"{words}: use resources.cpu={cores:g}"
    return spec.config.method.unavailable_reason(f"method.{spec.method}")


def local_nodes() -> list[Node]:
    """This machine alone, with the cores, the GPUs and their memory that this process may use."""
    import torch

    counts = {"CPU": float(machine.cores()), "GPU": float(torch.cuda.device_count())}
    return [counts | {GPU_BYTES: float(memory.of_gpus())}]


def _to_display(display: Display, key: str) -> Progress:
    return lambda stage, done, total: display.update(key, stage, done, total)


def cluster(scratch: str, run: config.RunConfig) -> list[Node]:
    """Start Ray for this process, its files below `scratch`, or join it at ray.address; returns its
    machines. Ray ends with the process. Raises supervised.StartError.
    """
    _set_environment(scratch, joins=bool(run.ray.address))
    _check_address(run.ray.address)
    import ray

    init = functools.partial(ray.init, log_to_driver=run.verbose, logging_level=logging.ERROR)
    try:
        if run.ray.address:
            init(address=run.ray.address)
        else:
            init(
                address="local",  # or else RAY_ADDRESS or a running one is joined
                num_cpus=machine.cores(),  # Ray itself would count the machine's
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=scratch,
            )
            ray.get(ray.remote(num_cpus=0)(_nothing).remote(), timeout=_FIRST_WORKER_S)
    except Exception as error:  # a timeout is a bare Exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if run.ray.address:
            raise supervised.StartError(_not_joined(run.ray.address, reason)) from error
        raise supervised.StartError(f"Ray does not start ({reason}): use backend=loop") from error
    if not run.verbose:
        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a dead worker gets our own row
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if run.ray.address:
        return nodes
    return [node | {GPU_BYTES: float(memory.of_gpus())} for node in nodes]


def _set_environment(scratch: str, joins: bool) -> None:
    """Ray reads its settings from the environment when it is imported."""
    settings = {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # Ray's default of 15 lets any other program come first
        "RAY_USAGE_STATS_ENABLED": "0",  # it would read a file in the home folder
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if joins:
        if _token():  # a cluster without tokens takes a client that has one
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    elif os.environ.get("RAY_AUTH_MODE") != "disabled":
        # a token of this run's own: Ray would write one into the home folder
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = os.path.join(scratch, "token")
        os.environ.pop("RAY_AUTH_TOKEN", None)  # comes before the path
        with open(os.environ["RAY_AUTH_TOKEN_PATH"], "w", encoding="utf-8") as sink:
            sink.write(secrets.token_hex(32))


def _token() -> str:
    """Where Ray finds the token of a cluster to join: a variable or a file; "" for nowhere."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    file = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser(_TOKEN_FILE)
    return file if os.path.isfile(file) else ""


def _check_address(address: str) -> None:
    """Raises StartError where nothing listens at HOST:PORT: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or a form that Ray judges
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise supervised.StartError(
            f"nothing answers at ray.address={address} ({error}): give the address that `ray start "
            f"--head` printed, or leave ray.address out"
        ) from None


def _not_joined(address: str, reason: str) -> str:
    """Why a cluster that answers could not be joined, and what to do."""
    if token := _token():
        advice = f"is the token of this cluster in {token}, and Ray's version the same there?"
    else:
        advice = (
            f"where it was started with a token, put that one (`ray get-auth-token` prints it "
            f"there) into {_TOKEN_FILE} or RAY_AUTH_TOKEN here"
        )
    return f"the Ray cluster at {address} cannot be joined ({reason}): {advice}"


def _nothing() -> None:
    """Ray's first task. It ends only where worker processes can start; else trials would wait for
    ever.
    """


def try_ray() -> None:
    """Start Ray as a run does, and end it. Raises LaunchError."""
    run = config.parse([])
    under_ray(run, _try_ray, run)


def _try_ray(scratch: str, run: config.RunConfig) -> None:
    cluster(scratch, run)


def tune_trials(
    scratch: str,
    worker: Callable[[dict[str, Any]], None],
    space: Mapping[str, Any],
    resources_of: Callable[[dict[str, Any]], dict[str, float]],
    name_of: Callable[[dict[str, Any]], str],
    display: Display,
    finished: Callable[[str], str],
    **tune_config: Any,
) -> None:
    """Run Ray Tune over `space`, with nothing of its own on the terminal or left on the disk."""
    from ray import tune

    def request(words: dict[str, Any]) -> tune.PlacementGroupFactory:
        amounts = {kind.upper(): amount for kind, amount in resources_of(words).items()}
        return tune.PlacementGroupFactory([amounts])

    tuner = tune.Tuner(
        tune.with_resources(worker, request),
        param_space=dict(space),
        tune_config=tune.TuneConfig(reuse_actors=True, **tune_config),
        run_config=tune.RunConfig(
            storage_path=os.path.join(scratch, "tune"),
            verbose=0,
            callbacks=[_callback(display, name_of, finished)],
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
        ),
    )
    tuner.fit()


def report_progress() -> Progress:
    """A progress function for a Ray actor: it reports to the driver, at most once a second."""
    from ray import tune

    last_stage, last_at = "", 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last_stage, last_at
        now = time.monotonic()
        if stage != last_stage or now - last_at > _REPORT_EVERY_S:
            last_stage, last_at = stage, now
            tune.report({"stage": stage, "part": done, "parts": total})  # "done" is Tune's word

    return progress


def _callback(
    display: Display,
    name_of: Callable[[dict[str, Any]], str],
    finished: Callable[[str], str],
) -> tune.Callback:
    from ray import tune

    class Relay(tune.Callback):
        """Tune's events to the display. Tune pickles its callbacks, and a display cannot be
        pickled: a plain callback is pickled in its place.
        """

        def __init__(self, *parts: Any):
            self._parts = parts

        def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
            return tune.Callback, ()

        def on_trial_result(
            self,
            iteration: int,
            trials: list[Trial],
            trial: Trial,
            result: dict[str, Any],
            **info: Any,
        ) -> None:
            if "stage" in result:
                display, name_of, _ = self._parts
                words = result["stage"], result["part"], result["parts"]
                display.update(name_of(trial.config), *words)

        def on_trial_complete(
            self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
        ) -> None:
            display, name_of, finished = self._parts
            display.finish(name_of(trial.config), finished(name_of(trial.config)))

        def on_trial_error(
            self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
        ) -> None:
            if trial.num_failures > _RETRIES:
                self.on_trial_complete(iteration, trials, trial)

    return Relay(display, name_of, finished)
