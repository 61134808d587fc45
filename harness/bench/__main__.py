"""Performance figures of this code, next to its peer where that is installed.

python -m harness.bench [NAME] [key=value ...]      e.g. plan scale=paper pairs=1
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import sys
from collections.abc import Sequence
from dataclasses import fields
from types import ModuleType

import torch

from harness.bench import collect, data, plan, plan_ratio, profile, settings, suite, train
from harness.experiment import command_line, config, manual
from harness.launch import LaunchError
from harness.runtime import command, memory
from harness.runtime.command import OK, console

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
    return command.main(
        argv,
        _help,
        _chosen,
        lambda chosen: max([_run(figure, options) for figure, options in chosen]),
        rest="what is written stays",
    )


def _chosen(argv: Sequence[str]) -> list[tuple[ModuleType, settings.Common]]:
    """The figures that are asked for, each with its words; raises config.ConfigError."""
    if not argv or "=" in argv[0]:
        _check_shared(argv)
        settings.parse(argv, settings.Common)
        return [(FIGURES[name], settings.parse(argv, FIGURES[name].Config)) for name in TOGETHER]
    figure = FIGURES[config.known("figure", argv[0], FIGURES)]
    return [(figure, settings.parse(argv[1:], figure.Config))]


def _check_shared(argv: Sequence[str]) -> None:
    """Raises config.ConfigError where a word is one of some figures alone."""
    for word in argv:
        key = word.partition("=")[0]
        having = [n for n in TOGETHER if key in {f.name for f in fields(FIGURES[n].Config)}]
        if having and len(having) < len(TOGETHER):
            raise config.ConfigError(
                f"{key} is a word of {', '.join(having)}: name one, e.g. {having[0]} {word}"
            )


def _run(figure: ModuleType, options: settings.Common) -> int:
    """Measure one; returns an exit code."""
    try:
        if getattr(options, "device", "cpu") == "cuda" and not torch.cuda.is_available():
            raise OSError("device=cuda was asked for and there is no CUDA device: use device=cpu")
        command_line.check_writable(options.results)
        memory.keep_freed()  # as a trial does
        console.print(f"written: {figure.run(options)}", markup=False)
    except (ImportError, OSError, LaunchError) as error:
        return command.failed(error)
    return OK


def _help(names: Sequence[str]) -> str:
    """The figures, or what one of them is and its words; raises config.ConfigError."""
    names = [name for name in names if "=" not in name]
    if names:
        figures = {name: FIGURES[config.known("figure", name, FIGURES)] for name in names}
        return "\n\n".join(f"{_text(f)}\n\n{_words(f)}" for f in figures.values())
    shown = {name: _sentence(figure) for name, figure in FIGURES.items()}
    return "\n".join(
        [
            __doc__.strip(),
            "",
            "Figures (--help NAME says more, and its words):",
            *manual.aligned(shown),
            "",
            f"Without a name: {', '.join(TOGETHER)}, one after the other. Words of all figures:",
            manual.section(settings.Common()),
        ]
    )


def _sentence(figure: ModuleType) -> str:
    """The first of its docstring, without the name before it."""
    first = _text(figure).partition("\n\n")[0]
    return " ".join(first.split()).partition(": ")[2]


def _text(figure: ModuleType) -> str:
    return (figure.__doc__ or "").strip()


def _words(figure: ModuleType) -> str:
    return f"Words:\n{manual.section(figure.Config())}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
