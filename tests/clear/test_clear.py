"""Pairs and results in CLEAR-LeWM's formats: written, read again, as its validator asks for."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import tiny

from harness import run, trial
from harness.clear import __main__ as clear
from harness.clear import criteria, results
from harness.experiment import config, suites
from harness.experiment.run_folders import RunFolders
from harness.records import manifest, run_tables

# CLEAR's fields, by its task and protocol (clear_lewm/protocols.py, v0.5)
SHARED = {"goal_offset": 25, "eval_budget": 50, "exclude_initial_success": True}
SHARED |= {"sampling": "episode-balanced", "split": "all", "sustained_steps": 1}
WALL = {"tworoom_collision_mode": "swept", "tworoom_crossroom_only": True}
WALL |= {"tworoom_source_window_clean": True}
MODERATE = {
    **{"name": "moderate", **SHARED, **WALL, "pusht_position_threshold": 20.0},
    **{"pusht_angle_threshold_deg": 20.0, "pusht_block_only": False},
    **{"cube_position_threshold_m": 0.04, "cube_orientation_threshold_deg": None},
    **{"cube_symmetry_aware": False, "reacher_success_mode": "joint"},
    **{"reacher_joint_threshold_rad": 0.05, "reacher_angle_mode": "shoulder-periodic"},
    **{"tworoom_distance_threshold": 16.0, "tworoom_route_required": False},
    **{"tworoom_goal_side_required": False},
}
STRICT = {
    **{"name": "strict", **SHARED, **WALL, "pusht_position_threshold": 10.0},
    **{"pusht_angle_threshold_deg": 10.0, "pusht_block_only": True, "pusht_sustained_steps": 3},
    **{"cube_position_threshold_m": 0.03, "cube_orientation_threshold_deg": 15.0},
    **{"cube_symmetry_aware": True, "cube_sustained_steps": 3, "reacher_sustained_steps": 2},
    **{"reacher_success_mode": "endpoint", "reacher_endpoint_threshold_m": 0.01},
    **{"tworoom_distance_threshold": 8.0, "tworoom_route_required": True},
    **{"tworoom_goal_side_required": True, "tworoom_sustained_steps": None},
}
DATA = ["data.episodes=120", "data.max_steps=101", "data.image_size=8", "data.test=0.6"]
WORDS = ["scale=tiny", "tasks=[two_room]", *DATA]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of clear-strict's pairs, the same with CLEAR's own protocol in it, and a run on it."""
    root = tmp_path_factory.mktemp("clear")
    where = f"datasets={root}/data"
    words = ["protocol=clear-strict", "protocol.pairs=6", *WORDS, where, f"to={root}/manifests"]
    assert clear.main(["manifest", *words]) == 0
    (drawn,) = (root / "manifests").rglob("*.json")
    (root / "pairs.json").write_text(
        json.dumps(json.loads(drawn.read_text()) | {"protocol": STRICT})
    )
    words = ["suite=smoke", "device=cpu", "methods=[gcbc,noop,random]", *WORDS]
    words += ["protocol=clear-strict", f"protocol.manifest={root}/pairs.json"]
    folders = RunFolders(str(root / "r"), "r", "smoke", str(root / "data"))
    for spec in suites.expand(config.parse(words), ("train", "control")):
        assert trial.run(spec, folders, tiny.quiet).status == "ok"
    assert clear.main(["results", f"{root}/r", where, "repository=https://x.org/y"]) == 0
    return root


def written(folder):
    """The results, by policy."""
    files = sorted((folder / "r" / "clear" / "results").iterdir())
    assert [file.name for file in files] == [
        f"tworoom-strict-{name}.s0-seed42-n6.json" for name in ("gcbc", "noop", "random")
    ]
    return {file.name.split("-")[2][:-3]: json.loads(file.read_text()) for file in files}


