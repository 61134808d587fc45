"""Exchanges pairs and results with CLEAR-LeWM (github.com/DavidSunok/CLEAR-LeWM).

python -m harness.clear manifest [tasks=two_room] [scale=laptop] [protocol=clear-strict] [to=FOLDER]
    writes the pairs that the protocol draws, one file for each task and evaluation seed. Other
    words are those of a run that decide data and pairs: datasets=FOLDER, and keys of data,
    protocol and for. A missing dataset is collected, as a run would.
    To evaluate on a file's pairs: python -m harness.run ... protocol.manifest=FILE

python -m harness.clear results results/<run> [to=FOLDER] [datasets=FOLDER] [repository=URL]
    writes the result of every trial of a finished run, with the random policy beside it, and the
    manifests of pairs that were drawn.

harness/PROTOCOLS.md says what the files hold.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence

from harness import zoo
from harness.clear import manifests, results
from harness.clear.results import Places
from harness.data import collect
from harness.data.episodes import DatasetError, open_dataset
from harness.evaluate.pairs import PairError
from harness.experiment import command_line, config, suites
from harness.experiment.identity import TrialSpec
from harness.runtime import command, machine
from harness.runtime.command import console

log = logging.getLogger(__name__)

_RUN_KEYS = ("tasks", "scale", "protocol", "datasets")
_SECTIONS = ("data", "protocol", "for")
_METHOD = "noop"  # of the trial whose pairs are written; every method has the same
_FAILURES = (OSError, DatasetError, PairError)


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit code, 1 where a file could not be written."""
    command.set_up_logging(verbose=False)
    words = argv or ["--help"]
    return command.main(words, lambda _: __doc__.strip(), parse, lambda run: run(), _FAILURES)


def parse(argv: Sequence[str]) -> Callable[[], int]:
    """Read the words; the function that does what they ask for. Raises command.ConfigError."""
    kinds = {"manifest": _parse_manifest, "results": _parse_results}
    return kinds[command.known("word", argv[0], kinds)](argv[1:])


def _parse_manifest(argv: Sequence[str]) -> Callable[[], int]:
    own, words = command_line.of_data(argv, _RUN_KEYS, {"to": "manifests"}, _SECTIONS)
    folder = command.expanded("to", own["to"])
    run = command_line.local_paths(config.parse([f"methods={_METHOD}", *words]))
    specs = suites.expand(run, ("control",))
    return functools.partial(write_manifests, specs, run.datasets, folder)


def write_manifests(specs: Sequence[TrialSpec], datasets: str, folder: str) -> int:
    """Write the pairs of every task and evaluation seed; the exit code. Raises PairError."""
    for spec in specs:
        task = zoo.task(spec.task, spec.config.data.scene)
        workers = machine.cores() if task.spec.slow_to_draw else 1
        dataset = open_dataset(collect.ensure(task, spec.config.data, datasets, workers))
        for eval_seed in spec.config.protocol.eval_seeds:
            path = manifests.write(folder, manifests.of_draw(spec, dataset, eval_seed))
            console.print(f"wrote {path}", markup=False)
    return command.OK


def _parse_results(argv: Sequence[str]) -> Callable[[], int]:
    defaults = {"to": "", "datasets": "data", "repository": "jepa-bench"}
    (folder,), values = command.read_words(argv, defaults, names=("results/<run>",))
    folder = command.expanded("results", folder)
    values["to"] = command.expanded("to", values["to"]) if values["to"] else f"{folder}/clear"
    return functools.partial(write_results, Places(folder, **_absolute(values)))


def _absolute(values: dict[str, str]) -> dict[str, str]:
    datasets = values["datasets"]
    return values | {"datasets": datasets if "://" in datasets else os.path.abspath(datasets)}


def write_results(places: Places) -> int:
    """Write the results of a run; the exit code."""
    written, refused = 0, []
    for path, reason in results.export(places):
        written += bool(path)
        refused += [reason] if reason else []
    for reason in refused:
        console.print(f"not written: {reason}", markup=False)
    console.print(f"wrote {written} results below {places.to}", markup=False)
    return command.FAILED if refused or not written else command.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
