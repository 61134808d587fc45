"""Git repositories that tests make."""

import subprocess
from pathlib import Path


def checkout(folder: Path) -> str:
    """A repository that tracks harness/runtime/provenance.py; the hash of its commit."""
    (folder / "harness" / "runtime").mkdir(parents=True)
    (folder / "harness" / "runtime" / "provenance.py").write_text("")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "harness"], check=True)
    return commit(folder, "first")


def commit(folder: Path, message: str) -> str:
    """Commit what is staged, or nothing; the hash."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
