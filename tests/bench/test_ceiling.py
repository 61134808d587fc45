"""The measured ceiling of a CPU, and shares of it."""

import math

import pytest
import torch

from harness.bench import ceiling, versus


def test_the_ceiling_is_that_of_the_threads_asked_for_and_restores_the_others(monkeypatch):
    used = []
    product_s = ceiling._product_s

    def timed(*args):
        used.append(torch.get_num_threads())
        return product_s(*args)

    monkeypatch.setattr(ceiling, "_product_s", timed)
    monkeypatch.setattr(ceiling, "_PRODUCTS", 3)
    before = torch.get_num_threads()
    rates = ceiling.measure(before + 1)
    assert set(rates) == {"fp32", "bf16"} and set(used) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("seconds", [1e-5, 1.0])  # of a small product; then of a large one or again
def test_a_rate_is_the_operations_of_a_product_over_its_time(seconds, monkeypatch):
    monkeypatch.setattr(
        ceiling, "_product_s", lambda dtype, size: seconds if size < ceiling.SIZE else 0.5
    )
    size = 128 if seconds == 1.0 else ceiling.SIZE
    of_product = 1.0 if seconds == 1.0 else 0.5
    assert ceiling.measure(1) == dict.fromkeys(("fp32", "bf16"), 2 * size**3 / of_product)


def test_shares_are_operations_over_time_over_the_ceiling():
    figure = versus.Figure("step, fp32", (), "peer", outcome_name="loss")
    slow = versus.row(figure, "peer", 0, 0.5, 1.0, "cpu")
    fast = versus.row(figure._replace(unit="ms"), "ours", 1, 250.0, 1.0, "cpu")
    other = versus.row(versus.Figure("other", (), ""), "ours", 0, 1.0, 1.0, "cpu")
    rows = ceiling.shares([slow, fast, other], 10_000_000, {"step, fp32": 8e7})
    assert [(r.side, r.repetition, r.value) for r in rows] == [("peer", 0, 25), ("ours", 1, 50)]
    assert {(r.unit, r.larger_is_better, r.reference) for r in rows} == {("%", True, "peer")}
    assert all(math.isnan(r.outcome) for r in rows)
    assert {line.figure for line in versus.summary(rows)} == {"step, fp32, share of the ceiling"}
