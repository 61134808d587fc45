"""What test_supervised.py runs in a child, in the place of a function that uses Ray."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.runtime import supervised


def note(scratch, folder):
    """Write down the interpreter and the scratch folder."""
    (Path(folder) / "noted").write_text(f"{sys.executable}\n{scratch}\n{sys.prefix}\n")


def note_path(scratch, folder):
    """Write down where modules are looked for, and the working folder."""
    (Path(folder) / "noted").write_text("\n".join([os.getcwd(), *sys.path]) + "\n")


def slow_start(scratch, folder, failures):
    """A Ray that starts only after so many failures."""
    if _times(folder) <= failures:
        raise supervised.StartError("the node timed out")


def wrong(scratch):
    raise ValueError("first line\nsecond line")


def dies(scratch, folder, deaths, name):
    """A function whose GCS server or raylet, or which itself, dies so often."""
    sys.stdout.write("noise\n")
    os.write(2, b"noise\n")
    if _times(folder) <= deaths:
        if name:
            daemon(scratch, name).kill()
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)


def daemon(scratch, name):
    """A process that is called as one of Ray's is, and knows the scratch folder."""
    file = Path(scratch) / name
    file.symlink_to(os.path.realpath(sys.executable))
    child = subprocess.Popen([file, "-c", "import time; time.sleep(600)", f"{scratch}/session"])
    time.sleep(2)  # seen by the parent
    return child


def waits(scratch, folder):
    """Until it is killed; its daemon does not end with it."""
    child = daemon(scratch, "gcs_server")
    (Path(folder) / "waits").write_text(f"{scratch}\n{os.getpid()}\n{child.pid}")
    time.sleep(600)


def wait_in_child(folder):
    """Body of a command that is killed."""
    supervised.call(waits, folder, restarts=2, verbose=False)


def _times(folder):
    """How often this was called in that folder."""
    with open(Path(folder) / "times", "a+") as file:
        file.write("x")
        return file.tell()
