"""The main command, end to end in one process: what is done again, and what bad input leads to."""

import contextlib
import logging
import re
import resource
import shlex
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import started
import tiny
import torch

from harness import launch, report, run, trial, zoo
from harness.experiment import config, identity, suites
from harness.experiment.run_folders import RunFolders
from harness.records import plan, rows, run_tables
from harness.report import load
from harness.report.page import progress
from harness.tasks.toy import Toy
from harness.training.checkpoint import TRAINING, Checkpoint

SMALL = ["train.steps=6", "data.episodes=24", "protocol.pairs=4", "plan_time.singles=0"]


class Command:
    """One folder for results and one for datasets; `run` issues the command, `launch` leaves out
    the report, which takes longest.
    """

    def __init__(self, folder, datasets, capsys):
        self.folder, self.datasets, self.capsys = folder, datasets, capsys
        self.said = ""

    def run(self, *words):
        """Exit code; `said` has what was written to stderr."""
        code = run.main(self.words(*words))
        self.said = self.capsys.readouterr().err
        return code

    def launch(self, *words):
        """Run the trials that are not done; how many of them failed."""
        settings = config.parse(self.words(*words))
        specs, folders = suites.expand(settings, trial.STAGES), self.folders
        launch.launch(launch.missing(specs, folders), folders, settings)
        failed = launch.missing(specs, folders)
        self.said = "".join(f"{s.key} failed: {launch.outcome(s, folders)}\n" for s in failed)
        return len(failed)

    def words(self, *words):
        base = ["suite=smoke", "scale=tiny", "device=cpu", "backend=loop", "run=r", *SMALL]
        base += [f"results={self.folder}", f"datasets={self.datasets}"]
        return tiny.together(base, words)

    @property
    def folders(self):
        return RunFolders(str(self.folder / "r"), "r", "smoke", str(self.datasets))

    @property
    def trials(self):
        return self.folder / "r" / "trials"

    def row(self, key):
        """The only row of a trial, whatever its configuration."""
        (found,) = self.rows(key)
        return found

    def rows(self, key):
        folders = sorted(self.trials.glob(f"{key}.*"))
        return [row for row in map(rows.read_trial, map(str, folders)) if row is not None]

    def error(self, key):
        """The error of a failed trial: one line, and it is shown at the end."""
        row = self.row(key)
        assert row.status == "error" and "\n" not in row.error
        assert f"{key} failed: error: {row.error}" in self.said
        return row.error


@pytest.fixture
def command(tmp_path, datasets, capsys):
    return Command(tmp_path / "results", datasets, capsys)


def parquet(command):
    """Content of every row file."""
    return {path: path.read_bytes() for path in command.trials.rglob("*.parquet")}


# -- what is done is not done again


def test_the_same_command_again_runs_nothing(command):
    assert command.run("methods=[lewm,noop]") == 0
    assert "2 of 2 trials to run" in command.said
    before = parquet(command)
    assert command.run("methods=[lewm,noop]") == 0
    assert "0 of 2 trials to run" in command.said
    assert parquet(command) == before and len(before) == 8
    assert command.row("toy.lewm.s0").attempts == 1


def test_a_run_records_its_plan_for_those_who_watch(command):
    assert command.run("methods=lewm,random", "for.lewm.train.lr=1e30") == 1
    known = plan.read(command.folders.folder)
    assert [(t.key, t.method_label) for t in known.trials] == [
        ("toy.lewm.s0", "LeWM"),
        ("toy.random.s0", "Random"),
    ]
    assert all((command.folder / "r" / "trials" / trial.folder).is_dir() for trial in known.latest)
    assert known.protocols["lewm-v3"]["protocol.pairs"] == {"toy": "100"}
    tables, state = load.load(command.folders.folder), progress.read(command.folders.folder)
    counts = progress.counts(tables, state)
    assert (counts.done, counts.running, counts.left, counts.failed) == (1, 0, 0, 1)
    assert command.run("methods=lewm,random", "for.lewm.train.lr=1e30", "dry=true") == 0
    assert plan.read(command.folders.folder) == known  # nothing runs, nothing is planned


