"""Figures of the bench: sides take turns, ratios are of medians, all that was measured is kept."""

import math

import pandas as pd
import pytest

from harness.bench import versus


def rows_of(sides, repeats=4, **figure):
    """Each side gives its values in turn, the first of them to warm up."""
    called = []

    def side(name, values):
        left = iter(values)

        def once():
            called.append(name)
            return next(left), math.nan

        return versus.Side(name, once)

    made = [side(name, values) for name, values in sides.items()]
    figure = versus.Figure("f", made, **{"reference": next(iter(sides))} | figure)
    return versus.measure([figure], repeats), called


def test_sides_take_turns_and_the_first_round_is_not_kept():
    made, called = rows_of({"a": [99, 1, 2, 3, 4], "b": [99, 5, 6, 7, 8]})
    assert called == ["a", "b", *"abbaabba"]
    assert [row.value for row in made if row.side == "a"] == [1, 2, 3, 4]
    assert [row.repetition for row in made if row.side == "b"] == [0, 1, 2, 3]


@pytest.mark.parametrize(("larger_is_better", "ratio"), [(False, 0.5), (True, 2.0)])
def test_ratios_are_of_medians(larger_is_better, ratio):
    sides = {"peer": [0, 1, 2, 3], "ours": [0, 4, 400, 3]}
    made, _ = rows_of(sides, repeats=3, larger_is_better=larger_is_better)
    peer, ours = versus.summary(made)
    assert (peer.ratio, ours.ratio) == (1.0, ratio)
    assert (ours.median, ours.low, ours.high) == (4, 3, 400)


def test_without_the_reference_there_is_no_ratio():
    made, _ = rows_of({"ours": [0, 1, 1, 1, 1]}, reference="peer")
    assert math.isnan(versus.summary(made)[0].ratio)


def test_rows_and_figure_are_written(tmp_path):
    made, _ = rows_of({"peer": [0, 2, 2, 2, 2], "ours": [0, 1, 1, 1, 1]}, unit="s")
    path = versus.write(str(tmp_path), "some", made)
    read = pd.read_parquet(path)
    assert len(read) == 8 and set(read["unit"]) == {"s"} and (read["device"] != "").all()
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")
