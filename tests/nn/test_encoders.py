"""Each kind of encoder: shapes, gradients, pictures normalised inside."""

import pytest
import torch
import torch.nn.functional as F

from harness.nn import encoders

CONFIGS = {
    "vit": encoders.EncoderConfig("vit", width=24, patch=8, depth=2, heads=3),
    "conv": encoders.EncoderConfig("conv", width=24, patch=4, channels=(4, 8)),
    "resnet18": encoders.EncoderConfig("resnet18"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_features_and_gradients(kind):
    torch.manual_seed(0)
    encoder = encoders.build(CONFIGS[kind], 32)
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    seen = pixels.clone()
    features = encoder(pixels)
    assert features.shape == (4, encoder.width) and features.isfinite().all()
    assert torch.equal(pixels, seen)  # normalised in a copy
    (features * torch.randn_like(features)).sum().backward()
    missed = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missed


class Same(encoders.Encoder):
    """Its features are what it is given."""

    def features(self, x):
        return x


def test_pictures_are_normalised_with_imagenets_statistics():
    pictures = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    black, white = Same()(pictures)[:, :, 0, 0]
    mean, std = torch.tensor(encoders.IMAGENET_MEAN), torch.tensor(encoders.IMAGENET_STD)
    assert torch.allclose(black, -mean / std, atol=1e-5)
    assert torch.allclose(white, (1 - mean) / std, atol=1e-5)


def test_scaling_whole_rows_gives_the_bits_of_scaling_by_channel():
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    encoder = Same()
    x = encoder(pixels)
    assert torch.equal(x, pixels.float() * encoder._scale + encoder._shift)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_the_convolutional_encoder_is_its_layers_one_by_one():
    """ReLU in place and the gradient's layout change no bit of the features or the gradients."""
    torch.manual_seed(0)
    encoder = encoders.build(CONFIGS["conv"], 32)
    x = encoder.normalised(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    plain = x
    for layer in encoder.body:
        plain = F.relu(plain) if isinstance(layer, torch.nn.ReLU) else layer(plain)
    plain = encoder.head(plain.flatten(1))
    slope = torch.randn_like(plain)
    wanted = torch.autograd.grad(plain, tuple(encoder.parameters()), slope)
    features = encoder.features(x)
    found = torch.autograd.grad(features, tuple(encoder.parameters()), slope)
    assert torch.equal(features, plain)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_patch_must_divide_the_picture():
    with pytest.raises(ValueError, match=r"^encoder.patch=14 must divide .*data.image_size=64"):
        encoders.build(encoders.EncoderConfig("vit", patch=14), 64)


def test_vit_computes_of_its_last_layer_what_transformers_does():
    config = encoders.EncoderConfig("vit", width=24, patch=8, depth=2, heads=3)
    vit = encoders.build(config, 32).double()  # in fp32 the rounding depends on what is drawn
    pictures = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    whole = vit.vit(pictures).last_hidden_state[:, 0]
    ours = vit.features(pictures)
    torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-6)
    want = torch.autograd.grad(whole.pow(2).sum(), list(vit.parameters()), allow_unused=True)
    got = torch.autograd.grad(ours.pow(2).sum(), list(vit.parameters()), allow_unused=True)
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_vit_in_bf16_is_close_to_fp32(monkeypatch):
    """On a CPU its attention is another one in bf16."""
    torch.manual_seed(0)
    vit = encoders.build(CONFIGS["vit"], 32)
    pictures, weights = torch.randn(5, 3, 32, 32), torch.randn(5, 24)

    def outcome(autocast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = vit.features(pictures).float()
        used = [p for name, p in vit.named_parameters() if "pooler" not in name]
        return [found, *torch.autograd.grad((found * weights).sum(), used, allow_unused=True)]

    want = outcome(autocast=False)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)  # the slow one there
    for a, b in zip(outcome(autocast=True), want, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a - b).norm() < 0.03 * b.norm() + 1e-3  # keys' biases have no gradient
