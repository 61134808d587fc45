"""What the study is asked and told, by trials whose rows these tests write, and by real ones."""

import contextlib
import dataclasses
import hashlib
import io
import re
import shutil
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
import pytest
import tiny
from optuna.trial import TrialState

from harness import launch
from harness.experiment import identity, trial_row
from harness.records import rows, run_tables
from harness.report import objective, stats
from harness.runtime.progress import Display
from harness.sweep import __main__ as sweep_command
from harness.sweep import samplers, search, space
from harness.sweep.__main__ import main

WEIGHT = "method.lewm.sigreg_weight"
LOG = f"space.{WEIGHT}=log:0.001:1.0"
PAIRS = 40


class Ended(NamedTuple):
    """How a trial of these tests ends, given its weight, its seed and the share it is trained."""

    rate: float = 0.0
    latent_std: float = 1.0
    plan_s: float = 0.1
    error: str = ""
    device_shared: bool = False


def write(folders, spec, end):
    """Write the rows of a trial that has ended so."""
    row = trial_row.trial_row(spec, folders, [], end.error, time.time(), 0.0)
    row = dataclasses.replace(row, device_shared=end.device_shared)
    solved = round(end.rate * PAIRS)
    episodes = [
        rows.EpisodeRow(
            spec.key, "validation", 0, pair, pair, 7, "", "pairs", False, pair < solved,
            pair < solved, pair < solved, 5 if pair < solved else -1, 1.0, 0.1, 0.2, 2,
        )
        for pair in range(0 if end.error else PAIRS)
    ]  # fmt: skip
    metrics = [
        rows.MetricRow(spec.key, "latents", "latent_std", 0, end.latent_std, ""),
        rows.MetricRow(spec.key, "plan_time", "solve_s_1", 0, end.plan_s, "s"),
        rows.MetricRow(spec.key, "plan_time", "solve_s_50", 0, 50 * end.plan_s, "s"),
        *trial_row.sweep_rows(spec),
    ]
    rows.write(folders.trial(spec), row, episodes, metrics)


class Driven:
    """A sweep whose trials end as `end` says; `ran` lists (weight, seed, share) as they ran."""

    def __init__(self, tmp_path, *words, end: Callable[[float, int, float], Ended]):
        base = ["task=toy", "method=lewm", "scale=tiny", "device=cpu", "run=r"]
        self.sweep = space.parse([*base, f"results={tmp_path}", f"datasets={tmp_path}", *words])
        (tmp_path / "r").mkdir(parents=True, exist_ok=True)
        self.study, self.ran, self._end = search.open_study(self.sweep), [], end

    def run(self, together=1):
        """One call of the command: what is missing runs, so many trials at a time."""
        before = self.standing
        search._ask_again(self.sweep, self.study, before)
        left = self.sweep.trials - len(before.settled) - len(before.pruned)
        with Display(1) as display:
            assignments = search.Assignments(self.sweep, self.study, left, display)
            running = []
            while True:
                while len(running) < together and (spec := assignments.next()) is not None:
                    running.append(spec)
                if not running:
                    break
                spec = running.pop(0)
                share, weight = spec.config.train.stop_after, spec.config.method.sigreg_weight
                self.ran.append((weight, spec.seed, share))
                write(self.sweep.folders, spec, self._end(weight, spec.seed, share))
                assignments.finish(spec)
            assert assignments.ended
        return self

    @property
    def standing(self):
        return search.standing(self.sweep, self.study)


def by_weight(weight, seed, share):
    return Ended(rate=weight)


# -- seeds


def test_a_value_is_the_mean_over_its_seeds(tmp_path):
    driven = Driven(
        tmp_path, LOG, "trials=3", "seeds=[1,4]", end=lambda w, seed, _: Ended(rate=0.2 * seed)
    ).run(together=3)
    assert [seed for _, seed, _ in driven.ran] == [1, 4] * 3
    assert [t.value for t in driven.study.trials] == pytest.approx([0.5] * 3)
    assert driven.standing.complete and len(driven.standing.settled) == 3
    keys = [spec.key for spec in driven.sweep.specs(driven.study.trials[0].params)]
    assert [key.rpartition(".")[2] for key in keys] == ["s1", "s4"]


