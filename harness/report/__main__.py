"""python -m harness.report results/<run>: write the report of a run and show its tables.

With --watch, or watch=true, again whenever trials end, until all that were planned have ended.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence

from harness import report
from harness.runtime import command

_WATCH = ("--watch", "watch=true")
log = logging.getLogger("harness.report")


def main(argv: Sequence[str]) -> int:
    """Exit code 0, 1 when a trial's tables cannot be read or there is nothing to report, or 2 when
    no folder is given.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failures = (OSError, report.NoTrials)
    return command.main(argv, lambda _: __doc__, _parse, lambda words: _publish(*words), failures)


def _parse(argv: Sequence[str]) -> tuple[str, bool]:
    """The folder of a run, results/<run>, or its URI; is it watched? Raises command.ConfigError."""
    plain = [word for word in argv if word not in _WATCH]
    (folder,), _ = command.read_words(plain, {}, names=("results/<run>",))
    return command.expanded("results", folder), len(plain) < len(argv)


def _publish(folder: str, is_watched: bool) -> int:
    written = report.watch(folder) if is_watched else report.publish(folder)
    log.info("wrote %d files; open %s", len(written.paths), shlex.quote(written.paths[-1]))
    return command.FAILED if written.broken else command.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
