"""Text on a command line is what was typed, for every key whose type is text."""

import dataclasses
import re
import string
from typing import Any, Literal

import pytest
import tiny
from hypothesis import example, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from harness import trial
from harness.bench import __main__ as bench
from harness.bench import settings
from harness.experiment import config, dotted_keys
from harness.runtime import command
from harness.sweep import space

of_hypothesis.register_profile("alike", deadline=None, derandomize=True)
of_hypothesis.load_profile("alike")
NUMBERLIKE = (
    *("12e4567", "5e10123", "007", "0042", "1_000", "12:30", "on", "1.10", "no", "null", "~"),
    *("0x1F", "1e3", ".5", "inf", "2001-01-01", "true", "[a", "{a", "a: b", "#a", "- a", "a #b"),
)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
# without what separates elements, quotes them or stands around them
NAME = st.text(string.ascii_letters + string.digits + "._:+-/@%~#", min_size=1)
TEXT_KEYS = [
    (cls, leaf.key)
    for cls in (config.RunConfig, *dict.fromkeys(config.sections().values()), settings.OfModels)
    for leaf in dotted_keys.leaves(cls())
    if leaf.kind is str
]


def with_examples(test):
    for text in NUMBERLIKE:
        test = example(text)(test)
    return test


def filled(cls, key, text):
    """The dataclass's value at the dotted `key` after it was given."""
    tree = {}
    dotted_keys.put(tree, key, command.split(f"{key}={text}")[1])
    value = dotted_keys.fill(cls(), tree)
    for part in key.split("."):
        value = getattr(value, {"from": "from_"}.get(part, part))
    return value


def test_there_are_keys_of_text():
    found = {key for _, key in TEXT_KEYS}
    assert {"run", "results", "datasets", "ray.address", "name", "weights", "task"} <= found


@with_examples
@given(ANY)
def test_a_text_key_has_what_was_typed(text):
    for cls, key in TEXT_KEYS:  # ~ at the start of a path is the home folder
        typed = f"./{text}" if key in command.PATHS else text
        assert filled(cls, key, typed) == typed


@with_examples
@given(ANY)
def test_the_run_has_what_was_typed(text):
    run = config.parse([f"run={text}", f"results=./{text}", "scale=tiny"])
    assert (run.run, run.results) == (text, f"./{text}")


@with_examples
@given(ANY)
def test_a_trial_has_what_was_typed_and_keeps_it_in_yaml(text):
    spec = tiny.spec("dino_wm", f"protocol.name={text}", f"method.dino_wm.weights=./{text}")
    assert spec.config.method.weights == f"./{text}"
    assert spec.config.protocol.name == f"{text} modified"
    spec = dataclasses.replace(spec, variant=text)
    assert config.from_yaml(config.to_yaml(spec)) == spec


@given(st.lists(NAME, min_size=1))
@example(list(NUMBERLIKE[:11]))
def test_elements_of_a_list_are_what_was_typed(names):
    for text in (",".join(names), f"[{','.join(names)}]", f"[ {' , '.join(names)} ]"):
        assert config.parse([f"tasks={text}", "scale=tiny"]).tasks == tuple(names)


@given(st.text(string.ascii_letters + string.digits + "._-", min_size=1))
@example("all")
@example("007")
@example("on")
@example("1.10")
@example("through door")
def test_names_in_a_dictionary_are_what_was_typed(name):
    """The toy task has one kind of pairs, so that most names are refused, as they were typed."""
    words = f"protocol.strata_min={{{name}: 0.5}}"
    if name == "all":
        assert tiny.spec("lewm", words).config.protocol.strata_min == {name: 0.5}
    else:
        with pytest.raises(config.ConfigError, match=re.escape(f'stratum of toy "{name}"')):
            tiny.spec("lewm", words)


def test_a_yaml_file_by_hand_has_what_was_typed():
    text = config.to_yaml(tiny.spec("lewm")).replace("variant: ''", "variant: 007")
    text = text.replace("lr: 0.001", "lr: 1e-3")
    spec = config.from_yaml(text)
    assert spec.variant == "007" and spec.config.train.lr == 1e-3


def test_a_dictionary_that_is_given_takes_the_place_of_the_protocol_s():
    base = ["protocol=strict", "protocol.pairs=8"]
    spec = tiny.spec("noop", *base, "protocol.strata_min={detour: 0.5}", task="two_room")
    assert spec.config.protocol.strata_min == {"detour": 0.5}
    spec = tiny.spec("noop", *base, "protocol.strata_min.detour=0.5", task="two_room")
    assert spec.config.protocol.strata_min == {"detour": 0.5, "through door": 0.25}


@pytest.mark.parametrize("text", ["007", "12:30", "on", "1.10"])
def test_a_sweep_tries_what_was_typed(text, tmp_path):
    own = ["task=toy", "method=dino_wm", "scale=tiny", f"run={text}", f"results={tmp_path}"]
    sweep = space.parse([*own, f"space.method.dino_wm.weights=choice:{text},random"])
    assert sweep.run.run == text
    assert sweep.spec({"method.dino_wm.weights": text}).config.method.weights == text


def test_a_trial_s_folders_are_what_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "1e3=007.yaml"
    file.write_text(config.to_yaml(tiny.spec("noop", "data.episodes=12", "protocol.pairs=2")))
    trial.main([file.name, "results=0042", "datasets=12e4567"])
    assert list(tmp_path.glob("0042/trials/*")) and (tmp_path / "12e4567").is_dir()


def test_the_bench_has_what_was_typed():
    (_, found), *_ = bench._chosen(["plan", "results=007", "threads=07"])
    assert (found.results, found.threads) == ("007", 7)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "0042", 42),
        (float, "1e-4", 1e-4),
        (bool, "on", True),
        (bool, "False", False),
        (tuple[int, ...], "[1,2]", (1, 2)),
        (list[float], "1,2", [1.0, 2.0]),
        (tuple[int, str], "1,02", (1, "02")),
        (tuple[tuple[int, ...], ...], "[[1,2],[3]]", ((1, 2), (3,))),
        (float | None, "null", None),
        (float | None, "1", 1.0),
        (Literal[1, 2], "2", 2),
        (dict[str, int], "{a: 1}", {"a": 1}),
        (Any, "[1, a]", [1, "a"]),
    ],
)
def test_every_other_type_is_read_as_such(kind, text, value):
    found = dotted_keys.read(kind, text, "key")
    assert found == value and type(found) is type(value)
