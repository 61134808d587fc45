"""Many tiny trials in one suite through Ray: do memory and handles stay flat, and what is left?

    python -m tests.soak trials=300

Memory is the resident one of all processes of a role (command, driver, raylet, GCS, workers), its
median over samples in tenths of the trials. Exit code 1 where the last tenth has more than FLAT
times the third's (by then every worker has imported what it needs) or anything outlives the run:
processes, scratch folders, or a file in shared memory (another program's counts as well).
"""

import getpass
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

import started

from harness.runtime import command

FLAT = 1.1  # the most that memory may grow
HANDLES = 8  # the most by which open files may grow in a process
METHODS = "lewm", "gcbc"
EVERY_S = 1.0
SHARED = "/dev/shm"
TORCHS = f"torchinductor_{getpass.getuser()}"  # torch's cache, one for a user
ROLES = {"ray::": "workers", "raylet": "raylet", "gcs_server": "GCS"}  # else one of ours


def main(argv):
    _, words = command.read_words(argv, {"trials": "300"})
    seeds = -(-int(words["trials"]) // len(METHODS))
    shared = set(os.listdir(SHARED))
    with tempfile.TemporaryDirectory(prefix="soak", dir="/tmp") as folder:
        samples, family, code = run(Path(folder), seeds)
        done = len(list(Path(folder, "r/soak/trials").glob("*/trial.parquet")))
        left = leftovers(Path(folder, "t"), family)
        left += [f"{SHARED}/{name}" for name in set(os.listdir(SHARED)) - shared]
    faults = [f"exit code {code}"] if code else []
    if done != seeds * len(METHODS):
        faults.append(f"{done} of {seeds * len(METHODS)} trials have a row")
    lines, grown = table(samples, seeds * len(METHODS))
    say(f"{done} trials, {samples[-1][0]:.0f} s; MiB, and open files")
    for line in lines:
        say(line)
    for fault in [*faults, *grown, *left]:
        say(f"fault: {fault}")
    return command.FAILED if [*faults, *grown, *left] else command.OK


def run(folder, seeds):
    """Samples (seconds, trials done, {role: (MiB, most open files)}), every process that was seen,
    and the exit code.
    """
    words = ["suite=smoke", "scale=tiny", "tasks=[toy]", f"methods=[{','.join(METHODS)}]"]
    words += [f"seeds={seeds}", "run=soak", f"results={folder}/r", f"datasets={folder}/d"]
    (folder / "t").mkdir()
    samples, family, began = [], {}, time.monotonic()
    said = folder / "said"
    with started.process(["-m", "harness.run", *words], said, TMPDIR=f"{folder}/t") as one:
        while one.poll() is None:
            now = {process.pid: process for process in started.descendants(one.pid)}
            family.update(now)
            done = len(list((folder / "r/soak/trials").glob("*/trial.parquet")))
            samples.append(
                (time.monotonic() - began, done, used([psutil.Process(one.pid), *now.values()]))
            )
            if len(samples) % 30 == 0:
                rate = done / samples[-1][0]
                say(f"{done}/{seeds * len(METHODS)} trials, {rate:.2f}/s")
            time.sleep(EVERY_S)
        time.sleep(EVERY_S)
        alive = {pid: p for pid, p in family.items() if p.is_running()}
        return samples, alive, one.returncode


def used(processes):
    """{role: (MiB of all, the most open files of one)}."""
    memory, files = defaultdict(float), defaultdict(int)
    for process in processes:
        try:
            name = " ".join(process.cmdline()) or process.name()
            role = next((role for part, role in ROLES.items() if part in name), "ours")
            memory[role] += process.memory_info().rss / 2**20
            files[role] = max(files[role], process.num_fds())
        except psutil.Error:
            continue
    return {role: (memory[role], files[role]) for role in memory}


def table(samples, trials):
    """Lines of a Markdown table with the tenths 3, 6 and 10, and what has grown."""
    parts = {3: [], 6: [], 10: []}
    for _, done, roles in samples:
        tenth = min(10, 1 + 10 * done // trials)
        if tenth in parts:
            parts[tenth].append(roles)
    roles = sorted({role for part in parts.values() for sample in part for role in sample})
    lines, grown = ["| | third tenth | sixth | last |", "|:---|---:|---:|---:|"], []
    for role in roles:
        found = [
            [statistics.median(s[role][of] for s in part if role in s) for of in (0, 1)]
            for part in parts.values()
            if any(role in s for s in part)
        ]
        cells = " | ".join(f"{memory:,.0f}, {files:.0f}" for memory, files in found)
        lines.append(f"| {role} | {cells} |")
        if found[-1][0] > FLAT * found[0][0]:
            grown.append(f"{role} grew from {found[0][0]:.0f} to {found[-1][0]:.0f} MiB")
        if found[-1][1] > found[0][1] + HANDLES:
            grown.append(f"{role} opened {found[-1][1] - found[0][1]:.0f} more files")
    return lines, grown


def leftovers(scratch, alive):
    """The things that outlive the run, in words."""
    found = [f"process {pid} {' '.join(_words(p))[:60]}" for pid, p in alive.items()]
    return found + [f"scratch {path}" for path in scratch.iterdir() if path.name != TORCHS]


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return ["ended since"]


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