def test_a_changed_key_runs_into_another_folder_and_both_stay(command):
    assert command.launch("methods=[lewm,noop]") == 0
    before = parquet(command)
    assert command.launch("methods=[lewm,noop]", "train.lr=1e-4") == 0
    after = parquet(command)
    assert before.items() <= after.items() and len(after) == 12  # no-op has no learning rate
    first, second = command.rows("toy.lewm.s0")
    assert first.config_hash != second.config_hash and first.protocol_hash == second.protocol_hash
    assert len(run_tables.read(str(command.folder / "r")).trial) == 3


@pytest.mark.parametrize("name", ["trial", "episodes", "metrics"])
def test_a_truncated_table_repeats_its_trial_alone(command, name, caplog):
    assert command.launch("methods=[noop,replay]") == 0
    (broken,) = command.trials.glob(f"toy.noop.*/{name}.parquet")
    before = parquet(command)
    broken.write_bytes(before[broken][:-20])

    left = run_tables.read(str(command.folder / "r"))  # what a report is made of
    assert left.trial["method"].tolist() == ["replay"]
    assert re.search(r"toy.noop.s0.* is left out: .*Issue the run command again", caplog.text)

    assert command.launch("methods=[noop,replay]") == 0
    after = parquet(command)
    changed = {path.parent.name.split(".")[1] for path in before if before[path] != after[path]}
    assert changed == {"noop"} and len(after) == 8
    assert len(run_tables.read(str(command.folder / "r")).trial) == 2


def test_a_report_is_made_of_what_can_be_read(command, caplog):
    assert command.launch("methods=[noop,replay]") == 0
    (broken,) = command.trials.glob("toy.noop.*/episodes.parquet")
    broken.write_bytes(b"PAR1")
    paths = report.write(str(command.folder / "r"))
    (table,) = (Path(path).read_text() for path in paths if path.endswith("success.csv"))
    assert "replay" in table and "noop" not in table and "is left out" in caplog.text


def test_a_trial_of_another_command_that_cannot_be_read_ends_the_run_with_1(command):
    assert command.launch("methods=[noop,replay]") == 0
    (broken,) = command.trials.glob("toy.noop.*/metrics.parquet")
    broken.write_bytes(b"PAR1")
    assert command.run("methods=[replay]") == 1
    assert "cannot be read." in (command.folder / "r" / "index.html").read_text()
    assert command.run("methods=[noop,replay]") == 0


# -- bad input


@pytest.mark.parametrize("below", ["results", "results/of/mine"])
def test_results_that_cannot_be_written(command, tmp_path, below):
    (tmp_path / "results").write_text("a file")
    command.folder = tmp_path / below
    assert command.run("methods=[noop]") == 1
    last = command.said.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/{below}/r cannot be written: ")
    assert last.endswith("Give another results=FOLDER")
    assert "cannot be read" not in command.said


def test_datasets_that_cannot_be_written(command, tmp_path):
    (tmp_path / "file").write_text("a file")
    command.datasets = tmp_path / "file" / "below"
    assert command.run("methods=[noop,replay]") == 1
    for key in ("toy.noop.s0", "toy.replay.s0"):
        said = "/file/below cannot be written: Not a directory. Give another datasets=FOLDER"
        assert said in command.error(key)


class Undrawable(Toy):
    """Toy on a machine whose pictures fail, as MuJoCo's do with an unknown MUJOCO_GL."""

    def simulator(self, n, image_size):
        raise RuntimeError("invalid value for environment variable MUJOCO_GL: foo")


def test_data_that_cannot_be_drawn(command, tmp_path, monkeypatch):
    monkeypatch.setitem(zoo.TASKS, "toy", Undrawable())
    command.datasets = tmp_path / "datasets"
    assert command.run("methods=[noop]") == 1
    said = "RuntimeError: invalid value for environment variable MUJOCO_GL: foo"
    assert command.error("toy.noop.s0") == said


