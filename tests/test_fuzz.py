"""A short form of `python -m tests.fuzz`, and that its runner sees every kind of fault."""

import os
import pickle
import random
import signal
import time
from pathlib import Path

import fuzz.runner
import pytest
from fuzz import damage, kinds
from fuzz.runner import Kind

from harness.records import plain_yaml

# how many of the kinds whose cases take long, and of each other kind
CASES = {"words": 25, "yaml": 40, "page": 2, "parquet": 10, "study": 6, "encoder": 8}
CASES |= {"checkpoint": 10}
OTHERS = 20


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_no_hostile_input_is_a_fault(kind, tmp_path):
    count = CASES.get(kind.name, OTHERS)
    result = fuzz.runner.run(kind, tmp_path / "root", count, seed=20261126)
    assert not result.faults, "\n".join(f"{f.number}: {f.what}\n{f.details}" for f in result.faults)
    assert sum(result.counts.values()) == count


def leak(rng, own):
    (own / "row").write_text(os.environ["FUZZ_SECRET"])


def shout(rng, own):
    os.write(2, os.environ["HF_TOKEN"].encode())


def unpickle(rng, own):
    pickle.loads(damage.planted())


def escape(rng, own):
    Path("../../escaped").write_text("x")


FAULTS = {
    "ZeroDivisionError": lambda rng, own: 1 / 0,
    "the process dies": lambda rng, own: os.kill(os.getpid(), signal.SIGKILL),
    "it hangs": lambda rng, own: time.sleep(100),
    "written outside": escape,
    "a planted pickle was run": unpickle,
    "a secret of the environment is shown": leak,
    "a secret": shout,
}


@pytest.mark.parametrize(("what", "case"), FAULTS.items())
def test_a_fault_is_seen_and_the_other_cases_go_on(what, case, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz.runner, "HANG_S", 1.0)
    first = random.Random("x 0 0").random()  # what the first case draws

    def first_alone(rng, own):
        if rng.random() == first:
            case(rng, own)

    kind = Kind("x", "", lambda folder: first_alone, (ConnectionError,), 1)
    result = fuzz.runner.run(kind, tmp_path / "root", 3)
    (fault,) = result.faults
    assert fault.number == 0 and fault.what.startswith(what)
    assert result.counts == {"faults": 1, "accepted": 2}


def test_a_refusal_of_several_lines_is_a_fault(tmp_path):
    def refuse(rng, own):
        raise ConnectionError("one\ntwo")

    kind = Kind("x", "", lambda folder: refuse, (ConnectionError,), 1)
    assert fuzz.runner.run(kind, tmp_path / "root", 1).faults[0].what.startswith("a message of")


# -- YAML


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x", "anchor"),
        ("&a [*a]", "anchor"),
        ("[" * 60 + "]" * 60, "levels deep"),
        ("[" * 5000, "."),
        ("!!python/object/apply:os.system ['touch planted']", "could not determine a constructor"),
    ],
)
def test_yaml_that_could_grow_or_call_is_refused(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        plain_yaml.load(text, plain_yaml.yaml.SafeLoader)
    assert not list(tmp_path.iterdir())


def test_plain_yaml_is_read():
    loader = plain_yaml.yaml.SafeLoader
    assert plain_yaml.load("a: [1, {b: 2.5}]\nc: x", loader) == {"a": [1, {"b": 2.5}], "c": "x"}
    empty = plain_yaml.load("a: []\nb: []\nc: 1\nd: 1", loader)
    assert empty == {"a": [], "b": [], "c": 1, "d": 1}
