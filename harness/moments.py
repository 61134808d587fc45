"""Shows what a task's dataset is like before a model is trained on it, beside which a published set
can be laid: python -m harness.moments [tasks=two_room,reacher] [scale=laptop] [csv=FILE]

Per task two tables: the moments of actions and states, and the pairs of each split. Other words are
those of a run that decide data and pairs: datasets=FOLDER, protocol=NAME, and keys of data,
protocol and for, e.g. data.episodes=100. A missing dataset is collected, as a run would. csv=FILE
has every number too, one a line.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import csv
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import zoo
from harness.data import collect
from harness.data.episodes import DatasetError, open_dataset
from harness.evaluate import moments
from harness.evaluate.moments import Moment
from harness.experiment import command_line, config, suites
from harness.experiment.identity import TrialSpec
from harness.records import storage
from harness.runtime import command, machine

log = logging.getLogger(__name__)

_RUN_KEYS = ("tasks", "scale", "protocol", "datasets")
_SECTIONS = ("data", "protocol", "for")
_COLUMNS = ("task", *Moment._fields)
_METHOD = "noop"  # of the trial whose data and pairs are looked at; every method has the same


class Request(NamedTuple):
    """The datasets to look at, read from the command line."""

    specs: list[TrialSpec]  # one trial a task
    datasets: str
    csv: str  # "": no file


def main(argv: Sequence[str]) -> int:
    """Show the moments of each task's dataset; the exit code, 1 where a dataset cannot be used."""
    command.set_up_logging(verbose=False)
    failures = (OSError, DatasetError)
    return command.main(argv, lambda _: __doc__.strip(), parse, show_all, failures)


def parse(argv: Sequence[str]) -> Request:
    """Read the words. Raises command.ConfigError."""
    own, words = command_line.of_data(argv, _RUN_KEYS, {"csv": ""}, _SECTIONS)
    file = command.expanded("csv", own["csv"])
    run = command_line.local_paths(config.parse([f"methods={_METHOD}", *words]))
    specs = suites.expand(run, ("control",))
    return Request(specs, run.datasets, file)


def show_all(request: Request) -> int:
    """Measure and show task after task, then write the CSV; the exit code."""
    console = Console(emoji=False, highlight=False)
    written = []
    for spec in request.specs:
        found = measure(spec, request.datasets)
        show(console, spec, found)
        written += [(spec.task, *moment) for moment in found]
    if request.csv:
        _write(request.csv, written)
        log.info("wrote %s", request.csv)
    return command.OK


def measure(spec: TrialSpec, datasets: str) -> list[Moment]:
    """The moments of the trial's dataset, which is collected where it is missing. Raises OSError
    and DatasetError.
    """
    data, protocol = spec.config.data, spec.config.protocol
    task = zoo.task(spec.task, data.scene)
    workers = machine.cores() if task.spec.slow_to_draw else 1
    dataset = open_dataset(collect.ensure(task, data, datasets, workers))
    return moments.measure(dataset, task, protocol.offset_steps, protocol.success_rule)


def show(console: Console, spec: TrialSpec, found: list[Moment]) -> None:
    """Two tables of a task's moments."""
    task, offset = zoo.TASKS[spec.task].spec, spec.config.protocol.offset_steps
    facts = {m.measure: m.value for m in found if m.kind == "episodes"}
    console.print(
        f"\n{task.label}, version {task.version}: {facts['number']:.0f} episodes of "
        f"{facts['min']:.0f} to {facts['max']:.0f} steps, {facts['mean']:.1f} on average",
        style="bold",
        markup=False,
    )
    console.print(_wide("quantity", [m for m in found if m.kind in ("action", "state")]))
    console.print(f"\nEvery pair of states {offset} steps apart, by split:")
    console.print(_wide("split", [m for m in found if m.kind == "pairs"]))


def _wide(first: str, found: list[Moment]) -> Table:
    """A line for each quantity and a column for each measure."""
    measures = list(dict.fromkeys(m.measure for m in found))
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in measures:
        table.add_column(escape(name), justify="right")
    for quantity in dict.fromkeys(m.quantity for m in found):
        own = {m.measure: m for m in found if m.quantity == quantity}
        kind, unit = next((m.kind, m.unit) for m in own.values())
        label = f"{quantity} [{unit}]" if kind == "state" else quantity
        table.add_row(escape(label), *(_text(own[m]) if m in own else "" for m in measures))
    return table


def _text(moment: Moment) -> str:
    if moment.unit == moments.SHARE:
        return f"{100 * moment.value:.1f} %"
    return f"{moment.value:,.0f}" if moment.unit == moments.COUNT else f"{moment.value:.4g}"


def _write(file: str, lines: Sequence[tuple[str | float, ...]]) -> None:
    """Write the lines as CSV, whole or not at all. Raises OSError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(lines)
    fs, path = storage.filesystem(os.path.abspath(file))
    with storage.whole_file(fs, path) as sink:
        sink.write(text.getvalue().encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
