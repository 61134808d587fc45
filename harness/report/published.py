"""Published numbers beside our own, from the folder papers/. A file that is absent gives no column,
and neither does one that holds something else than it should, with a line in the log.
"""

from __future__ import annotations

import csv
import functools
import logging
import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from harness.report import stats

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parent / "papers"


class Published(NamedTuple):
    """One published number and where it stands."""

    value: float
    episodes: int  # 0: not said
    source: str
    stale: str = ""  # why it does not hold any more: it is in tables, and no mark of a figure


def success(cell: pd.Series) -> Published | None:
    """Success in percent, for a cell's task, method and variant; None beside numbers of tests."""
    name = name_of(cell["method"], cell["variant"])
    return None if of_tests(cell) else success_of(cell["task"], name)


def success_of(task: str, method: str) -> Published | None:
    """Success in percent of a method, which may be named with its variant, on a task."""
    return _successes().get((task, method))


def plan_s(cell: pd.Series) -> Published | None:
    """Seconds of one plan, for a cell's method and variant; None beside numbers of tests."""
    return None if of_tests(cell) else plan_time().get(name_of(cell["method"], cell["variant"]))


class Band(NamedTuple):
    """Reported success of released weights on a task, in percent; NaN where nothing is."""

    paper: float = math.nan
    clear: float = math.nan  # of the released weights, by CLEAR-LeWM
    low: float = math.nan  # of what others report
    high: float = math.nan
    sources: int = 0  # that report it


CLEAR = ("clear-moderate", "clear-strict")  # protocols under which CLEAR-LeWM has its own numbers


def released(task: str, protocol: str) -> Band:
    """The paper's number for LeWM on a task, and the others' band. Under a protocol of CLEAR-LeWM
    that is the 95 % interval of CLEAR's own number, and the paper has none.
    """
    if protocol in CLEAR:
        own = _by_key(_CLEAR).get((protocol, task))
        if own is None:
            return Band()
        clear, episodes = float(own["lewm_pct"]), int(own["episodes"])
        low, high = stats.wilson(clear / 100 * episodes, episodes)
        return Band(math.nan, clear, 100 * low, 100 * high, 1)
    reported = others(task, "lewm")
    paper, clear = success_of(task, "lewm"), reported.get(_CLEARS, math.nan)
    low, high = (end(reported.values(), default=math.nan) for end in (min, max))
    return Band(paper.value if paper else math.nan, clear, low, high, len(reported))


def others(task: str, method: str) -> dict[str, float]:
    """Source -> success in percent that works other than its paper report for a method on a task;
    known are LeWM, with released or retrained weights, and the random policy.
    """
    if method not in ("lewm", "random"):
        return {}
    return {
        row["source"]: float(row[task])
        for row in _read(_REPLICATIONS)
        if task in row
        and not row["source"].startswith("paper")
        and (row["source"] == _CLEARS_RANDOM) == (method == "random")
    }


_CLEARS = "CLEAR-LeWM official weights"  # sources of the file of replications
_CLEARS_RANDOM = "CLEAR-LeWM random policy on the same pairs"


class Probed(NamedTuple):
    """Published readings of one quantity, of standardised values."""

    linear_mse: float
    linear_r: float
    mlp_mse: float
    mlp_r: float


def probing(cell: pd.Series, quantity: str) -> Probed | None:
    """The paper's probes, for a cell's task and method; None beside numbers of tests."""
    task, method = cell["task"], cell["method"]
    if cell["variant"] or of_tests(cell) or method not in _MODELS:
        return None
    row = _by_key(_PROBING).get((task, _PROPERTIES.get((task, quantity), ""), _MODELS[method]))
    return Probed(*(float(row[name]) for name, _ in _PROBING.numbers)) if row else None


class Item(NamedTuple):
    """A figure or table of the LeWM paper (arXiv 2603.19312 v3): what has to be measured for it.

    Each method on each task needs the `stages` ("train:loss": that metric of a stage), in so many
    training `seeds`. A swept item needs them at several values of `key`: of "any 3" three
    different ones, else each of those named ("vit=ViT-Tiny": in the paper by that name).
    """

    item: str  # "Fig. 8, 11"
    title: str
    stages: tuple[str, ...]
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    key: str  # "": nothing is swept
    values: tuple[str, ...]
    seeds: int
    published: str  # which numbers the paper gives: "success", "probing", "ablation:dropout", ...
    command: str


def items() -> list[Item]:
    """The figures and tables of the paper, in its order."""
    return [
        Item(
            row["item"],
            row["title"],
            tuple(row["stages"].split()),
            tuple(row["tasks"].split()),
            tuple(row["methods"].split()),
            row["key"],
            tuple(row["values"].split()),
            int(row["seeds"]),
            row["published"],
            row["command"],
        )
        for row in _read(_ITEMS)
    ]


def ablation(name: str, setting: str) -> float:
    """Success in percent of the paper's LeWM or PLDM on Push-T, NaN where it reports none."""
    return float(_by_key(_ABLATIONS).get((name, setting), {}).get("sr", math.nan))


def ablation_words(key: str) -> str:
    """The words of the paper's figures of LeWM on Push-T for a key whose numbers they do not print,
    with the figure; "" where it has none.
    """
    row = _by_key(_ABLATION_WORDS).get((key,))
    return f"{row['words']} ({row['source']})" if row else ""


