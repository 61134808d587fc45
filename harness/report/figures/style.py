"""Shared by all figures: style, colours, footer, legend, and how they become PNG and SVG."""

from __future__ import annotations

import io
import os
import textwrap
import warnings
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from harness.report import format, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 9.0  # 900 px in a README at 100 px per inch; PNGs have twice as many
BAR_IN = 0.27
INK, FAINT, CONTROL = "#222222", "#8a8a8a", "#b5b5b5"
STYLES = ("-", "--", ":", "-.")
CEILING = {"color": INK, "ls": "-.", "lw": 1.3}  # the line of the ceiling
# Okabe-Ito and Tol's muted set: told apart without red-green vision. A method has the colour at its
# rank
_COLOURS = (
    *("#0072B2", "#AA4499", "#999933", "#D55E00", "#009E73", "#44C9A4", "#CC79A7", "#E69F00"),
    *("#332288", "#882255", "#88CCEE", "#56B4E9", "#117733", "#A65628"),
)
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same report twice has the same bytes
    "text.parse_math": False,  # a name may hold a $
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


class Drawn(NamedTuple):
    """A figure and the caption that it needs: what is drawn, of which run, and how."""

    figure: Figure
    caption: str


def style():
    """Context in which figures are drawn and saved, alike for every user: MPLBACKEND (a notebook
    sets it to a module of its own) and the settings of a matplotlibrc are passed over.
    """
    os.environ["MPLBACKEND"] = "agg"  # read when matplotlib is first imported
    import matplotlib

    own = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    return matplotlib.rc_context(own | _RC)


def figure(
    rows: int, columns: int, height_in: float, width_in: float = WIDTH_IN, **gridspec
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes, without pyplot's global state."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(width_in, height_in), layout="constrained")
    canvas.get_layout_engine().set(w_pad=0.06, h_pad=0.06, rect=(0.002, 0, 0.985, 1))
    axes = canvas.subplots(rows, columns, squeeze=False, gridspec_kw=gridspec)
    return canvas, [list(row) for row in axes]


def colour(run: load.RunTables, method: str) -> str:
    """The colour of a method in every figure of every run; controls are grey, a ceiling black."""
    look = run.methods.loc[method]
    if look["role"] == "ceiling":
        return CEILING["color"]
    return CONTROL if look["is_control"] else _COLOURS[_colours(run.methods)[method]]


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
    """A label over several lines; dotted keys break after dots and equals signs when they must."""
    loose = label.replace(".", ".\u200b").replace("=", "=\u200b")
    lines = []
    for piece in textwrap.wrap(loose, width, break_long_words=False, break_on_hyphens=False):
        lines += _break_long(piece, width)
    return "\n".join(lines).replace("\u200b", "")


def legend(figure: Figure, handles: list) -> None:
    """One legend above all panels, in as many columns as its longest label allows."""
    if handles:
        for handle in handles:
            if handle.get_label().startswith("_"):  # matplotlib would leave it out
                handle.set_label(f" {handle.get_label()}")
        longest = max(len(handle.get_label()) for handle in handles)
        columns = max(1, min(len(handles), 5, int(128 / (longest + 7))))
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, fontsize=8.5)


def footer(figure: Figure, text: str) -> None:
    """Small print below everything, wrapped to the width."""
    lines = textwrap.fill(text, 150)
    figure.supxlabel(lines, x=0.01, ha="left", fontsize=7.5, color="#555555")


def run_footer(run: load.RunTables, rows: pd.DataFrame) -> str:
    """Run, protocols, scales, pairs and seeds of the cells in `rows`; pairs that were drawn for
    their stratum are not counted.
    """
    cells = run.cells.loc[rows["cell"].unique()]
    episodes = run.episodes[run.episodes["cell"].isin(cells.index)]
    episodes = episodes[episodes["sample"] == "pairs"]
    pairs = episodes.groupby(["cell", "split"])["pair"].nunique()
    words = f"{format.span(pairs)} pairs, " if len(pairs) else ""
    words += format.count(cells["seeds"], "training seed")
    return f"{where(run, cells)}; {words}."


def where(run: load.RunTables, cells: pd.DataFrame) -> str:
    """Run, protocols and scales of `cells`."""
    protocols = cells.drop_duplicates(load.SECTION).groupby(["scale", "protocol"])["protocol_hash"]
    named = [
        f"protocol {protocol} ({', '.join(h[:8] for h in hashes)}), scale {scale}"
        for (scale, protocol), hashes in protocols
    ]
    return f"Run {run.name}; {'; '.join(named)}"


def published_handle():
    """Legend entry of the published marker."""
    from matplotlib.lines import Line2D

    look = {"marker": "D", "ms": 5, "mfc": "white", "mec": INK, "ls": "none"}
    return Line2D([], [], **look, label="published (paper, its own protocol)")


def ceiling_handle(run: load.RunTables, method: str):
    """Legend entry of the ceiling's line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **CEILING, label=f"ceiling: {run.method_label(method).lower()}")


def _lines(label: str) -> int:
    return wrap(label).count("\n") + 1


def bar_heights(labels: pd.Series) -> list[float]:
    """Inches per bar: labels of several lines need more."""
    return [max(BAR_IN, 0.16 * _lines(label) + 0.05) for label in labels]


def hide(axes: list[Axes]) -> None:
    """Remove panels that stay empty."""
    for ax in axes:
        ax.set_axis_off()


def render(figure: Figure) -> dict[str, bytes]:
    """{"png": ..., "svg": ...}; text in the SVG stays text, a PNG has 256 colours."""
    images = {}
    for kind in ("png", "svg"):
        sink = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(sink, format=kind, dpi=200, metadata=metadata)
        figure.set_layout_engine("none")  # keeps the layout of the first kind
        images[kind] = sink.getvalue()
    return images | {"png": _fewer_colours(images["png"])}


def _fewer_colours(png: bytes) -> bytes:
    """The same picture in about a quarter of the bytes: the page carries all of them."""
    from PIL import Image

    sink = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
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
