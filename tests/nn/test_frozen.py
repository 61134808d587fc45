"""Frozen encoders: where weights come from, sizes, the order of tokens."""

import fnmatch
import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

from harness import launch, trial
from harness.contracts.data import Obs
from harness.experiment.run_folders import RunFolders
from harness.nn import frozen, mae

SMALL = {"encoder_width": 32, "encoder_depth": 2, "encoder_heads": 2, "encoder_patch": 8}


def pictures(size, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.fixture
def dinov2(tmp_path):
    """A folder as a user would have it, with a small DINOv2 for 32 px."""
    torch.manual_seed(7)
    settings = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8, image_size=32
    )
    transformers.Dinov2Model(settings).save_pretrained(tmp_path / "dinov2")
    return tmp_path / "dinov2"


@pytest.fixture
def autoencoder(tmp_path):
    """A folder with the encoder of an untrained autoencoder for 32 px."""
    torch.manual_seed(7)
    mae.Autoencoder(frozen.FrozenConfig(weights="mae", **SMALL), 32).save(tmp_path / "mae")
    return tmp_path / "mae"


def test_a_folder_gives_the_tokens_of_the_network_in_it(dinov2):
    config = frozen.FrozenConfig(weights=str(dinov2))
    encoder = frozen.FrozenEncoder(config, 32)
    assert (encoder.tokens, encoder.width, config.note, config.unavailable_reason("m")) == (
        16,
        32,
        "",
        "",
    )
    pixels = pictures(32)
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # ImageNet's
    )
    network = transformers.Dinov2Model.from_pretrained(dinov2).eval()
    with torch.no_grad():
        expected = network((pixels / 255 - mean) / std).last_hidden_state[:, 1:]
    assert torch.allclose(encoder(pixels), expected, atol=1e-5)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.train().training and not encoder(pixels).requires_grad


@pytest.mark.parametrize(("size", "side"), [(28, 32), (35, 32), (37, 40), (64, 64), (3, 8)])
def test_pictures_are_resized_to_the_nearest_multiple_of_the_patch(dinov2, autoencoder, size, side):
    for folder in (dinov2, autoencoder):
        encoder = frozen.FrozenEncoder(frozen.FrozenConfig(weights=str(folder)), size)
        assert encoder.side == side and encoder.tokens == (side // 8) ** 2
        tokens = encoder(pictures(size))
        assert tokens.shape == (2, encoder.tokens, 32) and tokens.isfinite().all()


@pytest.mark.parametrize(("kind", "size"), [("dinov2", 32), ("autoencoder", 32), ("shipped", 64)])
def test_tokens_are_in_the_order_of_their_patches(request, kind, size):
    weights = kind if kind == "shipped" else str(request.getfixturevalue(kind))
    encoder = frozen.FrozenEncoder(frozen.FrozenConfig(weights=weights), size)
    pixels, side = pictures(size, 1), size // 4
    for patch in range(16):
        row, column = (side * i for i in divmod(patch, 4))
        other = pixels.clone()
        other[:, :, row : row + side, column : column + side] += 128
        change = (encoder(other) - encoder(pixels)).abs().sum(-1)[0]
        assert change.argmax() == patch
    assert torch.equal(encoder(pixels), encoder(pixels))


def test_untrained_weights_are_the_same_for_every_seed():
    config = frozen.FrozenConfig(weights="random", **SMALL)
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        digests.add(frozen.FrozenEncoder(config, 32).digest())
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(seed))
    assert len(digests) == 1
    assert frozen.FrozenEncoder(config, 40).digest() not in digests


def test_notes(dinov2, autoencoder):
    notes = {"random": "untrained encoder", "mae": "MAE encoder", "dinov2": ""}
    notes |= {str(dinov2): "", str(autoencoder): "MAE encoder", "shipped": "autoencoder"}
    assert {name: frozen.FrozenConfig(weights=name).note for name in notes} == notes
    unmasked = frozen.MAEConfig(mask_ratio=0.0)
    for weights in ("mae", str(autoencoder)):
        assert frozen.FrozenConfig(weights=weights, mae=unmasked).note == "autoencoder"


