"""DINO-WM: its mask, its cost, its sizes, and tokens out of the cache."""

import math

import pytest
import tiny
import torch

from baselines.dino_wm import DinoWM, DinoWMConfig, DinoWMProprio, FrameCausalTransformer
from harness import zoo
from harness.contracts.data import Obs
from harness.contracts.task import ModelDims
from harness.data import normalize
from harness.evaluate import geometry, held_out, latents, open_loop, probing

CPU = torch.device("cpu")
SMALL = DinoWMConfig(
    weights="random",
    encoder_width=16,
    encoder_depth=1,
    encoder_heads=2,
    encoder_patch=16,
    predictor_depth=2,
    predictor_heads=2,
    predictor_head_width=8,
    predictor_hidden=32,
)


def pictures(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@torch.no_grad()
def test_a_token_sees_all_of_its_own_and_of_earlier_frames_and_nothing_later():
    torch.manual_seed(0)
    model = FrameCausalTransformer(8, 3, 4, 1, 2, 4, 16, 0.0).eval()
    x = torch.randn(2, 3, 4, 8)
    before = model(x)
    for frame in range(3):
        for token in range(4):
            changed = x.clone()
            changed[:, frame, token] *= -1
            moved = (model(changed) - before).abs().amax((0, 3)) > 1e-6  # (T, P)
            assert not moved[:frame].any() and moved[frame:].all()


def test_sizes_of_the_paper():
    """DINOv2 ViT-S/14 with 256 tokens of 384 at 224 px, and a predictor as wide as token and
    action.
    """
    config, dims = DinoWMConfig(weights="random"), ModelDims(224, block_dim=10, proprio_dim=4)
    with torch.device("meta"):
        model = DinoWM(config, dims)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (model.frozen, model.predictor)]
    assert round(sizes[0] / 1e6, 1) == 21.6  # positions for 224 px, the released ones for 518
    width, inner = 384 + 10, 16 * 64
    block = 4 * width * inner + width + 2 * width * 2048 + 2048 + width + 4 * width
    assert sizes[1] == 6 * block + 3 * 256 * width + 2 * width
    assert (model.tokens_per_frame, model.history, model.window_frames) == (256, 3, 4)
    assert model.rollout_bytes(5) == (  # of one of 300 candidates
        4 * 3 * 256 * (3 * width + 4 * inner + 2 * 2048),
        4 * 256 * (3 * 6 * 2 * inner + 5 * width),
    )


def test_proprio_weighs_as_a_mean_of_its_own():
    torch.manual_seed(0)
    config = DinoWMConfig(**{**vars(SMALL), "proprio_weight": 0.5})
    model = DinoWMProprio(config, ModelDims(32, 10, 2)).eval()
    obs = Obs(pictures(2, 1, 3, 32, 32), torch.randn(2, 1, 2))
    with torch.no_grad():
        z = model.encode(obs)
        assert z.shape == (2, 1, 4, 16 + 10)
        distance = (z[0] - z[1]).pow(2).sum()
        embedded = model.proprio_embedder(obs.proprio)
        visual = (z[0] - z[1])[..., :16].pow(2).mean()
        proprio = (embedded[0] - embedded[1]).pow(2).mean()
        assert torch.allclose(distance, 4 * 16 * (visual + 0.5 * proprio), rtol=1e-4)
        unseen = model.encode(Obs(obs.pixels))
        average = model.encode(Obs(obs.pixels, torch.zeros(2, 1, 2)))
    assert torch.equal(unseen, average) and math.isclose(model.scale, math.sqrt(0.5 * 16 / 10))


def test_the_loss_is_the_sum_of_the_parts_means(datasets):
    for method in ("dino_wm", "dino_wm_proprio"):
        spec = tiny.spec(method)
        model = tiny.model(spec).eval()
        batch = tiny.windows(spec, datasets, 4).take(range(8)).batch
        with torch.no_grad():
            terms = model.loss(batch)
            z = model.encode(batch.obs)
            gap = (model.predict(z[:, :-1], batch.actions[:, :-1]) - z[:, 1:]).pow(2)
        expected = gap[..., :32].mean()
        assert torch.allclose(terms["visual"], expected)
        if method == "dino_wm_proprio":
            proprio = gap[..., 32:].mean() / model.scale**2  # weight 1
            assert torch.allclose(terms["proprio"], proprio)
            expected = expected + proprio
        assert torch.allclose(terms["loss"], expected)


def test_without_proprio_the_proprio_method_refuses():
    with pytest.raises(ValueError, match="use the method dino_wm"):
        DinoWMProprio(SMALL, ModelDims(32, 10, 0))


@pytest.mark.parametrize("method", ["dino_wm", "dino_wm_proprio"])
def test_tokens_stand_for_the_pixels_they_were_made_of(method, datasets):
    spec = tiny.spec(method)
    model = tiny.model(spec).eval()
    obs = tiny.windows(spec, datasets, 4).take(range(8)).batch.obs
    tokens = model.frozen(obs.pixels.flatten(0, 1)).unflatten(0, (8, 4)).half()
    with torch.no_grad():
        direct = model.encode(obs)
        cached = model.encode(Obs(None, obs.proprio, tokens))
    assert torch.allclose(direct, cached, atol=5e-3)


def test_evaluation_reads_latents_of_several_tokens(datasets, monkeypatch):
    monkeypatch.setattr(probing, "FRAMES", {"train": 200, "validation": 100, "test": 100})
    monkeypatch.setattr(probing, "EPOCHS", 2)
    monkeypatch.setattr(held_out, "MOST_FEATURES", 32)  # of 2 x 2 x 32
    spec = tiny.spec("dino_wm_proprio")
    data, model = tiny.dataset(spec, datasets), tiny.model(spec).eval()
    known, task = normalize.fit(data), zoo.TASKS[spec.task]
    made = latents.measure("k", model, data, known, 5, CPU)
    splits = probing.read_pairs(held_out.latent(model), data, known, 5, CPU)
    probe = probing.of_frames(splits, task.spec)
    made += probing.measure("k", splits, [], probe, task.spec)
    rolled = held_out.rollouts(model, data, known, 5, CPU)
    made += open_loop.measure("k", rolled, probe) + geometry.measure("k", task, rolled)
    values = {row.name: row.value for row in made}
    assert all(math.isfinite(row.value) for row in made)
    assert values["latent_std"] > 0 and values["effective_rank"] > 1
    assert {"x.latent.linear.200.r", "y.pooled.mlp2x256.200.error", "x.model"} <= set(values)
