"""What the page says and holds; how it looks and works stands in test_browser.py."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from planned_run import HOSTILE, LABELS, planned
from synthetic_run import links

from harness import report
from harness.records import plan
from harness.report import __main__ as command
from harness.report import load, page, success_rates
from harness.report.page import inline_svg, main_table, payload, progress, provenance


def text(run):
    return (run.folder / "index.html").read_text()


def block(run, name):
    """The content of a JSON block, as the page's script reads it."""
    pattern = rf'<script type="application/json" id="{name}">(.*?)</script>'
    return json.loads(re.search(pattern, text(run), re.S)[1])


def rows(run, table):
    """The cells of a table's lines, as words."""
    part = text(run).partition(table)[2].partition("</table>")[0].partition("<tbody>")[2]
    lines = re.findall(r"<tr.*?>(.*?)</tr>", part, re.S)
    return [
        [html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.split(r"</td>", line)]
        for line in lines
    ]


def test_the_same_rows_give_the_same_bytes(run, success):
    run.trial(outcome=success, metrics=[("train", "loss", i, 1.0 / (i + 1), "1") for i in range(9)])
    run.trial(method="random", outcome=np.zeros(10))
    report.write(run.folder)
    before = text(run)
    script = "import sys; from harness import report; report.write(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(run.folder)], check=True)
    assert text(run) == before


