"""Success rates and differences out of the episodes: raw, one row per cell and subset of pairs."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.report import load, stats

log = logging.getLogger(__name__)

ALL, UNSOLVED = "all", "not solved at start"
HARD = "the kind of a task's pairs of which everything evaluated in this run together solves least"
FLOOR, REPLAY = "random", "replay"
SIMULATOR = "oracle"  # the ceiling that plans in the simulator
ALPHA = 0.05
_OTHERS = ("ever", "final")  # of Outcomes: other moments at which success can be judged
_JUDGED = ["success", *(f"success_{name}" for name in _OTHERS)]
REFERENCES = (FLOOR, "heuristic", "lewm")  # what every method is compared with, pair by pair


class Outcomes(NamedTuple):
    """One cell on one split. S training seeds, P pairs that all of them were evaluated on."""

    pairs: np.ndarray  # (P,) pair numbers, ascending
    success: np.ndarray  # (S, P) mean over evaluation seeds
    ever: np.ndarray  # (S, P): at any step, whatever the protocol counts
    final: np.ndarray  # (S, P): after the last step
    cluster: np.ndarray  # (P,) int: pairs of one recorded episode, or of one family of them
    stratum: np.ndarray  # (P,) str
    initially_solved: np.ndarray  # (P,) bool
    drawn: np.ndarray  # (P,) bool: the protocol's draw; the others count in their stratum only
    dropped: int  # pairs that some seed lacks
    other_seeds: int  # left out: evaluated on other data


def outcomes(run: load.RunTables) -> dict[tuple[int, str], Outcomes]:
    """(cell, split) -> outcomes, in table order."""
    episodes = run.episodes
    if episodes.empty:
        return {}
    keys = ["cell", "split", "seed", "pair"]
    means = episodes.groupby(keys)[_JUDGED].mean()
    facts = episodes.drop_duplicates("pair").set_index("pair")
    facts["cluster"] = _clusters(run, facts)
    facts = facts[["cluster", "stratum", "initially_solved", "sample"]]
    by_cell = {
        key: _outcomes(part.droplevel(["cell", "split"]), facts)
        for key, part in means.groupby(level=["cell", "split"])
    }
    order = {cell: i for i, cell in enumerate(run.cells.index)}
    return {key: by_cell[key] for key in sorted(by_cell, key=lambda key: (order[key[0]], key[1]))}


def estimates(outcomes: dict[tuple[int, str], Outcomes]) -> pd.DataFrame:
    """Long: cell, split, subset, stats.Estimate, rates at any step (ever) and after the last one
    (final).

    Subsets: "all" and "not solved at start" of the protocol's draw; strata with their extra pairs.
    """
    rows = []
    for (cell, split), outcome in outcomes.items():
        if not outcome.drawn.any():
            log.warning("cell %s has no pairs of the protocol's draw on %s: left out", cell, split)
            continue
        for subset, mask in _subsets(outcome).items():
            estimate = stats.estimate(outcome.success[:, mask], outcome.cluster[mask])
            others = {name: float(getattr(outcome, name)[:, mask].mean()) for name in _OTHERS}
            rows.append({"cell": cell, "split": split, "subset": subset} | others)
            rows[-1] |= estimate._asdict()
    columns = ["cell", "split", "subset", *_OTHERS, *stats.Estimate._fields]
    return pd.DataFrame(rows, columns=columns)


def beside_cells(run: load.RunTables, estimates: pd.DataFrame, subset: str = ALL) -> pd.DataFrame:
    """The estimates of one kind of pairs ("" for every one) with the columns of their cells, in
    table order; mean, low and high in percent.
    """
    known = estimates[estimates["subset"] == subset] if subset else estimates
    cells = run.cells.drop(columns="seeds").rename_axis("cell").reset_index()
    table = cells.merge(known, on="cell")
    table[["mean", "low", "high"]] *= 100
    return table


def hardest(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, str]:
    """task -> its hard kind of pairs: the stratum that HARD describes. A task with one kind of
    pairs is left out.
    """
    strata = estimates[~estimates["subset"].isin([ALL, UNSOLVED])]
    means = strata.groupby([strata["cell"].map(run.cells["task"]), "subset"])["mean"].mean()
    return dict(means.groupby(level=0).idxmin().to_list())


def with_hardest(run: load.RunTables, estimates: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """`table`, of beside_cells, and of each row's cell the success on the hard pairs of its task in
    percent: columns hard (their stratum; "" where there are none), hard_mean, hard_low and
    hard_high.
    """
    known = hardest(run, estimates)
    names = table["task"].map(lambda task: known.get(task, "")).astype(str)
    rates = estimates.set_index(["cell", "split", "subset"])[["mean", "low", "high"]]
    at = pd.MultiIndex.from_arrays([table["cell"], table["split"], names])
    own = 100 * rates.reindex(at).add_prefix("hard_").set_axis(table.index)
    return table.assign(hard=names, **own)


def differences(run: load.RunTables, outcomes: dict[tuple[int, str], Outcomes]) -> pd.DataFrame:
    """Long: cell, split, reference (of REFERENCES), subset, stats.Difference, p_holm.

    On the pairs that both were evaluated on: of the protocol's draw, and of each stratum. Two
    references are compared once, the later one with the earlier; a ceiling is no competitor and is
    compared with none. p_holm: p_value after Holm's correction over one family: the differences of
    a task, protocol, scale and split on all pairs, of each method to each reference. Those on
    strata, which describe where a difference comes from, are a second family and cost the first
    nothing.
    """
    known, comparisons = _plain(run, outcomes, REFERENCES), _comparisons(run)
    ceilings = run.of_role("ceiling")
    rows = []
    for (cell, split), outcome in outcomes.items():
        method, variant = run.cells.loc[cell, ["method", "variant"]]
        if method in ceilings:
            continue
        is_one = method in REFERENCES and not variant
        earlier = REFERENCES[: REFERENCES.index(method)] if is_one else REFERENCES
        others = _nearest_of(earlier, known, (comparisons[cell], split), outcome)
        for reference, other in others.items():
            row = {"cell": cell, "split": split, "reference": reference}
            rows += [row | part for part in paired(outcome, other)]
    columns = ["cell", "split", "reference", "subset", *stats.Difference._fields]
    table = pd.DataFrame(rows, columns=columns)
    family = [table["cell"].map(comparisons), table["split"], table["subset"] == ALL]
    table["p_holm"] = table.groupby(family)["p_value"].transform(stats.holm)
    return table


def shares(run: load.RunTables, outcomes: dict[tuple[int, str], Outcomes]) -> pd.DataFrame:
    """Long: cell, split, subset, floor and ceiling (methods), stats.Share; empty where no ceiling
    was evaluated.

    On the pairs that the cell, the ceiling and all trivial controls were evaluated on: of the
    protocol's draw, and of each stratum. The floor is the control that is best there, of equals the
    first in table order. Of several ceilings the one that plans in the simulator comes last, the
    others in table order; the second has a share as any method has. Floor and ceiling have theirs,
    0 and 1, by definition and without a width. Checks of the simulator have none.
    """
    comparisons, checks = _comparisons(run), run.of_role("check")
    floors = run.of_role("floor")
    ceilings = sorted(run.of_role("ceiling"), key=lambda name: name == SIMULATOR)
    known = _plain(run, outcomes, [*floors, *ceilings])
    rows = []
    for (cell, split), outcome in outcomes.items():
        place = comparisons[cell], split
        starts = _nearest_of(floors, known, place, outcome)
        ends = _nearest_of(ceilings, known, place, outcome)
        if starts and ends and run.cells.loc[cell, "method"] not in checks:
            name, ceiling = next(iter(ends.items()))
            row = {"cell": cell, "split": split, "ceiling": name}
            rows += [row | part for part in _shares(outcome, starts, ceiling)]
    columns = ["cell", "split", "subset", "floor", "ceiling", *stats.Share._fields]
    return pd.DataFrame(rows, columns=columns)


def best(run: load.RunTables, outcomes: dict[tuple[int, str], Outcomes]) -> pd.DataFrame:
    """Long: cell, split, p_value and p_holm of the test against the leader (the competitor with the
    highest rate of a task, protocol, scale and split), is_best.

    Ceilings and controls do not compete. On the drawn pairs that both were evaluated on. Holm's
    correction is over all couples of competitors, since the leader is chosen on the same data.
    is_best: the leader, and those that the test does not tell from it, where it tells any.
    """
    comparisons, competitors = _comparisons(run), run.of_role("method")
    families: dict[tuple, dict[int, Outcomes]] = {}
    for (cell, split), outcome in outcomes.items():
        if run.cells.loc[cell, "method"] in competitors and outcome.drawn.any():
            families.setdefault((comparisons[cell], split), {})[cell] = outcome
    rows = []
    for (_, split), family in families.items():
        rows += [{"cell": cell, "split": split} | row for cell, row in _against_leader(family)]
    return pd.DataFrame(rows, columns=["cell", "split", "p_value", "p_holm", "is_best"])


def normalised(
    run: load.RunTables, outcomes: dict[tuple[int, str], Outcomes]
) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
    """(cell, split) -> stats.normalised between the random policy and replay, on the drawn pairs of
    all three, of the competitors for which both were evaluated and replay is clearly better.
    """
    comparisons, competitors = _comparisons(run), run.of_role("method")
    known = _plain(run, outcomes, (FLOOR, REPLAY))
    scores = {}
    for (cell, split), outcome in outcomes.items():
        ends = _nearest_of([FLOOR, REPLAY], known, (comparisons[cell], split), outcome)
        if len(ends) == 2 and run.cells.loc[cell, "method"] in competitors:
            own = [outcome.pairs[outcome.drawn], *(end.pairs for end in ends.values())]
            shared = functools.reduce(np.intersect1d, own)
            rates = _on(outcome, shared), _on(ends[FLOOR], shared), _on(ends[REPLAY], shared)
            clusters = outcome.cluster[np.isin(outcome.pairs, shared)]
            if len(shared) and (score := stats.normalised(*rates, clusters)):
                scores[cell, split] = score
    return scores


class PairsWorth(NamedTuple):
    """How much the pairs of one task and split tell."""

    pairs: int
    design_effect: float  # this many pairs tell as much as one that is independent of all others
    agreement: float  # correlation of two competitors' outcomes on a pair; 0 where there is one


def pairs_worth(family: Collection[Outcomes]) -> PairsWorth | None:
    """Medians over the competitors of a task, protocol and split, each by its first training seed;
    None without drawn pairs.
    """
    family = [outcome for outcome in family if outcome.drawn.any()]
    if not family:
        return None
    effects = []
    for outcome in family:
        first, groups = outcome.success[0, outcome.drawn], outcome.cluster[outcome.drawn]
        groups = np.unique(groups, return_inverse=True)[1]
        effects.append(len(first) / stats.independent_pairs(first, groups))
    correlations = [0.0]
    for a, b in itertools.combinations(family, 2):
        shared = _shared_drawn(a, b)
        first, second = _on(a, shared)[0], _on(b, shared)[0]
        if len(shared) and np.ptp(first) > 0 and np.ptp(second) > 0:
            correlations.append(float(np.corrcoef(first, second)[0, 1]))
    agreement = max(float(np.median(correlations[1:] or correlations)), 0.0)
    pairs = max(int(outcome.drawn.sum()) for outcome in family)
    return PairsWorth(pairs, float(np.median(effects)), agreement)


def _against_leader(family: dict[int, Outcomes]) -> list[tuple[int, dict]]:
    """Cell -> p_value, p_holm, is_best."""
    rates = {cell: outcome.success[:, outcome.drawn].mean() for cell, outcome in family.items()}
    leader = max(rates, key=lambda cell: rates[cell])
    couples, p_values = [], []
    for a, b in itertools.combinations(family, 2):
        shared = _shared_drawn(family[a], family[b])
        if len(shared):
            clusters = family[a].cluster[np.isin(family[a].pairs, shared)]
            both = _on(family[a], shared), _on(family[b], shared)
            couples.append({a, b})
            p_values.append(stats.paired_p_value(*both, clusters))
    corrected = stats.holm(np.array(p_values))
    tests = {
        next(iter(couple - {leader})): {"p_value": p_value, "p_holm": p_holm}
        for couple, p_value, p_holm in zip(couples, p_values, corrected, strict=True)
        if leader in couple
    }
    told_apart = {cell for cell, test in tests.items() if test["p_holm"] < ALPHA}
    level = ({leader} | tests.keys()) - told_apart if told_apart else set()
    untested = {"p_value": np.nan, "p_holm": np.nan}
    return [(cell, tests.get(cell, untested) | {"is_best": cell in level}) for cell in family]


def _shared_drawn(a: Outcomes, b: Outcomes) -> np.ndarray:
    """The drawn pairs that both were evaluated on."""
    return np.intersect1d(a.pairs[a.drawn], b.pairs[b.drawn])


def _clusters(run: load.RunTables, pairs: pd.DataFrame) -> np.ndarray:
    """(P,) the family of each pair's source episode; where none is recorded, the episode."""
    families = run.metrics[(run.metrics["stage"] == "pairs") & (run.metrics["name"] == "family")]
    families = families.groupby(["dataset_hash", "index"])["value"].first()
    episodes = pd.MultiIndex.from_frame(pairs[["dataset_hash", "source_episode"]])
    known = families.reindex(episodes).to_numpy()
    alone = -1 - pairs["source_episode"].to_numpy()  # negative: no family has that number
    return np.where(np.isnan(known), alone, known).astype(np.int64)


