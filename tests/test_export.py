"""Exported weights: what is in the folder, and that it gives the trial's outcomes again."""

import json
import os
import pathlib
import subprocess

import pytest
import safetensors.torch
import tiny
import torch

from harness import export, trial
from harness.contracts.data import Obs
from harness.experiment.run_folders import RunFolders
from harness.records import rows, run_tables
from harness.training import weight_files

GOLDEN = pathlib.Path(__file__).parent / "golden" / "lewm"
SMALL = ("data.episodes=24", "protocol.pairs=4")
SIZES = ("kind=vit", "width=24", "depth=2", "heads=3", "patch=8")
VIT = tuple(f"method.lewm.encoder.{word}" for word in SIZES)
TIMED = ["key", "config_hash", "solve_s", "env_s", "render_s"]
PEER = os.environ.get("PEER_PYTHON", "")  # of an environment in which the peer is installed


@pytest.fixture(scope="module")
def folders(tmp_path_factory, datasets):
    return RunFolders(str(tmp_path_factory.mktemp("results")), "r", "smoke", str(datasets))


@pytest.fixture(scope="module")
def trials(folders):
    """The folders of finished trials: of a ViT, of a convolutional encoder, of a control."""
    specs = {
        "vit": tiny.spec("lewm", *VIT, *SMALL),
        "conv": tiny.spec("lewm", "method.lewm.residual=true", *SMALL),
        "noop": tiny.spec("noop", *SMALL),
    }
    for spec in specs.values():
        assert trial.run(spec, folders, tiny.quiet).status == "ok"
    return {name: folders.trial(spec) for name, spec in specs.items()}


@pytest.mark.parametrize(
    ("name", "words"),
    [("vit", ["format=swm"]), ("vit", ["transformers=5"]), ("conv", ["--format", "safetensors"])],
)
def test_an_exported_folder_gives_the_trials_outcomes_again(name, words, trials, folders, tmp_path):
    assert export.main([trials[name], *words, f"to={tmp_path}/w"]) == 0
    given = (f"method.lewm.weights={tmp_path}/w", *(VIT if name == "vit" else ()), *SMALL)
    spec = tiny.spec("lewm", *given)
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    again, first = (run_tables.read_one(f) for f in (folders.trial(spec), trials[name]))
    same = [t.episodes.drop(columns=TIMED) for t in (again, first)]
    assert same[0].equals(same[1])


def test_the_released_format_is_the_peers(trials, tmp_path):
    assert export.main([trials["vit"], f"to={tmp_path}/w"]) == 0
    names = sorted(path.name for path in (tmp_path / "w").iterdir())
    assert names == ["README.md", "config.json", "normalizer.json", "weights.pt"]
    written = torch.load(tmp_path / "w/weights.pt", weights_only=True)
    golden = torch.load(GOLDEN / "weights.pt", weights_only=True)
    layers = [name for name in golden if ".1." in name and "layer" in name]
    assert layers and all(name in written or "layers.1" in name for name in layers)
    config, model = (json.loads((f / "config.json").read_text()) for f in (tmp_path / "w", GOLDEN))
    assert config.keys() == model.keys()
    for part in ("encoder", "predictor", "action_encoder", "projector", "pred_proj"):
        assert config[part].keys() == model[part].keys()
        assert config[part]["_target_"] == model[part]["_target_"]


def test_the_card_and_the_normaliser_come_from_the_rows(trials, tmp_path):
    export.main([trials["vit"], f"to={tmp_path}/w"])
    row, tables = rows.read_trial(trials["vit"]), run_tables.read_one(trials["vit"])
    card = (tmp_path / "w/README.md").read_text()
    pairs = tables.episodes[tables.episodes["sample"] == "pairs"]
    line = f"| the protocol's pairs | {len(pairs)} | {100 * pairs['success'].mean():.1f} | ["
    assert line in card
    for fact in (row.config_hash, row.checkpoint_hash, row.dataset_hash, row.protocol_hash[:8]):
        assert fact in card
    own = tables.metrics[tables.metrics["stage"] == "latents"].set_index("name")["value"]
    rank = own["effective_rank"]
    assert f"effective_rank | {rank:.4g}" in card
    normalizer = json.loads((tmp_path / "w/normalizer.json").read_text())
    assert len(normalizer["action_mean"]) == len(normalizer["action_std"]) == 2
    assert min(normalizer["action_std"]) > 0


@pytest.mark.skipif(not PEER, reason="PEER_PYTHON names no environment with the peer")
def test_the_peer_loads_an_exported_folder(trials, tmp_path):
    words = "import importlib.metadata as m; print(m.version('transformers').split('.')[0])"
    major = subprocess.check_output([PEER, "-c", words], text=True).strip()
    assert export.main([trials["vit"], f"to={tmp_path}/w", f"transformers={major}"]) == 0
    pixels = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    inputs = {"pixels": pixels, "plans": torch.randn(2, 10, 5, 10)}
    safetensors.torch.save_file(inputs, tmp_path / "in.safetensors")
    files = [tmp_path / "w", tmp_path / "in.safetensors", tmp_path / "out.safetensors"]
    subprocess.run([PEER, GOLDEN / "make.py", "answer", *files], check=True)
    theirs = safetensors.torch.load_file(tmp_path / "out.safetensors")
    model = tiny.model(tiny.spec("lewm", *VIT, *SMALL))
    path = f"{trials['vit']}/checkpoint/weights.safetensors"
    weight_files.load(model, path, rows.read_trial(trials["vit"]).checkpoint_hash)
    with torch.inference_mode():
        latents = model.eval().encode(Obs(pixels, None))
    torch.testing.assert_close(latents, theirs["latents"], atol=1e-5, rtol=1e-5)


def test_what_cannot_be_exported_says_what_to_do(trials, folders, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other.pt").touch()
    given = tiny.spec("lewm", f"method.lewm.weights={GOLDEN}", "data.image_size=24", *SMALL)
    trial.run(given, folders, tiny.quiet)
    cases = {
        "its encoder is a conv": [trials["conv"]],
        "has no weights: give a finished trial": [trials["noop"]],
        "holds no trial": [str(tmp_path)],
        "holds other.pt: give another to=": [trials["vit"], f"to={tmp_path}/full"],
        "export the trial of those": [folders.trial(given)],
    }
    for said, words in cases.items():
        assert export.main(words) == 1
        assert said in "".join(capsys.readouterr().err.split("\n"))
    for words in ([], ["a", "b"], [trials["vit"], "format=onnx"], [trials["vit"], "frmat=swm"]):
        assert export.main(words) == 2