@pytest.mark.parametrize("bad", [Ended(error="out of memory"), Ended(1.0, latent_std=0.01)])
def test_one_bad_seed_counts_as_the_worst(tmp_path, bad):
    driven = Driven(
        tmp_path, LOG, "trials=1", "seeds=2", end=lambda w, seed, _: bad if seed else Ended(0.8)
    ).run()
    assert driven.study.trials[0].value == pytest.approx(0.4)
    if bad.error:  # it is tried again by the next call, that seed alone
        assert not driven.standing.complete and len(driven.standing.again) == 1
        driven.run()
        assert [seed for _, seed, _ in driven.ran] == [0, 1, 1]
    else:
        assert driven.standing.complete


def test_the_interval_is_that_of_all_seeds_and_pairs():
    def tables(solved, status="ok"):
        pair = range(PAIRS)
        episodes = {"pair_id": pair, "source_episode": pair, "start_step": 0, "eval_seed": 0}
        episodes |= {"sample": "pairs", "success": [p < solved for p in pair]}
        metrics = pd.DataFrame(columns=["key", "stage", "name", "index", "value"])
        trial = pd.DataFrame({"status": [status], "device_shared": False})
        return run_tables.Tables(trial, pd.DataFrame(episodes), metrics)

    one = objective.judge_seeds([tables(10)])
    assert (one.low, one.high) == pytest.approx(stats.wilson(10, PAIRS))
    outcome = np.zeros((3, PAIRS))
    outcome[0, :10], outcome[1, :20] = 1, 1
    several = objective.judge_seeds([tables(10), tables(20), tables(40, "error")])
    expected = stats.estimate(outcome, -1 - np.arange(PAIRS))  # resampled in the report's order
    assert several.value == pytest.approx(expected.mean)
    assert (several.low, several.high) == pytest.approx((expected.low, expected.high))
    assert "3 seeds (1 of 3 seeds failed)" in several.words()
    nothing = objective.judge_seeds([None, tables(40, "error")])
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_plateau_is_what_overlaps_the_best():
    judged = [
        objective.Judgement(value, PAIRS, "", low, high)
        for value, low, high in [(0.2, 0.1, 0.35), (0.5, 0.4, 0.6), (0.45, 0.3, 0.55), (0, 0, 0)]
    ]
    assert objective.on_plateau(judged) == [False, True, True, False]
    assert objective.on_plateau([judged[-1]]) == [False]
    unsure = objective.Judgement(0.1, 8, "", 0.0, 0.4)  # its interval reaches down to nothing
    assert objective.on_plateau([unsure, judged[-1]]) == [True, False]
    nothing = objective.Judgement(0.0, 8, "", 0.0, 0.3)  # solved none, with an interval
    assert objective.on_plateau([unsure, nothing]) == [True, False]


# -- samplers


def test_a_grid_is_run_whole_and_goes_on_where_it_was_stopped(tmp_path):
    words = [LOG, f"space.{'train.batch_size'}=choice:4,8", "sampler=grid", "points=3"]
    first = Driven(tmp_path, *words, "trials=2", end=by_weight).run()
    assert len(first.ran) == 2 and first.standing.complete
    rest = Driven(tmp_path, *words, end=by_weight)
    assert rest.sweep.trials == 6 and not rest.standing.complete
    rest.run()
    assert sorted(w for w, *_ in first.ran + rest.ran) == pytest.approx(
        [0.001, 0.001, 0.03162, 0.03162, 1.0, 1.0]
    )
    again = Driven(tmp_path, *words, end=by_weight).run()
    assert again.ran == [] and again.standing.complete


