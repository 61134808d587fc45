"""Synthetic runs, written through rows.write."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import urllib.parse
import zlib

import numpy as np
import pandas as pd
from PIL import Image

from harness import report, zoo
from harness.records import rows

NAMES = {"replay": 1.0, "heuristic": 0.8, "random": 0.2, "noop": 0.1}


class SyntheticRun:
    """Writes trials with given outcomes into a folder."""

    def __init__(self, folder):
        self.folder = folder

    def trial(
        self,
        task="two_room",
        method="lewm",
        seed=0,
        outcome=(),
        strata=(),
        config="config: {planner: {candidates: 300, iterations: 10}, mpc: {horizon_blocks: 5}}",
        metrics=(),
        split="test",
        initially_solved=(),
        samples=(),
        frames=(),
        pairs_per_episode=1,
        **fields,
    ):
        """One trial; `outcome` is one truth value per pair, or (evaluations, pairs); `frames` are
        those of film(); as many neighbouring pairs are cut from one recorded episode.
        """
        key = fields.pop("key", f"{task}.{method}.s{seed}")
        known = dict(
            run="synthetic",
            suite="all",
            task=task,
            method=method,
            variant="",
            seed=seed,
            scale="laptop",
            protocol="quick-v1",
            protocol_hash=f"{zlib.crc32(task.encode()):08x}aaaa",
            setting_hash=f"{task}-{method}",
            config_hash=key,
            config_yaml=config,
            status="ok",
            device="CPU",
            threads=2,
            dataset_hash=task,
            split_hash=task,
        )
        trial = rows.TrialRow(key=key, **(known | names(task, method) | fields))
        outcome = np.atleast_2d(np.asarray(outcome, bool))
        episodes = [
            dataclasses.replace(
                self._episode(key, e, p, bool(success), split, strata, initially_solved, samples),
                source_episode=p // pairs_per_episode,
            )
            for e, line in enumerate(outcome)
            for p, success in enumerate(line)
        ]
        of_trial = [rows.MetricRow(key, *metric) for metric in metrics]
        shown = [rows.FrameRow(key, *frame) for frame in frames]
        rows.write(str(self.place(trial)), trial, episodes, of_trial, shown)
        return trial

    def place(self, trial):
        """The trial's folder."""
        return self.folder / "trials" / rows.folder_name(trial.key, trial.config_hash)

    @staticmethod
    def _episode(key, evaluation, pair, success, split, strata, initially_solved, samples):
        return rows.EpisodeRow(
            key=key,
            split=split,
            eval_seed=evaluation,
            pair_id=pair,
            source_episode=pair,
            start_step=7 * pair,
            stratum=strata[pair % len(strata)] if strata else "",
            sample=samples[pair] if len(samples) else "pairs",
            initially_solved=bool(initially_solved[pair]) if len(initially_solved) else False,
            success=success,
            success_ever=success,
            success_final=success,
            first_hit_step=5 if success else -1,
            dist_init=1.0,
            dist_min=0.1,
            dist_final=0.2,
            replans=2,
        )


def names(task, method):
    """The names in a row, of a task and a method that zoo.py knows."""
    fields = {}
    if task in zoo.TASKS:
        fields |= {"task_label": zoo.TASKS[task].spec.label, "task_rank": [*zoo.TASKS].index(task)}
    if method in zoo.METHODS:
        entry, rank = zoo.METHODS[method], [*zoo.METHODS].index(method)
        fields |= {"method_label": entry.label, "method_rank": rank}
        fields |= {"is_control": not entry.trained, "role": entry.role}
    return fields


def film(steps, success, stratum="detour", pair_id=7):
    """An episode of that many steps, shown every five: a grey that grows darker, a black goal."""
    at = [*range(0, steps, 5), steps]
    kinds = ["start", *["block"] * (len(at) - 2), "end"]
    shown = [
        (pair_id, stratum, kind, step, success and kind == "end", picture(250 - step))
        for kind, step in zip(kinds, at, strict=True)
    ]
    return [*shown, (pair_id, stratum, "goal", 25, True, picture(0))]


