"""Trials with weights that they do not train: whose they are, what is the same, what is missing."""

import dataclasses
import math
import pathlib
import shlex
import shutil

import pytest
import tiny
import torch

from harness import launch, trial
from harness.experiment import command_line, config, identity, imported, suites
from harness.experiment.run_folders import RunFolders
from harness.records import rows, run_tables
from harness.report import load

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "lewm"
GIVEN = (f"method.lewm.weights={GOLDEN}", "data.image_size=24")
SMALL = ("data.episodes=24", "protocol.pairs=4")
TIMED = ["key", "config_hash", "solve_s", "env_s", "render_s"]


def expand(*words):
    words = ["suite=smoke", "scale=tiny", "device=cpu", "tasks=toy", *words]
    run = command_line.local_paths(config.parse(words))
    return suites.expand(run, trial.STAGES)


def outcomes(folders, spec):
    return run_tables.read_one(folders.trial(spec)).episodes.drop(columns=TIMED, errors="ignore")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, datasets):
    """A run with a finished training of LeWM and of GCBC, and its folders."""
    folder = tmp_path_factory.mktemp("results") / "first"
    folders = RunFolders(str(folder), "first", "smoke", str(datasets))
    for spec in expand("methods=lewm,gcbc", *SMALL):
        assert trial.run(spec, folders, tiny.quiet).status == "ok"
    return folders


def test_given_weights_are_evaluated_with_their_own_sizes_and_no_training(trained, tmp_path):
    (spec,) = expand("methods=lewm", "seeds=3", *GIVEN, *SMALL)  # one set of weights: one seed
    assert "train" not in spec.stages and spec.config.method.latent_dim == 24
    assert spec.config.method.encoder.kind == "vit" and not spec.config.method.residual
    assert config.from_yaml(config.to_yaml(spec)) == spec
    folders = dataclasses.replace(trained, folder=str(tmp_path / "r"))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    digest = spec.config.weights.sha256
    assert (row.weights, row.checkpoint_hash) == (f"lewm/weights.pt {digest[:8]}", digest)
    assert row.train_steps == 0 and math.isnan(row.train_s) and row.parameters_trained > 10_000
    tables = run_tables.read_one(folders.trial(spec))
    assert len(tables.episodes) >= 4
    assert {"latents", "probing", "plan_time", "normalizer"} <= set(tables.metrics["stage"])
    (own,) = expand("methods=lewm", *SMALL)
    shutil.copytree(trained.trial(own), folders.trial(own))
    labels = load.load(folders.folder).cells["label"].tolist()
    assert labels == ["LeWM", f"LeWM (weights lewm/weights.pt {digest[:8]})"]


def test_the_same_weights_make_the_same_trial_wherever_they_lie(tmp_path):
    there = tiny.spec("lewm", *GIVEN)
    shutil.copytree(GOLDEN, tmp_path / "w")
    here = tiny.spec("lewm", f"method.lewm.weights={tmp_path}/w", "data.image_size=24")
    assert identity.config_hash(there) == identity.config_hash(here)
    state = torch.load(GOLDEN / "weights.pt", weights_only=True)
    changed = state | {"predictor.pos_embedding": torch.zeros(1, 3, 24)}
    torch.save(changed, tmp_path / "w/weights.pt")
    other = tiny.spec("lewm", f"method.lewm.weights={tmp_path}/w", "data.image_size=24")
    own = tiny.spec("lewm", "data.image_size=24")
    hashes = {identity.setting_hash(spec) for spec in (there, other, own)}
    assert len(hashes) == 3
    assert len({identity.protocol_hash(spec) for spec in (there, other, own)}) == 1
    faster = tiny.spec("lewm", *GIVEN, "train.lr=0.5")  # nothing is trained
    assert identity.config_hash(faster) == identity.config_hash(there)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((f"method.lewm.weights={GOLDEN}",), r"data\.image_size=24"),
        ((*GIVEN, "tasks=cube"), "those of this task have 25"),
        (("method.lewm.weights=/absent",), "no file or folder /absent"),
        (("method.lewm_idm.weights=" + str(GOLDEN), "methods=lewm_idm"), "image_size"),
    ],
)
def test_weights_that_do_not_fit_are_an_error_of_the_command_line(words, said):
    with pytest.raises(config.ConfigError, match=said) as caught:
        expand("methods=lewm", *words)
    assert str(caught.value).startswith(words[0].partition("=")[0])


def test_a_head_that_the_file_lacks_is_named():
    with pytest.raises(config.ConfigError, match=r"6 missing: inverse_dynamics\.0\.bias"):
        expand("methods=lewm_idm", f"method.lewm_idm.weights={GOLDEN}", "data.image_size=24")


