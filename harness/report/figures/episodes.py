"""The figure of episodes: per task one pair as every method went about it; and as moving GIFs."""

from __future__ import annotations

import io
import logging
import math
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from harness.report import load
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

_MOST_ROWS = 8  # of a task; variants are left out where there are more
_MOST_COLUMNS = 11  # pictures before the goal: start and ten blocks
_SOLVED, _GOAL = "#2a8a3e", style.INK
# sizes in widths of a picture
_LABEL, _PITCH, _GAP, _CAPTION, _BETWEEN = 1.9, 1.06, 0.25, 0.24, 0.1
_GIF_PX, _GIF_MARGIN, _GIF_CAPTION = 256, 8, 26
_GIF_FRAME_MS, _GIF_LAST_MS = 333, 2500


class Strip(NamedTuple):
    """One episode: what happened from start to end, and what was wanted."""

    label: str
    path: pd.DataFrame  # rows of rows.FrameRow in order of time
    goal: bytes  # PNG


class Scene(NamedTuple):
    """A task's strips, in table order."""

    task: str
    title: str
    strips: list[Strip]


def scenes(run: load.RunTables) -> list[Scene]:
    """Episodes to show: per task the methods of its first protocol, setting and seed."""
    swept = load.sweep_values(run.metrics)["cell"]
    filmed = run.frames[run.frames["stage"] == "control"]
    cells = run.cells[run.cells.index.isin(filmed["cell"]) & ~run.cells.index.isin(swept)]
    others = run.methods.index[run.methods["is_control"] & (run.methods.index != "heuristic")]
    cells = cells[~cells["method"].isin(others)]
    scenes = []
    for task, part in cells.groupby("task", sort=False):
        labels = row_cells(run, part)["label"]
        frames = filmed[filmed["cell"].isin(labels.index)]
        strips = [_strip(label, frames, cell) for cell, label in labels.items()]
        scenes.append(Scene(task, _title(run, task, frames), strips))
    return scenes


def episodes_figure(run: load.RunTables, scenes: list[Scene]) -> style.Drawn | None:
    """A row of pictures per method: start, after each block, and the goal."""
    if not scenes:
        return None
    columns = max(len(drawn_rows(strip, scene)) for scene in scenes for strip in scene.strips)
    width = _LABEL + max(columns, 8) * _PITCH + _GAP + 1.02
    tall = [len(scene.strips) * (1 + _CAPTION + _BETWEEN) for scene in scenes]
    inches = [0.3 + (style.WIDTH_IN - 0.25) / width * units for units in tall]
    figure, axes = style.figure(len(scenes), 1, 0.45 + sum(inches), height_ratios=inches)
    for scene, units, (ax,) in zip(scenes, tall, axes, strict=True):
        _draw_scene(ax, scene, columns)
        ax.set(xlim=(-_LABEL, width - _LABEL), ylim=(units, 0), aspect="equal", anchor="NW")
        ax.set_axis_off()
        ax.set_title(scene.title, fontsize=10)
    drawn = {cell for scene in scenes for strip in scene.strips for cell in strip.path["cell"]}
    words = (
        "One pair per task, the same for every method and chosen before any was run: the first of "
        "the hardest stratum that is not solved at the start. First training seed. Green: solved."
    )
    return style.Drawn(figure, f"{style.where(run, run.cells.loc[sorted(drawn)])}. {words}")


def films(scenes: list[Scene]) -> dict[str, dict[str, bytes]]:
    """name -> {"gif": ...}: the episode of a task's first method, its goal beside it."""
    return {f"episode_{scene.task}": {"gif": _gif(scene.strips[0])} for scene in scenes}


def drawn_rows(strip: Strip, scene: Scene) -> list[int]:
    """Rows of the path that are drawn: all, or as many blocks apart as its task's longest needs."""
    longest = max(len(other.path) for other in scene.strips)
    every = max(1, math.ceil((longest - 1) / (_MOST_COLUMNS - 1)))
    last = len(strip.path) - 1
    return [*range(0, last, every), last]


