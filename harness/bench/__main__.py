"""Performance figures: python -m harness.bench [NAME] [key=value ...], e.g. plan scale=paper.

Without a name: plan, train, data, collect and suite, one after the other, with the words that all
of them have ([repeats=5] [results=results/bench]). plan_ratio and profile run by their names alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from harness import command, config
from harness.bench import collect, data, plan, plan_ratio, profile, settings, suite, train
from harness.command import FAILED, INTERRUPTED, OK, USAGE, console

FIGURES = {
    "plan": plan,
    "train": train,
    "data": data,
    "collect": collect,
    "suite": suite,
    "plan_ratio": plan_ratio,
    "profile": profile,
}
TOGETHER = ("plan", "train", "data", "collect", "suite")  # when none is named


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    command.set_up_logging(verbose=False)
    if {"-h", "--help", "help"} & set(argv):
        console.print(_help(), markup=False)
        return OK
    try:
        chosen = _chosen(argv)
    except config.ConfigError as error:
        console.print(f"error: {error}", markup=False)
        return USAGE
    try:
        return max([_run(figure, asked) for figure, asked in chosen])
    except KeyboardInterrupt:
        console.print("interrupted; what is written stays")
        return INTERRUPTED


def _chosen(argv: Sequence[str]) -> list[tuple[ModuleType, settings.Common]]:
    """The figures that are asked for, each with its words; raises config.ConfigError."""
    if not argv or "=" in argv[0]:
        settings.parse(argv, settings.Common)
        return [(FIGURES[name], settings.parse(argv, FIGURES[name].Config)) for name in TOGETHER]
    figure = FIGURES[config.known("figure", argv[0], FIGURES)]
    return [(figure, settings.parse(argv[1:], figure.Config))]


def _run(figure: ModuleType, asked: settings.Common) -> int:
    """Measure one; returns an exit code."""
    try:
        command.check_writable(asked.results)
        console.print(f"written: {figure.run(asked)}", markup=False)
    except OSError as error:
        console.print(f"error: {error}", markup=False)
        return FAILED
    return OK


def _help() -> str:
    return "\n\n".join([__doc__, *(figure.__doc__.strip() for figure in FIGURES.values())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