def _outcomes(part: pd.DataFrame, facts: pd.DataFrame, other_seeds: int = 0) -> Outcomes:
    """`part`: seed, pair -> means, sorted."""
    seed, pair = (part.index.get_level_values(level).to_numpy() for level in ("seed", "pair"))
    values = part.to_numpy(dtype=np.float64)  # (rows, 3)
    seeds = len(np.unique(seed))
    pairs, counts = np.unique(pair, return_counts=True)
    shared = pairs[counts == seeds]
    if not len(shared):  # another dataset: the seeds that share most
        chosen = seed[pair == pairs[counts.argmax()]]
        log.warning("%d of %d seeds ran on other pairs: left out", seeds - len(chosen), seeds)
        return _outcomes(part[np.isin(seed, chosen)], facts, seeds - len(chosen))
    dropped = len(pairs) - len(shared)
    if dropped:
        log.warning("%d of %d pairs were not run for every seed: left out", dropped, len(pairs))
        values = values[np.isin(pair, shared)]
    values = values.reshape(seeds, len(shared), values.shape[1])
    known = facts.loc[shared]
    return Outcomes(
        pairs=shared,
        success=values[..., 0],
        ever=values[..., 1],
        final=values[..., 2],
        cluster=known["cluster"].to_numpy(),
        stratum=known["stratum"].to_numpy(dtype=str),
        initially_solved=known["initially_solved"].to_numpy(dtype=bool),
        drawn=(known["sample"] == "pairs").to_numpy(dtype=bool),
        dropped=dropped,
        other_seeds=other_seeds,
    )


