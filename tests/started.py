"""Commands that tests start. Nothing of them outlives the test, whichever way either ends."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

from harness.runtime import processes

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def process(words, said, **environment):
    """`python WORDS` from the root, its output in the file `said`; killed at the end with all that
    it started, and when this process ends.
    """
    parent = os.getpid()
    with open(said, "w") as sink:
        started = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: processes.end_with_parent(parent),
        )
    try:
        yield started
    finally:
        family = descendants(started.pid)
        started.kill()
        started.wait()
        for other in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                other.kill()
        processes.remove_leftovers()


def run(words, said, timeout_s, **environment):
    """(exit code, output) of `python WORDS`."""
    with process(words, said, **environment) as started:
        code = started.wait(timeout_s)
    return code, Path(said).read_text()


def descendants(pid):
    """The processes that `pid` started, and those that they started."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
