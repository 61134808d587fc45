"""Protocols: what their entries resolve to, their hashes, their pages, and manifests as a key."""

import dataclasses
from pathlib import Path

import pytest
import tiny
from records.test_manifest import CONTENT, PAIR

from harness import run, trial
from harness.experiment import config, identity, protocol_pages, suites
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.run_folders import RunFolders
from harness.records import manifest

PAGE = Path(__file__).parents[2] / "harness" / "PROTOCOLS.md"
TASKS = ("two_room", "push_t", "reacher", "cube")


def protocol(name, task, *words):
    words = [f"protocol={name}", f"tasks=[{task}]", "methods=[lewm]", "scale=laptop", *words]
    (spec,) = suites.expand(config.parse(["suite=smoke", "device=cpu", *words]), trial.STAGES)
    return spec


# -- entries


@pytest.mark.parametrize(
    ("name", "task", "hashed"),
    [
        ("lewm-v1", "two_room", "6efe15f6275ed7cc"),
        ("lewm-v1", "push_t", "b29c96f94d063fa6"),
        ("lewm-v3", "two_room", "11ca4ee250287db3"),
        ("lewm-v3", "push_t", "af9c511656bf64e7"),
        ("strict", "two_room", "31beec0ccd5823da"),
        ("strict", "cube", "0e99c3fa88972a0f"),
        ("quick", "two_room", "de2e96235e5a9ee7"),
        ("quick", "reacher", "a23263b0635b3c7b"),
        ("smoke", "toy", "904f6b15a651b0e0"),
    ],
)
def test_protocols_that_have_rows_keep_their_hashes(name, task, hashed):
    """Rows of these stand in results/: a key that is new must not make them another protocol's."""
    assert identity.protocol_hash(protocol(name, task))[:16] == hashed


@pytest.mark.parametrize("task", TASKS)
def test_the_released_configuration_has_30_iterations_50_pairs_and_seed_42(task):
    found = protocol("lewm-code", task).config
    assert (found.planner.candidates, found.planner.elites, found.planner.iterations) == (
        300,
        30,
        30,
    )
    own = found.protocol
    assert (own.offset_steps, own.budget_steps, own.pairs, own.eval_seeds) == (25, 50, 50, (42,))
    assert own.allow_presolved and own.success_rule == "default" and own.success_at == "ever"


def test_the_papers_text_has_10_iterations_but_on_push_t():
    iterations = {task: protocol("lewm-v3", task).config.planner.iterations for task in TASKS}
    assert iterations == {"two_room": 10, "push_t": 30, "reacher": 10, "cube": 10}


CLEAR = {  # rule and steps in a row, Moderate and Strict (CLEAR-LeWM's EVALUATION_SPEC v0.5)
    "two_room": (("default", 1), ("near", 1)),
    "push_t": (("default", 1), ("block", 3)),
    "reacher": (("wrapped", 1), ("fingertip", 2)),
    "cube": (("default", 1), ("pose", 3)),
}


@pytest.mark.parametrize("task", TASKS)
def test_clears_protocols(task):
    for name, expected in zip(("clear-moderate", "clear-strict"), CLEAR[task], strict=True):
        found = protocol(name, task).config
        own = found.protocol
        assert (own.success_rule, own.hold_steps) == expected
        assert (own.offset_steps, own.budget_steps, own.pairs, own.eval_seeds) == (
            25,
            50,
            100,
            (42,),
        )
        assert not own.allow_presolved and own.sampling == "episodes"
        assert (found.planner.candidates, found.planner.iterations) == (300, 30)
        walls = own.physics == "corrected" and own.strata == ("through door", "detour")
        assert walls == (task == "two_room")


@pytest.mark.parametrize(
    "word",
    [
        "protocol.hold_steps=2",
        "protocol.physics=corrected",
        "protocol.strata=[all]",
        "protocol.sampling=episodes",
        "protocol.split=any",
    ],
)
def test_what_decides_pairs_or_success_is_hashed(word):
    assert identity.protocol_hash(tiny.spec("lewm", word)) != identity.protocol_hash(
        tiny.spec("lewm")
    )


# -- a manifest


def listing(folder, name="pairs.json", **values):
    path = folder / name
    found = manifest.Manifest(
        **{k: v for k, v in CONTENT.items() if k in manifest.Manifest.__dataclass_fields__}
        | {"task": "toy", "pairs": (manifest.ManifestPair(**PAIR),)}
        | values
    )
    manifest.write(str(path), found, CONTENT["created_utc"])
    return path


def test_a_manifest_is_hashed_by_what_it_holds(tmp_path):
    (tmp_path / "below").mkdir()
    one, same = listing(tmp_path), listing(tmp_path / "below", "copy.json")
    other = listing(tmp_path, "other.json", policy_seed=7)
    specs = [tiny.spec("lewm", f"protocol.manifest={path}") for path in (one, same, other)]
    hashes = [identity.protocol_hash(spec) for spec in specs]
    assert hashes[0] == hashes[1] != hashes[2]
    assert identity.protocol_hash(tiny.spec("lewm")) not in hashes
    names = [spec.config.protocol.name for spec in specs]
    assert names == ["smoke on strict-seed42-n1"] * 3
    assert config.from_yaml(config.to_yaml(specs[0])) == specs[0]
    modified = tiny.spec("lewm", f"protocol.manifest={one}", "protocol.budget_steps=9")
    assert modified.config.protocol.name == "smoke modified on strict-seed42-n1"


