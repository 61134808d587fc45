"""What the commands share: exit codes, the console, logging, and where results can be written."""

from __future__ import annotations

import dataclasses
import logging
import os
import uuid

from rich.console import Console
from rich.logging import RichHandler

from harness import config, rows

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130  # exit codes
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ":a:" is no emoji


def local_paths(run: config.RunConfig) -> config.RunConfig:
    """Absolute folders: workers have another working directory. URIs stay.

    Raises config.ConfigError when the run's name is no name of a folder, or a URI is none that can
    be used.
    """
    if run.run in (".", "..") or "/" in run.run:
        raise config.ConfigError(f'run="{run.run}" is a name, not a path: use results=FOLDER too')
    paths = {
        name: path if "://" in path else os.path.abspath(path)
        for name, path in (("results", run.results), ("datasets", run.datasets))
    }
    try:
        rows.filesystem(paths["results"])
    except OSError as error:
        raise config.ConfigError(f"results={error}") from error
    return dataclasses.replace(run, **paths)


def set_up_logging(verbose: bool) -> None:
    """Log lines to stderr."""
    handler: logging.Handler = logging.StreamHandler()
    if console.is_terminal:  # bars are on it: lines must go above them
        handler = RichHandler(console=console, show_path=False, show_level=False, markup=False)
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    for noisy in ("matplotlib", "fontTools", "PIL", "filelock", "ray", "OpenGL", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def check_writable(folder: str) -> None:
    """Raises OSError, with what to do, when nothing can be written into `folder`."""
    fs, base = rows.filesystem(folder)
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
