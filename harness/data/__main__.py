"""Other people's data: converted once, or examined.

python -m harness.data import SOURCE task=push_t [scale=laptop] [datasets=FOLDER] [data.KEY=...]
python -m harness.data audit SOURCE task=push_t [states=200] [out=STRIP.png] [data.scene=full]

SOURCE is a file FILE.h5, a folder (FOLDER.lance, stable-worldmodel's folder, DINO-WM's Push-T
folder) or hf:OWNER/NAME[@REVISION][/FILE]. `import` makes the dataset that a run with the same
words and data.source=SOURCE uses, and goes on where it was interrupted. `audit` reads the source
in place and says whether results on it can be compared with published ones; its exit code is 1
where they cannot. out= is for the three pictures that differ most from ours.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import logging
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from harness import zoo
from harness.data import audit, collect, sources
from harness.data.episodes import DatasetError, open_dataset
from harness.experiment import command_line, config, dotted_keys, suites
from harness.experiment.identity import TrialSpec
from harness.records import storage
from harness.runtime import command, machine

log = logging.getLogger(__name__)

_COMMANDS = ("import", "audit")
_RUN_KEYS = ("scale", "datasets")
_STATES = 200
_METHOD = "noop"  # of the trial whose data these are; every method has the same


class Request(NamedTuple):
    """A command and the trial whose data it is about."""

    command: str
    spec: TrialSpec
    datasets: str
    states: int
    out: str  # "": no file


def main(argv: Sequence[str]) -> int:
    """Import or examine a source; the exit code."""
    command.set_up_logging(verbose=False)
    failures = (OSError, DatasetError)
    return command.main(argv, lambda _: __doc__.strip(), parse, execute, failures)


def parse(argv: Sequence[str]) -> Request:
    """Read the words. Raises command.ConfigError."""
    plain = [word for word in argv if "=" not in word]
    if len(plain) != 2 or plain[0] not in _COMMANDS:
        expected = " or ".join(f"{name} SOURCE task=NAME" for name in _COMMANDS)
        raise command.ConfigError(f"expected {expected}, got {' '.join(argv) or 'nothing'}")
    named = [word for word in argv if word not in plain]
    defaults = {"task": "", "states": str(_STATES), "out": ""}
    own, words = command_line.of_data(named, _RUN_KEYS, defaults, ("data",))
    if not own["task"]:
        raise command.ConfigError(f"task= is missing; it is one of {', '.join(zoo.TASKS)}")
    states = dotted_keys.read(int, own["states"], "states")
    if states < 1:
        raise command.ConfigError(f"states={states} must be at least 1")
    task = command.known("task", own["task"], zoo.TASKS)
    words = [f"tasks={task}", f"methods={_METHOD}", f"data.source={plain[1]}", *words]
    run = command_line.local_paths(config.parse(words))
    (spec,) = suites.expand(run, ("control",))
    out = command.expanded("out", own["out"])
    return Request(plain[0], spec, run.datasets, states, out)


def execute(request: Request) -> int:
    """Do what is asked for; the exit code."""
    return _import(request) if request.command == "import" else _audit(request)


def _import(request: Request) -> int:
    data = request.spec.config.data
    task = zoo.task(request.spec.task, data.scene)
    began = time.monotonic()
    dataset = open_dataset(collect.ensure(task, data, request.datasets, machine.cores()))
    taken, rows = time.monotonic() - began, len(dataset.state)
    splits = ", ".join(f"{name} {len(ids)}" for name, ids in dataset.manifest.split.items())
    log.info(
        "%s: %d rows in %d episodes (%s), hash %s, after %.0f s",
        *(dataset.folder, rows, len(dataset.lengths), splits, dataset.hash[:12], taken),
    )
    facts = dataset.manifest.collector_parameters
    if facts["cut"]:
        log.info("%d episodes were cut at data.max_steps=%d", facts["cut"], data.max_steps)
    if len(dataset.lengths) < facts["source_episodes"]:
        chosen = len(dataset.lengths), facts["source_episodes"]
        log.info("%d of its %d episodes (data.episodes)", *chosen)
    return command.OK


def _audit(request: Request) -> int:
    data = request.spec.config.data
    task = zoo.task(request.spec.task, data.scene)
    source = sources.open_source(sources.local(data.source, request.datasets))
    report = audit.audit(task, source, request.states)
    console = Console(emoji=False, highlight=False)
    console.print(f"\n{source.name} {source.place} as {task.spec.label}\n", markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in report.findings:
        table.add_row(finding.subject, finding.text)
    console.print(table, markup=False)
    if request.out:
        fs, path = storage.filesystem(request.out)
        with storage.whole_file(fs, path) as sink:
            sink.write(report.strip)
        console.print(f"\nrecorded, drawn, difference: {request.out}", markup=False)
    verdict = "can" if not report.objections else "cannot"
    because = ": " + "; ".join(report.objections) if report.objections else ""
    console.print(
        f"\nResults on this data {verdict} be compared with published ones{because}.", markup=False
    )
    return command.OK if not report.objections else command.FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
