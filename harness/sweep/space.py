"""The space of a sweep: words of the command line become it, and its values become words again."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from harness import loggers, zoo
from harness.contracts.setting import MOST_WHOLE, Settings, setting
from harness.experiment import command_line, config, dotted_keys, identity, imported
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.sweep import samplers

OBJECTIVES: dict[str, Literal["minimize", "maximize"]] = {
    "success": "maximize",
    "plan_time": "minimize",
}
Number = TypeVar("Number", int, float)
PRUNERS = ("none", "asha")
RUNGS = (0.25, 0.5)
BEST = "best"  # variant of the trials that see test pairs
_OVERLAY = {
    "protocol": {"split": "validation"}
}  # a layer below the command line, so that the protocol does not count as modified
_WORDS: tuple[str, ...] = ("task", "method", "seed", "seeds", "trials")
_WORDS += ("sampler", "points", "resolution", "objectives", "prune", "test")
_NOT_OURS = ("suite", "tasks", "methods", "seeds", "from_", "ray", "overrides")
_DIGITS = 4  # significant digits of a suggested number; the rounded number is the one that runs
_TRIALS = 8
_MOST_GRID = 100_000  # values; each is a training
_LONGEST_VALUE = 60  # characters in the name of a folder; of a path the last ones


@dataclass(frozen=True)
class Sweep(Settings):
    """A sweep: what stays the same, what varies, and how many values are tried."""

    run: config.RunConfig
    words: tuple[str, ...]  # those of harness.run, as given
    task: str
    method: str
    seeds: tuple[int, ...]  # of the trainings of each value; the first also of what is suggested
    space: dict[str, BaseDistribution]  # by key
    trials: int = setting(_TRIALS, "How many values are tried.", ge=1)
    sampler: Literal["tpe", "random", "grid", "bisection"] = setting(
        "tpe", "How values are chosen."
    )
    points: int = setting(8, "Values of a grid for each key.", ge=2)
    resolution: float = setting(
        1.5, "Factor to which bisection narrows the ends of the plateau.", gt=1
    )
    objectives: tuple[Literal["success", "plan_time"], ...] = setting(
        ("success",), "What is made better.", least=1
    )
    prune: Literal["none", "asha"] = setting("none", "Which trainings stop early.")
    test: bool = setting(False, "Evaluate the weights of the best value on test pairs.")

    @property
    def seed(self) -> int:
        """Seed of what is suggested."""
        return self.seeds[0]

    @property
    def rungs(self) -> tuple[float, ...]:
        """Shares of a training after which its value is evaluated, and may be pruned."""
        return RUNGS if self.prune == "asha" else ()

    @property
    def trials_a_value(self) -> int:
        """How often a trial is started for one value that is not pruned."""
        return len(self.seeds) * (len(self.rungs) + 1)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of a trial."""
        timed = ("plan_time",) if "plan_time" in self.objectives else ()
        return ("train", "control", *timed)

    def spec(self, values: Mapping[str, Any]) -> TrialSpec:
        """The trial that tries `values` with the first seed. Raises config.ConfigError."""
        variant = "_".join(map(_in_a_name, self.tried(values)))
        spec = imported.with_given(self._resolved(values, _OVERLAY, variant))
        return dataclasses.replace(spec, swept=tuple(self.space))

    def specs(self, values: Mapping[str, Any]) -> list[TrialSpec]:
        """The trials that try `values`, one for each seed. Raises config.ConfigError."""
        spec = self.spec(values)
        return [dataclasses.replace(spec, seed=seed) for seed in self.seeds]

    def on_test_pairs(self, values: Mapping[str, Any]) -> list[TrialSpec]:
        """The trials that evaluate the weights of `values` on the protocol's test pairs, one for
        each seed. The run must hold the trainings. Raises config.ConfigError.
        """
        spec = imported.with_given(self._resolved(values, {}, BEST))
        specs = [dataclasses.replace(spec, seed=seed) for seed in self.seeds]
        specs = imported.from_run(specs, dataclasses.replace(self.run, from_=self.run.folder))
        return [self._with_own_hint(spec, values) for spec in specs]

    def _with_own_hint(self, spec: TrialSpec, values: Mapping[str, Any]) -> TrialSpec:
        """The trial, where its weights are missing with what to do in a sweep."""
        weights = spec.config.weights
        if not weights.missing:
            return spec
        training = dataclasses.replace(self.spec(values), seed=spec.seed)
        hint = (
            f"the weights of {self.folders.trial(training)} are gone: put them back, or delete "
            "that folder, and the same command trains them again"
        )
        weights = dataclasses.replace(weights, missing=hint)
        return dataclasses.replace(spec, config=dataclasses.replace(spec.config, weights=weights))

    def _resolved(
        self, values: Mapping[str, Any], overlay: Mapping[str, Any], variant: str
    ) -> TrialSpec:
        run = config.parse([*self.words, *self.tried(values)])
        named = self.task, self.method, self.seed, self.stages
        return config.trial_spec(run, *named, overlay, variant=variant)

    def tried(self, values: Mapping[str, Any]) -> list[str]:
        """The words of the command line for `values`."""
        return [f"{key}={_text(values[key], kind)}" for key, kind in self.space.items()]

    @property
    def example(self) -> TrialSpec:
        """A trial like all the others, for what they have in common."""
        return self.spec({key: _ends(kind)[0] for key, kind in self.space.items()})

    @property
    def study(self) -> str:
        """Name of the study: another space or configuration is another sweep."""
        kinds = [(key, repr(kind)) for key, kind in self.space.items()]
        setting = identity.config_hash(self.example)
        own = {name: getattr(self, name) for name in ("sampler", "seeds", "objectives", "prune")}
        own |= {"points": self.points} if self.sampler == "grid" else {}
        usual = {"sampler": "tpe", "seeds": (self.seed,), "objectives": ("success",)}
        usual |= {"prune": "none"}
        # what is as it was before there was a choice is left out: older studies go on
        unusual = {name: value for name, value in own.items() if usual.get(name) != value}
        parts = (kinds, setting, unusual) if unusual else (kinds, setting)
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        return f"{self.task}.{self.method}.s{self.seed}.{digest[:12]}"

    @property
    def folders(self) -> RunFolders:
        """The folders of its trials."""
        return RunFolders(self.run.folder, self.run.run, "sweep", self.run.datasets)


