"""The figures of planners: success against the time and the operations that a plan is given."""

from __future__ import annotations

import pandas as pd

from harness.report import load, published
from harness.report.figures import compute, panels, style, varied
from harness.report.tables import efficiency, evaluations

_MOST = 4  # methods, a column of panels each
_LOOKS = {  # planner -> its name and look; dashed: those that follow a gradient
    "cem": ("CEM", style.Look(style.INK, "o", "-")),
    "icem": ("iCEM", style.Look("#0072B2", "s", "-")),
    "mppi": ("MPPI", style.Look("#009E73", "^", "-")),
    "predictive_sampling": ("predictive sampling", style.Look("#E69F00", "v", "-")),
    "adam": ("Adam", style.Look("#AA4499", "P", "--")),
    "rmsprop": ("RMSProp", style.Look("#D55E00", "X", "--")),
    "sgd": ("SGD", style.Look("#56B4E9", "<", "--")),
}
_OTHERS = ("#5B4FC0", "#999933", "#A65628", "#88CCEE")  # of planners from outside
_COSTS = {"ms": "ms of one plan", "gflop": "GFLOP of one plan", "rollouts": "rollouts of one plan"}
_PAPER = "push_t", "Tab. 10"  # where the paper compares planners
_CAPTION = (
    "Success with 95 % intervals of the same weights under each planner, stopped after an eighth, "
    "a quarter, half and all of its iterations, where these differ. {costs}."
)
_WORDS = {
    "ms": "ms: median wall time of the plan of one pair alone, from pixels to actions",
    "gflop": "GFLOP: operations of that plan (matrix products, attention and convolutions, 2 for "
    "each multiply-add), so that planners one above the other had the same compute",
    "rollouts": "rollouts: candidates times iterations, and three for a step down a gradient",
}


def figures(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, style.Drawn]:
    """ "planners_<task>", where several planners, or one stopped early, were evaluated."""
    return varied.figures(run, estimates, "planners", data(run, estimates), draw, _caption)


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: the points of suite=planners with columns planner, label (its name), whole (not stopped
    early), paper (the published success of this method and planner in percent, NaN where there is
    none), and the costs ms, gflop and rollouts, NaN where they were not measured.
    """
    rows = varied.of_suite(varied.points(run, estimates), varied.PLANNERS)
    names = rows["name"].str.split(".")
    rows = rows[(names.str[0] == "planner") & (names.str.len() == 3)]
    rows = rows.assign(planner=names.str[1])
    rows["label"] = [_LOOKS[name][0] if name in _LOOKS else name for name in rows["planner"]]
    times = efficiency.plan_times(run)
    seconds = times[times["pairs"] == 1].groupby("cell")["p50_s"].median()
    rows["ms"] = 1e3 * rows["cell"].map(seconds)
    rows["gflop"] = rows["cell"].map(compute.flops(run)) / 1e9
    rows["rollouts"] = [evaluations.rollouts(run, cell) for cell in rows["cell"]]
    rows["whole"] = rows["variant"] == rows["planner"]
    rows["paper"] = [_paper(row) for _, row in rows.iterrows()]
    return rows.reset_index(drop=True)


def _paper(row: pd.Series) -> float:
    """The paper's success of a method with a whole planner."""
    task, _ = _PAPER
    if row["task"] != task or not row["whole"] or published.of_tests(row):
        return float("nan")
    return published.ablation(f"solver_{row['method']}", row["label"])


def _costs(rows: pd.DataFrame) -> list[str]:
    """The costs that are drawn, one above the other."""
    return [cost for cost in _COSTS if rows[cost].notna().any()][:2]


def draw(run: load.RunTables, rows: pd.DataFrame, lines: pd.DataFrame) -> style.Figure:
    """A column a method: success over the time of a plan and over its operations, and that on hard
    pairs over the time.
    """
    looks, costs = _looks(rows), _costs(rows)
    bands = [(costs[0], of) for of in varied.kinds_of_pairs(rows)]
    bands += [(cost, bands[-1][1]) for cost in costs[1:]]
    of_all = [(cost, of) for cost, of in bands if not of]
    shown = rows["method"].unique()[:_MOST]
    width = {1: style.COLUMN_IN, 2: 6.0}.get(len(shown), style.WIDTH_IN)
    height = min(style.HEIGHT_IN, 0.7 + 2.1 * len(bands))
    figure, axes = style.figure(len(bands), len(shown), height, width)
    for i, (line, (cost, of)) in enumerate(zip(axes, bands, strict=True)):
        for ax, method in zip(line, shown, strict=True):
            own = rows[rows["method"] == method]
            varied.draw_controls(ax, lines, of)
            varied.draw_lines(ax, own, cost, looks, of=of)
            known = own.dropna(subset=["paper", cost]) if (cost, of) == of_all[-1] else own[:0]
            for row in known.itertuples():
                at, shade = (getattr(row, cost), row.paper), looks[row.label].colour
                ax.plot(*at, marker="D", ms=5, mfc="none", mec=shade, ls="", zorder=4)
        # one axis for the panels of a row, so that methods can be compared
        values = rows[rows["method"].isin(shown)][cost]
        is_last = [cost] != [name for name, _ in bands[i + 1 : i + 2]]  # of the bands of a cost
        for ax in line:
            ax.set_xlim(values.min() / 1.25, values.max() * 1.25)
            style.name_ticks(ax.xaxis)
            ax.tick_params(axis="x", labelbottom=is_last)
            ax.set_xlabel(_COSTS[cost] if is_last else "")
        varied.success_axes(line, varied.kinds_of_pairs(rows)[of])
    for ax, method in zip(axes[0], shown, strict=True):
        ax.set_title(run.method_label(method))
    handles = style.method_handles(looks) + varied.control_handles(lines["kind"])
    if rows["paper"].notna().any():
        handles.append(style.published_handle())
    return panels.finish(figure, rows, handles)


def _looks(rows: pd.DataFrame) -> dict[str, style.Look]:
    """label -> look, in the order of _LOOKS, planners from outside last."""
    known = set(rows["planner"])
    found = dict(look for name, look in _LOOKS.items() if name in known)
    others = sorted(known - set(_LOOKS))
    colours = zip(others, _OTHERS * len(others), strict=False)
    return found | {name: style.Look(colour, "h", "-.") for name, colour in colours}


def _caption(run: load.RunTables, rows: pd.DataFrame) -> str:
    words = [_CAPTION.format(costs="; ".join(_WORDS[cost] for cost in _costs(rows)))]
    words[0] += varied.hard_words(rows)
    if rows["paper"].notna().any():
        words.append(f"Diamonds: the paper's success with each whole planner ({_PAPER[1]}).")
    if names := ", ".join(map(run.method_label, rows["method"].unique()[_MOST:])):
        words.append(f"Not drawn, for want of room: {names}; the table of evaluations has them.")
    return " ".join(words)
