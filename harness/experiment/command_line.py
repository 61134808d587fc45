"""Shared by the commands: their words and folders, and how a duration is written."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from harness.contracts.setting import Settings
from harness.experiment import config, dotted_keys
from harness.records import storage
from harness.runtime import command

Options = TypeVar("Options", bound=Settings)

_LONGEST_NAME = 255  # bytes


def of_data(
    words: Sequence[str], run_keys: Collection[str], own: Mapping[str, str], sections: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Divide the words of a command about datasets: the values of its own keys, those of `own`
    where none is given, and the words for config.parse, which are of `run_keys` or in one of the
    sections.

    Raises config.ConfigError on other keys.
    """
    values, rest = dict(own), []
    for word in words:
        key, text = command.split(word)
        if "." not in key or key.split(".")[0] not in sections:
            command.known("key", key, (*run_keys, *own, *(f"{name}.*" for name in sections)))
        if key in own:
            values[key] = text
        else:
            rest.append(word)
    return values, rest


def folder_and_options(
    argv: Sequence[str], options: Options, folder: str, flag: str
) -> tuple[str, Options]:
    """For a command about one folder: the folder, and the options with the values that are given as
    name=value, or as --flag value for one of them. `folder` says what is wanted in the message.
    Raises ConfigError.
    """
    words = list(argv)
    if f"--{flag}" in words[:-1]:
        at = words.index(f"--{flag}")
        words[at : at + 2] = [f"{flag}={words[at + 1]}"]
    names = [field.name for field in dataclasses.fields(options)]
    keys = [word for word in words if word.partition("=")[0] in names]
    plain = [word for word in words if word not in keys]
    if len(plain) != 1:
        wanted = " ".join([folder, *(f"[{name}=...]" for name in names)])
        raise command.ConfigError(f"expected {wanted}, got {' '.join(plain) or f'no {folder}'}")
    return plain[0], dotted_keys.fill(options, dict(map(command.split, keys)))


def local_paths(run: config.RunConfig) -> config.RunConfig:
    """Absolute folders: workers have another working directory. URIs stay.

    Raises config.ConfigError when the run's name is no name of a folder, or a path or a URI is none
    that can be used.
    """
    _check_name(run.run)
    folders = {"results": run.results, "datasets": run.datasets}
    folders |= {"from_": run.from_} if run.from_ else {}
    for name, path in folders.items():
        if any(c == "\0" or unicodedata.category(c) == "Cs" for c in path):
            raise config.ConfigError(
                f"{name.rstrip('_')}={path!r} is not text in UTF-8: rename that folder, or give "
                f"another one"
            )
    paths: dict[str, Any] = {
        name: path if "://" in path else os.path.abspath(path) for name, path in folders.items()
    }
    for name in ("results", "datasets"):
        try:
            storage.filesystem(paths[name])
        except OSError as error:
            raise config.ConfigError(f"{name}={error}") from error
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
