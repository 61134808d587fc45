"""The figure of episodes and its GIFs: who has a row, which pictures, and the words."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image
from synthetic_run import film

from harness import report
from harness.report import load
from harness.report.figures import episodes

SWEPT = [("sweep", "method.lewm.sigreg_weight", 0, 0.1, "1")]


def scenes(run):
    return episodes.scenes(load.load(str(run.folder)))


def labels(run):
    return {scene.task: [strip.label for strip in scene.strips] for scene in scenes(run)}


def test_a_row_for_every_trained_method_and_the_heuristic(run):
    for task in ("push_t", "two_room"):
        for method in ("noop", "heuristic", "random", "pldm", "lewm", "replay"):
            run.trial(task, method, outcome=np.ones(3), frames=film(14, True))
    run.trial("cube", "lewm", outcome=np.ones(3))  # written before there were pictures
    assert labels(run) == {task: ["LeWM", "PLDM", "Heuristic"] for task in ("two_room", "push_t")}
    assert [scene.title for scene in scenes(run)] == [
        "Two-Room: detour, pair 7",
        "Push-T: detour, pair 7",
    ]


def test_a_row_is_of_the_first_seed_and_the_first_setting(run):
    for seed, steps in ((1, 9), (0, 14)):
        run.trial(seed=seed, outcome=np.ones(3), frames=film(steps, True))
    other = {"setting_hash": "z", "config": "mpc: {horizon_blocks: 9}"}
    run.trial(key="b", outcome=np.ones(3), frames=film(20, True), **other)
    (scene,) = scenes(run)
    (strip,) = scene.strips
    assert strip.path["step"].tolist() == [0, 5, 10, 14]


def test_protocols_are_not_mixed(run):
    for protocol in ("lewm-v3", "strict"):
        for method in ("lewm", "pldm"):
            key = f"{method}{protocol}"
            run.trial("toy", method, key=key, protocol=protocol, frames=film(14, True), outcome=[1])
    (scene,) = scenes(run)
    cells = load.load(str(run.folder)).cells
    own = {cell for strip in scene.strips for cell in strip.path["cell"]}
    assert len(scene.strips) == 2 and cells.loc[sorted(own), "protocol"].nunique() == 1
    (protocol,) = cells.loc[sorted(own), "protocol"].unique()
    (other,) = {"lewm-v3", "strict"} - {protocol}
    report.write(run.folder)
    captions = (run.folder / "figures" / "captions.md").read_text()
    caption = captions.partition("## episodes")[2].partition("##")[0]
    assert f"protocol {protocol}" in caption and f"protocol {other}" not in caption


def test_variants_are_left_out_where_there_are_many_rows(run):
    for i in range(9):
        name = {"key": f"v{i}", "variant": f"v{i}" if i else "", "setting_hash": str(i)}
        run.trial(outcome=np.ones(3), frames=film(14, True), **name)
    run.trial(method="heuristic", outcome=np.ones(3), frames=film(9, True))
    assert labels(run) == {"two_room": ["LeWM", "Heuristic"]}


def test_the_trials_of_a_sweep_have_no_row(run):
    run.trial(outcome=np.ones(3), frames=film(14, True), metrics=SWEPT)
    assert scenes(run) == []


def test_figure_gif_and_page(run):
    run.trial(method="lewm", outcome=np.ones(3), frames=film(14, True))
    run.trial(method="heuristic", outcome=np.zeros(3), frames=film(50, False))
    report.write(run.folder)
    svg = (run.folder / "figures" / "episodes.svg").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))
    for known in ("solved at step 14", "not solved", "step 50", "goal", "pair 7"):
        assert known in words, known
    assert Image.open(run.folder / "figures" / "episodes.png").width == 1800
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
    (scene,) = scenes(run)
    steps = [s.path["step"].iloc[episodes.drawn_rows(s, scene)].tolist() for s in scene.strips]
    assert steps == [[*range(0, 150, 15), 150], [0, 15, 30, 45, 47]]


def test_pictures_keep_their_bytes(run):
    run.trial(outcome=np.ones(3), frames=film(14, True))
    (scene,) = scenes(run)
    assert Image.open(io.BytesIO(scene.strips[0].goal)).getpixel((3, 3)) == (0, 0, 0)
