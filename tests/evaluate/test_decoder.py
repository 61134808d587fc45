"""The decoder: pictures it can learn by heart, latents that say nothing, and a model left alone."""

import dataclasses
import io

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from harness import zoo
from harness.data import normalize
from harness.evaluate import decoder, similarity
from harness.evaluate.decoder import DecoderConfig
from harness.nn.picture_decoder import Decoder
from harness.records import metric_names

CPU = torch.device("cpu")
SMALL = DecoderConfig(patch=16, width=64, depth=1, lr=4e-3, steps=700, batch_size=16)


def discs(count, size=32):
    """Pictures of the toy at random places, (count, 3, size, size) uint8."""
    simulator = zoo.TASKS["toy"].simulator(count, size)
    simulator.set_state(np.random.default_rng(0).uniform(0.1, 0.9, (count, 2)))
    return torch.from_numpy(simulator.render())


def quality(found, z, pixels):
    """PSNR of the decoded pictures, and of the mean picture."""
    real = pixels.float() / 255
    with torch.no_grad():
        errors = [(p - real).pow(2).mean() for p in (found(z).clamp(0, 1), found.mean)]
    return [float(similarity.psnr(error)) for error in errors]


@pytest.mark.parametrize("shape", [(24,), (4, 6)], ids=["vector", "tokens"])
def test_it_learns_sixteen_pictures_by_heart(shape):
    pixels = discs(16)
    z = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    found = decoder.train(z, pixels, SMALL, CPU, tiny.quiet)
    reached, mean = quality(found, z, pixels)
    assert reached > 35 > mean + 10


def test_what_lies_in_faint_directions_is_read_as_well():
    """As where all floats of a latent move together, and little else tells pictures apart."""
    pixels = discs(16).repeat(8, 1, 1, 1)
    rng = torch.Generator().manual_seed(0)
    faint = torch.randn(16, 24, generator=rng).repeat(8, 1)
    loud = 300 * torch.randn(128, 1, generator=rng) * torch.randn(24, generator=rng)
    found = decoder.train(faint + loud, pixels, SMALL, CPU, tiny.quiet)
    reached, mean = quality(found, faint + loud.flip(0), pixels)
    assert reached > 30 > mean + 5


def test_whitened_latents_vary_alike_in_all_directions():
    mixing = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    z = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) @ mixing + 3
    found = Decoder((6,), 16)
    found.fit_statistics(z, discs(500, 16))
    white = (z - found.z_mean) @ found.whiten
    torch.testing.assert_close(white.T @ white / 500, torch.eye(6), atol=1e-3, rtol=0)
    with_floor = torch.cat([z, torch.full((500, 1), 2.0)], dim=1)  # a float that never varies
    found = Decoder((7,), 16)
    found.fit_statistics(with_floor, discs(500, 16))
    assert found.whiten.isfinite().all()


def test_equal_latents_give_the_mean_picture_and_no_more():
    pixels = discs(16)
    brief = dataclasses.replace(SMALL, steps=100)
    found = decoder.train(torch.ones(16, 8), pixels, brief, CPU, tiny.quiet)
    reached, mean = quality(found, torch.ones(16, 8), pixels)
    assert reached == pytest.approx(mean, abs=0.3)


def test_patches_are_put_where_they_belong():
    """With the weights of one query alone, one patch is drawn."""
    found = Decoder((5,), 12, patch=4, width=8, depth=1, heads=2)
    marks = torch.arange(9.0)
    found.write = torch.nn.Identity()
    found.norm = torch.nn.Identity()
    found.blocks = torch.nn.ModuleList()
    found.queries.data = marks[:, None].expand(9, 3 * 16).clone()
    picture = found(torch.zeros(2, 5))
    assert picture.shape == (2, 3, 12, 12)
    grid = picture[1, 2, ::4, ::4]
    assert torch.equal(grid, marks.view(3, 3)) and torch.equal(
        picture[0, 0, 0:4, 8:12], grid[:1, 2:].expand(4, 4)
    )


def test_a_patch_that_does_not_divide_the_picture_is_refused():
    with pytest.raises(ValueError, match="patch=5 must divide the picture's side, 32 px"):
        Decoder((4,), 32, patch=5)


@pytest.mark.parametrize("method", ["lewm", "dino_wm_proprio"])
def test_rows_and_pictures_of_a_model_that_stays_as_it_is(method, datasets):
    spec = tiny.spec(method)
    dataset, model = tiny.dataset(spec, datasets), tiny.stir(tiny.model(spec))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = spec.config.decoder
    metrics, frames = decoder.measure(
        *(spec.key, model, dataset, normalize.fit(dataset), 5, settings, CPU, tiny.quiet)
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    found = {}
    for row in metrics:
        found.setdefault(metric_names.PictureName.of(row.name), {})[row.index] = row.value
    assert {name.source for name in found} == set(metric_names.PICTURE_SOURCES)
    horizon = settings.horizon_blocks
    for name, values in found.items():
        first = 1 if name.source in ("imagined", "copied") else 0
        assert list(values) == list(range(first, horizon + 1)), name
        assert np.isfinite(list(values.values())).all()
    assert found["copied", "psnr"][1] > found["copied", "psnr"][horizon]  # it moves away
    kinds = {frame.kind: [f.step for f in frames if f.kind == frame.kind] for frame in frames}
    assert kinds == {kind: [0, 5, 10] for kind in ("real", "decoded", "imagined")}
    assert {frame.stage for frame in frames} == {"decoder"}
    window = tiny.windows(spec, datasets, horizon + 1, "test").take(np.array([frames[0].pair_id]))
    real = window.batch.obs.pixels[0, 1].numpy().transpose(1, 2, 0)
    shown = next(f for f in frames if f.kind == "real" and f.step == 5)
    assert (np.asarray(Image.open(io.BytesIO(shown.image))) == real).all()


def test_the_same_model_gives_the_same_rows(datasets):
    spec = tiny.spec("lewm")
    dataset, model = tiny.dataset(spec, datasets), tiny.model(spec)
    settings = dataclasses.replace(spec.config.decoder, steps=2)
    made = [
        decoder.measure(
            *(spec.key, model, dataset, normalize.fit(dataset), 5, settings, CPU, tiny.quiet)
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