@pytest.mark.parametrize("together", [1, 2])
def test_bisection_ends_the_sweep_when_the_plateau_is_bracketed(tmp_path, together):
    words = [LOG, "sampler=bisection"]
    driven = Driven(tmp_path, *words, end=lambda w, *_: Ended(0.9 if 0.01 < w < 0.3 else 0.1)).run(
        together
    )
    assert driven.standing.complete and len(driven.ran) < driven.sweep.trials == 19
    bracket = driven.study.sampler.bracket(driven.study)
    edges = zip(bracket.outside, bracket.plateau, strict=True)
    for end, edge in zip((0.01, 0.3), edges, strict=True):
        assert min(edge) <= end <= max(edge) and max(edge) / min(edge) <= 1.5
    again = Driven(tmp_path, *words, end=by_weight).run()
    assert again.ran == [] and again.standing.complete
    finer = Driven(tmp_path, *words, "resolution=1.2", end=by_weight)
    assert not finer.standing.complete  # the same study goes on


def test_bisection_says_why_it_stopped(tmp_path):
    words = [LOG, "sampler=bisection"]
    ends = {
        "both ends of the plateau are known to a factor of 1.5": lambda w: 0.01 < w < 0.3,
        "the one end of the plateau inside the range is known": lambda w: w > 0.01,
        "the plateau has no end inside the range": lambda w: True,
    }
    for number, (said, is_good) in enumerate(ends.items()):
        end = lambda w, *_, is_good=is_good: Ended(0.9 if is_good(w) else 0.1)  # noqa: E731
        driven = Driven(tmp_path / str(number), *words, end=end).run()
        lines = sweep_command._plateau(driven.sweep, driven.study, driven.standing)
        tried = len(driven.ran)
        assert lines[-1].startswith(f"stopped after {tried} of at most 19 values: {said}")
    stopped = Driven(tmp_path / "short", *words, "trials=4", end=by_weight).run()
    lines = sweep_command._plateau(stopped.sweep, stopped.study, stopped.standing)
    assert len(lines) == 2 and "are not known to a factor of 1.5 yet: trials=" in lines[1]


def test_other_samplers_say_what_is_known_of_the_plateau(tmp_path):
    end = lambda w, *_: Ended(0.9 if w > 0.1 else 0.1)  # noqa: E731
    grid = Driven(tmp_path / "a", LOG, "sampler=grid", "points=4", end=end).run()
    assert sweep_command._plateau(grid.sweep, grid.study, grid.standing) == [
        "the plateau is 1 alone: its lower end lies between 0.1 and 1, its upper end is that of "
        "the range"
    ]
    two = Driven(tmp_path / "b", LOG, "sampler=grid", "points=2", end=end).run()
    assert sweep_command._plateau(two.sweep, two.study, two.standing) == []
    keys = [LOG, "space.train.lr=log:0.001:0.1", "sampler=grid", "points=2"]
    both = Driven(tmp_path / "c", *keys, end=end).run()
    assert sweep_command._plateau(both.sweep, both.study, both.standing) == []


def test_without_a_best_value_the_reasons_are_named(tmp_path):
    """Of four values one is pruned, one collapses, one solves nothing, and one fails."""
    suggestion = optuna.trial.create_trial(state=TrialState.PRUNED)
    settled = [
        (suggestion, objective.Judgement(objective.WORST, 8, reason))
        for reason in ("collapsed", "", "failed")
    ]
    after = search.Standing(settled, [suggestion], {}, True)
    said = sweep_command._no_best(after)
    assert said.startswith(
        "no best value: collapsed (1), solved no pair (1), failed (1), pruned (1); what may help: "
    )


def test_another_sweep_s_folder_names_the_keys_that_differ(tmp_path):
    Driven(tmp_path, LOG, "trials=1", "train.steps=60", end=by_weight).run()
    with pytest.raises(launch.LaunchError, match=r"\(of train.steps=60, this one has 61\)"):
        Driven(tmp_path, LOG, "trials=1", "train.steps=61", end=by_weight)
    with pytest.raises(launch.LaunchError, match="of another range, sampler, seed"):
        Driven(tmp_path, LOG, "sampler=random", "train.steps=60", end=by_weight)


