"""The command times both methods, counts in full and scales by what it counted."""

import pandas as pd
import pytest

from harness.bench import __main__ as command
from harness.bench import plan_ratio, settings
from harness.experiment.config import ConfigError

TINY = ["scale=tiny", "task=toy", "candidates=40", "lewm_candidates=8", "dino_wm_candidates=8"]


def test_it_writes_every_solve_and_shows_the_ratios(tmp_path, capsys):
    words = ["plan_ratio", *TINY, "repeats=2", f"results={tmp_path}"]
    assert command.main(words) == 0
    made = pd.read_parquet(tmp_path / f"{plan_ratio.NAME}.parquet")
    assert made.groupby(["method", "candidates"]).size().to_dict() == {
        ("lewm", 4): 2,
        ("lewm", 8): 2,
        ("dino_wm", 4): 2,
        ("dino_wm", 8): 2,
    }
    assert (made["seconds"] > 0).all() and (made["iterations"] == 1).all()
    flops = made.groupby(["method", "candidates"])["flops"].first()
    assert 1.5 < flops["dino_wm", 8] / flops["dino_wm", 4] < 2  # frames are encoded once
    said = capsys.readouterr().out
    for words in ("DINO-WM : LeWM", "40 candidates, 1 of 2 iterations", "48", "s per TFLOP"):
        assert words in said


def test_seconds_are_scaled_by_operations():
    timed = {10: (3.0, 100), 20: (5.0, 200)}
    assert plan_ratio.scaled(timed, 200) == 5.0
    assert plan_ratio.scaled(timed, 3000) == 75.0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("repeat=3", 'Did you mean "repeats"'),
        ("repeats=some", "repeats=some must be a whole number"),
        ("repeats=0", "must be at least 1"),
        ("candidates=3", "at least 4"),
        ("task=push", 'Did you mean "push_t"'),
        ("scale=papers", 'Did you mean "paper"'),
        ("repeats", "not of the form key=value"),
    ],
)
def test_a_wrong_word_says_what_is_right(word, said, capsys):
    with pytest.raises(ConfigError, match=said):
        settings.parse([word], plan_ratio.Config)
    assert command.main(["plan_ratio", word]) == 2


def test_an_unknown_figure_is_named(capsys):
    assert command.main(["plan_rato"]) == 2
    assert 'Did you mean "plan_ratio"' in capsys.readouterr().err
    assert command.main(["--help"]) == 0


def test_without_a_name_all_are_chosen_with_the_words_they_share():
    chosen = command._chosen(["repeats=2"])
    assert [figure.NAME for figure, _ in chosen] == ["plan", "train", "data", "collect", "suite"]
    assert {asked.repeats for _, asked in chosen} == {2}
    with pytest.raises(ConfigError, match="scale is a word of plan, train: name one"):
        command._chosen(["scale=tiny"])
    with pytest.raises(ConfigError, match='"results"'):
        command._chosen(["result=here"])