def row_cells(run: load.RunTables, part: pd.DataFrame) -> pd.DataFrame:
    """The cells of a task that have a row."""
    same = (part[load.SECTION] == part[load.SECTION].iloc[0]).all(axis=1)
    part = part[same].drop_duplicates(["method", "variant"])
    if len(part) <= _MOST_ROWS:
        return part
    fewer = part.drop_duplicates("method")
    if len(fewer) < len(part):
        task = run.task_label(part["task"].iloc[0])
        log.info("figures/episodes, %s: one row a method, %d of %d", task, len(fewer), len(part))
    return fewer


def _strip(label: str, frames: pd.DataFrame, cell: int) -> Strip:
    own = frames[frames["cell"] == cell]
    own = own[own["seed"] == own["seed"].min()]
    of_goal = own["kind"] == "goal"
    return Strip(label, own[~of_goal].sort_values("step"), own.loc[of_goal, "image"].iloc[0])


def _title(run: load.RunTables, task: str, frames: pd.DataFrame) -> str:
    kinds = ", ".join(frames["stratum"].unique())
    numbers = sorted(frames["pair_id"].unique())
    pairs = f"pair{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return f"{run.task_label(task)}: {kinds}, {pairs}"


def _draw_scene(ax: Axes, scene: Scene, columns: int) -> None:
    for row, strip in enumerate(scene.strips):
        top = row * (1 + _CAPTION + _BETWEEN) + _CAPTION
        end = strip.path.iloc[-1]
        ending = f"solved at step {end['step']}" if end["success"] else "not solved"
        words = f"{style.wrap(strip.label, 16)}\n{ending}"
        ax.text(-_LABEL, top + 0.5, words, va="center", fontsize=8, color=style.INK)
        drawn = strip.path.iloc[drawn_rows(strip, scene)]
        for column, frame in enumerate(drawn.itertuples()):
            caption = "start" if frame.kind == "start" else f"step {frame.step}"
            edge = _SOLVED if frame.success else None
            draw_picture(ax, frame.image, column * _PITCH, top, caption, edge)
        draw_picture(ax, strip.goal, columns * _PITCH + _GAP, top, "goal", _GOAL)


def draw_picture(
    ax: Axes, image: bytes, left: float, top: float, caption: str, edge: str | None
) -> None:
    from matplotlib.patches import Rectangle

    ax.imshow(Image.open(io.BytesIO(image)), extent=(left, left + 1, top + 1, top))
    line = {"ec": edge or style.CONTROL, "lw": 1.6 if edge else 0.5}
    ax.add_patch(Rectangle((left, top), 1, 1, fill=False, **line))
    ax.text(left + 0.5, top - 0.05, caption, ha="center", va="bottom", fontsize=7, color=style.INK)


def _gif(strip: Strip) -> bytes:
    """Picture and goal side by side, three pictures a second, the last one held."""
    pages = [_gif_page(frame, strip) for frame in strip.path.itertuples()]
    sink, times = io.BytesIO(), [_GIF_FRAME_MS] * (len(pages) - 1) + [_GIF_LAST_MS]
    pages[0].save(sink, "gif", save_all=True, append_images=pages[1:], duration=times, loop=0)
    return sink.getvalue()


def _gif_page(frame: tuple, strip: Strip) -> Image.Image:
    side, margin = _GIF_PX, _GIF_MARGIN
    page = Image.new("RGB", (2 * side + 3 * margin, side + _GIF_CAPTION + margin), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    caption = f"{strip.label}, step {frame.step}"
    if frame.kind == "end":
        caption += ": solved" if frame.success else ": not solved"
    edge = _SOLVED if frame.success else style.CONTROL
    panels = ((margin, frame.image, caption, edge), (2 * margin + side, strip.goal, "goal", _GOAL))
    for left, image, words, line in panels:
        picture = Image.open(io.BytesIO(image)).convert("RGB")
        page.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, _GIF_CAPTION))
        box = (left - 3, _GIF_CAPTION - 3, left + side + 2, _GIF_CAPTION + side + 2)
        pen.rectangle(box, outline=line, width=3)
        pen.text((left, 4), words, fill=style.INK, font=font)
    return page
