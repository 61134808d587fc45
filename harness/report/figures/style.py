"""Shared by all figures: style, colours, labels, legend, and how they become PNG and SVG."""

from __future__ import annotations

import functools
import io
import os
import re
import textwrap
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd

from harness.report import format, load, success_rates

if TYPE_CHECKING:
    import seaborn.objects as so
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.transforms import Bbox
    from matplotlib.typing import RcKeyType


class LineLook(TypedDict, total=False):
    """How matplotlib draws a line and its markers, by its short words."""

    color: str
    ls: str
    lw: float
    alpha: float
    marker: str
    ms: float
    mfc: str
    mec: str
    zorder: float
    clip_on: bool


WIDTH_IN, HEIGHT_IN = 8.0, 5.0  # of the largest figure; PNGs have 200 pixels an inch
COLUMN_IN = 4.4  # of a figure of one panel, which stands in one column of a page
# the neutral colours, which the page exchanges in the dark: there are no others
INK, FAINT, CONTROL, GRID = "#222222", "#8a8a8a", "#b5b5b5", "#e6e6e6"
STYLES = ("-", "--", ":", "-.")
CEILING: LineLook = {"color": INK, "ls": "-.", "lw": 1.3}  # the line of the ceiling
_SIMULATOR = "ceiling: simulator"
CEILINGS = ("ceiling", _SIMULATOR)  # kinds: the second is that of success_rates.SIMULATOR
LINES: dict[str, LineLook] = {  # kind of method -> its line
    "random": {"color": "#c23b3b", "ls": "--", "lw": 1.3},
    "heuristic": {"color": FAINT, "ls": ":", "lw": 1.6},
    "ceiling": CEILING,
    _SIMULATOR: {"color": INK, "ls": "-", "lw": 0.7},  # under the first one's dashes both are seen
}
_MARKERS = "os^vPX<>ph"
# Okabe-Ito and Tol's muted set: told apart without red-green vision. A method has the colour at its
# rank
_COLOURS = (
    *("#0072B2", "#AA4499", "#999933", "#D55E00", "#009E73", "#44C9A4", "#CC79A7", "#E69F00"),
    *("#5B4FC0", "#A23368", "#88CCEE", "#56B4E9", "#117733", "#A65628"),
)
_RC: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same report twice has the same bytes
    "text.parse_math": False,  # a name may hold a $
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


class Drawn(NamedTuple):
    """A figure and the caption that it needs: what is drawn, of which run, and how."""

    figure: Figure
    caption: str


def style() -> AbstractContextManager[None]:
    """Context in which figures are drawn and saved, alike for every user: MPLBACKEND (a notebook
    sets it to a module of its own) and the settings of a matplotlibrc are passed over.
    """
    os.environ["MPLBACKEND"] = "agg"  # read when matplotlib is first imported
    import matplotlib

    defaults = matplotlib.rcParamsDefault.items()
    own: dict[RcKeyType, Any] = {key: value for key, value in defaults if key != "backend"}
    return matplotlib.rc_context(own | _RC)


def figure(
    rows: int, columns: int, height_in: float, width_in: float = WIDTH_IN, **gridspec
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes, without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, rect=(0.002, 0, 0.985, 1))
    canvas = Figure(figsize=(width_in, height_in), layout=layout)
    FigureCanvasAgg(canvas)  # it measures the texts of label_points
    axes = canvas.subplots(rows, columns, squeeze=False, gridspec_kw=gridspec)
    return canvas, [list(row) for row in axes]


def in_grid(ax: Axes) -> SubplotSpec:
    """The place of a panel of `figure` in its grid."""
    place = ax.get_subplotspec()
    assert place is not None
    return place


def plot(frame: pd.DataFrame, **variables: str) -> so.Plot:
    """A seaborn plot of a tidy frame in this style, for the axes of `figure`."""
    import matplotlib
    import seaborn.objects as so

    unique = frame.reset_index(drop=True)  # seaborn finds its rows by their index
    return so.Plot(unique, **variables).theme(dict(matplotlib.rcParams))


def colour(run: load.RunTables, method: str) -> str:
    """The colour of a method in every figure of every run; controls are grey, a ceiling black."""
    look = run.methods.loc[method]
    if look["role"] == "ceiling":
        return CEILING["color"]
    return CONTROL if look["is_control"] else _COLOURS[_colours(run.methods)[method]]


