"""Code from outside the package: Python files and installed packages that hold a method, a task or
a planner (harness/zoo.py enters them by name). What is loaded here can be loaded again in another
process, on another machine too, since the text of a file travels.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import traceback
import types
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NamedTuple

from harness.runtime.command import ConfigError, expanded


class Source(NamedTuple):
    """The text of code from outside, from which another process loads the same."""

    kind: str  # "method", "task" or "planner": as what it was asked for
    word: str  # the absolute path of a file, or the name of an entry point
    text: str = ""  # of a file


@dataclass(frozen=True)
class Code:
    """The code that an entry from outside is made of; its hash is part of a trial's."""

    origin: str  # the path of its file, or the package and its version
    sha256: str  # of the file, or of the package's module that holds the entry


_sources: list[Source] = []  # in the order in which they were loaded
_modules: dict[str, types.ModuleType] = {}  # by path
_codes: dict[str, Code] = {}  # by "method.my_method"


def is_file(word: str) -> bool:
    """Whether a name on the command line is a file: "./my_method.py"."""
    return word.endswith(".py")


def read(kind: str, word: str) -> tuple[types.ModuleType, Code]:
    """The module and the code of the file `word`. It is read once in a process: later changes of it
    are for the next one. Raises ConfigError with file, line and error.
    """
    path = os.path.abspath(expanded(kind, word))
    if path in _modules:
        return _modules[path], Code(path, _sha256(_text(path).encode()))
    try:
        text = Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{kind} {word} cannot be read: {error}") from None
    return run(Source(kind, path, text)), Code(path, _sha256(text.encode()))


def run(source: Source) -> types.ModuleType:
    """The module that the text of a file makes, under a name that is the same in every process.
    Raises ConfigError.
    """
    stem = Path(source.word).stem
    name = f"outside_{stem}"
    if not stem.isidentifier():
        raise ConfigError(f"{source.word}: rename the file, {stem} is no name of Python")
    if name in sys.modules:
        other = sys.modules[name].__file__
        raise ConfigError(f"{source.word}: {other} has the same name; rename one of the files")
    module = types.ModuleType(name)
    module.__file__ = source.word
    sys.modules[name] = module  # where dataclasses and pickle look for it
    try:
        exec(compile(source.text, source.word, "exec"), vars(module))
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        del sys.modules[name]
        where = f"{source.word}{_line(error, source.word)}"
        raise ConfigError(f"{where}: {_words(error)}") from error
    _modules[source.word] = module
    _sources.append(source)
    return module


def installed(kind: str) -> dict[str, EntryPoint]:
    """The entry points of the group jepa_bench.methods, .tasks or .planners, by name."""
    return {p.name: p for p in importlib.metadata.entry_points(group=f"jepa_bench.{kind}s")}


def load(kind: str, name: str) -> tuple[Any, Code]:
    """The object of an installed entry point, and its code. Raises ConfigError."""
    point = installed(kind)[name]
    try:
        entry = point.load()
        data = Path(sys.modules[point.module].__file__ or "").read_bytes()
    except (Exception, SystemExit) as error:  # and so may a package
        raise ConfigError(f"{kind} {name} of {origin(point)}: {_words(error)}") from error
    _sources.append(Source(kind, name))
    return entry, Code(origin(point), _sha256(data))


def origin(point: EntryPoint) -> str:
    """The package that an entry point comes from, and its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def sources() -> list[Source]:
    """All that was loaded, for `zoo.restore` in another process."""
    return list(_sources)


def restore_modules(sources: Iterable[Source]) -> None:
    """Make the modules of files again that are not there yet, so that objects of their classes can
    be unpickled.
    """
    for source in sources:
        if source.text and source.word not in _modules:
            run(source)


def note(kind: str, name: str, code: Code) -> None:
    """Remember the code of an entry."""
    _codes[f"{kind}.{name}"] = code


def code(kind: str, name: str) -> Code | None:
    """The code of an entry from outside, None for one of this package."""
    return _codes.get(f"{kind}.{name}")


def _text(path: str) -> str:
    return next(source.text for source in _sources if source.word == path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _line(error: BaseException, path: str) -> str:
    """ ", line 12": the last line of the file at which the error arose."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f", line {lines[-1]}" if lines else ""


def _words(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())[:300]
