"""One self-contained page: the main table, figures that follow light and dark, episodes to play,
training curves to hover, what is missing and why, and where the numbers come from.

The same rows give the same bytes: nothing here reads a clock.
"""

from __future__ import annotations

import base64
import functools
import urllib.parse
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
import pandas as pd

from harness.records import run_tables
from harness.report import figures, format, load, success_rates
from harness.report.page import inline_svg, main_table, payload, progress, provenance

_BESIDE = {  # table -> figures, where they differ in name
    "efficiency": ("plan_time",),
    "stability": ("training",),
    "evaluations": ("planners", "horizons", "blame", "compute", "sweep"),
    "sweep": ("sweep", "hyperparameters"),
    "decoder": ("decoder", "imagined", "snapshots"),
}
_EXTRA = {  # of no table: name and title
    "learning": "Success as a training goes on",
    "ablations": "Ablations",
    "sweep": "Sweep",
    "map": "Maps of the latents",
    "decoder": "What latents hold and what rollouts imagine",
    "compute": "Success at equal compute",
}
# chapters before the episodes: success, and what a suite or a sweep has varied
_LEADING = ("success", "evaluations", "learning", "ablations", "sweep")
_ALT = {
    "planners": "Success over the time and the operations of a plan, a line a planner",
    "horizons": "Success over the distance of the goal, the length of plans, and replans",
    "blame": "Success with a method's own model, the simulator's dynamics, and a probe's cost",
    "learning": "Success over what a training takes, a line a method",
    "ablations": "Success at each setting of each axis",
    "hyperparameters": "Success over two swept keys, as colours",
    "snapshots": "Pictures decoded from the latents of a training as it goes on",
    "success": "Success by task and method with 95 % intervals, and by stratum below",
    "surprise": "Surprise over time around events, by method, with 95 % intervals",
    "plan_time": "Seconds of a plan on a log axis against success, by method",
    "compute": "Operations of a plan on a log axis against success, by task and method",
    "training": "Training curves: terms of the loss by method, and latent std",
    "probing": "What probes read from the latents of each method, and from controls",
    "aggregates": "Performance profiles, and chances of improvement on LeWM, across tasks",
    "open_loop": "Error of rollouts, block by block, by task, quantity and method",
    "geometry": "Straightness of latents over training, and their spectra",
    "map": "t-SNE of latents of states on a grid, coloured by state",
    "plans": "Predicted against executed cost of first plans, by task and method",
    "decoder": "PSNR and SSIM of decoded and imagined pictures over the horizon",
    "imagined": "Real frames of one window, and what each method decodes and imagines",
    "sweep": "Swept value against success",
}
_MOST_SVG_BYTES = 1_500_000  # a larger figure stands there as PNG
_MOST_PICTURES_BYTES = 300_000  # and one that has pictures, since PNG is the better format for them


class Figure(NamedTuple):
    """A figure as it stands in the page."""

    svg: str  # "" where the picture is better
    png: str  # base64
    description: str
    caption: str
    files: list[tuple[str, str]]  # kind, address


class Chapter(NamedTuple):
    """A heading with its figures and the sections of its table."""

    id: str
    title: str
    figures: list[Figure]
    sections: list[format.Section]
    files: list[tuple[str, str]]  # of the table: kind, address


def build(
    run: load.RunTables,
    outcomes: dict,
    estimates: pd.DataFrame,
    tables: list[format.Table],
    images: dict[str, figures.Image],
    parquet: Sequence[str],
    state: progress.Progress,
    refresh_s: int = 0,
) -> str:
    """The page; `parquet` are paths relative to it. With `refresh_s` it loads itself again after so
    many seconds while trials of the last command are left.
    """
    drawn = {name: _figure(name, image, i) for i, (name, image) in enumerate(images.items())}
    holes, counts = progress.holes(run, state), progress.counts(run, state)
    shares = success_rates.shares(run, outcomes)
    films = payload.films(run)
    chapters = _chapters(tables, drawn, films)
    lines = main_table.lines(run, estimates, shares, holes)
    leading = _leading(chapters, has_lines=bool(lines))
    return _template("page.html.j2").render(
        title=f"Report of {run.name}",
        run=run,
        counts=counts,
        refresh_s=refresh_s if counts and counts.running + counts.left else 0,
        left_out=", ".join(run.left_out),
        left_out_reason=run_tables.LEFT_OUT,
        holes=holes,
        lines=lines,
        protocol_words=main_table.protocol_words(lines),
        films=films if films["scenes"] else None,
        film_files=_film_files(run, images),
        curves=payload.curves(run),
        leading=leading,
        chapters=[chapter for chapter in chapters if chapter.id not in _LEADING],
        facts=provenance.facts(run),
        protocol_names=run.cells[["protocol", "scale"]].drop_duplicates().values,
        protocols=provenance.protocols(run, state.plan.protocols),
        parquet=[(path, urllib.parse.quote(path)) for path in parquet],
    )


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {"duration": _duration, "number": _number, "counted": format.counted}
    # a column of words stands on the left
    environment.tests["of_words"] = lambda cells: any(str(cell)[:1].isalpha() for cell in cells)
    return environment.get_template(name)