def parse(argv: Sequence[str]) -> Sweep:
    """The words of the command line. Raises config.ConfigError that names what is valid."""
    own: dict[str, str] = {}
    space: dict[str, str] = {}
    rest = []
    names = [f.name for f in dataclasses.fields(config.RunConfig) if f.name not in _NOT_OURS]
    for word in argv:
        key, _, text = word.partition("=")
        if key in _WORDS:
            own[key] = text
        elif key.startswith("space."):
            space[key.removeprefix("space.")] = text
        else:
            if "=" in word and "." not in key:
                config.known("word", key, [*_WORDS, *names])
            rest.append(word)
    task, method = (_entry(kind, own.get(kind, "")) for kind in ("task", "method"))
    config.known("task", task, zoo.TASKS)
    config.known("method", method, zoo.METHODS)
    seeds = _seeds(own)
    choice: dict[str, Any] = {
        "sampler": config.known("sampler", own.get("sampler", "tpe"), samplers.NAMES),
        "points": _whole("points", own.get("points", "8"), 2),
        "resolution": _resolution(own.get("resolution", "1.5")),
        "objectives": _objectives(own.get("objectives", "success")),
        "prune": config.known("pruner", own.get("prune", "none"), PRUNERS),
        "test": config.known("value of test", own.get("test", "false"), _YES) == "true",
    }
    short = "-".join(sorted(key.rpartition(".")[2] for key in space))
    short += f"-{choice['sampler']}" if choice["sampler"] != "tpe" else ""
    run = config.parse([*rest, f"suite=sweep-{task}-{method}-{short}"])
    if "://" in run.results:
        raise config.ConfigError(f"results={run.results}: a sweep needs a folder on this machine")
    distributions = _space(space, run.planner, method)
    _check_not_fixed(rest, distributions)
    _check_choice(own, choice, distributions, zoo.METHODS[method].trained)
    parts: dict[str, Any] = {
        "run": command_line.local_paths(run),
        "words": tuple(rest),
        "task": task,
    }
    parts |= {"method": method, "seeds": seeds, "space": distributions}
    trials = _trials(own, choice, distributions, seeds[0])
    try:
        sweep = Sweep(**parts, **choice, trials=trials)
    except ValueError as error:
        raise config.ConfigError(f"{error}; see --help") from error
    loggers.check(sweep.run.log, sweep.run.folder)
    _check(sweep)
    return sweep


