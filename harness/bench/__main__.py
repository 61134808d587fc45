"""Performance figures: python -m harness.bench NAME [key=value ...], e.g. plan_ratio repeats=3."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness import command, config
from harness.bench import collect, data, plan, plan_ratio, settings, suite, train
from harness.command import FAILED, OK, USAGE, console

FIGURES = {
    "plan": plan,
    "train": train,
    "data": data,
    "collect": collect,
    "suite": suite,
    "plan_ratio": plan_ratio,
}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    command.set_up_logging(verbose=False)
    if not argv or {"-h", "--help", "help"} & set(argv):
        console.print(_help(), markup=False)
        return OK if argv else USAGE
    try:
        figure = FIGURES[config.known("figure", argv[0], FIGURES)]
        asked = settings.parse(argv[1:], figure.Config)
        command.check_writable(asked.results)
        written = figure.run(asked)
    except config.ConfigError as error:
        console.print(f"error: {error}", markup=False)
        return USAGE
    except OSError as error:
        console.print(f"error: {error}", markup=False)
        return FAILED
    console.print(f"written: {written}", markup=False)
    return OK


def _help() -> str:
    return "\n\n".join([__doc__, *(figure.__doc__.strip() for figure in FIGURES.values())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
