"""The figures of episodes and the GIFs: who has a row, which pictures, and the words."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from synthetic_run import film, outcome

from harness import report
from harness.report import load, success_rates
from harness.report.figures import episodes, style

SWEPT = [("sweep", "method.lewm.sigreg_weight", 0, 0.1, "1")]


def data(run):
    tables = load.load(str(run.folder))
    return episodes.data(tables, success_rates.estimates(success_rates.outcomes(tables)))


def who(frame, task):
    own = frame[frame["task"] == task].drop_duplicates("who")
    return dict(zip(own["who"], own["label"], strict=True))


def drawn(frame):
    """The words of a figure, those over pictures and beside rows."""
    with style.style():
        return [text.get_text() for text in episodes.draw(frame).axes[0].texts]


def test_the_recording_the_best_and_the_worst_method_have_a_row(run):
    success = {"noop": 1, "heuristic": 9, "random": 2, "pldm": 3, "lewm": 7, "ema_jepa": 5}
    for method, count in success.items():
        run.trial("push_t", method, outcome=outcome(count, 10), frames=film(14, True))
        run.trial("two_room", method, outcome=outcome(10 - count, 10), frames=film(14, True))
    run.trial("push_t", "replay", outcome=outcome(10, 10), frames=film(14, True))
    run.trial("cube", "lewm", outcome=np.ones(3))  # written before there were pictures
    frame = data(run)
    assert frame["task"].unique().tolist() == ["two_room", "push_t"]
    assert who(frame, "push_t") == {"recorded": "Replay", "best": "LeWM", "worst": "PLDM"}
    assert who(frame, "two_room") == {"recorded": "Heuristic", "best": "PLDM", "worst": "LeWM"}
    beside = " ".join(drawn(frame[frame["task"] == "push_t"])).replace("\n", " ")
    for words in ("Recorded solved at step 14", "LeWM best: 70 %", "PLDM worst: 30 %"):
        assert words in beside, words
    assert "Heuristic" in " ".join(drawn(frame[frame["task"] == "two_room"]))


@pytest.mark.parametrize("methods", [["lewm"], ["true_state"]])
def test_one_method_has_one_row(run, methods):
    run.trial(method=methods[0], outcome=np.ones(3), frames=film(14, True))
    assert list(who(data(run), "two_room")) == ["best"]


def test_a_ceiling_is_neither_best_nor_worst_among_methods(run):
    for method, count in (("true_state", 10), ("lewm", 5), ("pldm", 4)):
        run.trial(method=method, outcome=outcome(count, 10), frames=film(14, True))
    assert who(data(run), "two_room") == {"best": "LeWM", "worst": "PLDM"}


def test_a_row_is_of_the_first_seed(run):
    for seed, steps in ((1, 9), (0, 14)):
        run.trial(seed=seed, outcome=np.ones(3), frames=film(steps, True))
    assert data(run)["step"].tolist() == [0, 5, 10, 14, 25]


def test_protocols_are_not_mixed(run):
    for protocol in ("lewm-v3", "strict"):
        for method in ("lewm", "pldm"):
            key = f"{method}{protocol}"
            run.trial("toy", method, key=key, protocol=protocol, frames=film(14, True), outcome=[1])
    frame = data(run)
    (protocol,) = load.load(str(run.folder)).cells.loc[frame["cell"].unique(), "protocol"].unique()
    assert list(who(frame, "toy")) == ["best", "worst"]
    (other,) = {"lewm-v3", "strict"} - {protocol}
    report.write(run.folder)
    captions = (run.folder / "figures" / "captions.md").read_text()
    caption = captions.partition("## episodes_toy")[2].partition("##")[0]
    assert f"protocol {protocol}" in caption and f"protocol {other}" not in caption


def test_the_trials_of_a_sweep_have_no_row(run):
    run.trial(outcome=np.ones(3), frames=film(14, True), metrics=SWEPT)
    assert data(run).empty


def test_figure_gif_and_page(run):
    run.trial(method="lewm", outcome=np.ones(3), frames=film(14, True))
    run.trial(method="heuristic", outcome=np.zeros(3), frames=film(50, False))
    report.write(run.folder)
    svg = (run.folder / "figures" / "episodes_two_room.svg").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))
    for known in ("solved at step 14", "not solved", "step 50", "goal", "best: 100 %"):
        assert known in words, known
    captions = (run.folder / "figures" / "captions.md").read_text()
    assert "Pair 7 (detour)" in captions
    assert Image.open(run.folder / "figures" / "episodes_two_room.png").width == 1600
    page = (run.folder / "index.html").read_text()
    assert '<a href="figures/episode_two_room.gif">Two-Room as gif</a>' in page
    gif = Image.open(run.folder / "figures" / "episode_two_room.gif")
    assert gif.n_frames == 4  # start, 5, 10, 14 of LeWM
    gif.seek(3)
    left = np.asarray(gif.convert("L"))[150, 100]
    assert abs(int(left) - (250 - 14)) < 4 and np.asarray(gif.convert("L"))[150, 400] < 4
    assert gif.info["duration"] > 2000


def test_long_episodes_are_thinned_alike_and_keep_their_end(run):
    run.trial(method="lewm", outcome=np.ones(3), frames=film(150, False))
    run.trial(method="heuristic", outcome=np.ones(3), frames=film(47, True))
    words = [text for text in drawn(data(run)) if text.startswith(("start", "step", "goal"))]
    assert words == [
        *("start", "step 25", "step 47", "goal"),
        *("start", *(f"step {step}" for step in range(25, 151, 25)), "goal"),
    ]


def test_pictures_keep_their_bytes(run):
    run.trial(outcome=np.ones(3), frames=film(14, True))
    frame = data(run)
    goal = frame.loc[frame["is_goal"], "image"].iloc[0]
    assert Image.open(io.BytesIO(goal)).getpixel((3, 3)) == (0, 0, 0)


def test_a_caption_explains_the_rows_that_are_there(run):
    run.trial("push_t", method="lewm", outcome=np.ones(3), frames=film(14, False))
    one = episodes._caption(data(run))
    assert "Recorded" not in one and "worst" not in one and "Green" not in one
    run.trial("push_t", method="pldm", outcome=np.zeros(3), frames=film(14, True))
    run.trial("push_t", method="replay", outcome=np.ones(3), frames=film(14, True))
    every = episodes._caption(data(run))
    assert "Recorded: the data's own" in every and "Best and worst" in every and "Green" in every
