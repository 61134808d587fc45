"""Writes expected.json: what rliable 1.2.0 says of the arrays in it.

rliable 1.2.0 needs arch < 8, and its arch 7.2 cannot be imported beside pandas 3. Run this in an
environment of its own: pip install rliable==1.2.0 "pandas<3"
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

REPS = 20_000
TAUS = np.array([-0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
CASES = {  # (runs of x, runs of y, tasks)
    "several runs": (5, 3, 4),
    "ten runs": (10, 10, 6),
    "two tasks": (4, 7, 2),
}


def main() -> None:
    """Write the file beside this one."""
    versions = {name: importlib.metadata.version(name) for name in ("rliable", "arch", "numpy")}
    cases = {name: _case(np.random.default_rng(i), *c) for i, (name, c) in enumerate(CASES.items())}
    content = {"versions": versions, "reps": REPS, "taus": TAUS.tolist(), "cases": cases}
    path = Path(__file__).with_name("expected.json")
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _case(rng: np.random.Generator, runs_x: int, runs_y: int, tasks: int) -> dict:
    """Scores of x and y, in hundredths so that some are equal, and what rliable says of them."""
    level = rng.uniform(0, 0.9, tasks)
    x = np.round(level + 0.15 * rng.normal(size=(runs_x, tasks)), 2)
    y = np.round(level - 0.05 + 0.15 * rng.normal(size=(runs_y, tasks)), 2)
    np.random.seed(0)  # rliable draws from numpy's global stream

    def both(scores: np.ndarray) -> np.ndarray:
        return np.array([metrics.aggregate_iqm(scores), metrics.aggregate_mean(scores)])

    points, ends = library.get_interval_estimates({"x": x}, both, reps=REPS)
    improvement, improvement_ends = library.get_interval_estimates(
        {"x,y": (x, y)},
        lambda a, b: np.array([metrics.probability_of_improvement(a, b)]),
        reps=REPS // 10,
    )
    profile, profile_ends = library.create_performance_profile({"x": x}, TAUS, reps=REPS // 10)
    values = {
        "x": x,
        "y": y,
        "iqm": [points["x"][0], *ends["x"][:, 0]],
        "mean": [points["x"][1], *ends["x"][:, 1]],
        "probability_of_improvement": [improvement["x,y"][0], *improvement_ends["x,y"][:, 0]],
        "profile": profile["x"],
        "profile_ends": profile_ends["x"],
    }
    return {name: np.asarray(value, dtype=float).tolist() for name, value in values.items()}


if __name__ == "__main__":
    main()
