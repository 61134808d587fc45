"""How a sweep chooses the next value: Optuna's samplers, a grid, and bisection of a plateau."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from harness.report import objective
from harness.report.objective import Judgement

NAMES = ("tpe", "random", "grid", "bisection")
RANDOM_FIRST = 4  # suggestions before TPE models anything; Optuna's 10 is more than a small sweep
_INTERVAL = "interval"  # attribute of a suggestion: both ends of its success rate's interval


def create(
    name: str, seed: int, space: Mapping[str, BaseDistribution], resolution: float
) -> BaseSampler:
    """The sampler of this name. A grid's values are enqueued, so that its sampler draws none."""
    if name == "bisection":
        return bisection(space, resolution)
    if name == "tpe":
        return TPESampler(n_startup_trials=RANDOM_FIRST, seed=seed)
    return RandomSampler(seed=seed)


def bisection(space: Mapping[str, BaseDistribution], resolution: float) -> Bisection:
    """The bisection of a space of one key, whose range is a logarithmic one."""
    ((key, kind),) = space.items()
    assert isinstance(kind, FloatDistribution), kind
    return Bisection(key, kind.low, kind.high, resolution)


def grid(space: Mapping[str, BaseDistribution], points: int, seed: int) -> list[dict[str, Any]]:
    """All combinations of `points` values a key and of all choices, in a random order: a sweep that
    is stopped early, or compared with others, has no side of the range first.
    """
    values = [_spaced(kind, points) for kind in space.values()]
    found = [dict(zip(space, line, strict=True)) for line in itertools.product(*values)]
    random.Random(seed).shuffle(found)
    return found


def _spaced(kind: BaseDistribution, points: int) -> list[Any]:
    """Values at equal distances, on the logarithmic scale where the range is one."""
    if isinstance(kind, CategoricalDistribution):
        return list(kind.choices)
    if isinstance(kind, IntDistribution):
        return sorted({round(x) for x in np.linspace(kind.low, kind.high, points).tolist()})
    assert isinstance(kind, FloatDistribution), kind
    spaced = np.geomspace if kind.log else np.linspace
    return np.clip(spaced(kind.low, kind.high, points), kind.low, kind.high).tolist()


def record(suggestion: optuna.Trial, judgement: Judgement) -> None:
    """Keep a suggestion's interval in the study, from which alone bisection goes on."""
    suggestion.set_user_attr(_INTERVAL, [judgement.low, judgement.high])


class Bracket(NamedTuple):
    """The ends of the plateau, each between `outside` and `plateau` on its side. NaN outside: no
    value beyond was tried. All NaN: nothing was solved.
    """

    outside: tuple[float, float]
    plateau: tuple[float, float]
    reaches: tuple[bool, bool] = (True, True)  # where nothing is outside: to the range's end
    between: int = 0  # values tried between the plateau's ends
    off: int = 0  # of these, values that are off the plateau

    def words(self) -> str:
        """The bracket in a sentence."""
        low, high = self.plateau
        if math.isnan(low):
            return "no value solved anything"
        if all(map(math.isnan, self.outside)) and all(self.reaches):
            words = f"the plateau is the whole range, {low:.4g} to {high:.4g}"
        else:
            sides = zip(("lower", "upper"), self.outside, self.plateau, self.reaches, strict=True)
            ends = ", ".join(
                f"its {name} end {_end_words(outside, inside, reaches)}"
                for name, outside, inside, reaches in sides
            )
            place = f"holds from {low:.4g} to {high:.4g}" if low < high else f"is {low:.4g} alone"
            words = f"the plateau {place}: {ends}"
        if self.off:
            words += (
                f"; off it between its ends: {self.off} of the {self.between} values tried there, "
                "by chance or because success has several hills"
            )
        return words


def _end_words(outside: float, inside: float, reaches: bool) -> str:
    if math.isnan(outside):
        return "is that of the range" if reaches else "was not seen: no value beyond was tried"
    return f"lies between {min(outside, inside):.4g} and {max(outside, inside):.4g}"