def test_values_as_good_as_the_best_are_named(tmp_path):
    """Three of four values solve all pairs; the one tried first is the best."""
    words = [LOG, "sampler=grid", "points=4"]
    end = lambda weight, *_: Ended(1.0 if weight < 0.5 else 0.5)  # noqa: E731
    driven = Driven(tmp_path / "ties", *words, end=end).run()
    best = sweep_command._best(driven.standing)
    tried = [weight for weight, *_ in driven.ran if weight < 0.5]
    assert best[0].params[WEIGHT] == tried[0]
    said = sweep_command._ties(driven.sweep, driven.standing, best)
    others = ", ".join(f"{WEIGHT}={weight}" for weight in tried[1:])
    assert said == f"as good on these pairs: {others}; the one tried first is named"
    alone = Driven(tmp_path / "alone", *words, end=by_weight).run()
    best = sweep_command._best(alone.standing)
    assert sweep_command._ties(alone.sweep, alone.standing, best) == ""


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_other_samplers_draw_as_many_as_asked(tmp_path, sampler):
    driven = Driven(tmp_path, LOG, f"sampler={sampler}", "trials=6", end=by_weight).run(together=2)
    assert len({w for w, *_ in driven.ran}) == 6
    assert all(0.001 <= w <= 1 for w, *_ in driven.ran)


def test_the_usual_words_have_the_study_of_before_there_was_a_choice(tmp_path):
    sweep = Driven(tmp_path, LOG, end=by_weight).sweep
    parts = ([(WEIGHT, repr(sweep.space[WEIGHT]))], identity.config_hash(sweep.example))
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    assert sweep.study == f"toy.lewm.s0.{digest}"
    names = {sweep.study}
    for change in (
        {"sampler": "random"},
        {"seeds": (0, 1)},
        {"objectives": ("success", "plan_time")},
        {"prune": "asha"},
        {"sampler": "grid"},
        {"sampler": "grid", "points": 9},
    ):
        names.add(dataclasses.replace(sweep, **change).study)
    assert len(names) == 7
    for change in ({"trials": 9}, {"resolution": 1.2}, {"points": 9}, {"test": True}):
        assert dataclasses.replace(sweep, **change).study in names


# -- pruning


def test_asha_stops_the_trainings_of_values_that_are_worse_by_then(tmp_path):
    words = [LOG, "sampler=grid", "points=8", "prune=asha", "seeds=2"]
    driven = Driven(tmp_path, *words, end=by_weight).run()
    shares = {}
    for weight, seed, share in driven.ran:
        shares.setdefault((weight, seed), []).append(share)
    assert all(own == [0.25, 0.5, 1.0][: len(own)] for own in shares.values())
    assert shares[1.0, 0] == shares[1.0, 1] == [0.25, 0.5, 1.0]  # the best is never pruned
    trained = sum(own[-1] for own in shares.values())
    assert trained <= 0.7 * len(shares)
    states = [t.state for t in driven.study.trials]
    assert states.count(TrialState.PRUNED) == len(driven.standing.pruned) >= 3
    assert driven.standing.complete and not driven.standing.again
    assert driven.study.best_params == {WEIGHT: 1.0}
    ends = run_tables.read(str(tmp_path / "r")).trial.groupby("status")["error"].unique()
    assert set(ends.index) == {"ok", "pruned"}
    assert set(ends["pruned"]) <= {f"pruned after {n} % of its training" for n in (25, 50)}
    (spec, *_) = driven.sweep.specs(driven.standing.pruned[0].params)
    said = search.outcome(driven.sweep.folders, spec)
    assert re.match(r"pruned after (25|50) % of its training, [\d.]+ % of 40", said)
    again = Driven(tmp_path, *words, end=by_weight).run()
    assert again.ran == []


def test_progress_counts_trials_and_no_rungs(tmp_path):
    words = [LOG, "sampler=grid", "points=8", "prune=asha", "seeds=2"]
    driven = Driven(tmp_path, *words, end=by_weight)
    with search._display(driven.sweep, 8) as display:
        assignments = search.Assignments(driven.sweep, driven.study, 2, display)
        search._ask_again(driven.sweep, driven.study, driven.standing)
        while (spec := assignments.next()) is not None:
            write(driven.sweep.folders, spec, Ended(0.5))
            assignments.finish(spec)
            display.finish(spec.key, "ended")
        assert display._all.total == 16 and display.done == 4  # two values, two seeds


