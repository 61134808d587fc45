"""argv -> RunConfig and, per trial, a checked TrialConfig.

Layers, later ones win: dataclass defaults -> protocol -> scale -> suite -> command line, and within
a layer its "for" part for the task, then the one for the method. Layers are plain dictionaries of
the tree below; `method` and `planner` hold one branch for each name, of which a trial keeps its
own:

    data.*  train.*  protocol.*  planner.<name>.*  mpc.*  plan_time.*  resources.*  method.<name>.*
    for.<task or method>.*
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from harness import zoo
from harness.data.collect import DataConfig
from harness.evaluate.plan_time import PlanTimeConfig
from harness.interfaces import TrialSpec
from harness.planning.receding_horizon import MPCConfig
from harness.protocols import PROTOCOLS, ProtocolConfig
from harness.scales import DEFAULT_PROTOCOL, SCALES
from harness.train import TrainConfig
from harness.words import ConfigError, known, listed, merge, nearest, put


@dataclass(frozen=True)
class Resources:
    """What a trial is given; threads follow `cpu`. Decides no outcome, so it is not hashed."""

    cpu: float = 2.0
    gpu: float = 0.0
    pairs_per_solve: int = 0  # pairs planned together; 0: all that need a plan
    pairs_per_rollout: int = 0  # pairs in one call of the model; 0: 1 on a CPU, 16 on a GPU

    def __post_init__(self):
        if self.cpu <= 0 or self.gpu < 0:
            raise ValueError("resources.cpu must be above 0, resources.gpu at least 0")
        if min(self.pairs_per_solve, self.pairs_per_rollout) < 0:
            raise ValueError("resources.pairs_per_solve and pairs_per_rollout must be at least 0")


@dataclass(frozen=True)
class TrialConfig:
    """Everything that decides a trial's outcome, and its resources."""

    data: DataConfig
    train: TrainConfig
    protocol: ProtocolConfig
    planner: Any  # the planner's own dataclass
    method: Any  # the method's own dataclass
    planner_name: str = "cem"
    mpc: MPCConfig = field(default_factory=MPCConfig)
    plan_time: PlanTimeConfig = field(default_factory=PlanTimeConfig)
    # data of the tasks whose frames a frozen encoder is trained on first, by task
    pool: dict[str, DataConfig] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    scale: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class RayConfig:
    """`address` of an existing cluster; empty: a local Ray for this run."""

    address: str = ""


@dataclass(frozen=True)
class RunConfig:
    """The words of the command line that are not configuration of a trial."""

    suite: str = "all"
    scale: str = ""
    protocol: str = ""
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    run: str = ""  # name of the folder under `results`
    results: str = "results"
    datasets: str = "data"
    backend: Literal["ray", "loop"] = "ray"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    planner: str = "cem"
    dry: bool = False
    verbose: bool = False
    ray: RayConfig = field(default_factory=RayConfig)
    overrides: dict[str, Any] = field(default_factory=dict)  # the layer of the command line

    @property
    def folder(self) -> str:
        """Where this run's results lie."""
        return f"{self.results.rstrip('/')}/{self.run}"


_BRANCHES = (
    "data",
    "train",
    "protocol",
    "planner",
    "mpc",
    "plan_time",
    "resources",
    "method",
    "for",
)
_PROTOCOL_BRANCHES = ("protocol", "planner", "mpc")
_MACHINES = {"precision"}  # keys of these that are the machine's affair
_RUN_KEYS = tuple(f.name for f in dataclasses.fields(RunConfig) if f.name != "overrides")


def parse(argv: list[str]) -> RunConfig:
    """`key=value` words to a RunConfig with its defaults filled in.

    Raises ConfigError on a word that is no key=value, on unknown keys or names, and on values of
    the wrong kind.
    """
    words: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for word in argv:
        key, value = _split(word)
        branch = key.split(".")[0]
        if key in _RUN_KEYS or key.startswith("ray."):
            if value is None:
                raise ConfigError(f"{word} has no value; leave the word out or see --help")
            put(words, key, value)
        elif branch in _BRANCHES and "." in key:
            put(overrides, key, value)
        else:
            raise ConfigError(f'unknown key "{key}". {nearest(key, [*_RUN_KEYS, *trial_keys()])}')
    run = _structured(RunConfig, {**listed(words), "overrides": overrides})
    return _with_defaults(run)


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
    pool = [known("task", name, zoo.TASKS) for name in getattr(settings, "pool", ())]
    others = {name: _tree(run, name, method, suite_overlay) for name in pool}
    protocol = _section("protocol", ProtocolConfig, tree)
    known(f"success rule of {task}", protocol.success_rule, zoo.TASKS[task].spec.success_rules)
    config = TrialConfig(
        data=_section("data", DataConfig, tree),
        train=_section("train", TrainConfig, tree),
        protocol=protocol,
        planner=_named_section("planner", run.planner, zoo.PLANNERS, tree),
        method=settings,
        planner_name=run.planner,
        mpc=_section("mpc", MPCConfig, tree),
        plan_time=_section("plan_time", PlanTimeConfig, tree),
        pool={name: _section("data", DataConfig, other) for name, other in others.items()},
        resources=_resources(run, tree, zoo.METHODS[method].trained),
        scale=run.scale,
        device=run.device if zoo.METHODS[method].trained else "cpu",
    )
    return TrialSpec(task, method, seed, variant, stages, config)


