"""Each figure of the bench at its smallest."""

import dataclasses
import importlib.util
import math
import types

import pandas as pd
import pytest
import torch
from torch.autograd import DeviceType

from harness.bench import __main__ as bench
from harness.bench import peer, plan, profile, settings, suite, versus
from harness.contracts.data import Obs
from harness.experiment import config
from harness.planning import cost
from harness.runtime import command

needs_peer = pytest.mark.skipif(
    importlib.util.find_spec("stable_worldmodel") is None, reason="the peer is not installed"
)
SMALL = {
    "plan": ["scale=tiny", "pairs=3", "iterations=2", "repeats=2", "threads=1"],
    "train": ["scale=tiny", "windows=8", "steps=1", "repeats=2", "threads=1"],
    "profile": ["scale=tiny", "windows=4", "repeats=2", "threads=1"],
    "data": ["image_size=16", "episodes=10", "batch=4", "batches=2", "repeats=2"],
}


@pytest.mark.parametrize("name", SMALL)
def test_it_measures_and_writes(name, tmp_path, capsys):
    words = [*SMALL[name], f"results={tmp_path}"]
    if name == "data":
        words.append(f"datasets={tmp_path / 'data'}")
    threads = torch.get_num_threads()
    try:
        assert bench.main([name, *words]) == 0
    finally:
        torch.set_num_threads(threads)
    written = tmp_path / {"data": "data"}.get(name, f"{name}-tiny")
    made = pd.read_parquet(written.with_suffix(".parquet"))
    assert (made["value"] > 0).all() and made.groupby(["figure", "side"]).size().eq(2).all()
    assert written.with_suffix(".png").stat().st_size > 0
    assert "median" in capsys.readouterr().out


def test_operations_are_told_apart_by_kind():
    names = ("aten::addmm", "aten::native_layer_norm", "aten::gelu", "aten::copy_", "aten::add")
    assert [profile.kind(name) for name in names] == [
        "matrix products",
        "normalisation",
        "activations",
        "copies",
        profile.OTHER,
    ]
    assert profile.kind("aten::_scaled_dot_product_flash_attention_for_cpu") == "attention"


@pytest.mark.parametrize("name", ["void cutlass::Gemm", "nvjet_hsh_64x8", "CUBLAS_GEMV_mm"])
def test_kernels_are_matrix_products_whatever_their_case(name):
    assert profile.kind(name) == "matrix products"


def test_the_time_of_a_kernel_is_counted_once():
    def entry(kind, annotation=False):
        return types.SimpleNamespace(
            device_type=kind,
            is_user_annotation=annotation,
            self_device_time_total=3.0,
            self_cpu_time_total=1.0,
        )

    entries = [entry(DeviceType.CPU), entry(DeviceType.CUDA), entry(DeviceType.CUDA, True)]
    assert [profile.spent(e, "cuda", False) for e in entries] == [3, 0, 0]
    assert [profile.spent(e, "cuda", True) for e in entries] == [0, 3, 0]
    assert profile.spent(entries[0], "cpu", True) == 1


def test_the_numbers_of_the_peer_are_those_of_the_iteration_that_asks():
    asked = plan.Config(scale="tiny", iterations=3, pairs=1, threads=1)
    trial = settings.spec("tiny", "two_room", "lewm", "planner.cem.iterations=3")
    bench = plan._Bench(asked, trial, settings.model(trial), pairs=1)
    cfg, drawn = trial.config, torch.Generator().manual_seed(peer.SEED)
    shape = cfg.planner.candidates, cfg.mpc.horizon_blocks, 10
    wanted = [torch.randn(1, *shape, generator=drawn) for _ in range(3)]
    noise = bench._same_noise()(torch.zeros(1), torch.device("cpu"))
    for iteration in (2, 0, 1, 1):
        assert torch.equal(noise(torch.tensor(iteration), shape), wanted[iteration])


def test_files_of_a_gpu_have_names_of_their_own():
    asked = plan.Config(scale="paper")
    assert settings.file("plan", asked) == "plan-paper"
    assert settings.file("plan", dataclasses.replace(asked, device="cuda")) == "plan-paper-cuda"


def test_bf16_is_always_measured_on_a_gpu():
    assert settings.modes("cuda") == ("fp32", "bf16")
    assert settings.modes("cpu")[0] == "fp32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path, capsys):
    assert bench.main(["plan", "device=cuda", f"results={tmp_path}"]) == 1
    assert "error: device=cuda was asked for" in capsys.readouterr().err


def test_a_package_that_is_missing_is_said(tmp_path, monkeypatch, capsys):
    def without_ray(asked):
        raise ModuleNotFoundError("No module named 'ray'")

    monkeypatch.setattr(suite, "run", without_ray)
    assert bench.main(["suite", f"results={tmp_path}"]) == 1
    words = f"error: No module named 'ray'; {command.module('harness.doctor')}"
    assert words in capsys.readouterr().err


@needs_peer
def test_the_peer_finds_plans_of_the_same_cost_together_and_one_by_one():
    (figure,) = list(
        plan._figures(plan.Config(scale="tiny", iterations=2, pairs=3, threads=1), {})
    )[1:]
    sides = {side.name: side for side in figure.sides}
    apart, together = (sides[f"peer, {how}, fp32"].once()[1] for how in ("one by one", "together"))
    assert together == pytest.approx(apart, rel=0.1)


