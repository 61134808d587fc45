"""Paths and URIs."""

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