def test_a_manifest_gives_the_rows_of_the_draw_it_was_written_from(folder):
    (drawn,) = (folder / "manifests").rglob("*.json")
    assert drawn.name == "clear-strict-modified-seed42-n6.json"
    listed = manifest.read(str(drawn)).manifest
    words = ["protocol=clear-strict", "protocol.pairs=6", "methods=[noop]", *WORDS]
    (spec,) = suites.expand(config.parse(["suite=smoke", *words]), trial.STAGES)
    dataset = tiny.dataset(spec, folder / "data")
    for pair in listed.pairs:
        assert pair.start_row == dataset.first_row[pair.episode_id] + pair.start_step
        assert not pair.initial_success
    assert len({pair.episode_id for pair in listed.pairs}) == 6
    episodes = run_tables.read(str(folder / "r")).episodes
    for _, own in episodes.groupby("key"):
        places = list(zip(own["pair_id"], own["source_episode"], own["start_step"], strict=True))
        assert places == [(p.pair_id, p.episode_id, p.start_step) for p in listed.pairs]


def test_writing_the_same_pairs_again_leaves_the_file(folder):
    (drawn,) = (folder / "manifests").rglob("*.json")
    before = drawn.read_bytes()
    words = ["protocol=clear-strict", "protocol.pairs=6", *WORDS, f"datasets={folder}/data"]
    assert clear.main(["manifest", *words, f"to={folder}/manifests"]) == 0
    assert drawn.read_bytes() == before


def is_sha256(text):
    return isinstance(text, str) and len(text) == 64 and int(text, 16) >= 0


def test_results_have_what_the_validator_asks_for(folder):
    """The checks of clear_lewm/submissions.py on one result, in its order."""
    found = written(folder)
    listed = json.loads((folder / "pairs.json").read_text())
    random_rate = found["random"]["metrics"]["success_rate_percent"]
    for name, content in found.items():
        assert content["schema_version"] == "clear-lewm-result-v1" and content["task"] == "tworoom"
        digest = hashlib.sha256((folder / "pairs.json").read_bytes()).hexdigest()
        assert content["manifest_sha256"] == digest
        assert content["protocol"] == listed["protocol"] == STRICT
        assert content["policy_seed"] == listed["policy_seed"] == 42
        assert content["dataset_fingerprint"] == listed["dataset"]["fingerprint"]
        outcomes, metrics = content["episode_successes"], content["metrics"]
        assert len(outcomes) == 6 == metrics["episodes"] and {type(o) for o in outcomes} == {bool}
        rate = 100 * sum(outcomes) / 6
        assert math.isclose(metrics["success_rate_percent"], rate)
        if name != "random":
            assert metrics["random_success_rate_percent"] == random_rate
            assert math.isclose(metrics["excess_over_random_pp"], rate - random_rate)
        assert content["criterion"]["sustained_steps"] == 1
        assert isinstance(content["solver"], dict) and isinstance(content["inference"], dict)
        for part in ("physics", "numerics", "execution"):
            assert is_sha256(content["environment"][f"{part}_fingerprint"])
        assert content["topology"]["invalid_routes"] == 0
    assert found["random"]["checkpoint"] is found["noop"]["checkpoint"] is None
    checkpoint = found["gcbc"]["checkpoint"]
    assert is_sha256(checkpoint["runtime_sha256"])
    assert checkpoint["source"]["repository"] == "https://x.org/y"
    assert checkpoint["source"]["revision"]
    assert found["gcbc"]["inference"]["mode"] == "direct"


def test_results_are_those_of_the_rows(folder):
    tables = run_tables.read(str(folder / "r"))
    for trial_row in tables.trial.itertuples():
        own = tables.episodes[tables.episodes["key"] == trial_row.key]
        content = written(folder)[trial_row.method]
        assert content["episode_successes"] == own["success"].tolist()
        assert set(own["illegal_steps"]) == {0}


def test_a_result_says_how_a_model_plans():
    said = results._solver(tiny.spec("lewm"))
    assert said["solver"] == {
        **{"num_samples": 32, "n_steps": 2, "topk": 4, "batch_size": 1, "name": "cem"}
    }
    assert said["inference"]["mode"] == "cem"


# -- criteria


