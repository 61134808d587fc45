"""What the commands share: exit codes, the console, logging, and where results can be written."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import unicodedata
import uuid
from collections.abc import Iterator

from rich.console import Console
from rich.logging import RichHandler

from harness.experiment import config
from harness.records import storage

OK, FAILED, USAGE = 0, 1, 2  # exit codes
_LONGEST_NAME = 255  # bytes
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ":a:" is no emoji


def local_paths(run: config.RunConfig) -> config.RunConfig:
    """Absolute folders: workers have another working directory. URIs stay.

    Raises config.ConfigError when the run's name is no name of a folder, or a path or a URI is none
    that can be used.
    """
    _check_name(run.run)
    for name, path in (("results", run.results), ("datasets", run.datasets)):
        if any(c == "\0" or unicodedata.category(c) == "Cs" for c in path):
            raise config.ConfigError(
                f"{name}={path!r} is not text in UTF-8: rename that folder, or give another one"
            )
    paths = {
        name: path if "://" in path else os.path.abspath(path)
        for name, path in (("results", run.results), ("datasets", run.datasets))
    }
    try:
        storage.filesystem(paths["results"])
    except OSError as error:
        raise config.ConfigError(f"results={error}") from error
    return dataclasses.replace(run, **paths)


_NO_TEXT = ("Cc", "Cn", "Cs", "Zl", "Zp")  # control, unassigned, not UTF-8, ends of lines


def _check_name(name: str) -> None:
    if name in ("", ".", "..") or "/" in name:
        raise config.ConfigError(f"run={name!r} is a name, not a path: use results=FOLDER too")
    unfit = sorted({c for c in name if unicodedata.category(c) in _NO_TEXT})
    if unfit or len(name.encode(errors="replace")) > _LONGEST_NAME:
        reason = f"contains {', '.join(map(ascii, unfit))}" if unfit else "is longer"
        raise config.ConfigError(
            f"run={name[:80]!r} {reason}: the name of a folder has at most {_LONGEST_NAME} bytes "
            f"of printable text in UTF-8 without /"
        )


class Ended(KeyboardInterrupt):
    """A signal that ends the command as Ctrl-C does."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise Ended, so that nothing the command started outlives it.

    What was ignored when the command began stays ignored: under nohup, SIGHUP and Ctrl-C do not
    end it, and SIGTERM does.
    """

    def end(number: int, frame: object) -> None:
        raise Ended(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(error: KeyboardInterrupt, rest: str = "the same command goes on from here") -> int:
    """Say that the command was interrupted; its exit code: 130 for Ctrl-C, 143 for SIGTERM."""
    console.print(f"interrupted; {rest}")
    return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)


def show_command(line: str) -> None:
    """A line with a command that is to be copied: rich would fold it or change its characters."""
    console.file.write(f"{line}\n")


def set_up_logging(verbose: bool) -> None:
    """Log lines to stderr."""
    handler: logging.Handler = logging.StreamHandler()
    if console.is_terminal:  # bars are on it: lines must go above them
        handler = RichHandler(console=console, show_path=False, show_level=False, markup=False)
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a read-only home folder
    for noisy in ("fontTools", "PIL", "filelock", "ray", "OpenGL", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def check_writable(folder: str) -> None:
    """Raises OSError, with what to do, when nothing can be written into `folder`."""
    fs, base = storage.filesystem(folder)
    probe = f"{base}/.{uuid.uuid4().hex[:8]}.probe"
    try:
        fs.create_dir(base, recursive=True)
        with fs.open_output_stream(probe) as sink:
            sink.write(b"x")
        fs.delete_file(probe)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"{folder} cannot be written: {reason}. Give another results=FOLDER"
        ) from None


def duration(seconds: float | None) -> str:
    """ "2 min 5 s"; "?" for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
