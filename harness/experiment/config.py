"""argv -> RunConfig and, per trial, a checked TrialConfig.

Layers, later ones win: dataclass defaults -> protocol -> what all scales share -> scale -> suite ->
command line, and within a layer its "for" part for the task, then the one for the method. Layers
are plain dictionaries of the tree below; `method` and `planner` hold one branch for each name, of
which a trial keeps its own:

    data.*  train.*  protocol.*  planner.<name>.*  mpc.*  plan_time.*  plans.*  decoder.*
    resources.*  method.<name>.*  for.<task or method>.*
"""

from __future__ import annotations

import dataclasses
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import yaml

from harness import zoo
from harness.contracts.setting import Settings, setting
from harness.data.collect import DataConfig
from harness.evaluate.decoder import DecoderConfig
from harness.evaluate.plan_time import PlanTimeConfig
from harness.evaluate.plans import PlansConfig
from harness.experiment import dotted_keys, identity
from harness.experiment.dotted_keys import check_keys, fill, merge, put
from harness.experiment.identity import TrialSpec, Weights
from harness.experiment.protocols import PROTOCOLS, ProtocolConfig
from harness.experiment.scales import DEFAULT_PROTOCOL, EVERY_SCALE, SCALES
from harness.planning.receding_horizon import MPCConfig
from harness.records import manifest, plain_yaml, storage
from harness.runtime import command, outside
from harness.runtime.command import ConfigError as ConfigError  # config.ConfigError is in use
from harness.runtime.command import known as known
from harness.runtime.command import nearest
from harness.training.loop import TrainConfig


