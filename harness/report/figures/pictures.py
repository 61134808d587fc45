"""Shared by the figures of pictures: a labelled grid of them, at a size that can be looked at."""

from __future__ import annotations

import io

import pandas as pd
from PIL import Image

from harness.report.figures import style

_DPI = 200  # of the PNG; the pictures have its pixels, so that none is resampled when it is drawn
_LABEL_IN, _GAP_IN, _CAPTION_IN, _HEAD_IN = 1.35, 0.05, 0.18, 0.22


def grid(frame: pd.DataFrame) -> style.Figure:
    """A figure of the pictures in `frame`: columns task_label, row (its label), column, image
    (PNG), words (above the picture, or ""), edge (a colour).
    """
    rows = {row: own for row, own in frame.groupby("row", sort=False)}
    above = {row: _CAPTION_IN * own["words"].ne("").any() for row, own in rows.items()}
    columns = frame["column"].max() + 1
    width = (style.WIDTH_IN - _LABEL_IN) / columns - _GAP_IN
    height = (style.HEIGHT_IN - _HEAD_IN - sum(above.values())) / len(rows) - _GAP_IN
    side = int(_DPI * min(width, height)) / _DPI
    tall = _HEAD_IN + sum(above.values()) + len(rows) * (side + _GAP_IN)
    wide = _LABEL_IN + columns * (side + _GAP_IN)
    figure, (((ax),),) = style.figure(1, 1, tall, wide)
    figure.set_layout_engine("none")
    ax.set_position((0, 0, 1, 1))
    title = frame["task_label"].iloc[0]
    ax.text(0.02, 0.05, title, va="top", fontsize=9, fontweight="bold", color=style.INK)
    top = _HEAD_IN
    for row, own in rows.items():
        top += above[row]
        ax.text(0.02, top + side / 2, row, va="center", fontsize=8, color=style.INK)
        for frame_row in own.itertuples():
            left = _LABEL_IN + frame_row.column * (side + _GAP_IN)
            _draw(ax, frame_row, left, top, side)
        top += side + _GAP_IN
    ax.set(xlim=(0, wide), ylim=(tall, 0))
    ax.set_axis_off()
    return figure


def _draw(ax: style.Axes, picture, left: float, top: float, side: float) -> None:
    from matplotlib.patches import Rectangle

    pixels = round(side * _DPI)
    image = Image.open(io.BytesIO(picture.image)).convert("RGB")
    image = image.resize((pixels, pixels), Image.Resampling.LANCZOS)
    extent = (left, left + side, top + side, top)
    ax.imshow(image, extent=extent, interpolation="none", aspect="auto")
    line = {"ec": picture.edge, "lw": 0.5 if picture.edge == style.CONTROL else 1.6}
    ax.add_patch(Rectangle((left, top), side, side, fill=False, **line))
    middle = left + side / 2
    ax.text(
        middle, top - 0.03, picture.words, ha="center", va="bottom", fontsize=7, color=style.INK
    )