class Look(NamedTuple):
    """How a method is drawn: its marker and line tell it apart without colour."""

    colour: str
    marker: str
    line: str


def looks(run: load.RunTables, rows: pd.DataFrame) -> dict[str, Look]:
    """label -> look, of the columns label and method, in the order that every figure has: methods
    by rank, controls last.
    """
    known = rows[["label", "method"]].join(run.methods[["is_control", "rank"]], on="method")
    known = known.sort_values(["is_control", "rank"], kind="stable").drop_duplicates("label")
    places = _colours(run.methods)
    found = {}
    for row in known.itertuples():
        place = places.get(row.method, row.rank)
        marker, line = _MARKERS[place % len(_MARKERS)], STYLES[place % len(STYLES)]
        found[row.label] = Look(colour(run, row.method), marker, line)
    return found


def marked(run: load.RunTables, labels: pd.Series) -> pd.Series:
    """The labels with a mark in the place of a note ("DINO-WM (MAE encoder)" becomes "DINO-WM†"):
    panels are narrow. A figure's caption has `notes`.
    """
    for note, mark in _marks(run).items():
        labels = labels.str.replace(f" ({note})", mark, regex=False)
    return labels


def notes(run: load.RunTables, labels: Iterable[str]) -> str:
    """A sentence that explains the marks of these labels: " † MAE encoder."."""
    used = {label[-1:] for label in labels}
    return "".join(f" {mark} {note}." for note, mark in _marks(run).items() if mark in used)


def _marks(run: load.RunTables) -> dict[str, str]:
    """note -> mark, the same in every figure of a run; notes beyond them stay words."""
    return dict(zip(filter(None, run.cells["note"].unique()), "†‡§¶", strict=False))


def kinds(run: load.RunTables, rows: pd.DataFrame) -> np.ndarray:
    """The kind of each row's method: one of LINES, which controls are without a variant, "control"
    or "method".
    """
    method, plain = rows["method"], rows["variant"] == ""
    is_control = method.map(run.methods["is_control"]).astype(bool)
    is_ceiling = method.isin(run.of_role("ceiling"))
    plans_there = is_ceiling & (method == success_rates.SIMULATOR)
    known = [plans_there, is_ceiling, is_control & plain & method.isin(list(LINES))]
    others = np.where(is_control, "control", "method")
    return np.select(known, [_SIMULATOR, "ceiling", method], others)


def scales(looks: dict[str, Look]) -> dict[str, so.Nominal]:
    """The looks of labels as scales of seaborn."""
    import seaborn.objects as so

    names, parts = list(looks), list(zip(*looks.values(), strict=True)) or [()] * 3
    properties = zip(("color", "marker", "linestyle"), parts, strict=True)
    return {name: so.Nominal(list(values), order=names) for name, values in properties}


def dot_plot(ax: Axes, rows: pd.DataFrame, x: str, looks: dict[str, Look]) -> None:
    """A line per label from top to bottom: a dot at x, over its interval from low to high."""
    import seaborn.objects as so

    known = plot(rows, x=x, xmin="low", xmax="high", y="label", color="label")
    known = known.add(so.Range(linewidth=3, alpha=0.45), orient="y", legend=False)
    known = known.add(so.Dot(pointsize=5), orient="y", legend=False)
    known = known.scale(y=so.Nominal(order=list(looks)), color=scales(looks)["color"])
    known.label(x="", y="").on(ax).plot()
    free_dots(ax)


def free_dots(ax: Axes) -> None:
    """Draw dots on the edge of a panel whole, and lines on both sides of a grid of labels."""
    ax.grid(True)
    for artist in ax.collections:
        artist.set_clip_on(False)


def draw_published(ax: Axes, x: pd.Series, y: np.ndarray | pd.Series) -> None:
    """The published marker at each of these points."""
    ax.scatter(x, y, s=22, marker="D", fc="none", ec=INK, lw=0.9, clip_on=False, zorder=5)