def test_a_pruned_sweep_that_was_killed_goes_on_at_its_rung(tmp_path):
    def killed(weight, seed, share):
        if share == 0.5:
            raise KeyboardInterrupt
        return Ended(0.5)

    words = [LOG, "trials=1", "prune=asha"]
    first = Driven(tmp_path, *words, end=killed)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    again = Driven(tmp_path, *words, end=lambda *_: Ended(0.5)).run()
    assert [share for *_, share in first.ran + again.ran] == [0.25, 0.5, 0.5, 1.0]
    assert again.standing.complete


def test_a_value_whose_trials_ended_before_a_kill_is_told_by_the_next_call(tmp_path, monkeypatch):
    """Their rows are there, and the study does not know it: no other value is tried instead."""
    words = [LOG, "trials=3", "sampler=grid", "points=3"]
    first = Driven(tmp_path, *words, end=by_weight)

    def killed(assignments, suggestion, judgement):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search.Assignments, "_tell", killed)
        with pytest.raises(KeyboardInterrupt):
            first.run()
    assert len(first.ran) == 1
    again = Driven(tmp_path, *words, end=by_weight).run()
    assert sorted(weight for weight, *_ in first.ran + again.ran) == [0.001, 0.03162, 1.0]
    assert again.standing.complete and len(again.standing.settled) == 3


def test_a_seed_that_fails_on_its_way_does_not_stop_the_others(tmp_path):
    def end(weight, seed, share):
        return Ended(error="diverged") if seed == 1 else Ended(0.8)

    driven = Driven(tmp_path, LOG, "trials=1", "prune=asha", "seeds=2", end=end).run()
    assert [(seed, share) for _, seed, share in driven.ran] == [
        (0, 0.25), (1, 0.25), (0, 0.5), (0, 1.0),
    ]  # fmt: skip
    (suggestion,) = driven.study.trials
    assert suggestion.intermediate_values == pytest.approx({1: 0.4, 2: 0.4})
    assert suggestion.value == pytest.approx(0.4)


# -- several objectives and keys


def test_success_and_plan_time_have_a_front(tmp_path):
    worth = {0.001: Ended(0.2, plan_s=0.1), 0.03162: Ended(0.6, plan_s=0.4)}
    worth |= {1.0: Ended(0.5, plan_s=0.9)}
    words = [LOG, "sampler=grid", "points=3", "objectives=success,plan_time"]
    driven = Driven(tmp_path, *words, end=lambda w, *_: worth[w]).run()
    assert driven.sweep.example.stages == ("train", "control", "plan_time")
    told = {round(t.params[WEIGHT], 5): t.values for t in driven.study.trials}
    assert told == {w: pytest.approx([end.rate, end.plan_s]) for w, end in {
        0.001: worth[0.001], 0.03162: worth[0.03162], 1.0: worth[1.0]}.items()}  # fmt: skip
    front = sorted(t.params[WEIGHT] for t in driven.study.best_trials)
    assert front == pytest.approx([0.001, 0.03162], rel=1e-3)


def test_a_failure_is_worst_in_every_objective(tmp_path):
    words = [LOG, "trials=1", "objectives=success,plan_time"]
    driven = Driven(tmp_path, *words, end=lambda *_: Ended(1.0, latent_std=0.0)).run()
    assert driven.study.trials[0].values == [objective.WORST, objective.WORST_PLAN_S]


def test_a_time_on_a_gpu_that_others_used_is_none(tmp_path):
    words = [LOG, "trials=1", "objectives=success,plan_time"]
    driven = Driven(tmp_path, *words, end=lambda *_: Ended(0.5, device_shared=True)).run()
    assert driven.study.trials[0].values == [0.5, objective.WORST_PLAN_S]


