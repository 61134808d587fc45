"""What one change touches: a method, a task or a planner in a file or in an installed package, and
a metric. --help, a run, its hashes, tables and figures have them, and nothing else changes.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import outside_entries
import pandas as pd
import pytest
import started
import tiny
from outside_entries import EXAMPLES

from harness import run, trial, zoo
from harness.data import collect
from harness.data.episodes import open_dataset
from harness.experiment import config, identity
from harness.experiment.run_folders import RunFolders
from harness.records import rows, run_tables
from harness.report import format
from harness.report.tables import stability
from harness.runtime import command, outside
from harness.sweep import __main__ as sweep_command
from harness.sweep import space
from harness.trial_context import Result

METHOD, TASK, PLANNER = (f"{EXAMPLES}/my_{kind}.py" for kind in ("method", "task", "planner"))
WORDS = ["suite=smoke", "scale=tiny", "device=cpu", f"tasks={TASK}", f"planner={PLANNER}"]
WORDS += ["planner.my_planner.candidates=16", "method.my_method.weight=0.3"]


def horizon(context):
    """The stage "outlook": a number for each trained model."""
    blocks = float(context.config.mpc.horizon_blocks)
    return Result([rows.MetricRow(context.key, "outlook", "horizon", 0, blocks, "blocks")])


COLUMN = format.Column(
    "Outlook, blocks", "outlook_blocks", format.metric("outlook", "horizon"), format.whole
)


@pytest.fixture
def forgotten():
    with outside_entries.forgotten():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of the three examples with a further metric, and its report."""
    results = tmp_path_factory.mktemp("outside")
    words = [*WORDS, "backend=loop", "run=r", f"methods=smwm,{METHOD},random"]
    words += [f"results={results}", f"datasets={results}/data"]
    with outside_entries.forgotten(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(trial.STAGES, "outlook", trial.Stage(horizon))
        patch.setattr(stability, "COLUMNS", [*stability.COLUMNS, COLUMN])
        assert run.main(words) == 0
    return results / "r"


# -- what a run leaves


def test_the_rows_have_labels_ranks_and_code(folder):
    trials = run_tables.read(str(folder)).trial.set_index("method")
    assert set(trials["status"]) == {"ok"} and set(trials["task_label"]) == {"Ball"}
    mine = trials.loc["my_method"]
    assert mine["method_label"] == "My method" and mine["train_steps"] == 20
    assert mine["method_rank"] == len(zoo.METHODS) and mine["task_rank"] == len(zoo.TASKS)
    for file in (METHOD, TASK, PLANNER):
        assert hashlib.sha256(Path(file).read_bytes()).hexdigest() in mine["config_yaml"]
    assert "weight: 0.3" in mine["config_yaml"] and "candidates: 16" in mine["config_yaml"]


def test_it_is_planned_with_probed_and_measured(folder):
    metrics = run_tables.read(str(folder)).metrics
    stages = set(metrics[metrics["key"] == "ball.my_method.s0"]["stage"])
    assert {"train", "latents", "probing", "plan_time", "outlook"} <= stages


def test_the_tables_have_them(folder):
    for name in ("success", "efficiency", "stability"):
        csv = pd.read_csv(folder / "tables" / f"{name}.csv")
        assert "My method" in set(csv["label"]) and set(csv["task"]) == {"ball"}
        markdown = (folder / "tables" / f"{name}.md").read_text()
        assert "My method" in markdown and "Ball" in markdown
    csv = pd.read_csv(folder / "tables" / "stability.csv").set_index("method")
    assert csv["outlook_blocks"].notna().all()
    assert "Outlook, blocks" in (folder / "tables" / "stability.md").read_text()
    methods = list(pd.read_csv(folder / "tables" / "success.csv")["method"])
    assert methods == ["smwm", "my_method", "random"]  # behind those of the house


@pytest.mark.parametrize("name", ["success", "plan_time", "training_ball", "episodes_ball"])
def test_the_figures_have_them(folder, name):
    svg = (folder / "figures" / f"{name}.svg").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))
    assert "My method" in words and "Ball" in words