def _entry(kind: str, word: str) -> str:
    """The name of the one entry that a word means. Raises config.ConfigError."""
    name, *others = zoo.find(kind, word)
    if others:
        raise config.ConfigError(f"{word} defines several: {name}, {', '.join(others)}")
    return name


def _whole(key: str, text: str, least: int) -> int:
    allowed = text.isdecimal() and len(text) <= len(str(MOST_WHOLE))
    if not allowed or not least <= int(text) <= MOST_WHOLE:
        raise config.ConfigError(
            f"{key}={text[:80]}: give a whole number, at least {least} and at most {MOST_WHOLE}"
        )
    return int(text)


_YES = ("true", "false")


def _seeds(own: Mapping[str, str]) -> tuple[int, ...]:
    """The seeds of a value's trainings. Raises config.ConfigError."""
    if "seed" in own and "seeds" in own:
        raise config.ConfigError("seed and seeds: give one of them")
    if "seeds" in own:
        return tuple(dict.fromkeys(dotted_keys.seeds(own["seeds"])))
    return (_whole("seed", own.get("seed", "0"), 0),)


def _resolution(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 < value < math.inf:
        raise config.ConfigError(f"resolution={text}: give a factor above 1, such as 1.5")
    return value


def _objectives(text: str) -> tuple[str, ...]:
    names = tuple(config.known("objective", name, OBJECTIVES) for name in text.split(","))
    if names[0] != "success" or len(set(names)) < len(names):
        raise config.ConfigError(f"objectives={text}: give success, or success,plan_time")
    return names


def _check_choice(
    own: Mapping[str, str],
    choice: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    trained: bool,
) -> None:
    """Raises config.ConfigError where words do not go together."""
    for word, sampler in (("points", "grid"), ("resolution", "bisection")):
        if word in own and choice["sampler"] != sampler:
            raise config.ConfigError(f"{word} is of sampler={sampler}: leave one of them out")
    if choice["prune"] != "none" and not trained:
        raise config.ConfigError("prune=asha needs a method that is trained")
    if choice["prune"] != "none" and len(choice["objectives"]) > 1:
        raise config.ConfigError("prune=asha has one objective, success")
    if choice["sampler"] == "bisection":
        kinds = list(space.values())
        if len(kinds) > 1 or not getattr(kinds[0], "log", False):
            raise config.ConfigError("sampler=bisection needs one space.KEY=log:LOW:HIGH")
        if len(choice["objectives"]) > 1:
            raise config.ConfigError("sampler=bisection has one objective, success")
        if choice["prune"] != "none":
            raise config.ConfigError(
                "sampler=bisection needs the value of every training: leave prune out"
            )


def _trials(
    own: Mapping[str, str],
    choice: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    seed: int,
) -> int:
    """How many values are tried: of a grid all where no number is given, and never more."""
    if "trials" in own and choice["sampler"] != "grid":
        return _whole("trials", own["trials"], 1)
    if choice["sampler"] == "grid":
        kinds = space.values()
        size = math.prod(len(getattr(kind, "choices", range(choice["points"]))) for kind in kinds)
        if size > _MOST_GRID:
            raise config.ConfigError(
                f"points={choice['points']}: a grid has at most {_MOST_GRID} values, and this one "
                f"{size}: give fewer points or keys, or sampler=random"
            )
        size = len(samplers.grid(space, choice["points"], seed))
        return min(size, _whole("trials", own["trials"], 1)) if "trials" in own else size
    if choice["sampler"] == "bisection":
        return samplers.bisection(space, choice["resolution"]).most_trials
    return _TRIALS


def _space(texts: Mapping[str, str], planner: str, method: str) -> dict[str, BaseDistribution]:
    """The distributions by key, in the order of the keys' names. Raises config.ConfigError."""
    if not texts:
        raise config.ConfigError(
            "nothing to vary: give space.KEY=RANGE, e.g. space.train.lr=log:0.0001:0.01; see --help"
        )
    return {
        config.known("key", key, _keys(planner, method)): _distribution(key, text)
        for key, text in sorted(texts.items())
    }


def _check_not_fixed(words: Sequence[str], space: Mapping[str, BaseDistribution]) -> None:
    """Raises config.ConfigError where a word gives a fixed value to a key that is swept: the swept
    values would win without a word.
    """
    for word in words:
        key = word.partition("=")[0]
        if key in space:
            raise config.ConfigError(
                f"{word}: {key} is swept (space.{key}), so that it has no fixed value; leave one "
                "of them out"
            )


def _keys(planner: str, method: str) -> list[str]:
    """Keys that may vary: not how success is judged, nor what decides no outcome."""
    branches = ("data.", "train.", "mpc.", f"planner.{planner}.", f"method.{method}.")
    unfit = [f"train.{name}" for name in identity.NO_PART_OF_A_TRAINING]
    return [key for key in config.trial_keys() if key.startswith(branches) and key not in unfit]


def _distribution(key: str, text: str) -> BaseDistribution:
    kind, _, parts = text.partition(":")
    try:
        return _KINDS[kind](parts)
    except (KeyError, ValueError) as error:
        raise config.ConfigError(
            f"space.{key}={text}: give log:LOW:HIGH with 0 < LOW < HIGH, uniform:LOW:HIGH or "
            f"int:LOW:HIGH with LOW < HIGH, or choice:A,B,C with two or more different ones"
        ) from error


def _log(text: str) -> BaseDistribution:
    return FloatDistribution(*_bounds(text, float), log=True)


def _uniform(text: str) -> BaseDistribution:
    return FloatDistribution(*_bounds(text, float))


def _int(text: str) -> BaseDistribution:
    return IntDistribution(*_bounds(text, int))


def _choice(text: str) -> BaseDistribution:
    words = [word.strip() for word in text.split(",")]
    if len(words) < 2 or len(set(words)) < len(words) or "" in words:
        raise ValueError(text)
    return CategoricalDistribution(words)


_KINDS: dict[str, Callable[[str], BaseDistribution]] = {
    "log": _log,
    "uniform": _uniform,
    "int": _int,
    "choice": _choice,
}


def _bounds(text: str, number: Callable[[str], Number]) -> tuple[Number, Number]:
    low, high = map(number, text.split(":"))
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(text)
    return low, high


def _ends(kind: BaseDistribution) -> Sequence[Any]:
    if isinstance(kind, CategoricalDistribution):
        return kind.choices
    assert isinstance(kind, FloatDistribution | IntDistribution), kind
    return kind.low, kind.high


def _check(sweep: Sweep) -> None:
    """Raises config.ConfigError where an end of a range is refused, or a key would change nothing,
    or the pairs would not be the validation pairs.
    """
    ends = {key: _ends(kind) for key, kind in sweep.space.items()}
    for corner in itertools.product(*ends.values()):
        sweep.spec(dict(zip(ends, corner, strict=True)))
    first = {key: values[0] for key, values in ends.items()}
    for key, values in ends.items():
        if sweep.spec(first | {key: values[-1]}).config == sweep.example.config:
            raise config.ConfigError(
                f"space.{key}: another word (for.*) sets the same and wins; leave one of them out"
            )
    if sweep.example.config.train.stop_after < 1:
        raise config.ConfigError("train.stop_after: a sweep trains to the end; leave it out")
    if sweep.example.config.protocol.split != "validation":
        raise config.ConfigError("protocol.split: a sweep sees validation pairs only; leave it out")
    resources = sweep.example.config.resources
    if "plan_time" in sweep.objectives and resources.shares:
        raise config.ConfigError(
            f"objectives=success,plan_time with resources.cpu={resources.cpu:g} and "
            f"resources.gpu={resources.gpu:g}: times of trials that share a core or a GPU do not "
            "count; give each at least one core, and whole GPUs"
        )


def _text(value: Any, kind: BaseDistribution) -> str:
    """A value as a word of the command line, numbers rounded to what their range can tell apart."""
    if not isinstance(kind, FloatDistribution):
        return str(value)
    size = abs(value) if kind.log else kind.high - kind.low
    return repr(round(float(value), _DIGITS - 1 - math.floor(math.log10(size))))


def _in_a_name(word: str) -> str:
    """ "method.lewm.sigreg_weight=0.0123" -> "sigreg_weight-0p0123"."""
    key, _, text = word.partition("=")
    plain = re.sub("[^0-9A-Za-z_-]", "_", text.replace(".", "p"))
    return f"{key.rpartition('.')[2]}-{plain[-_LONGEST_VALUE:]}"