@pytest.mark.parametrize("task", ["two_room", "push_t", "reacher", "cube"])
@pytest.mark.parametrize(("name", "listed"), [("moderate", MODERATE), ("strict", STRICT)])
def test_clears_protocols_are_judged_as_clears_manifests_say(task, name, listed):
    spec = tiny.spec("noop", f"protocol=clear-{name}", task=task)
    assert criteria.differences(spec, listed) == []
    own = criteria.protocol(spec)
    assert own["sampling"] == "episode-balanced" and own["exclude_initial_success"]


def test_another_protocol_than_the_manifests_is_said():
    spec = tiny.spec("noop", "protocol=clear-moderate", task="push_t")
    assert criteria.differences(spec, STRICT) == [
        "name=moderate, not strict",
        "pusht_position_threshold=20.0, not 10.0",
        "pusht_angle_threshold_deg=20.0, not 10.0",
        "pusht_block_only=False, not True",
        "sustained_steps=1, not 3",
    ]
    spec = tiny.spec("noop", "protocol=clear-strict", "protocol.budget_steps=60", task="cube")
    assert "eval_budget=60, not 50" in criteria.differences(spec, STRICT)


def test_a_criterion_that_a_manifest_does_not_name_is_the_released_one():
    """Two of CLEAR's own manifests are older than a field."""
    left_out = ("reacher_success_mode", "tworoom_goal_side_required")
    for task in ("reacher", "two_room"):
        for name, listed, differs in (("moderate", MODERATE, False), ("strict", STRICT, True)):
            older = {key: value for key, value in listed.items() if key not in left_out}
            spec = tiny.spec("noop", f"protocol=clear-{name}", task=task)
            assert bool(criteria.differences(spec, older)) == differs


# -- the command


def test_a_run_that_drew_its_pairs_gets_their_manifest(tmp_path, capsys):
    where = f"datasets={tmp_path}/data"
    words = ["suite=smoke", "scale=tiny", "backend=loop", f"results={tmp_path}", "run=r", where]
    assert run.main([*words, "methods=[noop]"]) == 0
    capsys.readouterr()
    assert clear.main(["results", f"{tmp_path}/r", where]) == 1
    said = capsys.readouterr().err
    assert "not written: toy.noop.s0, seed 0: there is no random policy on the same pairs" in said
    assert run.main([*words, "methods=[noop,random]"]) == 0
    assert clear.main(["results", f"{tmp_path}/r", where]) == 0
    below = tmp_path / "r" / "clear"
    (listed,) = (below / "manifests").rglob("*.json")
    assert listed.name == "smoke-seed0-n8.json"
    content = json.loads((below / "results" / "toy-smoke-noop.s0-seed0-n8.json").read_text())
    assert content["manifest_sha256"] == hashlib.sha256(listed.read_bytes()).hexdigest()
    assert content["topology"] is None
    assert clear.main(["results", f"{tmp_path}/r", f"datasets={tmp_path}/elsewhere"]) == 1
    assert "its dataset is not in" in capsys.readouterr().err


def test_a_manifest_of_another_protocol_or_that_changed_is_refused(folder, tmp_path, capsys):
    """The rows stay; the file that they name says something else."""
    path = Path(folder / "pairs.json")
    before = path.read_bytes()
    try:
        path.write_text(json.dumps(json.loads(before) | {"seed": 7}))
        assert clear.main(["results", f"{folder}/r", f"to={tmp_path}"]) == 1
    finally:
        path.write_bytes(before)
    assert "has changed since the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pairs"], 'unknown word "pairs"'),
        (["manifest", "train.lr=1"], 'unknown key "train.lr"'),
        (["manifest", "protocol=clear"], 'unknown protocol "clear"'),
        (["results"], "expected results/<run>"),
    ],
)
def test_wrong_words_are_said(capsys, words, said):
    assert clear.main(words) == 2
    assert said in capsys.readouterr().err


def test_help(capsys):
    assert clear.main(["--help"]) == 0
    assert "harness.clear manifest" in capsys.readouterr().out