def test_the_page_has_them(folder):
    page = (folder / "index.html").read_text()
    assert "My method" in page and "Outlook, blocks" in page
    assert '<a href="figures/episode_ball.gif">Ball as gif</a>' in page


# -- the command line


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("methods", ("my_method", "An example from outside.")),
        ("tasks", ("ball", "A ball on a frictionless floor")),
        ("planners", ("my_planner", "The best candidates")),
        ("method.my_method", ("weight", "predictor_depth")),
        ("method.my_method.weight", ("Weight of my term", "0.1", "at least 0")),
        ("planner.my_planner.shrink", ("0.7",)),
    ],
)
def test_the_help_pages_have_them(forgotten, capsys, page, words):
    files = [f"methods={METHOD}", f"tasks=[{TASK}]", f"planner={PLANNER}"]
    assert run.main(["--help", page, *files]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words)


def test_a_dry_run_and_its_estimate_have_them(forgotten, folder, capsys):
    words = [*WORDS, "backend=loop", f"methods={METHOD}", "dry=true", "run=other"]
    assert run.main([*words, f"results={folder.parent}", f"datasets={folder.parent}/data"]) == 0
    said = capsys.readouterr().err
    assert "ball.my_method.s0" in said and "about" in said
    assert "1 of 1 trials to run" in said and "data to collect" not in said


def test_the_same_command_again_has_nothing_to_run(forgotten, folder, monkeypatch, capsys):
    monkeypatch.setitem(trial.STAGES, "outlook", trial.Stage(horizon))
    words = [*WORDS, "backend=loop", f"methods={METHOD}", "dry=true", "run=r"]
    assert run.main([*words, f"results={folder.parent}", f"datasets={folder.parent}/data"]) == 0
    assert "0 of 1 trials to run" in capsys.readouterr().err


def test_a_sweep_varies_its_key_and_names_its_files(forgotten, tmp_path, capsys):
    words = [f"task={TASK}", f"method={METHOD}", "space.method.my_method.weight=log:0.01:1"]
    words += ["scale=tiny", "device=cpu", "backend=loop", "trials=1", f"planner={PLANNER}"]
    words += [f"results={tmp_path}", f"datasets={tmp_path}/data", "planner.my_planner.iterations=2"]
    assert space.parse(words).task == "ball"
    assert sweep_command.main(words) in (0, 1)  # 1: it solved nothing
    tables = run_tables.read(str(next(tmp_path.glob("sweep-ball-my_method-weight*"))))
    assert set(tables.trial["status"]) == {"ok"}
    said = capsys.readouterr().err
    assert "no best value" in said or f"tasks={TASK} methods={METHOD}" in said


# -- other processes


ELSEWHERE = """
import pickle, sys
from harness import zoo
sources, rest = pickle.load(open(sys.argv[1], "rb"))
zoo.restore(sources)
spec, text = pickle.loads(rest)
from harness.experiment import config, identity
again = config.from_yaml(text)
assert again == spec and again.config.method.weight == 0.3, again
print(identity.config_hash(again), list(zoo.METHODS)[-1])
"""


def test_another_machine_needs_no_file(forgotten, tmp_path):
    """What a worker of Ray does, where the file is not there."""
    file = tmp_path / "my_method.py"
    shutil.copy(METHOD, file)
    spec = tiny.spec(str(file), "method.my_method.weight=0.3")
    rest = pickle.dumps((spec, config.to_yaml(spec)))
    (tmp_path / "call").write_bytes(pickle.dumps((outside.sources(), rest)))
    file.unlink()
    words = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "call")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=started.ROOT)
    assert done.stdout.split() == [identity.config_hash(spec), "my_method"], done.stderr


