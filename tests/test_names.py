"""Any character that a name or a path may have, in every place it ends up."""

import dataclasses
import html.parser
import io
import os
import re
import shlex
import urllib.parse
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import hypothesis
import numpy as np
import optuna
import pandas as pd
import pytest
import tiny
from hypothesis import strategies as st
from report import synthetic_run

from harness import report, run, trial
from harness.experiment import command_line, config, trial_row
from harness.experiment.run_folders import RunFolders
from harness.records import rows
from harness.report import format, page, render
from harness.runtime import command
from harness.sweep import search, space

SPECIAL = " !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~\t\né\u0301日\u202e\u200d😀"
TEXT = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters()), min_size=1, max_size=60)
OF_ROWS = TEXT.filter(lambda text: not re.search("[\ud800-\udfff]", text))  # Parquet holds UTF-8
# a folder's name, and a variant that a method from outside may give its trials
NASTY = "a$b_c$ {d} #1?x=1%20&<b>'\"\\ [red]x] :car: é~^`*|-日"


def settings(examples):
    return hypothesis.settings(max_examples=examples, deadline=None, derandomize=True)


def named(name, results):
    return dataclasses.replace(config.parse([]), run=name, results=str(results))


def refusal(run):
    """What is said of a run whose name is refused, None for one that is not."""
    try:
        command_line.local_paths(run)
    except config.ConfigError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("names")


@settings(400)
@hypothesis.given(TEXT)
def test_a_run_s_name_is_that_of_its_folder_or_is_refused(folder, name):
    said = refusal(named(name, folder))
    if said is not None:
        assert said.isprintable() and ("a name, not a path" in said or "printable text" in said)
        return
    for results in (folder / "local", f"file://{urllib.parse.quote(str(folder))}/remote"):
        made = command_line.local_paths(named(name, results)).folder
        row = rows.TrialRow(*["x"] * 6, 0, *["x"] * 7)
        trial = rows.folder_name(row.key, row.config_hash)
        rows.write(f"{made}/trials/{trial}", dataclasses.replace(row, run=name), [], [])
        assert rows.read_trial(f"{made}/trials/{trial}").run == name
        assert (folder / str(results).rpartition("/")[2] / name / "trials" / trial).is_dir()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/", "a\0", "a\nb", "\x1b[31m", "\udcff", "\ufffe", "é" * 128]
)
def test_what_cannot_be_a_folder_s_name_is_refused(tmp_path, name):
    assert refusal(named(name, tmp_path)) is not None


@pytest.mark.parametrize("name", [NASTY, "-x", "~", "a" * 255, "é" * 127, "e\u0301", "...", "a:b"])
def test_what_can_be_a_folder_s_name_is_taken(tmp_path, name):
    assert refusal(named(name, tmp_path)) is None


@pytest.mark.parametrize("key", ["results", "datasets"])
def test_a_path_that_is_not_text_is_refused(tmp_path, key):
    odd = dataclasses.replace(named("x", tmp_path), **{key: "/tmp/\udcff"})
    assert refusal(odd).startswith(f"{key}='/tmp/\\udcff' is not text in UTF-8")


def test_a_trial_runs_below_odd_folders_and_its_error_is_one_line(tmp_path):
    folders = RunFolders(str(tmp_path / NASTY), NASTY, "smoke", str(tmp_path / f"data {NASTY}"))
    spec = dataclasses.replace(tiny.spec("random"), variant=NASTY)
    assert trial.run(spec, folders, tiny.quiet).status == "ok"
    failed = trial.record_failure(
        spec, folders, trial_row.error_line(OSError("\x1b[31mred\udcff\n"), folders)
    )
    assert failed.error == "OSError: [31mred"


# -- databases and commands


@settings(25)
@hypothesis.given(TEXT)
@hypothesis.example("a?b#c%20d")
@hypothesis.example("?mode=memory")
def test_a_study_lies_in_the_run_s_folder(folder, name):
    hypothesis.assume(refusal(named(name, folder)) is None)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    words = ["task=toy", "method=lewm", "space.train.lr=log:0.001:1.0", "scale=tiny"]
    made = space.parse([*words, f"results={folder}", "run=x"])
    sweep = dataclasses.replace(made, run=dataclasses.replace(made.run, run=name))
    os.makedirs(folder / name, exist_ok=True)
    search.open_study(sweep)
    assert (folder / name / search.STUDY_FILE).is_file()


@settings(200)
@hypothesis.given(st.lists(TEXT, min_size=1, max_size=3))
def test_the_command_that_is_shown_is_the_one_that_was_issued(words):
    said = io.StringIO()
    spec = tiny.spec("random")
    nowhere = RunFolders("/nonexistent", "r", "smoke", "/nonexistent")
    words = [word.replace("\0", "") for word in words]  # no argument holds one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command.console, "_file", said)  # `file` would keep what it gives now
        run._show_failures([spec], nowhere, words)
    typed = shlex.split(said.getvalue().partition("to retry them: ")[2])
    assert typed == [*shlex.split(command.module("harness.run")), *words]


