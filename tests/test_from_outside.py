"""What one change touches: a method, a task and a metric from outside the package are one entry
each, and --help, a run, its tables and its figures have them.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import tiny

from baselines import pldm
from harness import run, trial, zoo
from harness.contracts.method import Method
from harness.contracts.setting import setting
from harness.experiment.run_folders import RunFolders
from harness.records import rows
from harness.report import format
from harness.report.tables import stability
from harness.tasks import toy
from harness.trial_context import Result
from lewm import model as lewm


@dataclass(frozen=True)
class ScaledConfig(lewm.LeWMConfig):
    """LeWM's keys and one more; a scale sizes it by its base class."""

    factor: float = setting(2.0, "What the loss is multiplied by.", gt=0)


class Scaled(lewm.LeWM):
    """LeWM with a multiple of its loss."""

    def __init__(self, config, dims):
        super().__init__(config, dims)
        self.factor = config.factor

    def loss(self, batch):
        terms = super().loss(batch)
        return terms | {"loss": self.factor * terms["loss"], "outside_term": terms["pred"] + 1}


class Meadow(toy.Toy):
    """The toy task under another name."""

    spec = dataclasses.replace(
        toy.SPEC, name="meadow", label="Meadow", about="A point on a meadow."
    )


def horizon(context):
    """The stage "outlook": a number for each trained model."""
    blocks = float(context.config.mpc.horizon_blocks)
    return Result([rows.MetricRow(context.key, "outlook", "horizon", 0, blocks, "blocks")])


COLUMN = format.Column(
    "Outlook, blocks", "outlook_blocks", format.metric("outlook", "horizon"), format.whole
)


@pytest.fixture(scope="module")
def outside():
    """The entries, one each."""
    with pytest.MonkeyPatch.context() as patch:
        method = Method("Scaled LeWM", ScaledConfig, Scaled, trained=True, about="A multiple.")
        patch.setitem(zoo.METHODS, "scaled", method)
        patch.setitem(zoo.TASKS, "meadow", Meadow())
        patch.setitem(trial.STAGES, "outlook", trial.Stage(horizon))
        patch.setattr(stability, "COLUMNS", [*stability.COLUMNS, COLUMN])
        yield


@pytest.fixture(scope="module")
def folder(outside, tmp_path_factory):
    """A run of the new method on the new task, and its report."""
    results = tmp_path_factory.mktemp("outside")
    words = ["suite=smoke", "scale=tiny", "device=cpu", "backend=loop", "run=r", "tasks=[meadow]"]
    words += ["methods=[lewm,scaled,random]", "method.scaled.factor=3"]
    words += [f"results={results}", f"datasets={results}/data"]
    assert run.main(words) == 0
    return results / "r"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("methods", ("scaled", "A multiple.")),
        ("tasks", ("meadow", "A point on a meadow.")),
        ("method.scaled", ("factor", "sigreg_weight")),
        ("method.scaled.factor", ("What the loss is multiplied by.", "2.0")),
    ],
)
def test_the_help_pages_have_them(outside, capsys, page, words):
    assert run.main(["--help", page]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words)


def test_the_rows_have_their_labels(folder):
    tables = rows.read(str(folder))
    trials = tables.trial.set_index("method")
    assert set(trials["status"]) == {"ok"} and set(trials["task_label"]) == {"Meadow"}
    assert trials.loc["scaled", "method_label"] == "Scaled LeWM"
    known = tables.metrics[tables.metrics["stage"] == "outlook"]
    assert set(known["key"]) == {"meadow.lewm.s0", "meadow.scaled.s0"}


def test_the_tables_have_them(folder):
    for name in ("success", "efficiency", "stability"):
        csv = pd.read_csv(folder / "tables" / f"{name}.csv")
        assert "Scaled LeWM" in set(csv["label"]) and set(csv["task"]) == {"meadow"}
        markdown = (folder / "tables" / f"{name}.md").read_text()
        assert "Scaled LeWM" in markdown and "Meadow" in markdown
    csv = pd.read_csv(folder / "tables" / "stability.csv").set_index("method")
    assert csv["outlook_blocks"].notna().all() and "final_outside_term" in csv
    assert "Outlook, blocks" in (folder / "tables" / "stability.md").read_text()
    assert list(pd.read_csv(folder / "tables" / "success.csv")["method"])[-1] == "random"


@pytest.mark.parametrize("name", ["headline", "success", "plan_time", "stability", "episodes"])
def test_the_figures_have_them(folder, name):
    svg = (folder / "figures" / f"{name}.svg").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))
    assert "Scaled LeWM" in words and "Meadow" in words


def test_the_page_has_them(folder):
    page = (folder / "index.html").read_text()
    assert "Scaled LeWM" in page and "Outlook, blocks" in page
    assert "<a href='figures/episode_meadow.gif'>Meadow</a>" in page


def test_the_readmes_method_trains_and_is_planned_with(datasets, tmp_path, monkeypatch):
    """README's example, with the imports of baselines/pldm.py as it says."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    names = vars(pldm) | {"__name__": "my_method"}
    module = types.ModuleType("my_method")
    monkeypatch.setitem(sys.modules, "my_method", module)  # dataclasses look their module up
    exec(code, names)
    method = Method("My method", names["MyConfig"], names["MyMethod"], trained=True)
    monkeypatch.setitem(zoo.METHODS, "my_method", method)
    spec = tiny.spec("my_method", "method.my_method.weight=0.5")
    row = trial.run(
        spec, RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets)), lambda *_: None
    )
    assert row.status == "ok", row.error
    assert row.method_label == "My method" and row.train_steps == 20