def test_a_manifest_may_be_of_one_task_of_several(tmp_path):
    path = listing(tmp_path, task="tworoom")
    words = ["suite=smoke", "scale=tiny", "tasks=[toy,two_room]", "methods=[noop]"]
    run_words = config.parse([*words, f"for.two_room.protocol.manifest={path}"])
    toy, two_room = suites.expand(run_words, trial.STAGES)
    assert two_room.config.protocol.manifest == str(path) and not toy.config.protocol.manifest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["protocol.manifest={}/none.json"], "none.json cannot be read: "),
        (
            ["protocol.manifest={}/two_room.json"],
            "lists pairs of tworoom, not of toy; for one task",
        ),
        (["protocol.manifest={}/toy.json", "protocol.manifest_hash=12"], "has the sha256 "),
        (["protocol.manifest_hash=12"], "is of no use without protocol.manifest"),
    ],
)
def test_a_manifest_that_is_none_or_of_another_task_is_a_wrong_word(tmp_path, capsys, words, said):
    listing(tmp_path, "two_room.json", task="tworoom")
    listing(tmp_path, "toy.json")
    words = [word.format(tmp_path) for word in words]
    assert run.main(["suite=smoke", "scale=tiny", "methods=[noop]", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: protocol.manifest") and said in error
    assert len(error.splitlines()) == 1


def test_a_manifest_that_does_not_fit_fails_before_the_training(tmp_path):
    folders = RunFolders(str(tmp_path), "r", "smoke", str(tmp_path / "data"))
    spec = tiny.spec("lewm", f"protocol.manifest={listing(tmp_path)}")
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "error" and "pair 0 is of episode 823; the dataset has" in row.error
    assert row.train_steps == 0 and not Path(folders.checkpoint(spec)).exists()


# -- pages


def test_two_protocols_side_by_side(capsys):
    assert run.main(["protocols", "lewm-v3", "clear-strict"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "protocol.allow_presolved true false",
        "protocol.success_rule default near",
        "protocol.success_rule default block",
        "protocol.hold_steps 1 3",
        "planner.cem.iterations 10 30",
        "protocol.strata - through door, detour",
    ):
        assert line in lines, line
    assert "The agent's centre within 8 px" in text and "protocol.offset_steps=25" in text
    iterations = text.count("planner.cem.iterations")
    assert iterations == 3  # Push-T has 30 in both


def test_what_differs_is_shown_for_the_tasks_that_are_named(capsys):
    assert run.main(["--help", "protocols", "lewm-v1", "lewm-v3", "tasks=two_room"]) == 0
    text = capsys.readouterr().out
    assert "Push-T" not in text and "Two-Room" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "protocol.offset_steps 100 25" in lines and "protocol.budget_steps 150 50" in lines
    assert run.main(["protocols", "lewm-v1", "lewm-v3", "tasks=reacher"]) == 0
    text = capsys.readouterr().out.partition("The same")[0]
    assert "protocol.stratum_pairs" in text and "offset_steps" not in text


def test_one_protocol_stands_beside_the_default(capsys):
    texts = []
    for words in (["lewm-code"], ["lewm-v3", "lewm-code"]):
        assert run.main(["protocols", *words]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "protocol.eval_seeds" in texts[0]


@pytest.mark.parametrize("words", [["lewm-v3"], ["lewm-v1", "lewm-v3", "quick"], ["lewm-v3", "x"]])
def test_words_that_name_no_two_protocols(capsys, words):
    assert run.main(["protocols", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_page_has_the_protocols_as_they_are():
    """To renew it: python -m harness.experiment.protocol_pages"""
    begin, end = protocol_pages.MARKS
    page = PAGE.read_text()
    generated = page.partition(begin)[2].partition(end)[0].strip("\n")
    assert generated == protocol_pages.markdown()
    for name in PROTOCOLS:
        assert f"`{name}`" in page.partition(begin)[0], f"{name} is not explained"


def test_the_page_changes_with_a_protocol(monkeypatch):
    before = protocol_pages.markdown()
    entry = dict(PROTOCOLS["quick"], protocol={"name": "quick", "pairs": 41})
    monkeypatch.setitem(PROTOCOLS, "quick", entry)
    protocol_pages._settings.cache_clear()
    after = protocol_pages.markdown()
    protocol_pages._settings.cache_clear()
    assert after != before and "41" in after


def test_every_key_of_a_protocol_is_compared():
    fields = {f.name for f in dataclasses.fields(config.ProtocolConfig)}
    compared = {key.removeprefix("protocol.") for key in protocol_pages._abouts()}
    assert fields - compared == {"name", "version", "manifest", "manifest_hash"}
