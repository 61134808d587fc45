"""Manifests: a file in CLEAR-LeWM's format is read as it is meant, and nothing else is read."""

import hashlib
import json

import pytest

from harness.records import manifest

PAIR = {
    "pair_id": 0,
    "episode_id": 823,
    "start_step": 3,
    "goal_step": 28,
    "start_row": 97314,
    "goal_row": 97339,
    "difficulty": 51.34,
    "initial_success": False,
}
EXTRA = {"angle_distance_deg": 30.1, "upstream_initial_success": False}  # of CLEAR's own files
CONTENT = {
    "schema_version": "clear-lewm-manifest-v1",
    "created_utc": "2026-07-23T06:15:24+00:00",
    "task": "pusht",
    "protocol": {"name": "strict", "goal_offset": 25},
    "seed": 42,
    "policy_seed": 42,
    "split": "all",
    "dataset": {"name": "pusht_expert_train.h5", "fingerprint": {"kind": "x", "value": "y"}},
    "statistics": {"num_eval": 1},
    "pairs": [{**PAIR, **EXTRA}],
}


def read(folder, content):
    path = folder / "m.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return manifest.read(str(path))


def test_a_file_of_clears_is_read(tmp_path):
    found, digest = read(tmp_path, CONTENT)
    assert found.task == manifest.task_name("push_t") == "pusht" and found.policy_seed == 42
    assert found.pairs == (manifest.ManifestPair(**PAIR),)
    assert digest == hashlib.sha256((tmp_path / "m.json").read_bytes()).hexdigest()


def test_what_is_written_is_read_again_and_has_the_formats_keys(tmp_path):
    found, _ = read(tmp_path, CONTENT)
    path = str(tmp_path / "below" / "again.json")
    manifest.write(path, found, CONTENT["created_utc"])
    again, _ = manifest.read(path)
    written = json.loads((tmp_path / "below" / "again.json").read_text())
    assert again == found
    assert written == {k: v for k, v in CONTENT.items() if k != "statistics"} | {"pairs": [PAIR]}


def changed(**values):
    return CONTENT | {"pairs": [PAIR, {**PAIR, "pair_id": 1, **values}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read: "),
        ("[1]", "is no manifest: its schema_version is None, not clear-lewm-manifest-v1"),
        (CONTENT | {"schema_version": "v2"}, "is no manifest: its schema_version is 'v2', not "),
        ({k: v for k, v in CONTENT.items() if k != "pairs"}, "is no manifest: it lacks 'pairs'"),
        ({k: v for k, v in CONTENT.items() if k != "task"}, "is no manifest: it lacks 'task'"),
        (CONTENT | {"task": 3}, "is no manifest: task is 3"),
        (CONTENT | {"pairs": []}, "is no manifest: it lists no pairs"),
        (CONTENT | {"pairs": [7]}, "is no manifest: "),
        (changed(pair_id=0), "is no manifest: a pair_id occurs twice"),
        (changed(episode_id="7"), "is no manifest: episode_id of pair 1 is '7'"),
        (changed(start_step=True), "is no manifest: start_step of pair 1 is True"),
        (changed(initial_success=0), "is no manifest: initial_success of pair 1 is 0"),
        (
            changed(goal_row=97340),
            "is no manifest: pair 1 goes from step 3 to 28 and from row 97314 to 97340",
        ),
        (changed(start_step=28, start_row=97339), "is no manifest: pair 1 goes from step 28 to 28"),
        (changed(start_step=-1, goal_step=24), "is no manifest: pair 1 goes from step -1 to 24"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path, content, said):
    with pytest.raises(manifest.ManifestError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path}/m.json {said}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(manifest.ManifestError, match=r"cannot be read: .*No such file"):
        manifest.read(str(tmp_path / "none.json"))
