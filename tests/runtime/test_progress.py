"""The progress of trials and of collections, as log lines (a test has no terminal)."""

import logging
import re

from harness.runtime import progress


def test_items_are_counted_with_a_rate_and_the_time_left(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.Display(30, title="collecting toy, episodes") as display:
        display.advance(2)  # too early for a line
        clock[0] += 20
        display.advance(8)
        clock[0] += 40
        display.advance(20)
    assert [record.message for record in caplog.records] == [
        "collecting toy, episodes 10/30, 0.5/s, 40 s left",
        "collecting toy, episodes 30/30, 0.5/s, 0 s left",
    ]


def test_trials_show_their_stages_and_how_many_have_ended(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.Display(4, done=1) as display:
        for step in range(0, 41, 10):
            display.update("toy.lewm.s0", "train", step, 40)
            clock[0] += 4
        display.finish("toy.lewm.s0", "ok, 20 s")
    first, second, last = (record.message for record in caplog.records)
    assert first == "toy.lewm.s0 train 0/40"
    assert re.fullmatch(r"toy\.lewm\.s0 train 30/40, 2\.5/s, 4 s left", second)
    assert last == "toy.lewm.s0: ok, 20 s (trials 2/4, 0.05/s, 40 s left)"


def test_the_time_left_follows_from_what_each_item_may_take(monkeypatch, caplog):
    """A long training, and then three short evaluations that wait for it."""
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    costs = {"noop": 1.0, "training": 100.0, "a": 10.0, "b": None, "c": 11.0}  # b: the median
    with progress.Display(5, costs=costs) as display:
        clock[0] += 2
        display.finish("noop", "ok, 2 s")  # too little to tell
        clock[0] += 200  # this machine takes twice as long
        display.finish("training", "ok, 200 s")
        clock[0] += 20
        display.finish("a", "ok, 20 s")
    assert [record.message for record in caplog.records] == [
        "noop: ok, 2 s (trials 1/5)",
        "training: ok, 200 s (trials 2/5, 63 s left)",
        "a: ok, 20 s (trials 3/5, 43 s left)",
    ]


def test_where_no_cost_is_known_the_rate_says_how_long(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.Display(2, costs={"a": None, "b": None}) as display:
        clock[0] += 20
        display.finish("a", "ok")
    assert caplog.records[0].message == "a: ok (trials 1/2, 0.05/s, 20 s left)"
