"""One self-contained page: failed trials, tables, figures, links to the Parquet."""

from __future__ import annotations

import base64
import html
import urllib.parse

from harness.records import rows
from harness.report import figures, format, load, render

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto;
       padding: 0 1em; }
h1, h2 { border-bottom: 1px solid #ddd; padding-bottom: .2em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .7em; border-bottom: 1px solid #e6e6e6; text-align: right;
         vertical-align: bottom; }
th.text, td.text { text-align: left; }
td { white-space: nowrap; } td.text { white-space: normal; min-width: 8em; }
td.reason { white-space: pre-wrap; text-align: left; font-family: monospace; }
.caption { color: #555; font-size: 13px; max-width: 900px; }
.failed { border-left: 4px solid #b03030; padding-left: 1em; }
figure { margin: 1.5em 0; } img { width: 100%; max-width: 900px; }
"""


def build(
    run: load.RunTables,
    tables: list[format.Table],
    images: dict[str, figures.Image],
    parquet: list[str],
) -> str:
    """The page; `parquet` are paths relative to it."""
    title = html.escape(f"Report of {run.name}")
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{_counts(run)}</p>",
        _failed(run),
        _left_out(run),
        *(_table(table, images) for table in tables),
        *(_extra(run, name, title, images) for name, title in _EXTRA.items()),
        _links(parquet),
    ]
    head = f"<meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>"
    body = "\n".join(part for part in parts if part)
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"


_BESIDE = {  # table -> figure
    "success": "success",
    "efficiency": "plan_time",
    "stability": "training",
}
_EXTRA = {  # of no table: name and title
    "map": "Maps of the latents",
    "decoder": "What latents hold and what rollouts imagine",
    "episodes": "Episodes",
    "compute": "Success at equal compute",
    "sweep": "Sweep",
}
_ALT = {
    "success": "Success by task and method with 95 % intervals, and by stratum below",
    "surprise": "Surprise over time around events, by method, with 95 % intervals",
    "training": "Training curves: terms of the loss by method, and latent std",
    "probing": "What probes read from the latents of each method, and from controls",
    "aggregates": "Performance profiles, and chances of improvement on LeWM, across tasks",
    "plan_time": "Seconds of a plan on a log axis against success, by method",
    "compute": "Operations of a plan on a log axis against success, by task and method",
    "open_loop": "Error of rollouts, block by block, by task, quantity and method",
    "geometry": "Straightness of latents over training, and their spectra",
    "map": "t-SNE of latents of states on a grid, coloured by state",
    "episodes": "One episode as recorded, and by the best and the worst method",
    "plans": "Predicted against executed cost of first plans, by task and method",
    "decoder": "PSNR and SSIM of decoded and imagined pictures over the horizon",
    "imagined": "Real frames of one window, and what each method decodes and imagines",
    "sweep": "Swept value against success",
}


def _table(table: format.Table, images: dict[str, figures.Image]) -> str:
    """A table's figures, of which some are one a task, then its sections and the files that hold
    the same.
    """
    image = _figures(_BESIDE.get(table.name, table.name), images)
    if table.raw.empty:
        return f"<h2>{table.title}</h2>{image}" if image else ""
    links = ", ".join(
        f"<a href='tables/{table.name}.{kind}'>{kind}</a>" for kind in ("md", "csv", "tex")
    )
    sections = render.html_sections(table)
    return f"<h2>{table.title}</h2>\n{image}\n{sections}\n<p>As {links}.</p>"


def _extra(run: load.RunTables, name: str, title: str, images: dict[str, figures.Image]) -> str:
    shown = _figures(name, images)
    if name == "decoder":
        shown += _figures("imagined", images)
    if name == "episodes" and shown:
        shown += _moving(run, images)
    return f"<h2>{title}</h2>\n{shown}" if shown else ""


def _figures(kind: str, images: dict[str, figures.Image]) -> str:
    """The figure of that name, or those of the tasks ("surprise_push_t")."""
    names = [name for name in images if name == kind or name.startswith(f"{kind}_")]
    return "\n".join(_figure(name, images[name]) for name in names)


def _moving(run: load.RunTables, images: dict[str, figures.Image]) -> str:
    """Links to the films of the tasks."""
    tasks = [
        name.removeprefix("episode_") for name, image in images.items() if "gif" in image.kinds
    ]
    links = ", ".join(
        f"<a href='figures/episode_{urllib.parse.quote(task)}.gif'>"
        f"{html.escape(run.task_label(task))}</a>"
        for task in tasks
    )
    return f"\n<p>Moving: {links}.</p>"


def _figure(name: str, image: figures.Image) -> str:
    data, path = (
        base64.b64encode(image.kinds["png"]).decode(),
        urllib.parse.quote(f"figures/{name}"),
    )
    alt = next(words for kind, words in _ALT.items() if f"{name}_".startswith(f"{kind}_"))
    return (
        f"<figure><img alt='{alt}' src='data:image/png;base64,{data}'>"
        f"<figcaption class='caption'>{html.escape(image.caption)} "
        f"As <a href='{path}.png'>png</a>, <a href='{path}.svg'>svg</a>.</figcaption></figure>"
    )


def _counts(run: load.RunTables) -> str:
    words = f"{len(run.trials)} trials finished, {len(run.failed)} failed"
    return f"{words}, {len(run.broken)} cannot be read." if run.broken else f"{words}."


def _failed(run: load.RunTables) -> str:
    if run.failed.empty and not run.broken:
        return ""
    entries = [
        (trial.key, trial.attempts, load.error_line(trial.error))
        for trial in run.failed.sort_values("key").itertuples()
    ]
    entries += [(folder, "", f"cannot be read: {reason}") for folder, reason in run.broken]
    lines = "\n".join(
        f"<tr><td class='text'>{html.escape(key)}</td><td>{attempts}</td>"
        f"<td class='reason'>{html.escape(reason)}</td></tr>"
        for key, attempts, reason in entries
    )
    head = "<th class='text'>Trial</th><th>Attempts</th><th class='text'>Reason</th>"
    words = (
        "In no table and no average. The full error is in the trial's trial.parquet; issuing the "
        "run command again repeats these alone."
    )
    return (
        f"<div class='failed'><h2>Failed trials</h2>\n<p>{words}</p>\n<table><thead><tr>{head}</tr>"
        f"</thead><tbody>{lines}</tbody></table></div>"
    )


def _left_out(run: load.RunTables) -> str:
    """Folders below trials/ that are in no table, though they hold one."""
    if not run.left_out:
        return ""
    names = html.escape(", ".join(run.left_out))
    return f"<p class='failed'>Left out of everything: {names} ({rows.LEFT_OUT}).</p>"


def _links(parquet: list[str]) -> str:
    items = "\n".join(
        f"<li><a href='{urllib.parse.quote(path)}'>{html.escape(path)}</a></li>" for path in parquet
    )
    return (
        f"<h2>Record</h2>\n<details><summary>{len(parquet)} Parquet files</summary>"
        f"<ul>\n{items}\n</ul></details>"
    )
