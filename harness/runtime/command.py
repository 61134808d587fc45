"""Shared by all commands: their words, --help, exit codes, signals, the console, logging.

The doctor and the report use it too, so it needs no heavy package.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from rich.console import Console
from rich.logging import RichHandler

T = TypeVar("T")

OK, FAILED, USAGE = 0, 1, 2  # exit codes: done; something failed; a word is not understood
HELP = {"-h", "--help", "help"}
# keys, or their last parts, whose values are paths
PATHS = ("results", "datasets", "weights", "manifest", "from")
SOURCE = "data.source"  # key, or the end of one, of a path or of something else
# Python and torch have no other type than RuntimeError for these
_SHORT_MEMORY = re.compile("can't start new thread|can't allocate memory|could not create a prim")
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ":a:" is no emoji


class ConfigError(ValueError):
    """A word of the command line that is not understood; the message names what is, in one line
    whatever the word was.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


def main(
    argv: Sequence[str],
    help_text: Callable[[Sequence[str]], str],
    parse: Callable[[Sequence[str]], T],
    execute: Callable[[T], int],
    failures: tuple[type[Exception], ...] = (OSError,),
    rest: str = "the same command goes on from here",
) -> int:
    """Run a command and return its exit code. With --help it writes `help_text` of its words, else
    it executes what `parse` makes of them.

    ConfigError ends it with USAGE, one of `failures` and a package that is missing with FAILED,
    each with one line. What an interrupted user should know is `rest`.
    """
    try:
        if HELP & set(argv):
            text = help_text([word for word in argv if word not in HELP])
            sys.stdout.write(text.replace("python -m ", f"{python()} -m ") + "\n")
            return OK
        check_once(argv)
        with ended_by_signals():
            return execute(parse(argv))
    except ConfigError as error:
        console.print(f"error: {error}", markup=False)
        return USAGE
    except failures as error:
        return failed(error)
    except ImportError as error:
        return failed(error)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _SHORT_MEMORY.search(str(error)):
            raise
        console.print(f"error: not enough memory; {rest}")
        return FAILED
    except KeyboardInterrupt as error:
        return interrupted(error, rest)


def failed(error: Exception) -> int:
    """Say in one line what failed, of a package that is missing also what to do; FAILED."""
    is_missing = isinstance(error, ImportError)  # pandas raises it for a package that it can use
    advice = f"; {module('harness.doctor')} says what to install" if is_missing else ""
    console.print(f"error: {error}{advice}", markup=False)
    return FAILED


def check_once(argv: Sequence[str]) -> None:
    """Raises ConfigError where a key has two values: one of them would be passed over."""
    first: dict[str, str] = {}
    for word in argv:
        key, equals, _ = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.]+", key):
            continue
        if key in first:
            raise ConfigError(
                f"{key[:80]} is given twice, {first[key][:80]} and {word[:80]}: leave one out"
            )
        first[key] = word


def read_words(
    argv: Sequence[str], defaults: Mapping[str, str], names: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """The words without a key, as many as `names`, and the values of the keys, `defaults` where
    none is given. Raises ConfigError with what is allowed.
    """
    values, plain = dict(defaults), []
    for word in argv:
        if word.partition("=")[0] in defaults:
            key, text = split(word)
            values[key] = text
        else:
            plain.append(word)
    if len(plain) != len(names):
        wanted = " ".join([*names, *(f"[{key}=FOLDER]" for key in defaults)])
        raise ConfigError(f"expected {wanted}, got {' '.join(plain) or 'nothing'}")
    return plain, values


class Ended(KeyboardInterrupt):
    """A signal that ends the command as Ctrl-C does."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM, SIGHUP and Ctrl-C raise Ended, so that nothing the command started outlives
    it.

    What was ignored when the command began stays ignored: under nohup, SIGHUP and Ctrl-C do not
    end it, and SIGTERM does.
    """

    def end(number: int, frame: object) -> None:
        raise Ended(number)

    def come_again(ignored: sys.UnraisableHookArgs) -> None:
        """Send a signal again that came while Python called back, to say that a weak reference is
        gone, for example: what is raised there ends nothing.
        """
        if isinstance(ignored.exc_value, Ended):
            threading.Timer(0.001, os.kill, (os.getpid(), ignored.exc_value.number)).start()
        else:
            hook(ignored)

    ending = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in ending}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    hook, sys.unraisablehook = sys.unraisablehook, come_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(error: KeyboardInterrupt, rest: str = "the same command goes on from here") -> int:
    """Say that the command was interrupted; its exit code: 130 for Ctrl-C, 143 for SIGTERM."""
    console.print(f"interrupted; {rest}")
    return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)


def python() -> str:
    """This interpreter as a user types it in this folder: "python" where PATH leads to it, else its
    path, from here or from / on, whichever is shorter.
    """
    own = os.path.abspath(sys.executable)
    first = shutil.which("python")
    if first and os.path.abspath(first) == own:
        return "python"
    here = os.path.relpath(own)
    here = here if os.sep in here else f"./{here}"  # else the shell would look on PATH
    return shlex.quote(min(here, own, key=len))


def module(*words: str) -> str:
    """The command that runs a module of this installation: ".venv/bin/python -m harness.doctor"."""
    return f"{python()} -m {shlex.join(words)}"


def path(whole: str) -> str:
    """A path as a user types it in this folder: from here on where it lies below, else whole."""
    from_here = whole if "://" in whole else os.path.relpath(whole)
    return shlex.quote(whole if from_here.startswith("..") else from_here)


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


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name` if it is one of `names`; raises ConfigError that names the nearest and all."""
    if name in names:
        return name
    raise ConfigError(f'unknown {kind} "{name[:80]}". {nearest(name, names)}')


def nearest(name: str, names: Iterable[str]) -> str:
    """The nearest valid name, and all of them where they are few."""
    names = list(names)
    close = [full for full in names if full.endswith(f".{name}")]  # "lr" is short for "train.lr"
    close = close or difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    return hint + (f"Valid: {', '.join(names)}." if len(names) <= 40 else "See --help.")


def split(word: str) -> tuple[str, str]:
    """ "key=text" as it was typed, a path with the home folder in place of ~. Raises ConfigError
    where there is no key or no text.
    """
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ConfigError(
            f'"{word[:80]}" is not of the form key=value, e.g. scale=laptop. See --help.'
        )
    if not text:
        raise ConfigError(f"{key[:80]}= has no value; leave the word out or see --help")
    if key.endswith(SOURCE):
        return key, source(text)
    return key, expanded(key, text) if key.rpartition(".")[2] in PATHS else text


def source(text: str) -> str:
    """The value of data.source: a path from / on, so that it is the same file wherever a trial
    runs; the other values stay as they are.
    """
    if text in ("own", "released") or text.startswith("hf:") or "://" in text:
        return text
    return os.path.abspath(expanded(SOURCE, text))


def expanded(key: str, text: str) -> str:
    """The path `text` with the home folder in place of ~ or ~user, which some shells leave to the
    program. Raises ConfigError where there is no such user.
    """
    whole = os.path.expanduser(text)
    if whole.startswith("~"):
        raise ConfigError(
            f"{key}={text}: {text.split('/')[0]} has no home folder here: give the path from / on, "
            f"or ./{text} for a folder of that name"
        )
    return whole