def test_one_trials_nan_and_anothers_wish_for_cores_leave_the_others_alone(command):
    assert command.launch("methods=[replay]") == 0
    before = parquet(command)
    words = ["methods=[lewm, pldm, noop, replay]", "for.lewm.train.lr=1e30"]
    words += ["for.pldm.resources.cpu=999", "for.noop.protocol.pairs=3000"]
    assert command.run(*words) == 1
    said = r"^DivergedError: .*not finite at step 5: lower train.lr or train with train.precision"
    assert re.search(said, command.error("toy.lewm.s0"))
    assert command.row("toy.lewm.s0").diverged and not command.row("toy.noop.s0").diverged
    said = r"^resources.cpu=999 and \d+ cores on any machine here: use resources.cpu=\d+$"
    assert re.search(said, command.error("toy.pldm.s0"))
    said = r"^only \d+ of 3000 pairs .*: raise data.episodes or lower protocol.pairs$"
    assert re.search(said, command.error("toy.noop.s0"))
    assert before.items() <= parquet(command).items()
    said = "3 of 4 trials failed; they would fail again: change what their lines name\n"
    assert said in command.said

    assert command.launch(*words[:1], *words[2:], "for.pldm.resources.cpu=1") == 1
    assert command.row("toy.pldm.s0").status == "ok" and command.row("toy.pldm.s0").attempts == 2
    assert [row.status for row in command.rows("toy.lewm.s0")].count("ok") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(command):
    assert command.launch("methods=[lewm,noop]", "device=cuda") == 1
    said = "device=cuda and no GPU on any machine here: use device=cpu, or one with a GPU"
    assert command.error("toy.lewm.s0") == said
    assert command.launch("methods=[pldm]", "device=cuda", "resources.gpu=1") == 1
    assert command.error("toy.pldm.s0") == said
    assert command.row("toy.noop.s0").status == "ok"


def test_nothing_is_collected_for_trials_that_cannot_run(command, tmp_path):
    command.datasets = tmp_path / "datasets"
    assert command.run("methods=[lewm]", "resources.cpu=999") == 1
    assert "resources.cpu=999" in command.error("toy.lewm.s0")
    assert not command.datasets.exists()