def _tree(
    run: RunConfig, task: str, method: str, suite_overlay: Mapping[str, Any]
) -> dict[str, Any]:
    """All layers, merged for one task and method."""
    for name, part in run.overrides.get("for", {}).items():
        known("task or method in for.*", name, [*zoo.TASKS, *zoo.METHODS])
        _check_keys(f"for.{name}.", part, _BRANCHES[:-1])
        for branch in _PROTOCOL_BRANCHES:  # others are looked at where they are read
            _check_keys(f"for.{name}.{branch}.", part.get(branch, {}), _under(branch))
    layers = [PROTOCOLS[run.protocol], SCALES[run.scale], suite_overlay, run.overrides]
    tree: dict[str, Any] = {}
    for cls in reversed(zoo.METHODS[method].config.__mro__):
        merge(tree, {"method": {method: SCALES[run.scale]["sizes"].get(cls.__name__, {})}})
    for layer in layers:
        merge(tree, {key: value for key, value in layer.items() if key not in ("for", "sizes")})
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
    return OmegaConf.to_yaml(OmegaConf.create(_plain(spec)))


def from_yaml(text: str) -> TrialSpec:
    """The inverse of to_yaml. Raises ConfigError."""
    try:
        tree = OmegaConf.to_container(OmegaConf.create(text))
        config = tree["config"]
        method = zoo.METHODS[known("method", tree["method"], zoo.METHODS)]
        planner = zoo.PLANNERS[known("planner", config["planner_name"], zoo.PLANNERS)]
        known("task", tree["task"], zoo.TASKS)
        sections = {"data": DataConfig, "train": TrainConfig, "protocol": ProtocolConfig}
        sections |= {"mpc": MPCConfig, "plan_time": PlanTimeConfig, "resources": Resources}
        sections |= {"planner": planner.config, "method": method.config}
        parts = {name: _structured(cls, config.pop(name)) for name, cls in sections.items()}
        pool = config.pop("pool", {})
        parts["pool"] = {name: _structured(DataConfig, data) for name, data in pool.items()}
        tree |= {name: tuple(tree.get(name, ())) for name in ("stages", "swept")}
        return TrialSpec(**{**tree, "config": TrialConfig(**config, **parts)})
    except (LookupError, TypeError, AttributeError, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"not a trial's YAML: {_line(error)}") from error


def config_hash(spec: TrialSpec) -> str:
    """Of everything that decides the outcome, seed included."""
    return _hash(_outcome(spec))


def setting_hash(spec: TrialSpec) -> str:
    """The same without the seed: trials that may be averaged share it."""
    return _hash({key: value for key, value in _outcome(spec).items() if key != "seed"})


def protocol_hash(spec: TrialSpec) -> str:
    """Of the protocol as resolved for this task: pairs, episodes, planner."""
    plain = _outcome(spec)["config"]
    kept = {name: plain[name] for name in ("protocol", "planner_name", "planner", "mpc")}
    kept["mpc"] = {name: kept["mpc"][name] for name in kept["mpc"].keys() - _MACHINES}
    return _hash(kept)


def trial_keys() -> list[str]:
    """Every dotted key that the command line takes for trials, without the `for.` ones."""
    keys = [f"{name}.{key}" for name, cls in _sections().items() for key in _leaves(cls)]
    for branch, entries in (("planner", zoo.PLANNERS), ("method", zoo.METHODS)):
        keys += [f"{branch}.{n}.{key}" for n, e in entries.items() for key in _leaves(e.config)]
    return keys


def _under(branch: str) -> list[str]:
    return [key[len(branch) + 1 :] for key in trial_keys() if key.startswith(f"{branch}.")]


def _sections() -> dict[str, type]:
    return {
        "data": DataConfig,
        "train": TrainConfig,
        "protocol": ProtocolConfig,
        "mpc": MPCConfig,
        "plan_time": PlanTimeConfig,
        "resources": Resources,
    }


def _leaves(cls: type, prefix: str = "") -> list[str]:
    found = []
    for f in dataclasses.fields(cls):
        inner = f.default_factory() if f.default_factory is not dataclasses.MISSING else None
        if dataclasses.is_dataclass(inner):
            found += _leaves(type(inner), f"{prefix}{f.name}.")
        else:
            found.append(prefix + f.name)
    return found


