"""Digests: of every cell, of values and not of files, the same for rows older than a column."""

import dataclasses
import math

import pyarrow as pa
import pytest

from harness.records import digest, parquet, rows


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    number: float
    times: list[float]
    image: bytes


@dataclasses.dataclass(frozen=True)
class LaterRow(Row):
    role: str = dataclasses.field(default="", metadata=rows.LATER)


LINES = [
    {"key": "a", "number": math.nan, "times": [0.1, 0.2], "image": b"\x00\xff"},
    {"key": "b", "number": 1e-300, "times": [], "image": b""},
]


def table(lines, row=Row):
    return pa.Table.from_pylist(lines, schema=parquet.schema(row))


@pytest.mark.parametrize(
    ("column", "value"),
    [("key", "c"), ("number", 0.0), ("times", [0.1, 0.2000000001]), ("image", b"\x00\xfe")],
)
def test_every_cell_counts(column, value):
    changed = [LINES[0] | {column: value}, LINES[1]]
    assert digest.of_table(table(changed), Row) != digest.of_table(table(LINES), Row)


def test_the_number_and_the_order_of_rows_count():
    found = {digest.of_table(table(lines), Row) for lines in (LINES, LINES[::-1], LINES[:1], [])}
    assert len(found) == 4


def test_the_order_of_columns_does_not():
    turned = table(LINES).select(table(LINES).column_names[::-1])
    assert digest.of_table(turned, Row) == digest.of_table(table(LINES), Row)


def test_a_column_that_came_later_counts_where_it_says_something():
    before = digest.of_table(table(LINES), Row)
    older = [line | {"role": ""} for line in LINES]
    assert digest.of_table(table(older, LaterRow), LaterRow) == before
    newer = [LINES[0] | {"role": "ceiling"}, older[1]]
    assert digest.of_table(table(newer, LaterRow), LaterRow) != before


def test_text_and_back():
    digests = {"trial": "ab", "episodes": "cd"}
    assert digest.text(digests) == "episodes cd; trial ab"
    assert digest.read(digest.text(digests)) == digests and digest.read("") == {}