def test_weights_and_a_training_exclude_each_other(tmp_path, datasets):
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets))
    spec = tiny.spec("lewm", *GIVEN)
    for wrong in (
        dataclasses.replace(spec, stages=("train", "control")),
        dataclasses.replace(
            spec, config=dataclasses.replace(spec.config, weights=identity.Weights())
        ),
    ):
        row = trial.run(wrong, folders, tiny.quiet)
        assert row.status == "error" and "must have one of the two" in row.error


# -- another run's weights


def test_another_runs_weights_give_its_outcomes_and_need_no_training(trained, tmp_path):
    folders = dataclasses.replace(trained, folder=str(tmp_path / "second"), run="second")
    specs = expand("methods=lewm,gcbc,noop", *SMALL, f"from={trained.folder}")
    assert [("train" in spec.stages) for spec in specs] == [False, False, True]  # noop: as before
    for spec, source in zip(specs[:2], expand("methods=lewm,gcbc", *SMALL), strict=True):
        row, first = trial.run(spec, folders, tiny.quiet), rows.read_trial(trained.trial(source))
        assert row.status == "ok", row.error
        assert (row.weights, row.weights_config_hash) == ("of first", first.config_hash)
        assert row.checkpoint_hash == first.checkpoint_hash and row.note == "weights of first"
        assert row.config_hash != first.config_hash and row.train_steps == 0
        assert outcomes(folders, spec).equals(outcomes(trained, source))


def test_another_protocol_takes_the_same_weights(trained):
    words = ("methods=lewm", SMALL[0], "protocol.pairs=3", "mpc.execute_blocks=1")
    (spec,) = expand(*words, f"from={trained.folder}")
    assert spec.config.weights.path and not spec.config.weights.missing
    assert spec.config.protocol.pairs == 3


def test_a_training_that_is_missing_says_the_command_that_makes_it(trained, tmp_path):
    words = ("methods=lewm", *SMALL, "train.steps=21", "for.toy.train.lr=0.002")
    (spec,) = expand(*words, f"from={trained.folder}")
    missing = spec.config.weights.missing
    assert launch.unavailable_reason(spec, [{"CPU": 8.0}]) == missing
    folders = dataclasses.replace(trained, folder=str(tmp_path / "second"), run="second")
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "error" and missing.partition(":")[0] in row.error
    command = missing.partition("trains it: ")[2]
    run = config.parse(shlex.split(command)[1:])
    (made,) = suites.expand(run, trial.STAGES)
    assert run.folder == trained.folder
    (wanted,) = expand(*words)
    assert identity.training_hash(made) == identity.training_hash(wanted)


def test_a_trial_keeps_its_folder_when_its_weights_come(trained, tmp_path):
    words = ("methods=lewm", *SMALL)
    (found,) = expand(*words, f"from={trained.folder}")
    empty = tmp_path / "first"
    shutil.copytree(trained.folder, empty)
    for weights in empty.rglob("weights.safetensors"):
        weights.unlink()
    (gone,) = expand(*words, f"from={empty}")
    assert "is gone: put it back" in gone.config.weights.missing
    assert identity.config_hash(gone) == identity.config_hash(found)


def test_weights_that_changed_since_are_refused(trained, tmp_path):
    copy = tmp_path / "first"
    shutil.copytree(trained.folder, copy)
    (spec,) = expand("methods=lewm", *SMALL, f"from={copy}")
    path = pathlib.Path(spec.config.weights.path)
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    folders = dataclasses.replace(trained, folder=str(tmp_path / "second"), run="second")
    row = trial.run(spec, folders, tiny.quiet)
    assert "not the file that it was" in row.error


def test_a_folder_without_trials_is_an_error_of_the_command_line(tmp_path):
    with pytest.raises(config.ConfigError, match=r"from=.*holds no trials"):
        expand("methods=lewm", f"from={tmp_path}")


def test_what_a_training_is_does_not_depend_on_the_protocol():
    plain = identity.training_hash(tiny.spec("lewm"))
    for word in ("protocol.pairs=3", "mpc.execute_blocks=1", "planner.cem.candidates=20"):
        assert identity.training_hash(tiny.spec("lewm", word)) == plain
    for word in ("train.lr=0.5", "data.episodes=39", "method.lewm.sigreg_weight=7"):
        assert identity.training_hash(tiny.spec("lewm", word)) != plain
    assert imported.with_given(tiny.spec("lewm")) == tiny.spec("lewm")
