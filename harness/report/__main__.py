"""The report of a run, or several runs compared pair by pair.

python -m harness.report results/<run> [--watch]     write tables, figures and page of a run
    With --watch, or watch=true, again whenever trials end, until all that were planned have ended.
python -m harness.report results/A results/B [results/C ...] [methods=lewm,pldm] [out=FOLDER]
    B minus A on the pairs that both were evaluated on, and what cannot be compared and why: methods
    of the same name, and a method that only one run has with all of the other's. Nothing is written
    but into FOLDER. Exit code 1 where nothing can be compared.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import functools
import logging
import sys
from collections.abc import Callable, Sequence

from harness import report
from harness.report import compare, format, load, render
from harness.runtime import command

_WATCH = ("--watch", "watch=true")
log = logging.getLogger("harness.report")


def main(argv: Sequence[str]) -> int:
    """Exit code 0, 1 when a trial's tables cannot be read, or there is nothing to report or to
    compare, or 2 when the command line is wrong.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failures = (OSError, report.NoTrials)
    return command.main(argv, lambda _: __doc__, _job, lambda job: job(), failures)


def _job(argv: Sequence[str]) -> Callable[[], int]:
    """The work that the words ask for. Raises command.ConfigError."""
    plain = [word for word in argv if word not in _WATCH]
    options = {"methods": "", "out": ""}
    count = sum(word.partition("=")[0] not in options for word in plain)
    if count < 2:
        (folder,), _ = command.read_words(plain, {}, names=("results/<run>",))
        is_watched = len(plain) < len(argv)
        return functools.partial(_publish, command.expanded("results", folder), is_watched)
    if len(plain) < len(argv):
        raise command.ConfigError("--watch follows one run: give one folder, or leave it out")
    folders, chosen = command.read_words(plain, options, ["results/<run>"] * count)
    folders = [command.expanded("results", folder) for folder in folders]
    methods = [name for name in chosen["methods"].split(",") if name]
    return functools.partial(_compare, folders, methods, command.expanded("out", chosen["out"]))


def _publish(folder: str, is_watched: bool) -> int:
    written = report.watch(folder) if is_watched else report.publish(folder)
    files = format.counted(len(written.paths), "file")
    log.info("wrote %s; %s", files, report.how_to_open(written.paths[-1]))
    return command.FAILED if written.broken else command.OK


def _compare(folders: Sequence[str], methods: Sequence[str], out: str) -> int:
    found = compare.compare({name: load.load(f) for name, f in _names(folders).items()}, methods)
    render.show(section for table in found for section in table.sections)
    if out:
        for path in render.save(out, render.files(found.compared) | render.files(found.refused)):
            log.info("wrote %s", command.path(path))
    if found.compared.raw.empty:
        command.console.print("error: nothing can be compared", markup=False)
        return command.FAILED
    return command.OK


def _names(folders: Sequence[str]) -> dict[str, str]:
    """Short names of the folders, whole ones where two would be the same. Raises
    command.ConfigError where a folder is given twice.
    """
    whole = [folder.rstrip("/") for folder in folders]
    if len(set(whole)) < len(whole):
        raise command.ConfigError("a folder is given twice: a run is compared with other runs")
    short = [folder.rpartition("/")[2] for folder in whole]
    return dict(zip(short if len(set(short)) == len(short) else whole, folders, strict=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