def test_importances_find_the_key_that_matters(tmp_path):
    words = [LOG, "space.train.lr=log:0.0001:0.01"]
    driven = Driven(tmp_path, *words, end=by_weight)
    points = samplers.grid(driven.sweep.space, 4, 0)

    def suggestions(value):
        return [
            optuna.trial.create_trial(
                params=point, distributions=driven.sweep.space, values=[value(point)]
            )
            for point in points
        ]

    shares = search.importances(driven.sweep, suggestions(lambda point: point[WEIGHT]))["success"]
    assert sum(shares.values()) == pytest.approx(1) and shares[WEIGHT] > 0.9
    assert search.importances(driven.sweep, suggestions(lambda point: 0.5)) == {}


# -- words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([LOG, "sampler=bisect"], 'Did you mean "bisection"'),
        ([LOG, "points=4"], "points is of sampler=grid"),
        ([LOG, "resolution=2"], "resolution is of sampler=bisection"),
        ([LOG, "sampler=bisection", "resolution=1"], "a factor above 1"),
        ([LOG, "sampler=grid", "points=1"], "at least 2"),
        (["space.train.steps=int:1:9", "sampler=bisection"], "one space.KEY=log:"),
        ([LOG, "space.train.steps=int:1:9", "sampler=bisection"], "one space.KEY=log:"),
        ([LOG, "sampler=bisection", "prune=asha"], "leave prune out"),
        ([LOG, "objectives=plan_time"], "success,plan_time"),
        ([LOG, "objectives=succes"], 'Did you mean "success"'),
        ([LOG, "objectives=success,plan_time", "prune=asha"], "one objective"),
        ([LOG, "objectives=success,plan_time", "resources.cpu=0.5"], "whole GPUs"),
        ([LOG, "seed=1", "seeds=2"], "give one of them"),
        ([LOG, "seeds=0"], "seeds must be whole numbers"),
        ([LOG, "test=yes"], "true, false"),
        ([LOG, "train.stop_after=0.5"], "a sweep trains to the end"),
        (["space.train.stop_after=uniform:0.1:1"], 'unknown key "train.stop_after"'),
        (["method=random", "space.train.lr=log:0.001:0.1", "prune=asha"], "that is trained"),
    ],
)
def test_wrong_words_say_what_is_right(words, said, tmp_path):
    code, told = issue(tmp_path, tmp_path, *words)
    assert code == 2 and said in told


# -- the whole way


def issue(results, datasets, *words):
    """Exit code of the command and what it wrote to stderr."""
    base = ["task=toy", "method=lewm", "scale=tiny", "device=cpu", "run=r", "backend=loop"]
    words = tiny.together([*base, f"results={results}", f"datasets={datasets}"], words)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    return code, said.getvalue()


def test_pruned_trainings_and_one_look_at_test_pairs(datasets, tmp_path):
    """The ceiling learns the toy task in 60 steps with the higher learning rate, not the lower."""
    words = ["method=true_state", "space.train.lr=choice:0.005,0.00001", "train.steps=60"]
    words += ["sampler=grid", "prune=asha", "test=true"]
    code, said = issue(tmp_path, datasets, *words)
    assert code == 0, said
    tables = run_tables.read(str(tmp_path / "r"))
    trials = tables.trial.set_index("key")
    good, bad = "toy.true_state.lr-0p005.s0", "toy.true_state.lr-0p00001.s0"
    assert trials.loc[good, "status"] == "ok" and trials.loc[good, "train_steps"] == 60
    assert trials.loc[bad, "status"] == "pruned" and "pruned: 1 of 2 values" in said
    assert trials.loc[bad, "train_steps"] in (15, 30)
    tested = trials.loc["toy.true_state.best.s0"]
    assert tested["checkpoint_hash"] == trials.loc[good, "checkpoint_hash"]
    splits = tables.episodes.groupby("key")["split"].unique().map(list).to_dict()
    assert splits == {good: ["validation"], bad: ["validation"], tested.name: ["test"]}
    rate = tables.episodes.query("key == @tested.name")["success"].mean()
    assert f"on test pairs: {100 * rate:.1f} % of 8 test pairs" in said
    before = {f: f.stat().st_mtime_ns for f in tmp_path.glob("r/trials/*/*.parquet")}
    assert issue(tmp_path, datasets, *words)[0] == 0
    assert before == {f: f.stat().st_mtime_ns for f in tmp_path.glob("r/trials/*/*.parquet")}


