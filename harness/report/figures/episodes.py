"""The figures of episodes: one pair of each task, as it was recorded and as the best and the worst
method went about it; and the best one's as a moving GIF.
"""

from __future__ import annotations

import io
import math
from typing import Protocol

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from harness.report import load, success_rates
from harness.report.figures import panels, pictures, style

_COLUMNS = 7  # pictures before the goal, at most: start, every k-th block, end
_SOLVED = "#2a8a3e"
_GIF_PX, _GIF_MARGIN, _GIF_CAPTION = 256, 8, 26
_GIF_FRAME_MS, _GIF_LAST_MS = 333, 2500
_CAPTION = (
    "{pair}: the first pair of the hardest stratum that is not solved at the start, chosen before "
    "any method was run.{rows} First training seed.{solved}"
)
_RECORDED = " Recorded: the data's own actions, replayed."
_RANKED = {  # best, or best and worst
    1: " Beside the method's name its success on all pairs.",
    2: " Best and worst: the methods with the largest and the least success on all pairs, which is "
    "beside their names.",
}


def figures(run: load.RunTables, frame: pd.DataFrame) -> dict[str, style.Drawn]:
    """A figure a task, of what `data` gives."""
    return panels.figures(run, "episodes", frame, draw, _caption)


def frames(run: load.RunTables) -> pd.DataFrame:
    """The pictures of episodes, of each cell's first training seed and in order of time, with the
    columns of panels.of_cells; without the trials of a sweep.
    """
    known = run.frames[run.frames["stage"] == "control"]
    known = known[known["seed"] == known.groupby("cell")["seed"].transform("min")]
    known = known[~known["cell"].isin(load.sweep_values(run.metrics)["cell"])]
    return panels.of_cells(run, known.sort_values("step", kind="stable"))


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: the pictures of each task's episodes in order of time, the goal last; `who` is
    "recorded" (a trivial control where the recording was not replayed), "best" or "worst"; `rate`
    the method's success on all pairs.
    """
    known = frames(run)
    rates = estimates[estimates["subset"] == success_rates.ALL].groupby("cell")["mean"].mean()
    known = known.assign(
        rate=known["cell"].map(rates), role=known["method"].map(run.methods["role"])
    )
    cells = known.drop_duplicates("cell").groupby("task", sort=False)
    who = {cell: words for _, own in cells for cell, words in _chosen(own).items()}
    known = known.assign(who=known["cell"].map(who), is_goal=known["kind"] == "goal")
    order = {"task": run.tasks["rank"].get, "who": ("recorded", "best", "worst").index}
    return known.dropna(subset="who").sort_values(
        ["task", "who", "is_goal", "step"],
        key=lambda column: column.map(order.get(column.name, lambda value: value)),
        kind="stable",
    )


def _chosen(cells: pd.DataFrame) -> dict[int, str]:
    """cell -> who it is, of a task's cells that have a row."""
    controls = cells[cells["role"].isin(["check", "floor"])]
    methods = cells[cells["role"] == "method"]
    methods = methods if len(methods) else cells.drop(controls.index)  # a ceiling
    ranked = methods.sort_values("rate", ascending=False, kind="stable")["cell"].to_list()
    recorded = controls.sort_values("role", kind="stable")["cell"].to_list()  # a check first
    chosen = {"recorded": recorded[:1], "best": ranked[:1], "worst": ranked[1:][-1:]}
    return {cell: who for who, cells in chosen.items() for cell in cells}


def draw(frame: pd.DataFrame) -> style.Figure:
    """A row an episode: start, every k-th block, end, and the goal."""
    paths = {who: own for who, own in frame[~frame["is_goal"]].groupby("who", sort=False)}
    every = max(1, math.ceil((max(map(len, paths.values())) - 1) / (_COLUMNS - 1)))
    rows = []
    for who, path in paths.items():
        last = len(path) - 1
        path = path.iloc[[*range(0, last, every), last]]
        words = np.where(path["kind"] == "start", "start", "step " + path["step"].astype(str))
        edges = np.where(path["success"], _SOLVED, style.CONTROL)
        row = _label(who, path.iloc[-1])
        rows.append(path.assign(row=row, words=words, edge=edges, column=range(len(path))))
    columns = max(map(len, rows))
    goals = frame[frame["is_goal"]].set_index("who").loc[list(paths)]
    names = [own["row"].iloc[0] for own in rows]
    goals = goals.assign(row=names, words="goal", edge=style.INK, column=columns)
    return pictures.grid(pd.concat([*rows, goals]))


def _label(who: str, end: pd.Series) -> str:
    """The words beside a row: whose episode it is, and how it ended."""
    name = "Recorded" if end["role"] == "check" else style.wrap(end["label"], 19)
    if end["role"] not in ("check", "floor"):
        name = f"{name}\n{who}: {100 * end['rate']:.0f} %"
    return f"{name}\n{f'solved at step {end.step}' if end['success'] else 'not solved'}"


def _caption(frame: pd.DataFrame) -> str:
    ranked = set(frame["who"]) - {"recorded"}
    words = _RECORDED if frame["role"].eq("check").any() else ""
    words += _RANKED.get(len(ranked), "")
    solved = " Green: solved." if frame.loc[~frame["is_goal"], "success"].any() else ""
    pair = f"Pair {frame['pair_id'].iloc[0]} ({frame['stratum'].iloc[0].replace('_', ' ')})"
    return _CAPTION.format(pair=pair, rows=words, solved=solved)


def films(frame: pd.DataFrame) -> dict[str, dict[str, bytes]]:
    """name -> {"gif": ...}: the episode of a task's best method, its goal beside it."""
    return {
        f"episode_{task}": {"gif": _gif(own[own["who"] == own["who"].min()])}  # "best" is first
        for task, own in frame.groupby("task", sort=False)
    }


def _gif(frame: pd.DataFrame) -> bytes:
    """Picture and goal side by side, three pictures a second, the last one held."""
    path, goal = frame[~frame["is_goal"]], frame.loc[frame["is_goal"], "image"].iloc[0]
    pages = [_gif_page(picture, goal) for picture in path.itertuples()]
    sink, times = io.BytesIO(), [_GIF_FRAME_MS] * (len(pages) - 1) + [_GIF_LAST_MS]
    pages[0].save(sink, "gif", save_all=True, append_images=pages[1:], duration=times, loop=0)
    return sink.getvalue()


class _Picture(Protocol):
    """The columns of `data` that a page of a GIF shows."""

    image: bytes
    label: str
    kind: str
    step: int
    success: bool


def _gif_page(frame: _Picture, goal: bytes) -> Image.Image:
    side, margin = _GIF_PX, _GIF_MARGIN
    page = Image.new("RGB", (2 * side + 3 * margin, side + _GIF_CAPTION + margin), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    caption = f"{frame.label}, step {frame.step}"
    if frame.kind == "end":
        caption += ": solved" if frame.success else ": not solved"
    edge = _SOLVED if frame.success else style.CONTROL
    panels_of = ((margin, frame.image, caption, edge), (2 * margin + side, goal, "goal", style.INK))
    for left, image, words, line in panels_of:
        picture = Image.open(io.BytesIO(image)).convert("RGB")
        page.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, _GIF_CAPTION))
        box = (left - 3, _GIF_CAPTION - 3, left + side + 2, _GIF_CAPTION + side + 2)
        pen.rectangle(box, outline=line, width=3)
        pen.text((left, 4), words, fill=style.INK, font=font)
    return page