def over_training_seeds(task: str, method: str) -> float:
    """Success in percent, the paper's mean over training seeds; NaN where it reports none."""
    return float(_by_key(_VARIANCE).get((task, method), {}).get("success_mean_pct", math.nan))


def of_tests(cell: pd.Series) -> bool:
    """Under a protocol whose numbers mean nothing."""
    return cell["protocol"].startswith("smoke")


class _File(NamedTuple):
    """The columns that a file must have: `keys` tell its rows apart, `numbers` (with the highest
    that is allowed) are at least 0, `texts` may hold anything.
    """

    name: str
    keys: tuple[str, ...]
    numbers: tuple[tuple[str, float], ...]
    texts: tuple[str, ...]


_PLAN_TIME = _File(
    "paper_plan_time.csv", ("method",), (("plan_s", math.inf),), ("hardware", "source")
)
_SUCCESS = _File(
    "paper_success.csv",
    ("task", "method"),
    (("success_pct", 100), ("n_episodes", math.inf)),
    ("source", "stale"),
)


_CLEAR = _File(
    "clear_lewm.csv",
    ("protocol", "task"),
    (("lewm_pct", 100), ("random_pct", 100), ("episodes", math.inf)),
    ("source",),
)
_REPLICATIONS = _File(
    "replications_lewm.csv",
    ("source",),
    tuple((task, 100) for task in ("two_room", "reacher", "push_t", "cube")),
    ("protocol",),
)
_ITEMS = _File(
    "lewm_items.csv",
    ("item", "title"),
    (("seeds", math.inf),),
    ("stages", "tasks", "methods", "key", "values", "published", "command"),
)
_ABLATIONS = _File("paper_ablations.csv", ("ablation", "setting"), (("sr", 100),), ())
_ABLATION_WORDS = _File("paper_ablation_words.csv", ("key",), (), ("words", "source"))
_VARIANCE = _File(
    "paper_training_variance.csv", ("task", "method"), (("success_mean_pct", 100),), ()
)
_PROBING = _File(
    "paper_probing.csv",
    ("env", "property", "model"),
    (("lin_mse", math.inf), ("lin_r", 1.0), ("mlp_mse", math.inf), ("mlp_r", 1.0)),
    (),
)
_MODELS = {"dino_wm": "DINO-WM", "pldm": "PLDM", "lewm": "LeWM"}  # method -> its name there
_PROPERTIES = {  # (task, quantity of contracts.TaskSpec) -> its name there
    ("two_room", "agent"): "agent_pos",
    ("push_t", "agent"): "agent_loc",
    ("push_t", "block"): "block_loc",
    ("push_t", "block_angle"): "block_angle",
    ("cube", "arm"): "joint_pos",
    ("cube", "arm_speed"): "joint_vel",
    ("cube", "effector"): "ee_pos",
    ("cube", "effector_yaw"): "ee_yaw",
    ("cube", "gripper"): "gripper",
    ("cube", "cube"): "block_pos",
    ("cube", "cube_quaternion"): "block_quat",
}


def plan_time() -> dict[str, Published]:
    """method -> seconds per plan."""
    return {
        row["method"]: Published(float(row["plan_s"]), 0, f"{row['source']}, {row['hardware']}")
        for row in _read(_PLAN_TIME)
    }


def name_of(method: str, variant: str) -> str:
    """The name under which the papers' files know a method: a variant is a method of its own."""
    return f"{method}_{variant}" if variant else method


def _successes() -> dict[tuple[str, str], Published]:
    """(task, method) -> success in percent."""
    return {
        (row["task"], row["method"]): Published(
            float(row["success_pct"]), int(float(row["n_episodes"])), row["source"], row["stale"]
        )
        for row in _read(_SUCCESS)
    }


def _by_key(file: _File) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a file by the values of its keys."""
    return {tuple(row[name] for name in file.keys): row for row in _read(file)}


@functools.cache
def _read(file: _File) -> list[dict[str, str]]:
    path = FOLDER / file.name
    if not path.exists():
        log.info("%s is absent: no published column", path)
        return []
    try:
        with path.open(encoding="utf-8", newline="") as source:
            header, *rows = [line for line in csv.reader(source, strict=True) if line] or [[]]
        complaint = _complaint(file, header, rows)
    except (OSError, ValueError, csv.Error) as error:
        complaint = f"cannot be read ({error})"
    if complaint:
        log.warning("%s %s: no published column until that is mended", path, complaint)
        return []
    return [dict(zip(header, row, strict=True)) for row in rows]


def _complaint(file: _File, header: list[str], rows: list[list[str]]) -> str:
    """The first fault of the file, or ""."""
    for column in (*file.keys, *(name for name, _ in file.numbers), *file.texts):
        if column not in header:
            return f"has no column {column}, its columns are: {', '.join(header)}"
    known = set()
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            return f"has {len(row)} fields instead of {len(header)} in row {number}"
        values = dict(zip(header, row, strict=True))
        key = tuple(values[column] for column in file.keys)
        if key in known:
            return f"has a second row for {' '.join(key)}, row {number}"
        known.add(key)
        for column, highest in file.numbers:
            value = pd.to_numeric(values[column], errors="coerce")
            if not (math.isfinite(value) and 0 <= value <= highest):
                bound = f"from 0 to {highest}" if highest < math.inf else "of at least 0"
                return f"has {column} {values[column]!r} in row {number}, not a number {bound}"
    return ""