def _subsets(outcome: Outcomes) -> dict[str, np.ndarray]:
    """Subset name -> mask over the pairs; empty ones are left out, a lone stratum too."""
    masks = {ALL: outcome.drawn, UNSOLVED: outcome.drawn & ~outcome.initially_solved}
    strata = [name for name in np.unique(outcome.stratum) if name]
    if len(strata) > 1 or (outcome.stratum == "").any():
        masks |= {name: outcome.stratum == name for name in strata}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _comparisons(run: load.RunTables) -> dict[int, tuple]:
    """cell -> task, protocol and scale: what a comparison may not cross."""
    columns = ["task", *load.SECTION]
    return dict(
        zip(run.cells.index, run.cells[columns].itertuples(index=False, name=None), strict=True)
    )


def _plain(
    run: load.RunTables, outcomes: dict[tuple[int, str], Outcomes], methods: Collection[str]
) -> dict[tuple, list[Outcomes]]:
    """(comparison, split, method) -> outcomes of these methods without a variant, one per
    setting.
    """
    comparisons = _comparisons(run)
    known: dict[tuple, list[Outcomes]] = {}
    for (cell, split), outcome in outcomes.items():
        method, variant = run.cells.loc[cell, ["method", "variant"]]
        if method in methods and not variant:
            known.setdefault((comparisons[cell], split, method), []).append(outcome)
    return known