def test_rays_processes_have_them(tmp_path):
    words = [*WORDS, f"methods={METHOD}", "run=r", f"results={tmp_path}"]
    words += [f"datasets={tmp_path}/data", "train.steps=2"]
    code, said = started.run(["-m", "harness.run", *words], tmp_path / "said", 300)
    assert code == 0, said
    (key,) = run_tables.read(str(tmp_path / "r")).trial["key"]
    assert key == "ball.my_method.s0"


def test_its_data_are_collected_in_several_processes(forgotten, tmp_path):
    (name,) = zoo.find("task", TASK)
    data = collect.DataConfig(episodes=8, max_steps=20, image_size=8)
    alone, together = (
        open_dataset(collect.ensure(zoo.TASKS[name], data, str(tmp_path / str(workers)), workers))
        for workers in (1, 2)
    )
    assert alone.hash == together.hash


def test_a_trial_runs_from_its_yaml_alone(tmp_path, datasets):
    shutil.copy(METHOD, tmp_path / "my_method.py")
    with outside_entries.forgotten():
        spec = tiny.spec(str(tmp_path / "my_method.py"), "train.steps=2")
        (tmp_path / "spec.yaml").write_text(config.to_yaml(spec))
    words = [str(tmp_path / "spec.yaml"), f"results={tmp_path}", f"datasets={datasets}"]
    with outside_entries.forgotten():
        assert trial.main(words) == 0
    with open(tmp_path / "my_method.py", "a") as sink:
        sink.write("# changed\n")
    with outside_entries.forgotten():
        assert trial.main(words) == command.USAGE


# -- hashes


def test_changed_code_is_another_trial_and_other_data(tmp_path):
    files = {kind: tmp_path / f"my_{kind}.py" for kind in ("method", "task", "planner")}
    for kind, file in files.items():
        shutil.copy(EXAMPLES / f"my_{kind}.py", file)
    words = files["method"], f"planner={files['planner']}"

    def hashes():
        with outside_entries.forgotten():
            spec = tiny.spec(str(words[0]), words[1], task=str(files["task"]))
            folder = collect._folder(zoo.TASKS["ball"], spec.config.data, "")
            return {
                "config": identity.config_hash(spec),
                "setting": identity.setting_hash(spec),
                "protocol": identity.protocol_hash(spec),
                "data": folder,
            }

    changes = {"method": {"config", "setting"}, "task": {"config", "setting", "data"}}
    changes["planner"] = {"config", "setting", "protocol"}
    before = hashes()
    assert hashes() == before
    for kind, expected in changes.items():
        with open(files[kind], "a") as sink:
            sink.write("# changed\n")
        after = hashes()
        assert {name for name in after if after[name] != before[name]} == expected
        before = after


def test_a_moved_file_is_the_same_trial(tmp_path):
    shutil.copy(METHOD, tmp_path / "my_method.py")
    hashes = set()
    for file in (METHOD, tmp_path / "my_method.py"):
        with outside_entries.forgotten():
            hashes.add(identity.config_hash(tiny.spec(str(file))))
    assert len(hashes) == 1


def test_trials_of_this_package_have_the_hashes_that_they_had():
    assert "outside" not in identity._outcome(tiny.spec("lewm"))["config"]


# -- what is refused, in one line


