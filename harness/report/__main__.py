"""python -m harness.report results/<run>: write the report of a run and show its tables."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys

from harness import report

log = logging.getLogger("harness.report")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 when a trial's tables cannot be read, or 2 when there is nothing to report or
    no folder for it.
    """
    parser = argparse.ArgumentParser(prog="python -m harness.report", description=__doc__)
    parser.add_argument("run", help="folder of a run, results/<run>, or its URI")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        made = report.publish(os.path.expanduser(arguments.run))
    except (OSError, report.NoTrials) as error:
        log.error("%s", error)
        return 2
    log.info("wrote %d files; open %s", len(made.paths), shlex.quote(made.paths[-1]))
    return 1 if made.broken else 0


if __name__ == "__main__":
    sys.exit(main())
