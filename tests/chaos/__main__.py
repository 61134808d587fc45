"""Runs cases until as many kills as were asked for have fallen; exit code 1 if one has a fault."""

import collections
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.runtime import command, processes
from tests.chaos import children, kinds
from tests.chaos.case import PHASES, REFERENCES, REPORT, Case, Hit, Reference

TESTS = Path(__file__).parents[1]
RECORD, TABLE, _INSIDE = "cases.jsonl", "chaos.md", "CHAOS_INSIDE"
# imported by a command only when it needs them, here once for all
_LATE = ("torch._dynamo", "matplotlib.pyplot", "seaborn", "harness.report.figures")
_LATE += ("sklearn.linear_model", "scipy.stats", "pandas.io.formats.style")


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv):
    defaults = {"kills": "1000", "cases": "0", "seed": "0", "case": "", "results": "", "kinds": ""}
    try:
        _, words = command.read_words(argv, defaults)
        every = {kind.name: kind for kind in kinds.KINDS}
        names = [name for name in words["kinds"].split(",") if name] or list(every)
        chosen = [every[command.known("kind", name, every)] for name in names]
    except command.ConfigError as error:
        say(f"error: {error}")
        return command.USAGE
    if not os.environ.get(_INSIDE):
        return _go_inside(argv)
    os.environ.pop("LD_PRELOAD", None)  # this process has it; what it starts anew has not
    with contextlib.ExitStack() as exits:
        results = words["results"] or exits.enter_context(tempfile.TemporaryDirectory())
        return _run(Path(results).absolute(), words, chosen)


def _go_inside(argv):
    """The same command in a child whose mounts are its own, with the calls of files counted."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, _INSIDE: "1", "OMP_NUM_THREADS": "1"}
        if library := children.preloaded(Path(folder)):
            environment["LD_PRELOAD"] = library
        else:
            say("no kills in the middle of a write: there is no gcc")
        words = [sys.executable, "-m", "tests.chaos", *argv]
        parent = os.getpid()
        may_mount = not os.getuid() and not subprocess.run(["unshare", "-m", "true"]).returncode
        return subprocess.run(
            [*(["unshare", "-m"] if may_mount else []), *words],
            env=environment,
            cwd=TESTS.parent,
            preexec_fn=lambda: processes.end_with_parent(parent),
        ).returncode


def _run(results, words, chosen):
    for name in _LATE:
        with contextlib.suppress(ImportError):
            __import__(name)
    results.mkdir(parents=True, exist_ok=True)
    for kind in [kind for kind in chosen if kind.needs()]:
        say(f"left out: {kind.name}: {kind.needs()}")
        chosen.remove(kind)
    references = References(results / "reference")
    if words["case"]:
        (kind,) = chosen
        line = _one(results, kind, words["seed"], int(words["case"]), references, keep=True)
        say(json.dumps(line, indent=1))
        return command.FAILED if line["faults"] else command.OK
    done = _read(results)
    kills, cases = int(words["kills"]), int(words["cases"])
    started, before = time.monotonic(), _kills(done)
    while _kills(done) < kills and (not cases or len(done) < cases):
        counts = collections.Counter(line["kind"] for line in done)
        kind = min(chosen, key=lambda kind: counts[kind.name] / kind.share)
        line = _one(results, kind, words["seed"], counts[kind.name], references)
        with open(results / RECORD, "a") as sink:
            sink.write(json.dumps(line) + "\n")
        done.append(line)
        (results / TABLE).write_text(table(done))
        rate = (_kills(done) - before) / (time.monotonic() - started)
        left = f"{(kills - _kills(done)) / rate / 60:.0f} min left" if rate else ""
        say(f"{kind.name} {line['case']}: {len(line['hits'])} hits; {_kills(done)} of {kills} "
            f"kills, {60 * rate:.1f}/min, {left}")  # fmt: skip
        for fault in line["faults"]:
            say(f"FAULT kinds={kind.name} seed={words['seed']} case={line['case']}: {fault}")
    say(table(done))
    return command.FAILED if any(line["faults"] for line in done) else command.OK


def _read(results):
    record = results / RECORD
    lines = record.read_text().splitlines() if record.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _kills(done):
    return sum(hit[2] for line in done for hit in line["hits"])


def _one(results, kind, seed, number, references, keep=False):
    """Run a case; its record. The folder of one with a fault stays."""
    folder = results / "cases" / f"{kind.name}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    case = Case(f"{kind.name} {seed} {number}", folder, references)
    started = time.monotonic()
    kind.function(case)
    if not case.faults and not keep:
        shutil.rmtree(folder)
    return {
        "kind": kind.name,
        "seed": seed,
        "case": number,
        "seconds": round(time.monotonic() - started, 1),
        "hits": case.hits,
        "faults": case.faults,
    }


class References(dict):
    """The undisturbed runs by name, each made when it is first needed."""

    def __init__(self, folder):
        super().__init__()
        self._folder = folder

    def __missing__(self, name):
        own, facts = self._folder / name, self._folder / f"{name}.json"
        if not facts.exists():
            (one,) = (one for one in REFERENCES if one.name == name)
            say(f"an undisturbed run: {name}")
            shutil.rmtree(own, ignore_errors=True)
            case = Case(name, own, {})
            started = time.monotonic()
            calls = _undisturbed(case, one, own)
            seconds = time.monotonic() - started
            facts.write_text(json.dumps([seconds, calls, _undisturbed(case, REPORT, own)]))
        self[name] = Reference(own, *json.loads(facts.read_text()))
        return self[name]


def _undisturbed(case, one, own):
    """Run a command to its end; its file calls, where they can be counted."""
    counted = own / "calls" if children.can_count() else None
    child = case.start(one, counted=counted)
    assert child.wait() == 0, child.text()
    return int(counted.read_text()) if counted else 0


def table(done):
    """The hits by what the command was doing, as Markdown."""
    hits = [Hit(*hit) for line in done for hit in line["hits"]]
    kills = sum(hit.is_kill for hit in hits)
    faults = [fault for line in done for fault in line["faults"]]
    columns = [*PHASES, "any"]
    lines = [f"{len(done)} cases, {kills} kills, {len(hits) - kills} other disturbances, "
             f"{sum(hit.in_write for hit in hits)} kills with a file half written; "
             f"{len(faults)} faults.", ""]  # fmt: skip
    lines += [f"| what was hit | {' | '.join(columns)} | all |", f"|:---|{'---:|' * 11}"]
    for is_kill in (True, False):
        for what in sorted({hit.what for hit in hits if hit.is_kill == is_kill}):
            those = [hit for hit in hits if (hit.what, hit.is_kill) == (what, is_kill)]
            own = collections.Counter(hit.phase for hit in those)
            cells = [str(own[phase] or "") for phase in columns]
            lines.append(f"| {what} | {' | '.join(cells)} | {own.total()} |")
    lines += ["", *(f"- {fault} ({n})" for fault, n in collections.Counter(faults).items())]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