def entry(label: str, **look: Any) -> Line2D:
    """A legend entry: a line, a marker or both, looking like this."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def area(label: str, **look: Any) -> Patch:
    """A legend entry of something filled."""
    from matplotlib.patches import Patch

    return Patch(lw=0, label=label, **look)


def method_handles(looks: dict[str, Look], has_markers: bool = True) -> list[Line2D]:
    """Legend entries of lines of methods."""
    return [
        entry(name, color=colour, ls=line, lw=1.4, ms=5, marker=marker if has_markers else "")
        for name, (colour, marker, line) in looks.items()
    ]


def _colours(methods: pd.DataFrame) -> dict[str, int]:
    """method -> index of its colour: its rank, and where another method has that colour (those from
    outside come behind all colours) the next free one.
    """
    taken: dict[str, int] = {}
    drawn = methods[~methods["is_control"] & (methods["role"] != "ceiling")]
    for method, rank in drawn["rank"].sort_values().items():
        order = [(rank + i) % len(_COLOURS) for i in range(len(_COLOURS))]
        free = [index for index in order if index not in taken.values()]
        taken[method] = (free or order)[0]
    return taken


def ramp(count: int) -> list[str]:
    """`count` colours from dark to light, for values in ascending order."""
    import matplotlib
    from matplotlib.colors import to_hex

    viridis = matplotlib.colormaps["viridis"]  # its yellow end is too pale on white
    return [to_hex(viridis(0.85 * i / max(1, count - 1))) for i in range(count)]


def wrap(label: str, width: int = 24) -> str:
    """A label over several lines; keys break after dots and equals signs when they must, numbers
    never.
    """
    loose = re.sub(r"(=|\.(?!\d))", "\\1\u200b", label)
    lines = []
    for piece in textwrap.wrap(loose, width, break_long_words=False, break_on_hyphens=False):
        lines += _break_long(piece, width)
    return "\n".join(lines).replace("\u200b", "")


def legend(figure: Figure, handles: list, is_close: bool = False) -> None:
    """One legend above all panels, in as many columns as its labels allow; `is_close`: with less
    room between them.
    """
    look: dict[str, Any] = _CLOSE if is_close else {"fontsize": 8.5}
    if handles:
        for handle in handles:
            if handle.get_label().startswith("_"):  # matplotlib would leave it out
                handle.set_label(f" {handle.get_label()}")
        lengths = [len(handle.get_label()) + 7 for handle in handles]
        widths = {  # columns -> characters, of which an inch has 14, or 17 that are close
            n: sum(max(part, default=0) for part in np.array_split(lengths, n)) for n in range(1, 6)
        }
        most = (17 if is_close else 14) * figure.get_figwidth()
        columns = max(n for n, width in widths.items() if n == 1 or width <= most)
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, **look)


_CLOSE = {"handlelength": 1.8, "handletextpad": 0.5, "columnspacing": 1.3, "fontsize": 8}


def label_points(ax: Axes, points: pd.DataFrame, size: float = 8) -> None:
    """Write the labels of points (columns x, y, label) beside them, each at the nearest place where
    it covers neither another label nor a point; a line leads to those further away. A point whose
    label is empty is only kept free.
    """
    from matplotlib.transforms import Bbox

    figure = ax.figure.get_figure(root=True)
    figure.draw_without_rendering()  # the panel has its size and its limits
    scale = figure.dpi / 72  # pixels a point
    at = ax.transData.transform(points[["x", "y"]].to_numpy(float))
    taken = [Bbox([corner, corner + 7 * scale]) for corner in at - 3.5 * scale]
    inside = ax.get_window_extent()
    write = functools.partial(
        ax.annotate, fontsize=size, color=INK, in_layout=False, textcoords="offset points"
    )
    for place, row in zip(at, points.itertuples(), strict=True):
        text = write(row.label, (row.x, row.y), (0, 0))
        box = text.get_window_extent()
        text.remove()
        if not row.label:
            continue
        costs: dict[tuple[int, Bbox], int] = {}
        for ring in (5, 12, 19, 26, 33, 40, 50, 60):
            for corner in place + scale * ring * _AROUND + (_AROUND - 1) / 2 * box.size:
                own = Bbox([corner, corner + box.size])
                astray = _distance(own, at).min() < _distance(own, place) - 0.1
                costs[ring, own] = _cost(own, taken, inside) + astray
        ring, own = min(costs, key=costs.__getitem__)
        taken.append(own)
        offset = ((own.min - place) / scale).round(1)
        line = {"arrowstyle": "-", "color": FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
        write(row.label, (row.x, row.y), offset, arrowprops=line if ring > 5 else None)


# right, left, above, below, and between: the better places come first
_AROUND = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)])


def _distance(box: Bbox, points: np.ndarray) -> np.ndarray:
    """The distance (...) of points (..., 2) to the nearest point of a box."""
    return np.linalg.norm(points - np.clip(points, box.min, box.max), axis=-1)


def _cost(box: Bbox, taken: list[Bbox], inside: Bbox) -> int:
    """Twice how many others a label covers; to leave its panel is as bad as to cover two."""
    outside = min(box.x0 - inside.x0, inside.x1 - box.x1, box.y0 - inside.y0, inside.y1 - box.y1)
    return 2 * sum(box.overlaps(other) for other in taken) + 4 * (outside < 0)


def name_ticks(axis: Axis) -> None:
    """1, 2 and 5 of each decade of a log axis, as plain numbers; of many decades 1 alone, and of a
    part of one more.
    """
    from matplotlib.ticker import LogLocator

    low, high = axis.get_view_interval()
    subs = (1,) if high >= 50 * low else (1, 2, 5) if high >= 5 * low else (1, 1.5, 2, 3, 4, 5, 7)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def run_footer(run: load.RunTables, rows: pd.DataFrame) -> str:
    """Run, protocols, scales, pairs and seeds of the cells in `rows`; pairs that were drawn for
    their stratum are not counted.
    """
    cells = run.cells.loc[rows["cell"].unique()]
    episodes = run.episodes[run.episodes["cell"].isin(cells.index)]
    episodes = episodes[episodes["sample"] == "pairs"]
    pairs = episodes.groupby(["cell", "split"])["pair"].nunique()
    words = f"{format.count(pairs, 'pair')}, " if len(pairs) else ""
    words += format.count(cells["seeds"], "training seed")
    return f"{where(run, cells)}; {words}."


def where(run: load.RunTables, cells: pd.DataFrame) -> str:
    """Run, protocols (of many the first hashes) and scales of `cells`."""
    protocols = cells.drop_duplicates(load.SECTION).groupby(["scale", "protocol"])["protocol_hash"]
    words = []
    for (scale, protocol), hashes in protocols:
        known = ", ".join(format.few(hashes.str[:8].to_list(), 6, "and "))
        words.append(f"protocol {protocol} ({known}), scale {scale}")
    return f"Run {run.name}; {'; '.join(words)}"


def published_handle() -> Line2D:
    """Legend entry of the published marker."""
    return entry("published", marker="D", ms=5, mfc="none", mec=INK, ls="none")


def collapsed_handle() -> Line2D:
    """Legend entry of hollow dots."""
    return entry("collapsed", marker="o", ms=5, mfc="white", mec=INK, ls="none")


def render(figure: Figure) -> dict[str, bytes]:
    """{"png": ..., "svg": ...}; text in the SVG stays text, a PNG has 256 colours."""
    images = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn
        _lay_out(figure)
        for kind in ("png", "svg"):
            sink = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {}
            paper = "none" if kind == "svg" else "white"  # the page has a colour of its own
            figure.savefig(sink, format=kind, dpi=200, metadata=metadata, facecolor=paper)
            images[kind] = sink.getvalue()
    return images | {"png": _fewer_colours(images["png"])}


def _lay_out(figure: Figure) -> None:
    """Place the panels, once for all kinds and rounded: the solver's last digits are not the same
    twice, and the SVG has hashes of them.
    """
    from matplotlib.transforms import Bbox

    figure.set_dpi(200)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(Bbox(ax.get_position(original=True).get_points().round(6)))


def _fewer_colours(png: bytes) -> bytes:
    """The same picture in about a quarter of the bytes: the page carries all of them."""
    from PIL import Image

    sink = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    try:
        few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    except ValueError as error:  # Pillow's word for memory that is short
        raise MemoryError(f"colours of a figure: {error}") from error
    few.save(sink, format="png", optimize=True)
    return sink.getvalue()


def _break_long(line: str, width: int) -> list[str]:
    if len(line) <= width or "\u200b" not in line:
        return [line]
    lines = [""]
    for part in line.split("\u200b"):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return lines
