"""Runs many cases and shows a table of them; exit code 1 where one is a fault."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.runtime import command
from tests.fuzz import kinds, runner


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv):
    every = {kind.name: kind for kind in kinds.KINDS}
    defaults = {"cases": "1000", "seed": "0", "first": "0", "kinds": ",".join(every)}
    _, words = command.read_words(argv, defaults)
    chosen = [every[command.known("kind", name, every)] for name in words["kinds"].split(",")]
    cases, seed, first = (int(words[name]) for name in ("cases", "seed", "first"))
    shares, faults, details = sum(kind.share for kind in chosen), [], []
    say(f"| {'kind':12} | {'cases':>6} | accepted | refused | faults | seconds |")
    say("|:---|---:|---:|---:|---:|---:|")
    for kind in chosen:
        count = max(1, round(cases * kind.share / shares))
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = runner.run(kind, Path(folder) / "root", count, seed, first)
        faults += result.faults
        cells = [result.counts[name] for name in (runner.ACCEPTED, runner.REFUSED, "faults")]
        line = " | ".join(map(str, [kind.name, count, *cells, round(time.monotonic() - started)]))
        say(f"| {line} |")
        shown = {fault.what[:60]: fault for fault in result.faults}
        details += [f"{f.kind} {f.number}: {f.what}\n{f.details[-1500:]}" for f in shown.values()]
        for fault in result.faults:
            sys.stderr.write(f"{fault.kind} seed={seed} first={fault.number}: {fault.what}\n")
    say("\n\n".join(details))
    return command.FAILED if faults else command.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
