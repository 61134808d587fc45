"""The figure of maps: states stand where pictures show them."""

from __future__ import annotations

import pytest
from synthetic_run import outcome

from harness.report import load
from harness.report.figures import geometry, style


@pytest.mark.parametrize(("unit", "is_downwards"), [("px", True), ("m", False)])
def test_states_in_pixels_have_y_downwards_as_pictures_do(run, unit, is_downwards):
    names = {"tsne_1": "", "tsne_2": "", "agent_x": unit, "agent_y": unit}
    points = [("map", name, i, float(i), own) for name, own in names.items() for i in range(4)]
    run.trial(outcome=outcome(5), metrics=points)
    with style.style():
        figure = geometry.figures(load.load(str(run.folder)))["map_two_room"].figure
    states, latents = figure.axes
    bottom, top = states.get_ylim()
    assert (bottom > top) == is_downwards
    assert latents.get_ylim()[0] < latents.get_ylim()[1]  # t-SNE has no up and down
