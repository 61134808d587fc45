"""--help: one screen, and a page for every part."""

import re

import pytest

from harness import run, zoo
from harness.bench import __main__ as bench
from harness.experiment import config, manual, suites
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.scales import SCALES
from harness.sweep import __main__ as sweep

LINES, COLUMNS = 40, 100
LISTS = {
    "suites": suites.SUITES,
    "scales": SCALES,
    "protocols": PROTOCOLS,
    "tasks": zoo.TASKS,
    "methods": zoo.METHODS,
    "planners": zoo.PLANNERS,
}


def page(capsys, *parts, main=run.main):
    assert main([*parts, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= COLUMNS
    return text


@pytest.mark.parametrize("main", [run.main, sweep.main, bench.main])
def test_help_fits_one_screen(main, capsys):
    text = page(capsys, main=main)
    assert len(text.splitlines()) <= LINES


def test_the_overview_has_every_word_of_the_run_and_where_to_ask_further(capsys):
    text = page(capsys)
    for name in (*config._RUN_KEYS[:-1], "ray.address"):
        assert re.search(rf"^  {re.escape(name)}[ =]", text, re.M), name
    for part in (*LISTS, "train", "method.lewm", "train.lr"):
        assert part in text
    assert run.main([]) == 0 and capsys.readouterr().out == text


@pytest.mark.parametrize("part", LISTS)
def test_every_name_has_a_sentence(part, capsys):
    text = page(capsys, part)
    for name in LISTS[part]:
        assert re.search(rf"^  {re.escape(name)}  +\w.*\w", text, re.M), name


@pytest.mark.parametrize("name", config.sections())
def test_a_section_has_all_its_keys_with_their_sentences(name, capsys):
    text = page(capsys, name)
    lines = text.splitlines()
    keys = [key for key in config.trial_keys() if key.startswith(f"{name}.")]
    assert len([line for line in lines if line.startswith(f"  {name}.")]) == len(keys)
    assert len([line for line in lines if line.startswith("      ")]) >= len(keys)


@pytest.mark.parametrize("key", [*config._RUN_KEYS[:-1], *config.trial_keys()])
def test_every_key_has_a_page(key):
    text = manual.answer([key], "")
    assert text.startswith(f"{key}=") and "Allowed: " in text


def test_a_key_has_type_range_default_the_paper_s_and_the_scales_values(capsys):
    text = page(capsys, "method.lewm.sigreg_weight")
    assert "method.lewm.sigreg_weight=0.1" in text and "Weight of SIGReg" in text
    assert "a number, at least 0; the paper has 0.1" in text and "scale=tiny: 0.09" in text
    text = page(capsys, "train.lr")
    assert "the paper has 5e-05" in text and "scale=laptop: 0.002, for gcbc 0.001" in text
    assert "scale=laptop: 128" in page(capsys, "method.pldm.encoder.width")
    assert "protocol=smoke: 8" in page(capsys, "protocol.pairs")


def test_short_names_and_whole_commands_are_understood(capsys):
    assert page(capsys, "lewm") == page(capsys, "method.lewm")
    assert page(capsys, "laptop").startswith("scale=laptop\n  Two CPU cores")
    assert page(capsys, "for.push_t") == page(capsys, "for")
    assert page(capsys, "for.push_t.train.steps") == page(capsys, "train.steps")
    text = page(capsys, "suite=all", "train.steps=3")
    assert text.startswith("suite=all\n") and "\ntrain.steps=0\n" in text
    assert page(capsys, "train.steps", main=sweep.main) == page(capsys, "train.steps")


@pytest.mark.parametrize("main", [run.main, sweep.main])
def test_a_part_that_is_not_known_is_said(main, capsys):
    assert main(["--help", "train.lrr"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(
        'error: --help knows no "train.lrr". Did you mean "train.lr'
    )
    assert bench.main(["--help", "plam"]) == 2
    assert 'unknown figure "plam". Did you mean "plan"?' in capsys.readouterr().err


@pytest.mark.parametrize("name", bench.FIGURES)
def test_a_figure_of_the_bench_has_its_words(name, capsys):
    text = page(capsys, name, main=bench.main)
    assert text.startswith(f"{name}: ") and "\n  repeats=" in text