def test_every_side_finds_a_plan_of_the_same_cost():
    found = plan._figures(plan.Config(scale="tiny", iterations=2, pairs=1, threads=1), {})
    for figure in found:
        costs = {side.name: side.once()[1] for side in figure.sides}
        exact = [cost for name, cost in costs.items() if name.endswith("fp32")]
        assert len(exact) >= 2 and max(exact) == pytest.approx(min(exact), rel=1e-4)
        assert list(costs.values()) == pytest.approx([exact[0]] * len(costs), rel=0.01)


@pytest.mark.parametrize("method", ["lewm", "pldm", "dino_wm", "dino_wm_proprio"])
def test_costs_and_elites_are_those_of_the_plain_form(method):
    """Relative difference of costs below 1e-4 in fp32, and the same thirty of three hundred."""
    trial = settings.spec("tiny", "two_room", method)
    model = settings.model(trial)
    now, goal = settings.frames(trial, pairs=2)
    plans = torch.randn(2, 300, 5, 10, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        z, target = model.encode(now)[:, -1], model.encode(goal)[:, -1]
        ours, plain = (
            cost.latent_distance(rollout, z, target, pairs=2, rollouts=128)(plans)
            for rollout in (model.fast_rollout(), model.rollout)
        )
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=0)
    assert ours.std(1).min() > 1e-3 * ours.mean()  # plans differ, so elites mean something
    for a, b in zip(ours.topk(30, largest=False)[1], plain.topk(30, largest=False)[1], strict=True):
        assert set(a.tolist()) == set(b.tolist())


def test_a_share_is_operations_a_second_of_the_ceiling_in_the_sides_number_format():
    sides = [versus.Side("plain, fp32", None), versus.Side("ours, bf16", None)]
    figure = versus.Figure("one pair", sides, "plain, fp32", outcome_name="plan cost")
    timed = [versus.row(figure, side.name, 0, 2.0, 1.0, "cpu") for side in sides]
    shares = plan._shares(timed, {"one pair": 300}, {"fp32": 200.0, "bf16": 600.0})
    assert [share.value for share in shares] == [75, 25]
    assert {(share.figure, share.unit) for share in shares} == {
        ("one pair: share of the ceiling", "%")
    }


def test_operations_are_those_of_the_fast_form_and_fewer_than_the_plain_ones():
    asked = plan.Config(scale="tiny", method="dino_wm", iterations=2, pairs=1, threads=1)
    operations = {}
    (figure,) = plan._figures(asked, operations)
    assert [side.name for side in figure.sides][:2] == ["plain, fp32", "ours, fp32"]
    trial = settings.spec("tiny", "two_room", "dino_wm", "planner.cem.iterations=2")
    frames = settings.frames(trial, pairs=1)
    fast, whole = (
        settings.policy(trial, model, 1).flops(*frames)
        for model in (settings.model(trial), plan.plain(trial, "cpu"))
    )
    assert operations[figure.name] == fast < 0.9 * whole


@needs_peer
@pytest.mark.parametrize("scale", ["tiny", "workstation"])
def test_the_peer_computes_what_ours_does(scale):
    trial = settings.spec(scale, "two_room", "lewm")
    model = settings.model(trial)
    theirs = peer.lewm(model, trial.config.method).eval()
    (pixels, *_), _ = settings.frames(trial, pairs=2)
    actions = torch.randn(2, 1, 10)
    with torch.no_grad():
        z = model.encode(Obs(pixels))
        seen = theirs.encode(
            {"pixels": model.encoder.normalised(pixels[:, 0])[:, None], "action": actions}
        )
        torch.testing.assert_close(seen["emb"], z, rtol=1e-4, atol=1e-4)
        want, got = model.predict(z, actions), theirs.predict(z, theirs.action_encoder(actions))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_made_up_trials_make_a_report_and_growth_has_an_exponent(tmp_path):
    suite._write_trials(str(tmp_path / "run"), 20, episodes=8)
    seconds, gib = suite._report(str(tmp_path / "run"), compacted=False)()
    assert seconds > 0 and gib > 0 and (tmp_path / "run" / "index.html").is_file()
    squared = [(n, lambda n=n: (float(n) ** 2, math.nan)) for n in (100, 1000, 10_000)]
    hidden = [(10, lambda: (1e6, math.nan)), *squared]  # by what every run takes
    for sizes, exponent in ((hidden, 2.0), (hidden[1:3], 2.0), (hidden[:2], -2.0)):
        made = suite._grown("squares", sizes, repeats=2)
        assert suite.exponent(made, "squares") == pytest.approx(exponent)
    assert math.isnan(suite.exponent(made[:1], "squares"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["threads=0"], "threads=0 must be at least 1"),
        (["threads=many"], "whole number"),
        (["scale=huge"], "huge"),
        (["device=gpu"], "gpu"),
        (["candidates"], "not of the form key=value"),
        (["size=3"], "size"),
    ],
)
def test_words_that_mean_nothing_are_said(words, said):
    with pytest.raises(config.ConfigError, match=said):
        settings.parse(words, plan.Config)