# -- tables


def table(text):
    frame = pd.DataFrame({"Method": [text], "Success %": ["1.0"]})
    return format.Table("t", "Title", frame, [format.Section(text, text, frame)])


class Words(html.parser.HTMLParser):
    """The texts, links and tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.links, self.tags, self.ids = [], [], set(), []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name == "href"]
        self.ids += [value for name, value in attributes if name == "id"]


@settings(300)
@hypothesis.given(OF_ROWS)
def test_a_label_stays_one_cell_of_every_table(label):
    made = table(label)
    shown = Words(page._template("parts.html.j2").module.section_table(made.sections[0]))
    assert shown.tags == {"div", "table", "thead", "tbody", "tr", "th", "td"}
    lines = render._markdown_table(made.sections[0]).split("\n")
    assert len(lines) == 3 and len(re.findall(r"(?<!\\)(?:\\\\)*\|", lines[2])) == 3
    tex = render._tex_table(made.sections[0])
    row = re.sub(r"\\[a-zA-Z]+\{\}|\\[&%$#_{}]", "", tex.split("\\midrule\n")[1].split("\n")[0])
    assert row.count("&") == 1 and not re.search(r"[%#_^~]", row)
    assert tex.count("\n") == 11
    hypothesis.assume("\r" not in label and "\0" not in label)  # pandas reads both otherwise
    again = pd.read_csv(io.StringIO(render.csv(made)), keep_default_na=False, dtype=str)
    assert again["Method"].tolist() == [label]


# -- the report of a run all of whose names are nasty


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / NASTY
    made = synthetic_run.SyntheticRun(root)
    rng = np.random.default_rng(0)
    for i, method in enumerate(["_hidden", NASTY]):
        made.trial(
            task="two_room",
            method=method,
            outcome=rng.random(8) < 0.5,
            strata=(NASTY,),
            metrics=[
                *synthetic_run.plan_metrics(rng, 0.2),
                *synthetic_run.train_metrics(rng, ["loss", "$x", "_y", "latent_std"]),
                ("sweep", "method.a$_b", i, float("nan"), NASTY),
            ][: None if i else -1],
            frames=synthetic_run.film(10, True, stratum=NASTY),
            key=f"two_room.{NASTY}.s{i}",
            run=NASTY,
            variant=NASTY if i else "",
            device=NASTY,
        )
    made.trial(method="lewm", status="error", error=NASTY, run=NASTY, key=f"{NASTY}.failed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The copy keyword is deprecated")  # of pandas by seaborn
        report.write(str(root))
    return root


def test_a_page_shows_the_names_and_all_its_links_resolve(reported):
    shown = Words((reported / "index.html").read_text())
    assert f"Report of {NASTY}" in shown.texts and "b" not in shown.tags
    assert any(NASTY in text for text in shown.texts if text.endswith(".parquet"))
    assert len(shown.links) > 20
    assert len(shown.ids) == len(set(shown.ids))
    for link in shown.links:
        parts = urllib.parse.urlsplit(link)
        if link.startswith("#"):
            assert link[1:] in shown.ids, link
            continue
        if link == "data:,":  # no icon, which a browser would ask for
            continue
        assert not parts.query and not parts.fragment
        assert (reported / urllib.parse.unquote(parts.path)).is_file(), link


def test_figures_show_the_names_as_they_are(reported):
    for name in ("success", "plan_time", "training_two_room", "episodes_two_room", "sweep"):
        texts = "".join(ET.parse(reported / "figures" / f"{name}.svg").getroot().itertext())
        together = re.sub(r"\s", "", texts)
        if name != "sweep":
            assert "_hidden" in together, name
        assert "mathdefault" not in together


def test_captions_show_the_names_as_they_are(reported):
    captions = (reported / "figures" / "captions.md").read_text()
    page = Words((reported / "index.html").read_text())
    for name in ("success", "plan_time", "training_two_room", "episodes_two_room", "sweep"):
        caption = captions.partition(f"## {name}\n\n")[2].partition("\n## ")[0]
        assert render._markdown_text(f"Run {NASTY}") in caption, name
    assert sum(f"Run {NASTY}" in text for text in page.texts) >= 5


def test_an_axis_of_many_decades_has_powers_of_ten(tmp_path):
    made, rng = synthetic_run.SyntheticRun(tmp_path), np.random.default_rng(0)
    curve = [("train", "loss", i, 10.0**-i, "1") for i in range(6)]
    made.trial(outcome=rng.random(8) < 0.5, metrics=curve)
    report.write(str(tmp_path))
    svg = (Path(tmp_path) / "figures" / "training_two_room.svg").read_text()
    assert "10⁻⁴" in svg