def test_a_trial_needs_one_machine_that_holds_all_it_asks_for():
    nodes = [{"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0}]
    words = ["device=cuda", "resources.gpu=1"]
    said = "resources.cpu=8 and 4 cores on any machine here with 1 GPUs: use resources.cpu=4"
    assert launch.unavailable_reason(tiny.spec("lewm", *words, "resources.cpu=8"), nodes) == said
    assert launch.unavailable_reason(tiny.spec("lewm", *words, "resources.cpu=4"), nodes) == ""
    assert launch.unavailable_reason(tiny.spec("lewm", "resources.cpu=64"), nodes) == ""


def test_a_dataset_that_does_not_match_its_manifest(command, tmp_path):
    command.datasets = tmp_path / "datasets"
    assert command.launch("methods=[replay]") == 0
    (shard,) = command.datasets.glob("toy-*/*.arrow")
    shard.write_bytes(shard.read_bytes()[:-8])
    assert command.launch("methods=[replay,noop]") == 1
    said = (
        r"^DatasetError: .*arrow has \d+ bytes, not \d+; delete the folder; it is collected again$"
    )
    assert re.search(said, command.error("toy.noop.s0"))
    assert command.row("toy.replay.s0").status == "ok"
    shutil.rmtree(shard.parent)
    assert command.launch("methods=[replay,noop]") == 0


def test_a_checkpoint_of_another_configuration(command):
    words = ["suite=smoke", *SMALL]
    spec, other = tiny.spec("lewm", *words), tiny.spec("lewm", *words, "train.lr=1")
    checkpoint = Path(command.folders.trial(spec)) / "checkpoint"
    model = tiny.model(other)
    optimizer = torch.optim.AdamW(model.parameters())
    copied = Checkpoint(str(checkpoint), identity.config_hash(other))
    copied.save_training(model, optimizer, 3, 1.0, [])

    assert command.launch("methods=[lewm,noop]") == 1
    error = command.error("toy.lewm.s0")
    assert error.startswith(f"CheckpointError: {checkpoint}/training.pt belongs to configuration")
    assert error.endswith("delete the file or give another run=NAME")
    assert command.row("toy.noop.s0").status == "ok"
    (checkpoint / TRAINING).unlink()
    assert command.launch("methods=[lewm,noop]") == 0


def broken(context):
    """A stage that fails."""
    raise ValueError("nothing moves")


def test_a_training_is_kept_where_what_follows_it_fails(command, monkeypatch):
    """The second issue of the command goes on after the training; the row says both attempts."""
    with monkeypatch.context() as patch:
        patch.setitem(trial.STAGES, "control", trial.Stage(broken))
        command.launch("methods=[lewm]")
        assert "nothing moves" in command.error("toy.lewm.s0")
        (state,) = command.trials.glob(f"toy.lewm.*/checkpoint/{TRAINING}")
        written = state.stat().st_mtime_ns
        trained = command.row("toy.lewm.s0")
        assert command.run("methods=[lewm,noop]", "dry=true") == 0
        plan = [line.split()[:3] for line in command.said.splitlines() if line.startswith("toy.")]
        assert plan == [["toy.lewm.s0", "goes", "on"], ["toy.noop.s0", "to", "run"]]
        assert "1 of them go on from the checkpoint of an interrupted training" in command.said
        command.launch("methods=[lewm]")
        again = command.row("toy.lewm.s0")
        assert state.stat().st_mtime_ns == written and again.attempts == 2
        assert again.checkpoint_hash == trained.checkpoint_hash
    assert command.launch("methods=[lewm]") == 0 and not state.exists()
    assert command.row("toy.lewm.s0").checkpoint_hash == trained.checkpoint_hash


def test_pairs_that_the_data_cannot_give_are_refused_before_the_training(command):
    """By the number of starts at once; by what else is asked of a pair when the trial begins."""
    data = tiny.dataset(tiny.spec("lewm", *SMALL), command.datasets)
    starts = int(np.maximum(data.lengths[data.split("test")] - 25, 0).sum())
    unsolved = ["protocol.allow_presolved=false", f"for.lewm.protocol.pairs={starts}"]
    for words, said in (
        (["for.lewm.protocol.pairs=3000"], f"only {starts} of 3000 pairs in all"),
        (unsolved, "PairError: only "),
    ):
        command.folder = command.folder / "below"
        assert command.launch("methods=[lewm]", *words) == 1
        assert command.error("toy.lewm.s0").startswith(said)
        row = command.row("toy.lewm.s0")
        assert row.train_steps == 0 and row.permanent
        assert not list(command.trials.glob("toy.lewm.*/checkpoint/*"))


def test_goals_further_away_than_episodes_are_long_are_left_out_of_a_suite(command, tmp_path):
    """Episodes of at most 60 steps have no goal 75 or 100 steps ahead."""
    command.datasets = tmp_path / "datasets"  # nothing is collected yet
    words = ["suite=horizons", "tasks=toy", "methods=gcbc,random"]
    assert command.run("dry=true", *words) == 0
    assert "5 of 5 trials to run" in command.said and "cannot run" not in command.said
    assert "left out: offset-75, of trials 2; toy: no pairs with offset 75 in all" in command.said
    assert command.run(*words) == 0
    offsets = {f"toy.{m}.offset-{o}.s0" for m in ("gcbc", "random") for o in (25, 50)}
    table = run_tables.read(command.folders.folder).trial
    assert set(table["key"]) == {"toy.gcbc.training.s0", *offsets}
    assert {trial.key for trial in plan.read(command.folders.folder).trials} == set(table["key"])


def test_what_the_collected_data_have_no_pairs_for_is_left_out_of_a_suite(command, tmp_path):
    """All episodes together have 40 pairs 50 steps apart, the held-out ones have 20."""
    command.datasets = tmp_path / "datasets"
    words = ["suite=horizons", "tasks=toy", "methods=random", "protocol.pairs=40"]
    assert command.run("dry=true", *words, "data.episodes=20") == 0
    assert "toy.random.offset-50.s0" in command.said
    assert command.run(*words, "data.episodes=20") == 0
    assert "left out: offset-50, of trials 1; toy: only " in command.said
    assert set(run_tables.read(command.folders.folder).trial["key"]) == {"toy.random.offset-25.s0"}
    kept = [trial.key for trial in plan.read(command.folders.folder).trials]
    assert kept == ["toy.random.offset-25.s0"]


def test_a_training_that_nothing_can_evaluate_is_not_trained(command):
    assert command.launch("suite=horizons", "tasks=toy", "methods=gcbc", "data.max_steps=20") == 5
    assert "no trial that would evaluate" in command.error("toy.gcbc.training.s0")


def test_a_dry_run_says_what_has_no_effect_and_whether_anything_can_run(command):
    words = ["dry=true", "for.lewm.train.lr=1", "planner.icem.elites=3", "resources.cpu=1"]
    assert command.run(*words, "methods=[lewm,random]") == 0
    said = "without effect, since no trial of this run reads it: "
    assert f"{said}planner.icem.elites\n" in command.said
    assert command.run("dry=true", "methods=[random]", "protocol.hold_steps=2") == 0
    assert f"{said}train.steps, plan_time.singles\n" in command.said
    assert command.run("dry=true", "methods=[random]", "for.random.resources.cpu=999") == 0
    assert command.run("dry=true", "methods=[lewm]", "resources.cpu=999") == 1
    assert "1 of 1 trials cannot run: change what is said above\n" in command.said


def test_a_key_with_two_values_is_refused(command):
    assert command.run("methods=[noop]", "seeds=2", "methods=random") == 2
    said = "error: methods is given twice, methods=[noop] and methods=random: leave one out\n"
    assert command.said == said


def test_a_process_that_died_without_a_word_leaves_a_row(command):
    spec = tiny.spec("noop", *SMALL)
    for attempt in (1, 2):  # the second time there is a row already, of the first
        assert launch.settle(spec, command.folders, attempt - 1).startswith("error: ")
        row = command.row("toy.noop.s0")
        assert (row.status, row.attempts) == ("error", attempt)
        assert (
            "ended without a result" in row.error and "it goes on from its checkpoint" in row.error
        )
    trial.run(spec, command.folders, tiny.quiet)
    assert launch.settle(spec, command.folders, 2).startswith("ok, ")
    assert command.row("toy.noop.s0").attempts == 3


def test_a_trial_whose_process_died_when_it_was_done_is_not_run_again(command):
    spec = tiny.spec("noop", *SMALL)
    trial.run(spec, command.folders, tiny.quiet)
    launch.run_text({"spec": config.to_yaml(spec)}, command.folders, [])
    assert launch.settle(spec, command.folders, 0).startswith("ok, ")
    assert command.row("toy.noop.s0").attempts == 1


@contextlib.contextmanager
def full_disk(largest):
    """No file can grow beyond so many bytes: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left_over(command):
    return [path for path in command.folder.rglob("*") if "part" in path.suffix]


def test_a_disk_too_full_for_a_checkpoint(command):
    assert command.launch("methods=[replay]") == 0
    before = parquet(command)
    with full_disk(15_000):
        assert command.run("methods=[lewm,noop,replay]") == 1
    error = command.error("toy.lewm.s0")
    assert error.startswith("OSError: ")
    assert "error: no report: [Errno 27]" in command.said
    (last,) = [line for line in command.said.splitlines() if line.startswith("1 of 3 trials fail")]
    python, *again = shlex.split(last.partition("; to retry them: ")[2])
    words = command.words("methods=[lewm,noop,replay]")
    assert "python" in python and again == ["-m", "harness.run", *words]
    assert error.endswith(
        "free disk space or give another results=FOLDER, then issue the command again"
    )
    assert command.row("toy.noop.s0").status == "ok"
    assert before.items() <= parquet(command).items()
    assert not left_over(command)
    assert command.launch("methods=[lewm,noop,replay]") == 0
    assert command.row("toy.lewm.s0").attempts == 2


def test_a_disk_too_full_for_the_data(command, tmp_path, monkeypatch):
    command.datasets = tmp_path / "datasets"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert command.run("methods=[noop]") == 1
    said = r"disk full: about .* free disk space or give another datasets=FOLDER, then issue the"
    assert re.search(said, command.error("toy.noop.s0"))


def test_a_disk_too_full_for_anything(command, caplog):
    caplog.set_level(logging.INFO)
    assert command.run("methods=[replay]") == 0
    before = {path: path.read_bytes() for path in command.folder.rglob("*") if path.is_file()}
    with full_disk(100):
        assert command.run("methods=[noop,random,replay]") == 1
    for key in ("toy.noop.s0", "toy.random.s0"):
        assert f"{key}: its row cannot be written: " in caplog.text
        assert f"{key}: no row could be written" in caplog.text
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in left_over(command) if path.suffix == ".parquet"]
    assert command.launch("methods=[noop,random,replay]") == 0


@pytest.fixture
def heard(number):
    """The signal is not ignored, as it is by the tests themselves under nohup."""
    before = signal.signal(number, signal.SIG_DFL)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_as_ctrl_c_does(datasets, tmp_path, number, code, heard):
    words = ["-m", "harness.run", "suite=smoke", "scale=tiny", "device=cpu", "backend=loop"]
    words += ["methods=lewm", "train.steps=1000000", "train.checkpoint_every_s=0", "run=r"]
    words += [f"results={tmp_path}", f"datasets={datasets}"]
    with started.process(words, tmp_path / "said") as process:
        while process.poll() is None and not list(tmp_path.glob("r/trials/*/checkpoint/*")):
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(30) == code
    said = (tmp_path / "said").read_text()
    assert said.endswith("interrupted; the same command goes on from here\n")
    assert not list(tmp_path.glob("r/trials/*/trial.parquet"))


def test_a_run_that_began_with_ctrl_c_ignored_goes_on(datasets, tmp_path):
    """As under `nohup ... &`; the command's own signal is SIGTERM then."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from harness.runtime import command\n"
        "with command.ended_by_signals(): signal.raise_signal(signal.SIGINT)\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
    )
    assert started.run(["-c", code], tmp_path / "said", 60) == (0, "")


GOLDEN = str(Path(__file__).parent / "golden" / "lewm")


def test_given_weights_and_random_on_the_same_pairs(tmp_path, datasets, capsys):
    """The suite for published numbers, on a small model that stable-worldmodel's classes wrote."""
    small = ["data.episodes=12", "data.max_steps=40", "data.image_size=24", "protocol.pairs=2"]
    small += ["planner.cem.iterations=1", "planner.cem.candidates=32", "planner.cem.elites=4"]
    words = ["suite=published", "tasks=push_t", f"method.lewm.weights={GOLDEN}", *small]
    words += ["backend=loop", "device=cpu", "run=p", f"results={tmp_path}", f"datasets={datasets}"]
    assert run.main(words) == 0
    tables = report.load.load(str(tmp_path / "p"))
    assert set(tables.trials["method"]) == {"lewm", "random"}
    assert (tables.trials["train_steps"] == 0).all() and set(tables.trials["scale"]) == {
        "published"
    }
    pairs = tables.episodes.groupby("key")["pair_id"]
    assert len({tuple(own) for _, own in pairs}) == 1 and len(tables.episodes) == 4
    shown = (tmp_path / "p" / "tables" / "released.md").read_text()
    assert "Verdict" in shown and "our pairs" in shown
    assert "Released weights" in capsys.readouterr().out


def test_much_is_downloaded_only_where_someone_agrees(monkeypatch, capsys):
    monkeypatch.setattr(launch, "downloads", lambda able, folders: {"hf:a/b": 13 * run.GB})
    words = ["suite=smoke", "scale=tiny", "device=cpu"]
    asked = config.parse(words), [], None
    monkeypatch.setattr(run.sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(config.ConfigError, match="download=true"):
        run._agree_to_download(*asked)
    assert "hf:a/b, 13.0 GB" in capsys.readouterr().err
    run._agree_to_download(config.parse([*words, "download=true"]), [], None)
    monkeypatch.setattr(run.sys.stdin, "isatty", lambda: True, raising=False)
    for answer in ("y", "Yes "):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        run._agree_to_download(*asked)
    monkeypatch.setattr("builtins.input", lambda question: "")
    with pytest.raises(config.ConfigError):
        run._agree_to_download(*asked)


def test_a_source_of_data_is_looked_at_before_anything_starts(tmp_path, datasets, capsys):
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    words = ["suite=smoke", "scale=tiny", "tasks=push_t", "methods=random", f"results={tmp_path}"]
    for name, said in (("none.h5", "does not exist"), ("cut.h5", "cut.h5")):
        for more in ([], ["dry=true"]):
            source = f"data.source={tmp_path}/{name}"
            assert run.main([*words, f"datasets={datasets}", source, *more]) == 2
            assert said in capsys.readouterr().err.splitlines()[-1]
