"""A Ray cluster of several nodes on this machine, begun by `ray start` with a token."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import s3_server
import started

TOKEN = "0123456789abcdef" * 4
_RAY = ["-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
_OPTIONS = ["--object-store-memory=80000000", "--include-log-monitor=false"]
_QUICK = {  # a dead node is noticed within seconds, a slow one is not taken for dead
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}


class Cluster:
    """Three nodes of one CPU; the first is the head. `home` is a home folder with its token."""

    def __init__(self, folder, exits):
        self.folder, self.home = folder, folder / "home"
        (self.home / ".ray").mkdir(parents=True)
        (self.home / ".ray" / "auth_token").write_text(TOKEN)
        # sockets need short paths, and the nodes do not see the driver's own files
        self.short = Path(tempfile.mkdtemp(prefix="jb", dir="/tmp"))
        self.driver_only = Path(tempfile.mkdtemp(prefix="jb", dir="/tmp"))
        for path in (self.short, self.driver_only):
            exits.callback(shutil.rmtree, path, ignore_errors=True)
        self.address = f"127.0.0.1:{s3_server.free_port()}"
        port = self.address.partition(":")[2]
        own = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.short}"]
        self.nodes = []
        join = [f"--address={self.address}"]
        for i, words in enumerate([own, join, join]):
            self.nodes.append(self._start(exits, f"node{i}", words))
            self._wait(i)  # nodes of one machine that start at once take each other's sockets

    def _start(self, exits, name, words):
        environment = _QUICK | s3_server.CREDENTIALS
        environment |= {
            "HOME": str(self.home),
            "RAY_AUTH_MODE": "token",
            "JEPA_BENCH_CACHE": str(self.folder / f"cache_{name}"),
            "OMP_NUM_THREADS": "1",
        }
        words = [*_RAY, *_OPTIONS, *words]
        return exits.enter_context(
            _hidden(self.driver_only, words, self.folder / f"said_{name}", environment)
        )

    def _wait(self, i):
        said = self.folder / f"said_node{i}"
        for _ in range(1200):
            assert self.nodes[i].poll() is None, said.read_text()
            if "Ray runtime started" in said.read_text():
                return
            time.sleep(0.1)
        raise AssertionError(said.read_text())

    def workers(self, i):
        """The processes of node i that run a trial now: an idle one has no name behind the dot."""
        return [
            p
            for p in started.descendants(self.nodes[i].pid)
            if any(word.startswith("ray::ImplicitFunc.") for word in _words(p))
        ]

    def caches(self):
        """The folders of the nodes' own copies of datasets."""
        return [self.folder / f"cache_node{i}" for i in range(3)]

    def kill(self, i):
        """Kill node i as a machine that loses its power: all its processes at once."""
        family = [psutil.Process(self.nodes[i].pid), *started.descendants(self.nodes[i].pid)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family[1:], timeout=10)

    def driver(self, words, said, **environment):
        """A command on the machine of the head, with the token in its home folder."""
        own = {"HOME": str(self.home), "TMPDIR": str(self.driver_only), "OMP_NUM_THREADS": "1"}
        own["JEPA_BENCH_CACHE"] = str(self.driver_only / "cache")
        words = ["-m", "harness.run", f"ray.address={self.address}", *words]
        return started.process(words, said, **own | environment)


@contextlib.contextmanager
def running(folder):
    """A cluster whose processes end with the block."""
    with contextlib.ExitStack() as exits:
        yield Cluster(Path(folder), exits)


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _hidden(folder, words, said, environment):
    """`python WORDS` that does not see what lies in `folder`, where this user may hide it."""
    if not may_hide():
        return started.process(words, said, **environment)
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    inside = ["-c", f"import os; os.execvp('unshare', {['unshare', '-m', 'sh', '-c', script]!r} + "
              f"{[str(folder), sys.executable, *words]!r})"]  # fmt: skip
    return started.process(inside, said, **environment)


def may_hide():
    """Whether this user may give a process mounts of its own."""
    if not shutil.which("unshare") or os.getuid():
        return False
    return not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
