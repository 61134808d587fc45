"""Frozen encoders: where weights come from, sizes, the order of tokens."""

import pytest
import tiny
import torch
import transformers

from harness import launch
from harness.interfaces import Obs
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
    assert (encoder.tokens, encoder.width, config.note, config.lacks("m")) == (16, 32, "", "")
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


@pytest.mark.parametrize("kind", ["dinov2", "autoencoder"])
def test_tokens_are_in_the_order_of_their_patches(request, kind):
    folder = request.getfixturevalue(kind)
    encoder = frozen.FrozenEncoder(frozen.FrozenConfig(weights=str(folder)), 32)
    pixels = pictures(32, 1)
    for patch in range(16):
        row, column = divmod(patch, 4)
        other = pixels.clone()
        other[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 128
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
    notes |= {str(dinov2): "", str(autoencoder): "MAE encoder"}
    assert {name: frozen.FrozenConfig(weights=name).note for name in notes} == notes


def test_only_safetensors_are_read(dinov2):
    network = transformers.Dinov2Model.from_pretrained(dinov2)
    (dinov2 / "model.safetensors").unlink()
    torch.save(network.state_dict(), dinov2 / "pytorch_model.bin")
    config = frozen.FrozenConfig(weights=str(dinov2))
    assert "model.safetensors" in config.lacks("method.dino_wm")
    with pytest.raises(OSError, match="safetensors"):
        frozen.FrozenEncoder(config, 32)


def test_weights_that_cannot_be_had_are_said_before_the_run(tmp_path, monkeypatch):
    spec = tiny.spec("dino_wm", f"method.dino_wm.weights={tmp_path}/absent")
    nodes = [{"CPU": 1.0, "GPU": 0.0}]
    assert f"method.dino_wm.weights={tmp_path}/absent is neither" in launch.lacks(spec, nodes)
    monkeypatch.setattr(frozen, "_unreachable", lambda: "the hub cannot be reached")
    reason = launch.lacks(tiny.spec("dino_wm", "method.dino_wm.weights=dinov2"), nodes)
    assert "facebook/dinov2-small is not in the cache and the hub cannot be reached" in reason
    assert "method.dino_wm.weights=FOLDER" in reason and "method.dino_wm.weights=mae" in reason
    for weights in ("random", "mae"):
        words = [f"method.dino_wm.weights={weights}", "method.dino_wm.mae.tasks=[toy]"]
        assert launch.lacks(tiny.spec("dino_wm", *words), nodes) == ""


def test_an_autoencoder_lowers_its_loss_on_a_few_frames():
    torch.manual_seed(0)
    model = mae.Autoencoder(frozen.FrozenConfig(weights="mae", **SMALL), 32)
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
