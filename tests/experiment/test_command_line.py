"""Words that are understood and cannot be served: said before anything runs."""

import os

import pytest
import rights

from harness import trial
from harness.experiment import command_line, config, suites, unread_keys
from harness.runtime import command
from harness.runtime.command import ConfigError


def test_a_folder_without_the_right_to_write_is_named_with_what_to_do(tmp_path):
    for folder in (tmp_path, tmp_path / "results" / "r"):
        with rights.read_only(tmp_path), pytest.raises(OSError, match="cannot be written") as said:
            rights.without_root(lambda folder=folder: command_line.check_writable(str(folder)))
        assert str(said.value).startswith(f"{folder} cannot be written: ")
        assert str(said.value).endswith(". Give another results=FOLDER")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    command_line.check_writable(str(tmp_path / "results" / "r"))
    assert os.listdir(tmp_path / "results" / "r") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a=1", "b=2", "a=3"], "a is given twice, a=1 and a=3: leave one out"),
        (["train.lr=1", "train.lr=1"], "train.lr is given twice, train.lr=1 and train.lr=1: "),
    ],
)
def test_a_key_that_is_given_twice_is_named_with_both_values(words, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        command.check_once(words)


def test_words_without_a_key_may_be_alike():
    command.check_once(
        ["results/a=1", "results/a=2", "train.lr=1", "for.lewm.train.lr=2", "x", "x"]
    )


# -- keys that change nothing


def unread(*words):
    run = config.parse(["suite=smoke", "scale=tiny", "device=cpu", *words])
    specs = suites.expand(run, trial.STAGES)
    return unread_keys.unread(run, specs, trial.stages_of)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["methods=random", "train.lr=1", "data.seed=1", "protocol.pairs=3"], ["train.lr"]),
        (["methods=random,lewm", "train.lr=1"], []),
        (["methods=random,lewm", "for.random.train.lr=1"], ["for.random.train.lr"]),
        (["methods=lewm", "for.toy.train.lr=1"], []),
        (["methods=lewm", "method.pldm.var=3", "method.lewm.history=2"], ["method.pldm.var"]),
        (
            ["methods=lewm", "planner.icem.elites=3", "planner.cem.elites=3"],
            ["planner.icem.elites"],
        ),
        (["methods=gcbc", "mpc.precision=bf16", "plan_time.singles=1"], ["mpc.precision"]),
        (["methods=lewm", "decoder.width=8"], ["decoder.width"]),
        (["methods=lewm", "decoder.width=8", "stages=train,decoder"], []),
        (["methods=gcbc", "plans.pairs=2", "stages=train,control,plans"], ["plans.pairs"]),
        (
            ["methods=lewm", "mpc.warm_start=true"],
            ["mpc.warm_start"],
        ),  # plans are carried out whole
        (
            ["methods=lewm", "mpc.warm_start=true", "mpc.execute_blocks=1"],
            [],
        ),
    ],
)
def test_keys_that_no_trial_reads(words, found):
    assert unread(*words) == found