def bracket(judged: Mapping[float, Judgement], low: float, high: float) -> Bracket:
    """The plateau's ends, as far as these values of one key, from `low` to `high`, tell them."""
    plateau = _plateau(judged)
    if not plateau:
        return Bracket((math.nan, math.nan), (math.nan, math.nan))
    first, last = plateau[0], plateau[-1]
    below = [value for value in judged if value < first]
    above = [value for value in judged if value > last]
    between = sum(first < value < last for value in judged)
    return Bracket(
        outside=(max(below, default=math.nan), min(above, default=math.nan)),
        plateau=(first, last),
        reaches=(math.isclose(first, low), math.isclose(last, high)),
        between=between,
        off=between - max(0, len(plateau) - 2),
    )


class Bisection(BaseSampler):
    """Brackets the plateau of one key on a logarithmic scale: the values whose interval overlaps
    that of the best one.

    First come both ends of the range and their middle. Then two kinds of gaps between neighbours
    are halved until they are narrower than the factor `resolution`: on either side the one between
    the outermost value on the plateau and its neighbour off the plateau, and the two beside the
    best value, where a better one may lie. Where nothing was solved yet, all gaps are halved, the
    widest first. Where success has one hill this finds the plateau, and the number of values grows
    with the logarithm of how many steps of `resolution` the range has. A second hill may stay
    unseen.

    The next value follows from the study alone, so that an interrupted sweep goes on. Suggestions
    need the attribute that `record` gives them.
    """

    def __init__(self, key: str, low: float, high: float, resolution: float):
        if not (0 < low < high and resolution > 1):
            raise ValueError(f"bisection of {low} to {high} with resolution {resolution}")
        self._key, self._low, self._high = key, low, high
        self._resolution = resolution

    @property
    def most_trials(self) -> int:
        """How many values it takes at most where success has one hill and no noise: the ends, the
        middle, and for each halving one on either side of the plateau and of the best value.
        """
        halvings = math.log2(math.log(self._high / self._low) / 2 / math.log(self._resolution))
        return 3 + 4 * max(0, math.ceil(halvings))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: there is one key."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing: there is one key."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> float:
        """The first of the values that may be tried now; ask only where there is one."""
        return self.open_values(study)[0]

    def open_values(self, study: optuna.Study) -> list[float]:
        """The values that may be tried now, side by side; those that run are not among them. None:
        wait for those, or where none runs, the plateau is bracketed.
        """
        judged, pending = self._known(study)
        middle = math.sqrt(self._low * self._high)
        first = [self._low, self._high, middle]
        if not set(first) <= set(judged):
            return [value for value in first if value not in judged and value not in pending]
        gaps = [(a, b) for a, b in self._gaps(judged) if b / a > self._resolution]
        free = [(a, b) for a, b in gaps if not any(a < value < b for value in pending)]
        free.sort(key=lambda gap: gap[0] / gap[1])  # the widest first
        return [math.sqrt(a * b) for a, b in free]

    def bracket(self, study: optuna.Study) -> Bracket:
        """The plateau's ends as far as they are known."""
        return bracket(self._known(study)[0], self._low, self._high)

    def _gaps(self, judged: Mapping[float, Judgement]) -> list[tuple[float, float]]:
        """The gaps that hold the ends of the plateau, and those beside the best value; all, where
        nothing was solved yet.
        """
        plateau = _plateau(judged)
        pairs = list(itertools.pairwise(sorted(judged)))
        if not plateau:
            return pairs
        best = max(judged, key=lambda value: judged[value].value)
        return [(a, b) for a, b in pairs if best in (a, b) or b == plateau[0] or a == plateau[-1]]

    def _known(self, study: optuna.Study) -> tuple[dict[float, Judgement], Collection[float]]:
        """The judged values, and those that run or wait; of a value tried again, the last time."""
        judged, pending = {}, set()
        for trial in study.get_trials(deepcopy=False):
            values = trial.system_attrs.get("fixed_params", {}) | trial.params
            if self._key not in values:
                continue
            if trial.state == TrialState.COMPLETE:
                low, high = trial.user_attrs[_INTERVAL]
                judged[values[self._key]] = Judgement(trial.values[0], 0, "", low, high)
            elif trial.state in (TrialState.RUNNING, TrialState.WAITING):
                pending.add(values[self._key])
        return {v: j for v, j in judged.items() if v not in pending}, pending


def _plateau(judged: Mapping[float, Judgement]) -> Sequence[float]:
    """The values on the plateau, sorted."""
    flags = objective.on_plateau(list(judged.values())) if judged else []
    return sorted(itertools.compress(judged, flags))