def _nearest_of(
    methods: Sequence[str], known: dict[tuple, list[Outcomes]], place: tuple, outcome: Outcomes
) -> dict[str, Outcomes]:
    """method -> its outcomes at `place` (comparison, split), of its settings that which shares most
    drawn pairs; without methods that share none.
    """
    own = outcome.pairs[outcome.drawn]
    nearest = {}
    for name in methods:
        settings = known.get((*place, name), [])
        shared = [int(np.isin(other.pairs, own).sum()) for other in settings]
        if any(shared):
            nearest[name] = settings[int(np.argmax(shared))]
    return nearest


def _shares(outcome: Outcomes, floors: dict[str, Outcomes], ceiling: Outcomes) -> list[dict]:
    """Subset, floor and stats.Share, for every subset that has shared pairs."""
    parts = [outcome, *floors.values(), ceiling]
    pairs = functools.reduce(np.intersect1d, [part.pairs for part in parts])
    rows = []
    for subset, mask in _subsets(outcome).items():
        shared = pairs[np.isin(pairs, outcome.pairs[mask])]
        if subset == UNSOLVED or not len(shared):
            continue
        rates = {name: _on(floor, shared) for name, floor in floors.items()}
        best = max(rates, key=lambda name: rates[name].mean())
        own = _on(outcome, shared), rates[best], _on(ceiling, shared)
        found = stats.share_of_way(*own, outcome.cluster[np.isin(outcome.pairs, shared)])
        if outcome is floors[best] or outcome is ceiling:
            found = found._replace(low=found.share, high=found.share)
        rows.append({"subset": subset, "floor": best} | found._asdict())
    return rows


def _on(outcome: Outcomes, pairs: np.ndarray) -> np.ndarray:
    """(S, P) success on these of its pairs."""
    return outcome.success[:, np.isin(outcome.pairs, pairs)]


def paired(a: Outcomes, b: Outcomes) -> list[dict]:
    """Subset, both rates and stats.Difference, for every subset that has shared pairs."""
    _, in_a, in_b = np.intersect1d(a.pairs, b.pairs, assume_unique=True, return_indices=True)
    rows = []
    for subset, mask in _subsets(a).items():
        shared = mask[in_a]
        if subset != UNSOLVED and shared.any():
            rates = a.success[:, in_a[shared]], b.success[:, in_b[shared]]
            difference = stats.paired_difference(*rates, a.cluster[in_a[shared]])
            means = {"rate": rates[0].mean(), "other_rate": rates[1].mean()}
            rows.append({"subset": subset} | means | difference._asdict())
    return rows