def _chapters(tables: list[format.Table], drawn: dict[str, Figure], films: dict) -> list[Chapter]:
    """A chapter for each table, then those of figures without one."""
    chapters, left = [], dict(drawn)
    if films["scenes"]:
        _take(left, "episodes")  # they are there to be played
    for table in tables:
        own = _take(left, *_BESIDE.get(table.name, (table.name,)))
        if own or not table.raw.empty:
            kinds = ("md", "csv", "tex") if not table.raw.empty else ()
            files = [(kind, f"tables/{table.name}.{kind}") for kind in kinds]
            chapters.append(Chapter(table.name, table.title, own, table.sections, files))
        if table.name == "geometry" and (own := _take(left, "map")):
            chapters.append(Chapter("map", _EXTRA["map"], own, [], []))
    for name, title in _EXTRA.items():
        own = _take(left, *_BESIDE.get(name, (name,)))
        if own:
            chapters.append(Chapter(name, title, own, [], []))
    others = [figure for figure in left.values() if figure.svg or figure.png]
    return [*chapters, Chapter("others", "More figures", others, [], [])] if others else chapters


def _leading(chapters: list[Chapter], has_lines: bool) -> list[Chapter]:
    """The chapters before the episodes. That of success, which has the main table, comes first
    where it has a figure: else what a suite has varied is what there is to see.
    """
    known = {chapter.id: chapter for chapter in chapters}
    if has_lines:
        known.setdefault("success", Chapter("success", "Success", [], [], []))
    leading = [known[name] for name in _LEADING if name in known]
    return sorted(leading, key=lambda chapter: chapter.id == "success" and not chapter.figures)


def _take(left: dict[str, Figure], *kinds: str) -> list[Figure]:
    """Take out the figures of these names, or those of the tasks ("surprise_push_t")."""
    names = [name for kind in kinds for name in left if f"{name}_".startswith(f"{kind}_")]
    return [left.pop(name) for name in names]


def _figure(name: str, image: figures.Image, number: int) -> Figure:
    known = [words for kind, words in _ALT.items() if f"{name}_".startswith(f"{kind}_")]
    description = known[0] if known else name
    svg, png = image.kinds.get("svg", b""), image.kinds.get("png", b"")
    is_light = len(svg) <= (_MOST_PICTURES_BYTES if b"<image" in svg else _MOST_SVG_BYTES)
    return Figure(
        svg=inline_svg.inline(svg, f"f{number}-", description) if svg and is_light else "",
        png="" if svg and is_light else base64.b64encode(png).decode(),
        description=description,
        caption=image.caption,
        files=[(kind, _address(name, kind)) for kind in image.kinds],
    )


def _film_files(run: load.RunTables, images: dict[str, figures.Image]) -> list[tuple[str, str]]:
    """The episodes as files: what it is, its address."""
    known = [(name, kind) for name, image in images.items() for kind in image.kinds]
    files = [(f"{n}.{k}", _address(n, k)) for n, k in known if f"{n}_".startswith("episodes_")]
    films = {
        n: f"{run.task_label(n.removeprefix('episode_'))} as gif" for n, k in known if k == "gif"
    }
    return files + [(words, _address(name, "gif")) for name, words in films.items()]


def _address(name: str, kind: str) -> str:
    return urllib.parse.quote(f"figures/{name}.{kind}")


def _number(value: float | None) -> str:
    """One decimal, "" for nothing."""
    return "" if value is None or pd.isna(value) else f"{value:.1f}"


def _duration(seconds: float) -> str:
    """ "90 s", "12 min" or "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