def test_links_lead_to_files_and_nothing_comes_from_a_network(reported):
    found = links(reported)
    assert all((reported.folder / link).is_file() for link in found)
    parquet = {
        path.relative_to(reported.folder).as_posix() for path in reported.folder.rglob("*.parquet")
    }
    assert parquet <= set(found)
    assert set(re.findall(r"https?:[^\"' ]*", text(reported))) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link [^>]*stylesheet|<script src|@import|url\((?!#f)", text(reported))


def test_labels_with_markup_are_words_everywhere(reported):
    page = text(reported)
    assert "<b onmouseover" not in page and "<i>no disk" not in page
    assert page.count("<script") == page.count("</script>") == 3  # films, curves, the page's own
    assert sum(HOSTILE in row[1] for row in rows(reported, 'id="main"')) == 1


def test_missing_trials_are_holes_with_reasons(reported):
    holes = {row[0]: row[1:3] for row in rows(reported, 'id="missing"')}
    assert holes == {
        "two_room.pldm.s0": ["running", "train 350 of 700"],
        "two_room.gcbc.s0": ["failed", "OSError: <i>no disk</i>"],
        "two_room.pldm.s1": ["not run yet", ""],
    }
    in_main = [" ".join(row) for row in rows(reported, 'id="main"')]
    for words in ("running two_room.pldm.s0: train 350", "not run yet two_room.pldm.s1"):
        assert sum(words in row for row in in_main) == 1
    assert any(f"{HOSTILE}" in row and "failed two_room.gcbc.s0" in row for row in in_main)
    page = re.sub(r"<[^>]+>|\s+", " ", text(reported))
    words = "Of the last command: 1 done, 1 running, 1 left, 1 failed"
    assert words in re.sub(r"\s+", " ", page).replace(" ,", ",").replace("  ", " ")
    assert "about 2.0 h" in page


def test_a_hole_is_what_the_plan_and_the_rows_say(run, success):
    run.trial(method="lewm", outcome=success, stages="train control")
    run.trial(method="pldm", status="error", error="OSError: x", started=1.0, ended=50.0)
    tables = load.load(str(run.folder))

    def state(*trials, marks=None):
        found = progress.holes(tables, progress.Progress(plan.Plan(list(trials)), marks or {}))
        return [(hole.key, hole.state, hole.reason) for hole in found]

    failed = ("two_room.pldm.s0", "failed", "OSError: x")
    assert state() == [failed]
    assert state(planned("lewm", stages=["train", "control"])) == [failed]
    # a failure of before the command waits to be run again; one of after it has ended
    again = (*failed[:1], "not run yet", "failed before: OSError: x")
    assert state(planned("pldm", planned=60.0)) == [again]
    assert state(planned("pldm", planned=40.0)) == [failed]
    # stages that were added are left; another configuration of the same key is another trial
    more = planned("lewm", stages=["train", "control", "decoder@12ab34cd"])
    assert state(more)[-1][1:] == ("not run yet", "stages to add: decoder")
    other = planned("lewm", config_hash="ffffffffff")
    assert state(other)[-1] == ("two_room.lewm.s0", "not run yet", "")
    refused = planned("lewm", seed=1, cannot_run="no GPU here")
    assert state(refused)[-1][2] == "no GPU here"
    mark = {other.folder: plan.Mark("control", 1, 4, 0.0)}
    assert state(other, marks=mark)[0][1:] == ("running", "control 1 of 4")


def test_the_main_table_has_the_numbers_of_the_table_of_success(reported):
    lines = [row for row in rows(reported, 'id="main"') if row[0] == "Push-T" and row[2] == "all"]
    table = pd.read_csv(reported.folder / "tables" / "success.csv")
    table = table[table["task"] == "push_t"].set_index("label")
    assert {row[1] for row in lines} == set(table.index)
    for _, label, _, success, _, interval, pairs, *_ in lines:
        known = table.loc[label]
        assert success == f"{known.success_pct:.1f}" and pairs == str(known.pairs)
        assert interval == f"[{known.low_pct:.1f}, {known.high_pct:.1f}]"
    strata = {row[2] for row in rows(reported, 'id="main"')}
    assert {"all", "not solved at start", "same room", "through door"} <= strata


def test_the_pandas_lines_read_the_rows(reported):
    (code,) = re.findall(r"<pre>(.*?)</pre>", text(reported), re.S)
    assert code.count("\n") == 2
    done = subprocess.run(
        [sys.executable, "-c", html.unescape(code)],
        **{"cwd": reported.folder, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    printed = dict(line.split() for line in done.stdout.splitlines() if line.startswith("push_t"))
    outcomes = load.load(str(reported.folder)).episodes.groupby("key")["success"].mean()
    assert float(printed["push_t.lewm.s0"]) == pytest.approx(outcomes["push_t.lewm.s0"])


def test_episodes_can_be_played_from_the_page(reported):
    films = block(reported, "films")
    assert [scene["task"] for scene in films["scenes"]] == ["Two-Room", "Push-T"]
    lewm, heuristic = films["scenes"][0]["strips"]
    assert [step for _, step, _ in lewm["frames"]] == [0, 5, 10, 14]
    assert [solved for *_, solved in lewm["frames"]] == [False, False, False, True]
    assert not any(solved for *_, solved in heuristic["frames"])
    # both start alike: the picture is there once
    assert lewm["frames"][0][0] == heuristic["frames"][0][0]
    assert len(films["images"]) == len(set(films["images"]))


def test_curves_are_thinned_and_keep_their_end(run):
    steps = range(0, 4000, 2)
    made = [("train", "loss", s, float("nan") if s == 3998 else 2.0**-s, "1") for s in steps]
    made += [("train", "pred", s, float("nan"), "1") for s in steps]
    made += [("train", "aux", s, 1.0 * s, "1") for s in steps]
    run.trial(outcome=np.ones(4), metrics=made)
    (task,) = payload.curves(load.load(str(run.folder)))
    assert list(task["terms"]) == ["loss", "aux"]  # a curve without a finite value is none
    points = task["terms"]["aux"][0]["points"]
    assert len(points) <= 150 and points[0] == [0, 0.0] and points[-1] == [3998, 3998.0]
    assert task["terms"]["loss"][0]["points"][-1] == [3998, None]


def test_protocols_stand_beside_one_another(reported):
    tables = load.load(str(reported.folder))
    named = {"clear-strict": {"planner.cem.candidates": {"two_room": "300", "push_t": "9"}}}
    ours, other = provenance.protocols(tables, named).rows
    assert (ours.name, ours.unlike) == ("quick-v1", [])
    assert ours.ids.startswith("Two-Room #") and ", Push-T #" in ours.ids
    assert other == provenance.Protocol(
        "clear-strict",
        "",
        [("planner.cem.candidates", "300; Push-T 9")],  # nothing of what it does not say
    )


def test_one_protocol_with_two_hashes_on_a_task_is_two(run, success):
    for pairs, digest in ((10, "a" * 12), (20, "b" * 12)):
        config = f"config: {{protocol: {{pairs: {pairs}}}}}"
        run.trial(key=digest, config=config, protocol_hash=digest, outcome=success)
    ours, other = provenance.protocols(load.load(str(run.folder)), {}).rows
    assert (ours.name, ours.ids) == ("quick-v1: pairs 10", "Two-Room #aaaaaaaa")
    assert (other.name, other.unlike) == ("quick-v1: pairs 20", [("protocol.pairs", "20")])


def test_settings_that_no_title_tells_apart_have_their_hash(run, success):
    for digest in ("a" * 12, "b" * 12):
        run.trial(key=digest, protocol_hash=digest, outcome=success)
    titles = set(provenance.titles(load.load(str(run.folder))).values())
    assert titles == {"quick-v1: #aaaaaaaa", "quick-v1: #bbbbbbbb"}


@pytest.fixture
def evaluated(run, success):
    """One training on two tasks, evaluated by CEM with 4 and 8 iterations and by MPPI with 8."""
    for task in ("two_room", "push_t"):
        trained = f"{task}.lewm.s0"
        curve = [("train", "loss", i, 1.0 / (i + 1), "1") for i in range(9)]
        run.trial(task, outcome=(), variant="training", metrics=curve, train_steps=9, train_s=1.0)
        for name, iterations in (("cem", 8), ("cem", 4), ("mppi", 8)):
            planner = f"planner_name: {name}, planner: {{candidates: 30, iterations: {iterations}}}"
            variant = f"{name}-{iterations}"
            run.trial(
                task,
                key=f"{task}.lewm.{variant}.s0",
                variant=variant,
                config=f"config: {{{planner}, protocol: {{offset_steps: 25}}}}",
                setting_hash=variant,
                protocol_hash=f"{task[0]}{name}{iterations}zzzz",
                weights_config_hash=trained,
                train_steps=9,
                outcome=success,
                metrics=[
                    ("sweep", f"planner.{name}.iterations", 0, float(iterations), "1"),
                    *(("plan_time", "solve_s_1", i, 0.1, "s") for i in range(3)),
                    ("latents", "latent_std", 0, 1.0, ""),
                ],
            )
    report.write(run.folder)
    return run


def test_the_menu_of_protocols_says_what_differs_and_the_page_opens_on_all(evaluated):
    menu = text(evaluated).partition('<select name="protocol">')[2].partition("</select>")[0]
    options = re.findall(r'<option value="(.*?)"( selected)?>(.*?)</option>', menu)
    assert [(value, words) for value, _, words in options] == [
        ("", "every protocol"),
        ("quick-v1: cem, iterations 4", "quick-v1: cem, iterations 4 (#tcem4zzz, #pcem4zzz)"),
        ("quick-v1: cem, iterations 8", "quick-v1: cem, iterations 8 (#tcem8zzz, #pcem8zzz)"),
        ("quick-v1: mppi", "quick-v1: mppi (#tmppi8zz, #pmppi8zz)"),
    ]
    assert not any(chosen for _, chosen, _ in options)  # the first one it is
    lines = rows(evaluated, 'id="main"')
    assert len({(line[0], line[1]) for line in lines}) == 6
    assert "quick-v1: mppi #tmppi8zz" in [" ".join(line[-2].split()) for line in lines]


def test_a_training_stands_in_one_line_however_often_it_is_evaluated(evaluated):
    page = text(evaluated)
    headings = re.findall(r"<h3>(.*?)</h3>", page)
    for kind in ("stability", "efficiency"):
        table = pd.read_csv(evaluated.folder / "tables" / f"{kind}.csv")
        trained = table if kind == "stability" else table[table["train_s"] > 0]
        assert trained["label"].tolist() == ["LeWM"] * 2
    assert headings.count("Two-Room, Push-T, quick-v1") == 2  # of efficiency and of stability
    assert headings.count("Two-Room, Push-T, quick-v1: one plan") == 1
    plans = (evaluated.folder / "tables" / "efficiency.md").read_text().partition("one plan")[2]
    assert "mppi" in plans and "quick-v1#tmppi8zz" in plans


def test_evaluations_stand_open_before_what_is_of_training(evaluated):
    page = text(evaluated)
    card = page.partition('id="evaluations">')[2].partition("</section>")[0]
    assert "<details open>" in card and "<svg" in card and "mppi-8" in card
    assert page.index('id="evaluations"') < page.index('id="training"')


def test_a_published_number_that_is_stale_has_no_mark(run, success):
    for method in ("random", "lewm"):
        run.trial(method=method, outcome=success)
    report.write(run.folder)
    known = {row[1]: row for row in rows(run, 'id="main"') if "all" in row}
    assert "0.0 (stale)" in known["Random"] and "87.0" in known["LeWM"]
    assert text(run).count('class="paper"') == 1  # LeWM's
    assert "Stale, and therefore without a diamond: Two-Room, Random" in text(run)


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    b' width="648pt" height="90pt" viewBox="0 0 648 90"><metadata>made by</metadata>'
    b'<defs><style>*{stroke-linecap: butt}</style><clipPath id="p"><rect id="r"/></clipPath></defs>'
    b'<g clip-path="url(#p)"><use xlink:href="#r" style="fill: #ffffff; stroke: #222222"/></g>'
    b"<text>a &lt;b&gt; #0072B2</text></svg>"
)


def test_a_figure_in_the_page_has_its_own_ids_and_both_colours():
    svg = inline_svg.inline(SVG, "f3-", 'x"y')
    assert 'id="f3-p"' in svg and "url(#f3-p)" in svg and 'href="#f3-r"' in svg
    assert "fill: var(--surface)" in svg and "stroke: light-dark(#222222,#" in svg
    assert "metadata" not in svg and "<style" not in svg and "http" not in svg
    assert "a &lt;b&gt; #0072B2" in svg and 'aria-label="x&quot;y"' in svg  # words are no colours


@pytest.mark.parametrize("colour", ["#332288", "#882255", "#117733", "#222222", "#000000"])
def test_lines_are_seen_in_the_dark(colour):
    dark = inline_svg.dark(colour)
    channels = [int(dark[i : i + 2], 16) for i in (1, 3, 5)]
    assert inline_svg._contrast(channels) >= 3


def test_grounds_stay_quiet_in_the_dark():
    for colour in ("#e6e6e6", "#fbe4e4", "#f7f7f7"):
        dark = inline_svg.dark(colour)
        assert inline_svg._contrast([int(dark[i : i + 2], 16) for i in (1, 3, 5)]) < 2


def test_a_run_is_watched_until_all_of_its_plan_has_ended(run, success, monkeypatch, capsys):
    run.trial(method="lewm", outcome=success)
    waits = planned("pldm")
    plan.write(str(run.folder), plan.Plan([planned("lewm"), waits]))
    pages = []

    def sleep(_):
        """What happens while the command sleeps: the waiting trial starts, then it ends."""
        pages.append(text(run))
        folder = str(run.folder / "trials" / waits.folder)
        with plan.marked(folder, lambda *_: None) as at:
            at("train", 1, 2)
            (run.folder / "mark").write_bytes(
                (run.folder / "trials" / waits.folder / plan.RUNNING).read_bytes()
            )
        if len(pages) == 1:
            mark = run.folder / "trials" / waits.folder / plan.RUNNING
            mark.write_bytes((run.folder / "mark").read_bytes())
        else:
            run.trial(method="pldm", outcome=np.zeros(10))

    monkeypatch.setattr(report.time, "sleep", sleep)
    assert command.main([str(run.folder), "--watch"]) == 0
    assert len(pages) == 2 and "LeWM" in capsys.readouterr().out
    assert "not run yet" in pages[0] and "train 1 of 2" in pages[1]
    assert all('http-equiv="refresh"' in page for page in pages)
    last = text(run)
    assert 'http-equiv="refresh"' not in last and "PLDM" in last and 'id="missing"' not in last


def test_a_watch_that_is_interrupted_leaves_a_page_that_stays(run, success, monkeypatch):
    run.trial(method="lewm", outcome=success)
    plan.write(str(run.folder), plan.Plan([planned("lewm"), planned("pldm")]))

    def interrupt(_):
        assert 'http-equiv="refresh"' in text(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(report.time, "sleep", interrupt)
    assert command.main([str(run.folder), "watch=true"]) == 130
    assert 'http-equiv="refresh"' not in text(run) and "not run yet" in text(run)


def test_a_plan_without_a_trial_has_a_page(run):
    run.folder.mkdir()
    plan.write(str(run.folder), plan.Plan([planned("lewm"), planned("gcbc")]))
    report.write(run.folder)
    assert [row[:2] for row in rows(run, 'id="missing"')] == [
        ["two_room.lewm.s0", "not run yet"],
        ["two_room.gcbc.s0", "not run yet"],
    ]
    assert {row[1] for row in rows(run, 'id="main"')} == {LABELS["lewm"], HOSTILE}


def test_what_a_suite_has_varied_leads_where_success_has_no_figure():
    def order(figures, has_lines=True):
        known = {"success": figures, "efficiency": [], "sweep": ["a"], "evaluations": ["b"]}
        chapters = [page.Chapter(name, name, own, [], []) for name, own in known.items()]
        return [chapter.id for chapter in page._leading(chapters, has_lines)]

    assert order([]) == ["evaluations", "sweep", "success"]
    assert order(["dots"]) == ["success", "evaluations", "sweep"]
    assert [c.id for c in page._leading([], True)] == ["success"]  # the main table needs a place
    assert page._leading([], False) == []


def test_policies_that_do_not_plan_have_no_planner_in_their_protocol(run, success):
    model = ("model", "window_frames", 0, 4, "frames")
    of_methods = {"lewm": [model, ("latents", "latent_std", 0, 1.0, "")], "gcbc": [model]}
    for iterations in (4, 8):
        for method in ("lewm", "gcbc", "random"):
            run.trial(
                method=method,
                key=f"two_room.{method}.{iterations}",
                setting_hash=str(iterations),
                protocol_hash=f"{iterations}" * 8,
                config=f"config: {{planner: {{iterations: {iterations}}}, protocol: {{pairs: 9}}}}",
                outcome=success,
                metrics=of_methods.get(method, []),
            )
    loaded = load.load(str(run.folder))
    assert loaded.methods["plans"].to_dict() == {"lewm": True, "gcbc": False, "random": False}
    estimates = success_rates.estimates(success_rates.outcomes(loaded))
    lines = main_table.lines(loaded, estimates, pd.DataFrame(), [])
    shown = {line.protocol_shown for line in lines if line.method.startswith("LeWM")}
    assert shown == {"quick-v1: iterations 4", "quick-v1: iterations 8"}
    others = {line.protocol_shown for line in lines if not line.method.startswith("LeWM")}
    assert others == {"quick-v1: #44444444", "quick-v1: #88888888"}
    assert {line.protocol for line in lines} == shown  # by which the menu chooses


def test_the_caption_of_the_main_table_explains_what_its_bars_have(reported, run):
    def caption(folder):
        words = (folder / "index.html").read_text().partition("In the bar")[2]
        return words.partition("</p>")[0]

    for words in ("the random policy on the same pairs", "the diamond", "a stratum is"):
        assert words in caption(reported.folder)
    run.trial(outcome=np.ones(4), protocol="smoke")  # beside which nothing is published
    report.write(run.folder)
    for words in ("random policy", "diamond"):
        assert words not in caption(run.folder)
