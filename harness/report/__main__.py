"""python -m harness.report results/<run>: write the report of a run and show its tables."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence

from harness import report
from harness.runtime import command

log = logging.getLogger("harness.report")


def main(argv: Sequence[str]) -> int:
    """Exit code 0, 1 when a trial's tables cannot be read or there is nothing to report, or 2 when
    no folder is given.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failures = (OSError, report.NoTrials)
    return command.main(argv, lambda _: __doc__, _folder, _publish, failures)


def _folder(argv: Sequence[str]) -> str:
    """The folder of a run, results/<run>, or its URI. Raises command.ConfigError."""
    (folder,), _ = command.read_words(argv, {}, names=("results/<run>",))
    return command.expanded("results", folder)


def _publish(folder: str) -> int:
    written = report.publish(folder)
    log.info("wrote %d files; open %s", len(written.paths), shlex.quote(written.paths[-1]))
    return command.FAILED if written.broken else command.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
