"""One table as one Parquet file: rows of a dataclass, written whole and read under its schema.

Tables that another program has rewritten are read as long as every value is unchanged: the order of
the columns and the width of their types may differ, and further columns are ignored.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from harness.records import packed
from harness.records.storage import one_line, whole_file

# field(default=..., metadata=LATER) marks a column that is younger than some rows: these are read
# with its default. Any other missing column is an error, since 0 s would pass for a measurement.
LATER = {"later": True}

_ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


@functools.cache
def schema(row: type) -> pa.Schema:
    """Arrow schema of a row dataclass."""
    hints = typing.get_type_hints(row)
    return pa.schema([(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(row)])


def whole_schema(row: type) -> pa.Schema:
    """The schema of `row`, beside the rows of other trials: with the config_hash of its own."""
    own, of_trial = schema(row), pa.field("config_hash", pa.string())
    return own if of_trial.name in own.names else own.append(of_trial)


def table(row: type, rows: Sequence[Any]) -> pa.Table:
    """Rows of one dataclass under its schema."""
    return pa.Table.from_pylist([dataclasses.asdict(r) for r in rows], schema=schema(row))


def concat(row: type, tables: list[pa.Table]) -> pa.Table:
    """Tables of several trials in one; of none, empty."""
    return pa.concat_tables([whole_schema(row).empty_table(), *tables])


def write(fs: pafs.FileSystem, path: str, table: pa.Table) -> None:
    """Write one file, whole or not at all; raises OSError."""
    with whole_file(fs, path) as sink:
        # one file has few rows: dictionaries and statistics take more than they save
        pq.write_table(
            table, sink, compression="snappy", use_dictionary=False, write_statistics=False
        )


def read(fs: pafs.FileSystem, path: str, row: type) -> tuple[pa.Table, set[str]]:
    """The table of a file, or of one that is packed, and those of its columns that `row` does not
    have: "name of name.parquet". Raises FileNotFoundError, and pa.ArrowInvalid on any other fault.
    """
    file = path.rpartition("/")[2]
    try:
        with fs.open_input_file(path) as source:
            whole = pa.BufferReader(source.read_buffer())  # a small file: threads cost more
    except FileNotFoundError:
        whole = None
    try:
        table = pq.ParquetFile(whole).read(use_threads=False) if whole else packed.table(fs, path)
        ignored = {f"{name} of {file}" for name in set(table.column_names) - set(schema(row).names)}
        return _conform(table, row), ignored
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise pa.ArrowInvalid(f"{file}: {one_line(error)}") from error


def _conform(table: pa.Table, row: type) -> pa.Table:
    """The table under the schema of `row`, with every value unchanged. Raises pa.ArrowException
    where a value would change.
    """
    wanted = schema(row)
    if table.schema.equals(wanted) and not any(map(_nulls, table.columns)):
        return table
    columns = []
    for own, target in zip(dataclasses.fields(row), wanted, strict=True):
        count = table.column_names.count(own.name)
        if count == 1:
            columns.append(_same_values(table.column(own.name), target))
        elif not count and "later" in own.metadata:
            columns.append(pa.array([own.default] * table.num_rows, target.type))
        else:
            where = f"is there {count} times" if count else "is missing"
            raise pa.ArrowInvalid(f"column {own.name} {where}")
    return pa.table(columns, schema=wanted)


def _same_values(column: pa.ChunkedArray, target: pa.Field) -> pa.ChunkedArray:
    """The column in the type of `target`."""
    actual = column.type
    if pa.types.is_dictionary(actual):
        column = column.cast(actual.value_type)
    if _kind(column.type) not in (_kind(target.type), "null", "list of null"):
        raise pa.ArrowInvalid(f"column {target.name} has type {actual}, not {target.type}")
    try:
        column = column.cast(target.type)  # fails where a value would change
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"column {target.name}: {error}") from error
    if pa.types.is_floating(target.type):
        column = column.fill_null(math.nan)  # as other programs write NaN
    if nulls := _nulls(column):
        raise pa.ArrowInvalid(f"column {target.name} lacks {nulls} values")
    return column


def _nulls(column: pa.ChunkedArray) -> int:
    """How many values are missing, also inside lists; rows never have any."""
    inside = pc.list_flatten(column).null_count if pa.types.is_list(column.type) else 0
    return int(column.null_count + inside)


def _kind(dtype: pa.DataType) -> str:
    """The kind of a column's values, whatever their width in bits."""
    is_a = pa.types
    if is_a.is_list(dtype) or is_a.is_large_list(dtype):
        return f"list of {_kind(dtype.value_type)}"
    if is_a.is_string(dtype) or is_a.is_large_string(dtype) or is_a.is_string_view(dtype):
        return "text"
    if is_a.is_binary(dtype) or is_a.is_large_binary(dtype) or is_a.is_binary_view(dtype):
        return "bytes"
    return "number" if is_a.is_integer(dtype) or is_a.is_floating(dtype) else str(dtype)


def _arrow_type(hint: Any) -> pa.DataType:
    if isinstance(hint, types.GenericAlias):
        return pa.list_(_ARROW[typing.get_args(hint)[0]])
    return _ARROW[hint]
