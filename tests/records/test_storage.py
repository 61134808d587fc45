"""Paths and URIs; files that are written whole or not at all."""

import os
import time

import pytest

from harness.records import storage


@pytest.mark.parametrize(
    ("folder", "joined"),
    [
        ("r", "r/a/b"),
        ("/r/", "/r/a/b"),
        ("r?x", "r?x/a/b"),  # a folder of that name
        ("s3://bucket/r", "s3://bucket/r/a/b"),
        (
            "s3://bucket/r/?scheme=http&endpoint_override=h:1",
            "s3://bucket/r/a/b?scheme=http&endpoint_override=h:1",
        ),
    ],
)
def test_what_lies_in_a_folder_stands_before_the_query(folder, joined):
    assert storage.join(folder, "a", "b") == joined
    assert storage.parent(storage.parent(joined)) == folder.replace("/?", "?").rstrip("/")


def test_what_killed_processes_left_half_written_goes(tmp_path):
    for name in ("a.json", "a.json.0123abcd.part", "b.json.0123abcd.part", "mine.part"):
        (tmp_path / name).touch()
    storage.remove_parts(str(tmp_path), "a.json")
    assert not (tmp_path / "a.json.0123abcd.part").exists() and len(os.listdir(tmp_path)) == 3
    storage.remove_parts(str(tmp_path), older_than_s=60.0)  # another process may write it now
    assert len(os.listdir(tmp_path)) == 3
    then = time.time() - 61
    os.utime(tmp_path / "b.json.0123abcd.part", (then, then))
    storage.remove_parts(str(tmp_path), older_than_s=60.0)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "mine.part"]
    storage.remove_parts(str(tmp_path / "none"))