def picture(grey):
    """A PNG of one grey."""
    sink = io.BytesIO()
    Image.new("RGB", (16, 16), (grey, grey, grey)).save(sink, "png")
    return sink.getvalue()


def plan_metrics(rng, base):
    """Forty repetitions of one pair alone, ten of fifty together."""
    alone = base * np.exp(0.1 * rng.normal(size=40))
    together = 20 * base * np.exp(0.1 * rng.normal(size=10))
    return [
        *(("plan_time", "solve_s_1", i, v, "s") for i, v in enumerate(alone)),
        *(("plan_time", "solve_s_50", i, v, "s") for i, v in enumerate(together)),
        ("plan_time", "flops", 0, 5e11 * base, "FLOP"),
    ]


def train_metrics(rng, terms, points=60, steps=3000):
    """Noisy, falling curves."""
    at = np.linspace(0, steps, points).astype(int)
    found = [
        ("model", "window_frames", 0, 4, "frames"),
        ("model", "latent_floats", 0, 64, "floats"),
    ]
    for i, term in enumerate(terms):
        values = (i + 1) * (np.exp(-at / 600) + 0.05) * np.exp(0.05 * rng.normal(size=points))
        found += [("train", term, int(s), float(v), "1") for s, v in zip(at, values, strict=True)]
    return found


def full_run(run, tasks, methods, seeds=3, pairs=100):
    """A run with everything in it."""
    rng = np.random.default_rng(0)
    own = {"lewm": ["sigreg"], "pldm": ["var", "cov", "time_sim"], "gcbc": []}
    for task in tasks:
        strata = {"two_room": ("same room", "same room", "through door")}.get(task, ())
        hard = rng.normal(size=pairs)
        solved = rng.random(pairs) < 0.1
        for method in methods:
            level = NAMES.get(method, 0.5 + 0.4 * rng.random())
            for seed in range(seeds if method not in NAMES else 1):
                logit = math.log(level / (1.001 - level)) + 0.3 * rng.normal() + hard
                outcome = (rng.random(pairs) < 1 / (1 + np.exp(-logit))) | solved
                metrics, fields = [], {}
                if method not in NAMES:
                    terms = ["loss", "pred", *own.get(method, []), "latent_std", "grad_norm"]
                    metrics = train_metrics(rng, terms)
                    if not method.startswith("gc"):
                        metrics += plan_metrics(rng, 4.0 if method == "dino_wm" else 0.2)
                    fields = dict(
                        parameters_trained=1_234_567,
                        parameters_frozen=22_000_000 if method == "dino_wm" else 0,
                        tokens_per_frame=256 if method == "dino_wm" else 1,
                        train_steps=3000,
                        train_s=215.0 + rng.normal(),
                        peak_memory_bytes=3 * 2**29,
                    )
                run.trial(
                    task,
                    method,
                    seed,
                    outcome,
                    strata,
                    metrics=metrics,
                    initially_solved=solved,
                    **fields,
                )


def outcome(successes, n=50):
    """The first `successes` of n pairs succeed."""
    return np.arange(n) < successes


def table(run, name, kind="csv"):
    """A table of the run's report, as text; Markdown without the spaces that align its columns."""
    text = (run.folder / "tables" / f"{name}.{kind}").read_text()
    return re.sub(" {2,}", " ", text) if kind == "md" else text


def links(run):
    """The files that the run's page links to, as paths below its folder."""
    page = (run.folder / "index.html").read_text()
    found = [
        link for link in re.findall(r'href="([^"#][^"]*)"', page) if not link.startswith("data:")
    ]
    assert found
    return [urllib.parse.unquote(link) for link in found]


def raw(run, name="success"):
    """The rows of a table, from a new report of the run."""
    report.write(run.folder)
    return pd.read_csv(io.StringIO(table(run, name)), keep_default_na=False, na_values=[""])