@dataclass(frozen=True)
class Resources(Settings):
    """Cores, GPUs and batches of a trial. They decide no outcome, so they are not hashed.

    `cpu` threads divide the pairs of a plan among them, and inside operations there is one thread
    (in training train.threads, which is hashed).
    """

    cpu: float = setting(
        2.0, "Cores of a trial: that many threads divide the pairs of a plan.", gt=0
    )
    gpu: float = setting(
        0.0,
        "GPUs of a trial; 0: one with CUDA; 0.5: two share one, whose plan times do not count.",
        ge=0,
    )
    pairs_per_solve: int = setting(0, "Pairs planned together; 0: all that need a plan.", ge=0)
    pairs_per_rollout: int = setting(
        0, "Pairs in one call of the model; 0: 1 on a CPU, 16 on a GPU.", ge=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpu > 1 and self.gpu % 1:
            raise ValueError(f"gpu={self.gpu:g} must be a part of one GPU or a whole number")

    @property
    def shares(self) -> bool:
        """Whether trials that ask for as much may run on the same GPU or the same core."""
        return 0 < self.gpu < 1 or self.cpu < 1


@dataclass(frozen=True)
class TrialConfig(Settings):
    """Everything that decides a trial's outcome, and its resources."""

    data: DataConfig
    train: TrainConfig
    protocol: ProtocolConfig
    planner: Any  # the planner's own dataclass
    method: Any  # the method's own dataclass
    planner_name: str = setting("cem", "How world models plan.", text="a name of --help planners")
    mpc: MPCConfig = field(default_factory=MPCConfig)
    plan_time: PlanTimeConfig = field(default_factory=PlanTimeConfig)
    plans: PlansConfig = field(default_factory=PlansConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    # data of the tasks whose frames a frozen encoder is trained on first, by task
    pool: dict[str, DataConfig] = field(default_factory=dict)
    # the code of what comes from outside, by "method.my_method"; of it the hash has the sha256
    outside: dict[str, outside.Code] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    weights: Weights = field(default_factory=Weights)  # empty: the trial trains its own
    scale: str = setting("", "How big; tables keep scales apart.", text="a name of --help scales")
    device: Literal["cpu", "cuda"] = setting("cpu", "Where models are trained and plan.")


@dataclass(frozen=True)
class RayConfig(Settings):
    """The Ray that runs the trials."""

    address: str = setting(
        "", "HOST:PORT of a Ray cluster to join; without it a local Ray is started.", text="text"
    )


@dataclass(frozen=True)
class RunConfig(Settings):
    """The words of the command line that are not configuration of a trial."""

    suite: str = setting("all", "What to run.", text="a name of --help suites")
    scale: str = setting(
        "",
        "How big; without it quick for suite=quick, else laptop, with CUDA workstation.",
        text="a name of --help scales",
    )
    protocol: str = setting(
        "",
        "How it is judged; without it lewm-v3, at tiny smoke, at quick quick.",
        text="a name of --help protocols",
    )
    tasks: tuple[str, ...] = setting(
        (),
        "These tasks instead of the suite's.",
        text="names of --help tasks or files, e.g. two_room,./my_task.py",
    )
    methods: tuple[str, ...] = setting(
        (),
        "These methods instead of the suite's.",
        text="names of --help methods or files, e.g. lewm,./my_method.py",
    )
    stages: tuple[str, ...] = setting(
        (),
        "These stages instead of the suite's; a finished trial runs those that it lacks.",
        text="train, probing, open_loop, geometry, surprise, control, plan_time, plans, decoder",
    )
    seeds: tuple[int, ...] = setting(
        (), "Seeds of the trainings; 3: seeds 0, 1 and 2, [0,7]: these two.", ge=0
    )
    run: str = setting(
        "",
        "The results' folder; without it suite, scale and protocol, each name once.",
        text="a name, no path",
    )
    results: str = setting("results", "The folder in which that folder lies.", text="a path or URI")
    datasets: str = setting("data", "The folder of the datasets, made once.", text="a path or URI")
    from_: str = setting(
        "",
        "A run whose weights the trained methods take, instead of training anew.",
        text="the folder of a run, e.g. results/NAME",
    )
    backend: Literal["ray", "loop"] = setting(
        "ray", "How trials run: side by side by Ray, or in a loop in this process."
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Where models are trained and plan.")
    planner: str = setting(
        "cem", "How world models plan.", text="a name of --help planners or a file"
    )
    log: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = setting(
        (), "Where curves and figures go beside the record; none: nowhere."
    )
    download: bool = setting(
        False, "Download what the run needs without asking; else more than 1 GB is asked for."
    )
    dry: bool = setting(False, "Show the plan and the time it takes, and run nothing.")
    verbose: bool = setting(False, "Log more.")
    ray: RayConfig = field(default_factory=RayConfig)
    overrides: dict[str, Any] = field(default_factory=dict)  # the layer of the command line

    @property
    def folder(self) -> str:
        """The folder of this run's results; in a URI the name is percent-encoded."""
        name = urllib.parse.quote(self.run, safe="") if "://" in self.results else self.run
        return storage.join(self.results, name)


_BRANCHES = (
    "data",
    "train",
    "protocol",
    "planner",
    "mpc",
    "plan_time",
    "plans",
    "decoder",
    "resources",
    "method",
    "for",
)
_SECTIONS = {
    "data": DataConfig,
    "train": TrainConfig,
    "protocol": ProtocolConfig,
    "mpc": MPCConfig,
    "plan_time": PlanTimeConfig,
    "plans": PlansConfig,
    "decoder": DecoderConfig,
    "resources": Resources,
}
_NO_BRANCHES = ("about", "for", "sizes")  # of a layer, beside its branches
_PROTOCOL_BRANCHES = ("protocol", "planner", "mpc")
_MANIFEST_KEYS = {"manifest", "manifest_hash"}  # of a protocol: its name says which manifest
_RUN_KEYS = tuple(
    f.name.rstrip("_") for f in dataclasses.fields(RunConfig) if f.name != "overrides"
)


def parse(argv: list[str]) -> RunConfig:
    """`key=value` words to a RunConfig with its defaults filled in. Text is what was typed.

    Raises ConfigError on a word that is no key=value, on unknown keys or names, and on values of
    the wrong kind; keys of a trial are read by trial_spec.
    """
    own: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for word in argv:
        key, text = command.split(word)
        branch = key.split(".")[0]
        if key in _RUN_KEYS or key.startswith("ray."):
            put(own, key, dotted_keys.seeds(text) if key == "seeds" else text)
        elif branch in _BRANCHES and "." in key:
            put(overrides, key, text)
        else:
            raise ConfigError(f'unknown key "{key}". {nearest(key, [*_RUN_KEYS, *trial_keys()])}')
    run = with_entries(fill(RunConfig(), own))
    return _with_defaults(dataclasses.replace(run, overrides=overrides))


def with_entries(run: RunConfig) -> RunConfig:
    """The run with names in place of files, which are loaded, as are installed entries that it
    names. Raises ConfigError.
    """
    tasks = [name for word in run.tasks for name in zoo.find("task", word)]
    methods = [name for word in run.methods for name in zoo.find("method", word)]
    planner, *others = zoo.find("planner", run.planner)
    if others:
        raise ConfigError(f"{run.planner} defines several planners: {planner}, {', '.join(others)}")
    return dataclasses.replace(run, tasks=tuple(tasks), methods=tuple(methods), planner=planner)


def trial_spec(
    run: RunConfig,
    task: str,
    method: str,
    seed: int,
    stages: tuple[str, ...],
    suite_overlay: Mapping[str, Any],
    variant: str = "",
) -> TrialSpec:
    """One trial, its configuration resolved. Raises ConfigError on unknown keys or bad values."""
    tree = _tree(run, task, method, suite_overlay)
    settings = _named_section("method", method, zoo.METHODS, tree)
    pool = [known("task", name, zoo.TASKS) for name in settings.pool]
    others = {name: _tree(run, name, method, suite_overlay) for name in pool}
    protocol = _with_manifest(_section("protocol", tree), task)
    _check_protocol(protocol, task)
    used = [("task", task), ("method", method), ("planner", run.planner)]
    used += [("task", name) for name in pool]
    config = TrialConfig(
        data=_data(tree, task),
        train=_section("train", tree),
        protocol=protocol,
        planner=_named_section("planner", run.planner, zoo.PLANNERS, tree),
        method=settings,
        planner_name=run.planner,
        mpc=_section("mpc", tree),
        plan_time=_section("plan_time", tree),
        plans=_section("plans", tree),
        decoder=_section("decoder", tree),
        pool={name: _data(other, name) for name, other in others.items()},
        outside={f"{k}.{name}": code for k, name in used if (code := outside.code(k, name))},
        resources=_resources(run, tree, zoo.METHODS[method].trained),
        scale=run.scale,
        device="cuda" if run.device == "cuda" and zoo.METHODS[method].trained else "cpu",
    )
    _check_together(config, method, stages)
    return TrialSpec(task, method, seed, variant, stages, config)


def _tree(
    run: RunConfig, task: str, method: str, suite_overlay: Mapping[str, Any]
) -> dict[str, Any]:
    """All layers, merged for one task and method."""
    for name, part in run.overrides.get("for", {}).items():
        known("task or method in for.*", name, [*zoo.TASKS, *zoo.METHODS])
        check_keys(f"for.{name}.", part, _BRANCHES[:-1])
        for branch in _PROTOCOL_BRANCHES:  # others are looked at where they are read
            check_keys(f"for.{name}.{branch}.", part.get(branch, {}), _under(branch))
    layers: list[Mapping[str, Any]] = [PROTOCOLS[run.protocol], EVERY_SCALE, SCALES[run.scale]]
    layers += [suite_overlay, run.overrides]
    tree: dict[str, Any] = {}
    for cls in reversed(zoo.METHODS[method].config.__mro__):
        merge(tree, {"method": {method: SCALES[run.scale]["sizes"].get(cls.__name__, {})}})
    for layer in layers:
        merge(tree, {key: value for key, value in layer.items() if key not in _NO_BRANCHES})
        narrowed = layer.get("for", {})
        merge(tree, narrowed.get(task, {}))
        merge(tree, narrowed.get(method, {}))
    for branch in tree:
        known("key", branch, _BRANCHES[:-1])
    if _modifies_protocol(run.overrides):
        tree["protocol"]["name"] = f"{tree['protocol']['name']} modified"
    return tree


def to_yaml(spec: TrialSpec) -> str:
    """The spec as YAML: what `python -m harness.trial` reads and what the hashes are of."""
    return yaml.safe_dump(
        identity.plain_values(spec), sort_keys=False
    )  # ASCII: YAML loses some line breaks


def from_yaml(text: str) -> TrialSpec:
    """The inverse of to_yaml; text is what is written there, quoted or not. Raises ConfigError."""
    try:
        tree = plain_yaml.load(text, yaml.BaseLoader)
        config = {name: {} for name in identity.STAGE_SECTIONS} | tree["config"]
        codes = {key: outside.Code(**code) for key, code in config.pop("outside", {}).items()}
        for key, code in codes.items():
            kind, name = key.split(".")
            zoo.same(kind, name, code)
        method = zoo.METHODS[known("method", tree["method"], zoo.METHODS)]
        planner = zoo.PLANNERS[known("planner", config["planner_name"], zoo.PLANNERS)]
        known("task", tree["task"], zoo.TASKS)
        kinds = _SECTIONS | {"planner": planner.config, "method": method.config}
        parts = {name: fill(cls(), config.pop(name), f"{name}.") for name, cls in kinds.items()}
        pool = config.pop("pool", {})
        parts["weights"] = fill(Weights(), config.pop("weights", {}), "weights.")
        parts["pool"] = {name: fill(DataConfig(), d, "data.") for name, d in pool.items()}
        parts["outside"] = codes
        tree |= {name: tuple(tree.get(name, ())) for name in ("stages", "swept")}
        tree["seed"] = dotted_keys.read(int, tree["seed"], "seed")
        return TrialSpec(**{**tree, "config": TrialConfig(**config, **parts)})
    except ConfigError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"not a trial's YAML: {_line(error)}") from error


def trial_keys() -> list[str]:
    """Every dotted key that the command line takes for trials, without the `for.` ones."""
    return [
        leaf.key
        for name, cls in sections().items()
        for leaf in dotted_keys.leaves(cls(), f"{name}.")
    ]


def sections() -> dict[str, type]:
    """The configuration's dataclasses by what stands before their keys: "train", "method.lewm"."""
    classes = dict(_SECTIONS)
    for branch, entries in (("planner", zoo.PLANNERS), ("method", zoo.METHODS)):
        classes |= {f"{branch}.{name}": entry.config for name, entry in entries.items()}
    return classes


def _under(branch: str) -> list[str]:
    return [key[len(branch) + 1 :] for key in trial_keys() if key.startswith(f"{branch}.")]


def _with_defaults(run: RunConfig) -> RunConfig:
    cuda = torch.cuda.is_available()
    own = run.suite if run.suite in SCALES else ""  # suite=quick has a scale of its name
    scale = known("scale", run.scale or own or ("workstation" if cuda else "laptop"), SCALES)
    name = run.protocol or DEFAULT_PROTOCOL.get(scale, "lewm-v3")
    protocol = known("protocol", name, PROTOCOLS)
    device = run.device if run.device != "auto" else ("cuda" if cuda else "cpu")
    known("planner", run.planner, zoo.PLANNERS)
    folder = run.run or "-".join(dict.fromkeys((run.suite, scale, protocol)))
    return dataclasses.replace(run, scale=scale, protocol=protocol, device=device, run=folder)


def _section(name: str, tree: Mapping[str, Any]) -> Any:
    return fill(_SECTIONS[name](), tree.get(name, {}), f"{name}.")


def _data(tree: Mapping[str, Any], task: str) -> DataConfig:
    """The section "data" of a task."""
    try:
        data: DataConfig = _section("data", tree).of_task(task)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return data


def _named_section(
    branch: str, name: str, entries: Mapping[str, Any], tree: Mapping[str, Any]
) -> Any:
    """The configuration of entry `name`; the other entries' branches must be right too."""
    filled = {}
    check_keys(f"{branch}.", tree.get(branch, {}), entries)
    for other, values in {name: {}, **tree.get(branch, {})}.items():
        known(branch, other, entries)
        filled[other] = fill(entries[other].config(), values, f"{branch}.{other}.")
    return filled[name]


def _modifies_protocol(overrides: Mapping[str, Any]) -> bool:
    """The command line changes the protocol that it names: its rows must not pass for the
    original's.
    """
    layers = [overrides, *overrides.get("for", {}).values()]
    keys = [set(layer.get(branch, {})) for layer in layers for branch in _PROTOCOL_BRANCHES]
    return any(own - identity.MACHINE_KEYS - _MANIFEST_KEYS for own in keys)


def _with_manifest(protocol: ProtocolConfig, task: str) -> ProtocolConfig:
    """The protocol with the hash of its manifest, where it has one, and a name that says what the
    manifest lists. Raises ConfigError where the file is none, or is of another task.
    """
    if not protocol.manifest:
        if protocol.manifest_hash:
            raise ConfigError("protocol.manifest_hash is of no use without protocol.manifest")
        return protocol
    path = os.path.abspath(protocol.manifest)
    try:
        listed, digest = manifest.read(path)
    except manifest.ManifestError as error:
        raise ConfigError(f"protocol.manifest: {error}") from None
    if manifest.task_name(listed.task) != manifest.task_name(task):
        raise ConfigError(
            f"protocol.manifest: {path} lists pairs of {listed.task}, not of {task}; for one task "
            f"of several give for.{task}.protocol.manifest"
        )
    if protocol.manifest_hash not in ("", digest):
        raise ConfigError(
            f"protocol.manifest: {path} has the sha256 {digest}, not {protocol.manifest_hash}"
        )
    of_draw = listed.protocol.get("name", "pairs"), f"seed{listed.seed}", f"n{len(listed.pairs)}"
    name = f"{protocol.name} on {'-'.join(of_draw)}"
    return dataclasses.replace(protocol, name=name, manifest=path, manifest_hash=digest)


def _check_protocol(protocol: ProtocolConfig, task: str) -> None:
    """Raises ConfigError where the protocol names what the task does not have."""
    spec = zoo.TASKS[task].spec
    known(f"success rule of {task}", protocol.success_rule, spec.success_rules)
    for name in (*protocol.strata, *protocol.strata_min):
        known(f"stratum of {task}", name, spec.strata)


def _check_together(config: TrialConfig, method: str, stages: tuple[str, ...]) -> None:
    """Raises ConfigError where values of two sections do not go together."""
    data, split = config.data, config.protocol.split
    if split in ("test", "validation") and getattr(data, split) == 0 and not data.is_imported:
        raise ConfigError(
            f"data.{split}=0 leaves no episode for pairs of protocol.split={split}: give "
            f"data.{split} a share above 0"
        )
    misfit = "" if config.method.given_weights else config.method.misfit(data.image_size)
    if misfit:
        raise ConfigError(f"method.{method}.{misfit}")
    if "decoder" in stages and data.image_size % config.decoder.patch:
        raise ConfigError(
            f"decoder.patch={config.decoder.patch} must divide the picture's side, "
            f"data.image_size={data.image_size}"
        )


def _resources(run: RunConfig, tree: Mapping[str, Any], trained: bool) -> Resources:
    """A control needs one core and no GPU; pairs in one call and GPUs follow the device."""
    resources: Resources = _section("resources", tree)
    together = resources.pairs_per_rollout or (16 if run.device == "cuda" else 1)
    resources = dataclasses.replace(resources, pairs_per_rollout=together)
    if not trained:
        return dataclasses.replace(resources, cpu=min(1.0, resources.cpu), gpu=0.0)
    threads = _section("train", tree).threads
    if threads > max(1.0, resources.cpu):
        raise ConfigError(
            f"train.threads={threads} and resources.cpu={resources.cpu:g}: a trial needs a core "
            f"for each thread, so give resources.cpu={threads} too"
        )
    gpus = (resources.gpu or 1.0) if run.device == "cuda" else 0.0
    return dataclasses.replace(resources, gpu=gpus)


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
