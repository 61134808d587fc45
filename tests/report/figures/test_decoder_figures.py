"""The decoder's figures: lines over the horizon, and a figure of pictures for each task."""

from __future__ import annotations

import re

import pytest
from synthetic_run import film, links, outcome, picture

from harness import report
from harness.records.metric_names import PictureName
from harness.report import load, success_rates
from harness.report.figures import decoder, episodes, style

BLOCKS = 4


def measured(level):
    """Metrics of stage "decoder": imagined pictures fall off, copied ones are the same for all."""
    levels = {"decoded": level, "imagined": level - 1, "copied": 20.0, "mean": 18.0}
    return [
        ("decoder", PictureName(source, measure).text(), k, first - k * (measure == "psnr"), "")
        for source, first in levels.items()
        for measure in ("psnr", "ssim")
        for k in range(source in ("imagined", "copied"), BLOCKS + 1)
    ]


def pictures(grey):
    """Frames of stage "decoder" of one window."""
    return [
        (7, "", kind, 5 * k, False, picture(grey - k), "decoder")
        for kind in ("real", "decoded", "imagined")
        for k in (0, 1, 2, 4)
    ]


@pytest.fixture
def drawn(run):
    for method, level in (("lewm", 30.0), ("pldm", 28.0)):
        for seed in (0, 1):
            metrics = measured(level + seed)
            run.trial(
                "push_t", method, seed, outcome(10), metrics=metrics,
                frames=[*film(14, True), *pictures(200)],
            )  # fmt: skip
    run.trial("cube", "lewm", outcome=outcome(10), metrics=measured(25.0), frames=pictures(90))
    return run


def test_lines_are_means_over_seeds(drawn):
    tidy = decoder.data(load.load(str(drawn.folder)))
    own = tidy[(tidy["task"] == "push_t") & (tidy["measure"] == "psnr")]
    by = own.set_index(["label", "source", "index"])["mean"].sort_index()
    assert by["LeWM", "decoded", 0] == 30.5 and by["PLDM", "imagined", 3] == 24.5
    assert by["LeWM", "copied"].to_dict() == {1: 19, 2: 18, 3: 17, 4: 16}


def test_what_no_model_draws_is_there_once(drawn):
    tidy = decoder.data(load.load(str(drawn.folder)))
    with style.style():
        figure = decoder.draw(tidy[tidy["task"] == "push_t"])
    grey = [line for line in figure.axes[0].lines if line.get_color() == style.FAINT]
    assert len(grey) == 2 and len(figure.axes[0].lines) == 2 + 2 * 2


def test_protocols_are_not_mixed(drawn):
    drawn.trial(
        "push_t", "lewm", 0, outcome(10), metrics=measured(90.0), frames=pictures(200),
        key="other", protocol="strict", protocol_hash="zzz",
    )  # fmt: skip
    tidy = decoder.data(load.load(str(drawn.folder)))
    own = tidy[(tidy["task"] == "push_t") & (tidy["measure"] == "psnr")]
    assert own["mean"].max() == 30.5


def test_a_figure_of_pictures_a_task(drawn):
    paths = report.write(drawn.folder)
    names = {path.rpartition("/")[2] for path in paths}
    assert {
        "decoder_cube.png",
        "decoder_push_t.svg",
        "imagined_push_t.png",
        "imagined_cube.svg",
    } <= names
    svg = (drawn.folder / "figures" / "imagined_push_t.svg").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))
    for known in ("real", "LeWM", "PLDM", "imagined", "first frame", "step 20"):
        assert known in words, known
    assert words.count("decoded") == words.count("imagined") == 2  # a row a method
    page = (drawn.folder / "index.html").read_text()
    assert "<h2>What latents hold and what rollouts imagine</h2>" in page
    for link in links(drawn):
        assert (drawn.folder / link).is_file(), link
    (drawn.folder / "figures" / "imagined_reacher.png").write_bytes(b"of an earlier report")
    report.write(drawn.folder)
    assert not (drawn.folder / "figures" / "imagined_reacher.png").exists()


def test_pictures_of_at_most_three_methods(drawn):
    for method in ("ema_jepa", "smwm"):
        drawn.trial("push_t", method, 0, outcome(10), metrics=measured(9.0), frames=pictures(200))
    with style.style():
        known = decoder.figures(load.load(str(drawn.folder)))["imagined_push_t"]
    assert len(known.figure.axes[0].images) == 4 * (1 + 2 * 3)
    assert "Not drawn, for want of room: EMA JEPA" in known.caption
    assert {image.get_size()[0] >= 96 for image in known.figure.axes[0].images} == {True}


def test_the_figure_of_episodes_shows_episodes_alone(drawn):
    tables = load.load(str(drawn.folder))
    frame = episodes.data(tables, success_rates.estimates(success_rates.outcomes(tables)))
    assert set(frame["task"]) == {"push_t"}
    assert set(frame["kind"]) == {"start", "block", "end", "goal"}