def _with_defaults(run: RunConfig) -> RunConfig:
    cuda = torch.cuda.is_available()
    scale = known("scale", run.scale or ("workstation" if cuda else "laptop"), SCALES)
    name = run.protocol or DEFAULT_PROTOCOL.get(scale, "lewm-v3")
    protocol = known("protocol", name, PROTOCOLS)
    device = run.device if run.device != "auto" else ("cuda" if cuda else "cpu")
    known("planner", run.planner, zoo.PLANNERS)
    folder = run.run or f"{run.suite}-{scale}-{protocol}"
    return dataclasses.replace(run, scale=scale, protocol=protocol, device=device, run=folder)


def _split(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ConfigError(f'"{word}" is not of the form key=value, e.g. scale=laptop. See --help.')
    try:
        return key, OmegaConf.to_container(OmegaConf.create(f"v: {value}"))["v"]
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{key}: cannot read the value {value!r}") from error


def _section(name: str, cls: type, tree: Mapping[str, Any]) -> Any:
    return _structured(cls, tree.get(name, {}), f"{name}.")


def _named_section(branch: str, name: str, entries: Mapping[str, Any], tree: Mapping) -> Any:
    """The configuration of entry `name`; the other entries' branches must be right too."""
    sections = {}
    _check_keys(f"{branch}.", tree.get(branch, {}), entries)
    for other, values in {name: {}, **tree.get(branch, {})}.items():
        known(branch, other, entries)
        sections[other] = _structured(entries[other].config, values, f"{branch}.{other}.")
    return sections[name]


def _modifies_protocol(overrides: Mapping[str, Any]) -> bool:
    """The command line changes the protocol that it names: its rows must not pass for the
    original's.
    """
    layers = [overrides, *overrides.get("for", {}).values()]
    keys = [set(layer.get(branch, {})) for layer in layers for branch in _PROTOCOL_BRANCHES]
    return any(own - _MACHINES for own in keys)


def _resources(run: RunConfig, tree: Mapping[str, Any], trained: bool) -> Resources:
    """A control needs one core and no GPU; pairs in one call and GPUs follow the device."""
    asked = _section("resources", Resources, tree)
    together = asked.pairs_per_rollout or (16 if run.device == "cuda" else 1)
    asked = dataclasses.replace(asked, pairs_per_rollout=together)
    if not trained:
        return dataclasses.replace(asked, cpu=min(1.0, asked.cpu), gpu=0.0)
    return asked if run.device == "cuda" else dataclasses.replace(asked, gpu=0.0)


def _check_keys(where: str, values: Any, keys: Iterable[str]) -> None:
    if not isinstance(values, Mapping):
        names = ", ".join(where + key for key in keys)
        raise ConfigError(f"{where.rstrip('.')} takes no value ({values!r}) but keys: {names}")


def _structured(cls: type, values: Mapping[str, Any], where: str = "") -> Any:
    _check_keys(where, values, _leaves(cls))
    return _checked(cls, json.dumps(values, default=str), where)


@functools.cache  # the trials of a suite share most of their parts
def _checked(cls: type, values: str, where: str) -> Any:
    try:
        wanted = OmegaConf.merge(OmegaConf.structured(cls), json.loads(values))
        return OmegaConf.to_object(wanted)
    except ConfigKeyError as error:
        key = where + str(error.full_key)
        raise ConfigError(
            f'unknown key "{key}". {nearest(key, [where + leaf for leaf in _leaves(cls)])}'
        ) from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}{error.full_key or ''}: {_line(error)}") from error
    except ValueError as error:  # of a __post_init__
        raise ConfigError(str(error)) from error


def _outcome(spec: TrialSpec) -> dict[str, Any]:
    """What decides the outcome, plain; what a control or a method never reads is left out, and so
    is a key of _LATER with the value that it stands for. A task or a method that changed has
    another version, and its trials are to be run again.
    """
    plain = _plain(spec) | {"task_version": zoo.TASKS[spec.task].spec.version}
    if (version := zoo.METHODS[spec.method].version) > 1:
        plain["method_version"] = version
    del plain["swept"]
    config = plain["config"]
    for part, key, value in _LATER:
        for values in (config[part], *(config["pool"].values() if part == "data" else ())):
            if values[key] == value:
                del values[key]
    dropped = {"resources"} if zoo.METHODS[spec.method].trained else _UNUSED_BY_CONTROLS
    if not plain["config"]["pool"]:
        dropped = dropped | {"pool"}
    for name in dropped:
        del plain["config"][name]
    for name in getattr(spec.config.method, "unread", ()):
        del plain["config"]["method"][name]
    return plain


# keys that came after rows had been made, with what those rows had
_LATER = (("data", "storage", "raw"), ("mpc", "precision", "fp32"))
_UNUSED_BY_CONTROLS = {"resources", "train", "plan_time", "device"}


def _plain(spec: TrialSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec)


def _hash(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