BAD = {  # name of the file: text, what is said of it
    "broken": ("x = 1\ny = undefined\n", "broken.py, line 2: NameError: name 'undefined'"),
    "syntax": ("x = 1\n\ndef f(:\n", "syntax.py, line 3: SyntaxError: invalid syntax"),
    "absent": ("import no_such_package\n", "absent.py, line 1: ModuleNotFoundError: No module"),
    "leaves": ("import sys\nsys.exit(3)\n", "leaves.py, line 2: SystemExit: 3"),
    "empty": ("x = 1\n", "empty.py defines no METHOD: write METHOD = ..."),
    "wrong": ("METHOD = 3\n", "wrong.py: method wrong is a int, no harness.contracts.method."),
    "my-method": ("", "my-method.py: rename the file, my-method is no name of Python"),
    "several": ("METHODS = [1]\n", "several.py: METHODS must be {name: method}"),
    "taken": (
        "from harness import zoo\nMETHODS = {'lewm': zoo.METHODS['pldm']}\n",
        "taken.py: there is a method lewm already; rename this one",
    ),
    "toy": ("from harness import zoo\nMETHOD = zoo.METHODS['pldm']\n", "there is a task toy"),
    "named": (
        "from harness import zoo\nMETHODS = {'a.b': zoo.METHODS['pldm']}\n",
        'named.py: "a.b" is no name',
    ),
    "config": (
        "from harness.contracts.method import Method\n"
        "METHOD = Method('A', dict, dict, trained=True)\n",
        "config.py, line 2: TypeError: the configuration of A, dict, must derive from",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(forgotten, tmp_path, capsys, name):
    text, words = BAD[name]
    (tmp_path / f"{name}.py").write_text(text)
    assert run.main(["suite=smoke", f"methods={tmp_path}/{name}.py"]) == command.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


def test_a_file_that_is_not_there(forgotten, tmp_path, capsys):
    assert run.main(["suite=smoke", f"tasks={tmp_path}/no.py"]) == command.USAGE
    assert "No such file" in capsys.readouterr().err


def test_two_files_of_one_name(forgotten, tmp_path, capsys):
    shutil.copy(METHOD, tmp_path / "my_method.py")
    words = ["suite=smoke", f"methods={METHOD},{tmp_path}/my_method.py"]
    assert run.main(words) == command.USAGE
    assert "my_method.py has the same name; rename one" in capsys.readouterr().err


# -- installed packages


@pytest.fixture
def package(tmp_path, monkeypatch, forgotten):
    """An installed package with the three examples as entry points, and one that is broken."""
    info = tmp_path / "students_work-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: students-work\nVersion: 1.2\n")
    lines = []
    for kind, name in (("method", "theirs"), ("task", "ball"), ("planner", "theirs")):
        module = f"students_{kind}"
        shutil.copy(EXAMPLES / f"my_{kind}.py", tmp_path / f"{module}.py")
        lines += [f"[jepa_bench.{kind}s]", f"{name} = {module}:{kind.upper()}"]
    lines.insert(2, "broken = students_nothing:METHOD")
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for kind in ("method", "task", "planner"):
        sys.modules.pop(f"students_{kind}", None)


def test_installed_entries_run(package, tmp_path):
    spec = tiny.spec("theirs", "planner=theirs", "method.theirs.weight=0.5", task="ball")
    assert spec.config.outside["method.theirs"].origin == "students-work 1.2"
    assert config.from_yaml(config.to_yaml(spec)) == spec
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "data"))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    assert row.method_label == "My method" and row.task_label == "Ball"


def test_changed_code_of_a_package_is_another_trial(package):
    before = identity.config_hash(tiny.spec("theirs"))
    with open(package / "students_method.py", "a") as sink:
        sink.write("# changed\n")
    with outside_entries.forgotten():
        outside._codes.clear()
        del zoo.METHODS["theirs"]
        assert identity.config_hash(tiny.spec("theirs")) != before


def test_help_names_installed_entries_and_loads_those_asked_for(package, capsys):
    assert run.main(["--help", "methods"]) == 0
    said = capsys.readouterr().out
    assert "theirs" in said and "Installed: students-work 1.2." in said
    assert run.main(["--help", "method.theirs.weight"]) == 0
    assert "Weight of my term" in capsys.readouterr().out


def test_a_broken_package_costs_only_who_asks_for_it(package, capsys):
    assert tiny.spec("lewm").method == "lewm"
    assert run.main(["suite=smoke", "methods=broken"]) == command.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "method broken of students-work 1.2: ModuleNotFoundError" in line