def test_sweeps_are_compared_by_their_folders(tmp_path, capsys):
    def end(weight, *_):
        return Ended(0.9 if weight == 0.03162 else 0.1)

    grid = Driven(tmp_path / "a", LOG, "sampler=grid", "points=3", end=end).run()
    Driven(tmp_path / "b", LOG, "sampler=random", "trials=2", end=end).run()
    folders = [str(tmp_path / name / "r") for name in "ab"]
    assert main(["compare", *folders, f"to={tmp_path}/t"]) == 0
    table = pd.read_csv(tmp_path / "t" / "needed.csv").set_index("sampler")
    assert table["tried"].to_dict() == {"grid": 3, "random": 2}
    weights = [weight for weight, *_ in grid.ran]
    assert table.loc["grid", "needed"] == 1 + weights.index(0.03162)
    assert np.isnan(table.loc["random", "needed"])
    assert "namely sigreg_weight=0.03162" in " ".join(capsys.readouterr().out.split())


def test_methods_and_keys_stand_beside_each_other(tmp_path, capsys):
    rate = "space.train.lr=log:0.001:0.1"
    Driven(tmp_path / "a", LOG, "sampler=grid", "points=3", end=by_weight).run()
    both = [LOG, rate, "sampler=grid", "points=3"]
    Driven(tmp_path / "b", *both, end=by_weight).run()
    folders = [shutil.move(tmp_path / name / "r", tmp_path / f"run_{name}") for name in "ab"]
    assert main(["compare", *map(str, folders), f"to={tmp_path}/t"]) == 0
    table = pd.read_csv(tmp_path / "t" / "needed.csv")
    assert table["swept"].tolist() == [f"lewm: {WEIGHT}", f"lewm: {WEIGHT}, train.lr"]
    assert table["tried"].tolist() == [3, 9]
    drawn = (tmp_path / "t" / "hyperparameters.svg").read_text()
    assert "of 3 values on the plateau" in drawn and "of 9 values on the plateau" in drawn
    assert (tmp_path / "t" / "hyperparameters.png").exists()
    assert "run_a, run_b" in (tmp_path / "t" / "captions.md").read_text()


def test_what_cannot_be_compared_says_why(tmp_path, capsys):
    for name, words in {"a": [], "b": ["protocol=lewm-v3"]}.items():
        Driven(tmp_path / name, LOG, *words, "trials=1", end=by_weight).run()
    folders = [str(tmp_path / name / "r") for name in "ab"]
    assert main(["compare", *folders]) == 2
    assert "differ in smoke and lewm-v3" in capsys.readouterr().err
    assert main(["compare"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(tmp_path / "empty")]) == 1


def test_test_pairs_are_not_used_for_a_second_value(tmp_path):
    """A longer sweep may find a better value; what was seen on test pairs stays the one look."""
    driven = Driven(tmp_path, LOG, "trials=2", end=by_weight).run()
    worse, better = sorted(driven.standing.settled, key=lambda entry: entry[1].value)
    (spec,) = driven.sweep.on_test_pairs(worse[0].params)
    assert spec.config.protocol.split == "test" and "train" not in spec.stages
    write(driven.sweep.folders, spec, Ended(0.5))
    before = set(tmp_path.rglob("*.parquet"))
    tested = sweep_command._test(driven.sweep, better)
    assert not tested.failed and "test pairs are used once" in tested.words
    assert set(tmp_path.rglob("*.parquet")) == before
    assert "on test pairs: 50.0 % of 40" in sweep_command._test(driven.sweep, worse).words


def test_weights_that_are_gone_are_said_and_count_as_a_failure(tmp_path):
    driven = Driven(tmp_path, LOG, "trials=1", "backend=loop", end=lambda *_: Ended(0.5)).run()
    tested = sweep_command._test(driven.sweep, driven.standing.settled[0])
    assert tested.failed and "are gone: put them back" in tested.words
