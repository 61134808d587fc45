"""Digests of the values of a trial's tables: a cell that is changed later no longer fits.

They are of values, not of files, so that a table which another program has rewritten unchanged
keeps its digest, and so do rows that are older than a column.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

import pyarrow as pa


def of_table(table: pa.Table, row: type) -> str:
    """sha256 of the columns of `row` in the table. A column that is younger than some rows is left
    out where every value is its default.
    """
    digest = hashlib.sha256()
    for field in sorted(dataclasses.fields(row), key=lambda field: field.name):
        values = table.column(field.name).to_pylist()
        if "later" in field.metadata and all(value == field.default for value in values):
            continue
        digest.update(json.dumps([field.name, values], default=bytes.hex).encode())
    return digest.hexdigest()


def text(digests: Mapping[str, str]) -> str:
    """Digests by the name of the table, as a trial's row holds them."""
    return "; ".join(f"{name} {digests[name]}" for name in sorted(digests))


def read(recorded: str) -> dict[str, str]:
    """The inverse of `text`; empty for the row of a trial that recorded none."""
    return dict(entry.split(" ", 1) for entry in recorded.split("; ") if " " in entry)
