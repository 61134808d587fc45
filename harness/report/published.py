"""Published numbers beside our own; from results/published, absent files give no column."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import NamedTuple

import pandas as pd

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"


class Published(NamedTuple):
    """One published number and where it stands."""

    value: float
    episodes: int  # 0: not said
    source: str


def success(cell: pd.Series) -> Published | None:
    """Success in percent, for a cell's task, method and variant; None beside numbers of tests."""
    return (
        None
        if of_tests(cell)
        else _successes().get((cell["task"], name_of(cell["method"], cell["variant"])))
    )


def of_tests(cell: pd.Series) -> bool:
    """Under a protocol whose numbers mean nothing."""
    return cell["protocol"].startswith("smoke")


def plan_time() -> dict[str, Published]:
    """method -> seconds per plan."""
    table = _read("paper_plan_time.csv")
    return {
        row.method: Published(float(row.plan_s), 0, f"{row.source}, {row.hardware}")
        for row in table.itertuples()
    }


def name_of(method: str, variant: str) -> str:
    """The name under which the papers' files know a method: a variant is a method of its own."""
    return f"{method}_{variant}" if variant else method


def _successes() -> dict[tuple[str, str], Published]:
    """(task, method) -> success in percent."""
    table = _read("paper_success.csv")
    return {
        (row.task, row.method): Published(float(row.success_pct), int(row.n_episodes), row.source)
        for row in table.itertuples()
    }


@functools.lru_cache
def _read(name: str) -> pd.DataFrame:
    path = FOLDER / name
    if not path.exists():
        log.info("%s is absent: no published column", path)
        return pd.DataFrame()
    return pd.read_csv(path)