def test_the_shipped_weights_are_those_of_their_manifest():
    config = frozen.FrozenConfig(weights="shipped")
    encoder = frozen.FrozenEncoder(config, 64)
    assert (encoder.tokens, encoder.width, config.unavailable_reason("m")) == (16, 64, "")
    file = Path(frozen.SHIPPED, frozen.WEIGHTS)
    assert file.stat().st_size < 1e6
    assert {value.dtype for value in load_file(file).values()} == {torch.float16}
    manifest = json.loads(Path(frozen.SHIPPED, "manifest.json").read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == manifest["sha256"]
    assert any("harness.training.ship" in command for command in manifest["commands"])
    assert manifest["config"]["mae"]["tasks"] == ["two_room", "push_t", "reacher", "cube"]


def test_an_installed_package_has_the_shipped_weights():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["harness.nn"]
    for name in (frozen.CONFIG, frozen.WEIGHTS, "manifest.json"):
        path = Path(frozen.SHIPPED, name)
        inside = str(path.relative_to(Path(frozen.__file__).parent))
        assert path.is_file() and any(fnmatch.fnmatch(inside, pattern) for pattern in patterns)


@pytest.mark.parametrize("size", [32, 63, 96, 224])
def test_the_shipped_weights_refuse_pictures_of_another_size(size):
    said = f"weights=shipped read pictures of 64 px, not of {size}: give data.image_size=64, or"
    with pytest.raises(ValueError, match=said):
        frozen.FrozenEncoder(frozen.FrozenConfig(weights="shipped"), size)


def test_damaged_shipped_weights_are_refused_before_a_run(dinov2, monkeypatch):
    monkeypatch.setattr(frozen, "SHIPPED", str(dinov2))
    config = frozen.FrozenConfig(weights="shipped")
    assert config.unavailable_reason("m") == ""
    rewrite(dinov2, without(".layer.1."))
    assert config.unavailable_reason("m").startswith("m.weights=shipped: model.safetensors does")


def test_only_safetensors_are_read(dinov2):
    network = transformers.Dinov2Model.from_pretrained(dinov2)
    (dinov2 / "model.safetensors").unlink()
    torch.save(network.state_dict(), dinov2 / "pytorch_model.bin")
    config = frozen.FrozenConfig(weights=str(dinov2))
    assert "model.safetensors" in config.unavailable_reason("method.dino_wm")
    with pytest.raises(OSError, match="safetensors"):
        frozen.FrozenEncoder(config, 32)


def test_weights_that_cannot_be_had_are_said_before_the_run(tmp_path, monkeypatch):
    spec = tiny.spec("dino_wm", f"method.dino_wm.weights={tmp_path}/absent")
    nodes = [{"CPU": 1.0, "GPU": 0.0}]
    assert f"method.dino_wm.weights={tmp_path}/absent is neither" in launch.unavailable_reason(
        spec, nodes
    )
    monkeypatch.setattr(frozen, "_unreachable", lambda: "the hub cannot be reached")
    reason = launch.unavailable_reason(tiny.spec("dino_wm", "method.dino_wm.weights=dinov2"), nodes)
    assert "facebook/dinov2-small is not in the cache and the hub cannot be reached" in reason
    for instead in ("FOLDER", "mae", "shipped"):
        assert f"method.dino_wm.weights={instead}" in reason
    for weights in ("random", "mae", "shipped"):
        words = [f"method.dino_wm.weights={weights}", "method.dino_wm.mae.tasks=[toy]"]
        assert launch.unavailable_reason(tiny.spec("dino_wm", *words), nodes) == ""


def rewrite(folder, change):
    """Write the weights of the folder as `change` makes them: (names -> tensors) to the same."""
    path = folder / "model.safetensors"
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    save_file(change(tensors), path, metadata={"format": "pt"})


def with_prefix(prefix):
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


def without(part):
    return lambda tensors: {name: value for name, value in tensors.items() if part not in name}


def changed(name, change):
    return lambda tensors: {n: change(v) if n == name else v for n, v in tensors.items()}


NAMES = r"\(embeddings.cls_token, embeddings.p\S+, embeddings.p\S+ and 39 more\)"
LAYER = r"\(encoder.layer.1.\S+, encoder.layer.1.\S+, encoder.layer.1.\S+ and 15 more\)"
BROKEN = {
    "foreign prefix": (
        with_prefix("foreign."),
        rf"of 42 weights 42 are missing {NAMES}, 43 unexpected \(foreign\S+ and 42 more\)\.",
    ),
    "half the layers": (without(".layer.1."), rf"of 42 weights 18 are missing {LAYER}\. Give a"),
    "unrelated tensor": (
        lambda _: {"unrelated": torch.zeros(3)},
        rf"of 42 weights 42 are missing {NAMES}, 1 unexpected \(unrelated\)\. Give a folder",
    ),
    "one layer too many": (
        lambda tensors: tensors | {"encoder.layer.2.norm1.weight": torch.ones(32)},
        r"1 weights have no place in it \(encoder.layer.2.norm1.weight\)",
    ),
    "another shape": (
        changed("layernorm.bias", lambda value: value[:16].clone()),
        r"1 weights have another shape \(layernorm.bias is \(16,\) instead of \(32,\)\)",
    ),
    "NaN": (changed("layernorm.weight", lambda value: value * float("nan")), r"NaN .* layernorm"),
    "infinite": (changed("layernorm.bias", lambda value: value + 1e39), r"infinite .* layernorm"),
    "8 bits": (changed("layernorm.bias", lambda value: value.to(torch.int8)), r"layernorm.bias as"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_weights_that_do_not_fit_are_refused_by_name(dinov2, kind):
    change, said = BROKEN[kind]
    config = frozen.FrozenConfig(weights=str(dinov2))
    assert config.unavailable_reason("method.dino_wm") == ""
    rewrite(dinov2, change)
    reason = config.unavailable_reason("method.dino_wm")
    assert re.match(rf"method.dino_wm.weights={dinov2}: model.safetensors .*{said}", reason)
    assert len(reason) < 500  # what a row keeps of an error
    if kind != "8 bits":  # which the network's own reading takes for floats
        with pytest.raises(frozen.WeightsError, match=said):
            frozen.FrozenEncoder(config, 32)


@pytest.mark.parametrize("settings", [{"hidden_size": "wide"}, {"num_attention_heads": 0}])
def test_a_configuration_that_describes_no_network_is_refused(dinov2, settings):
    path = dinov2 / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    reason = frozen.FrozenConfig(weights=str(dinov2)).unavailable_reason("m")
    assert "config.json and model.safetensors cannot be read (" in reason and "\n" not in reason


@pytest.mark.parametrize("length", [0, 5, 1000, -10])
def test_half_a_file_is_refused(dinov2, length):
    path = dinov2 / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    reason = frozen.FrozenConfig(weights=str(dinov2)).unavailable_reason("m")
    assert "cannot be read (" in reason and reason.endswith("copy them again")


ACCEPTED = {  # what else lies in files that people have, and what they may do without
    "a model's own prefix": with_prefix("dinov2."),
    "a head beside it": lambda t: with_prefix("dinov2.")(t) | {"classifier.bias": torch.zeros(9)},
    "a pooler beside it": lambda t: t | {"pooler.dense.bias": torch.full((9,), torch.nan)},
    "no mask token": without("mask_token"),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_no_token_depends_on_may_be_there_or_not(dinov2, kind):
    config = frozen.FrozenConfig(weights=str(dinov2))
    expected = frozen.FrozenEncoder(config, 32)(pictures(32))
    rewrite(dinov2, ACCEPTED[kind])
    assert config.unavailable_reason("m") == ""
    again = [frozen.FrozenEncoder(config, 32) for _ in range(2)]
    assert torch.equal(again[0](pictures(32)), expected)
    assert again[0].digest() == again[1].digest()


def test_a_whole_autoencoder_gives_the_tokens_of_its_encoder(tmp_path):
    torch.manual_seed(7)
    model = mae.Autoencoder(frozen.FrozenConfig(weights="mae", **SMALL), 32)
    model.save(tmp_path / "encoder")
    model.network.save_pretrained(tmp_path / "whole")  # with its decoder
    configs = [frozen.FrozenConfig(weights=str(tmp_path / n)) for n in ("encoder", "whole")]
    assert [config.unavailable_reason("m") for config in configs] == ["", ""]
    encoder, whole = (frozen.FrozenEncoder(config, 32)(pictures(32)) for config in configs)
    assert torch.equal(encoder, whole)


def test_a_foreign_prefix_does_not_change_what_the_right_names_give(dinov2):
    """Which is not what the same network gives at random."""
    config = frozen.FrozenConfig(weights=str(dinov2))
    rewrite(dinov2, changed("layernorm.bias", lambda value: value + 1))
    expected = frozen.FrozenEncoder(config, 32)(pictures(32))
    rewrite(dinov2, with_prefix("foreign."))
    assert "43 unexpected" in config.unavailable_reason("m")
    rewrite(dinov2, lambda t: {name.removeprefix("foreign."): value for name, value in t.items()})
    assert config.unavailable_reason("m") == ""
    assert torch.equal(frozen.FrozenEncoder(config, 32)(pictures(32)), expected)
    drawn = frozen.FrozenEncoder(frozen.FrozenConfig(weights="random", **SMALL), 32)(pictures(32))
    assert (expected - drawn).abs().mean() > 0.5


def test_half_precision_is_read_as_floats(dinov2):
    """Whatever dtype the configuration names: a picture is a float32 there."""
    config = frozen.FrozenConfig(weights=str(dinov2))
    expected = frozen.FrozenEncoder(config, 32)(pictures(32))
    rewrite(dinov2, lambda tensors: {name: value.half() for name, value in tensors.items()})
    path = dinov2 / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": "float16"}))
    tokens = frozen.FrozenEncoder(config, 32)(pictures(32))
    assert tokens.dtype == torch.float32 and torch.allclose(tokens, expected, atol=0.02)


@pytest.mark.parametrize("method", ["dino_wm", "dino_wm_proprio", "gcbc", "gcivl", "gciql"])
def test_every_method_refuses_before_it_collects_data(dinov2, tmp_path, method):
    rewrite(dinov2, with_prefix("foreign."))
    words = [f"method.{method}.weights={dinov2}"]
    words += [f"method.{method}.inputs=tokens"] if method.startswith("gc") else []
    spec = tiny.spec(method, *words)
    said = f"method.{method}.weights={dinov2}: model.safetensors does not hold the Dinov2Model"
    assert launch.unavailable_reason(spec, [{"CPU": 1.0, "GPU": 0.0}]).startswith(said)
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "datasets"))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "error" and row.error.startswith(f"TrialError: {said}")
    assert not (tmp_path / "datasets").exists()


def test_a_damaged_file_in_the_hubs_cache_is_refused(dinov2, monkeypatch):
    monkeypatch.setattr(frozen, "_cached", lambda: str(dinov2))
    config = frozen.FrozenConfig(weights="dinov2")
    frozen._unreachable.cache_clear()
    assert config.unavailable_reason("m") == ""
    rewrite(dinov2, without(".layer.1."))
    reason = config.unavailable_reason("m")
    assert reason.startswith(f"{dinov2}, the cache of facebook/dinov2-small: model.safetensors")
    assert "18 are missing" in reason and "m.weights=mae" in reason
    frozen._unreachable.cache_clear()


def test_without_a_mask_the_loss_is_the_error_of_all_pixels():
    torch.manual_seed(0)
    config = frozen.MAEConfig(mask_ratio=0.0)
    model = mae.Autoencoder(frozen.FrozenConfig(weights="mae", mae=config, **SMALL), 32).eval()
    pixels = pictures(32, 3)
    x = model.normalised(pixels)
    rebuilt = model.network.unpatchify(model.network(x).logits)
    loss = model(pixels)
    assert torch.allclose(loss, (rebuilt - x).pow(2).mean()) and loss.isfinite()
    loss.backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() and p.grad.any()
        for name, p in model.network.vit.named_parameters()
        if p.requires_grad and not name.endswith("k_proj.bias")  # softmax takes no notice of it
    )


@pytest.mark.parametrize("mask_ratio", [0.75, 0.0])
def test_an_autoencoder_lowers_its_loss_on_a_few_frames(mask_ratio):
    torch.manual_seed(0)
    config = frozen.MAEConfig(mask_ratio=mask_ratio)
    model = mae.Autoencoder(frozen.FrozenConfig(weights="mae", mae=config, **SMALL), 32)
    frames = torch.full((16, 3, 32, 32), 255, dtype=torch.uint8)
    for i, frame in enumerate(frames):  # a disc that can be guessed from where it is seen
        frame[:, 8 + i % 4 : 24, 4 + i : 12 + i] = 40
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(model(frames))
        losses[-1].backward()
        optimizer.step()
    first, last = torch.stack(losses[:5]).mean(), torch.stack(losses[-5:]).mean()
    assert last < 0.7 * first


def test_standardized_tokens_have_no_mean_at_any_place_and_spread_one(autoencoder):
    encoder = frozen.FrozenEncoder(frozen.FrozenConfig(weights=str(autoencoder)), 32)
    pixels, before = pictures(32, 50), encoder.digest()
    raw = encoder.read(Obs(pixels[:, None]))
    assert torch.equal(raw[:, 0], encoder(pixels))
    encoder.fit(raw[:, 0])
    for obs in (Obs(pixels[:, None]), Obs(None, None, raw.half())):  # seen, or out of the cache
        tokens = encoder.read(obs)
        assert tokens.mean((0, 1)).abs().max() < 2e-3
        assert abs(tokens.pow(2).mean().sqrt() - 1) < 1e-3
    assert encoder.digest() == before
