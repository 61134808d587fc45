"""Decodes frozen latents to pictures: what a model keeps of a frame, and what it imagines.

A small network is trained after the model, whose weights and latents it does not change: a query
for each patch of the picture reads the latent's tokens by cross-attention (LeWM's appendix on
decoding). It learns on frames of training episodes, and is shown on windows of test episodes:

    decoded   the latent of the real frame: what the encoder kept
    imagined  the latent of the rollout from the window's first frame under the recorded actions
    copied    the window's first frame again, as if nothing moved: no model
    mean      the mean training frame: a latent that tells nothing
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts.data import Batch
from harness.contracts.method import WorldModel
from harness.contracts.setting import Settings, setting
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.data.windows import Windows
from harness.evaluate import control, film, similarity
from harness.nn.picture_decoder import Decoder
from harness.records import metric_names, rows
from harness.runtime import seeding
from harness.runtime.progress import Progress

SHOWN_BLOCKS = (0, 1, 2, 4, 6, 8, 10)  # of the window whose pictures are kept
_CHUNK = 32  # frames or windows in one call of the model
_DECAY, _WARMUP, _CLIP = 1e-4, 0.05, 1.0  # of AdamW; share of the steps; norm of the gradients


@dataclass(frozen=True)
class DecoderConfig(Settings):
    """The decoder and its training."""

    patch: int = setting(
        16, "Side of the patch that a query draws, in px; it divides the picture's.", ge=1, paper=16
    )
    width: int = setting(128, "Width of a query.", ge=1)
    depth: int = setting(2, "Layers of cross-attention and MLP.", ge=1)
    heads: int = setting(4, "Attention heads; they divide the width.", ge=1)
    frames: int = setting(4000, "Frames of training episodes that it learns from.", ge=1)
    steps: int = setting(600, "Optimizer steps.", ge=1)
    batch_size: int = setting(32, "Frames of a step.", ge=1)
    lr: float = setting(2e-3, "Highest learning rate, before the cosine.", gt=0)
    horizon_blocks: int = setting(10, "Blocks that a rollout reaches.", ge=1)
    windows: int = setting(64, "Windows of test episodes that are measured.", ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")


def measure(
    key: str,
    model: WorldModel,
    dataset: Dataset,
    normalizer: Normalizer,
    block: int,
    config: DecoderConfig,
    device: torch.device,
    progress: Progress,
) -> tuple[list[rows.MetricRow], list[rows.FrameRow]]:
    """Train a decoder of the model of the trial `key` and measure it on windows of test episodes:
    metric rows under PictureName, and the pictures of one window, the one that changes most.
    """
    frames = dataset.split_rows("train")
    frames = seeding.stream("decoder", "frames").permutation(frames)[: config.frames]
    pixels = dataset.read_pixels(frames)
    z = _latents(model, pixels, dataset.proprio[frames], normalizer, device)
    decoder = train(z, torch.from_numpy(pixels), config, device, progress)
    longest = int(dataset.lengths[dataset.split("test")].max())
    blocks = min(config.horizon_blocks, longest // block - 1)
    windows = Windows(dataset, "test", blocks + 1, block, normalizer)
    chosen = seeding.stream("decoder", "windows").permutation(len(windows))[: config.windows]
    errors, likeness, change = [], [], []
    for batch in _batches(windows, np.sort(chosen), device):
        real, drawn = _pictures(model, decoder, batch)
        errors.append({name: (p - real).pow(2).mean((2, 3, 4)) for name, p in drawn.items()})
        likeness.append({name: similarity.ssim(p, real) for name, p in drawn.items()})
        change.append(errors[-1]["copied"][:, -1])
    metrics = _rows(key, "psnr", "dB", errors, similarity.psnr)
    metrics += _rows(key, "ssim", "", likeness, lambda mean: mean)
    shown = np.sort(chosen)[int(torch.cat(change).argmax())]
    return metrics, _frames(key, model, decoder, windows, int(shown), device)


def train(
    z: Tensor, pixels: Tensor, config: DecoderConfig, device: torch.device, progress: Progress
) -> Decoder:
    """Fit a decoder to latents (M, *D) of the frames `pixels` (M, 3, size, size) uint8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.integer("decoder", "network"))
        sizes = config.patch, config.width, config.depth, config.heads
        decoder = Decoder(z.shape[1:], pixels.shape[-1], *sizes).to(device)
    decoder.fit_statistics(z, pixels)
    optimizer = torch.optim.AdamW(decoder.parameters(), config.lr, weight_decay=_DECAY)
    rng = seeding.stream("decoder", "batches")
    for step in range(config.steps):
        batch = torch.from_numpy(rng.integers(len(z), size=config.batch_size))
        picture = pixels[batch].to(device).float() / 255
        loss = F.mse_loss(decoder(z[batch].to(device)), picture) / decoder.std**2
        optimizer.param_groups[0]["lr"] = config.lr * _share(step, config.steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), _CLIP)
        optimizer.step()
        progress("decoder", step + 1, config.steps)
    return decoder.eval()


def _share(step: int, steps: int) -> float:
    """The learning rate as a share of the highest one: a linear warm-up, then a cosine to zero."""
    return min(1.0, (step + 1) / (_WARMUP * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def _latents(
    model: WorldModel,
    pixels: np.ndarray,
    proprio: np.ndarray,
    normalizer: Normalizer,
    device: torch.device,
) -> Tensor:
    """The latents (M, *D) of frames, on the CPU; no gradient reaches the model."""
    model.eval()
    obs = control.observation(pixels, proprio, normalizer)
    parts = torch.arange(len(pixels)).split(_CHUNK)
    return torch.cat([model.encode(obs.rows(own).to(device))[:, 0].float().cpu() for own in parts])


def _batches(windows: Windows, chosen: np.ndarray, device: torch.device) -> Iterator[Batch]:
    for part in np.array_split(chosen, -(-len(chosen) // _CHUNK)):
        batch = windows.take(part).batch
        yield Batch(batch.obs.to(device), batch.actions.to(device))


@torch.no_grad()
def _pictures(
    model: WorldModel, decoder: Decoder, batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """The real frames of windows (B, T, 3, size, size) in 0..1, and the same from each source."""
    assert batch.obs.pixels is not None
    real = batch.obs.pixels.float() / 255
    z, actions = model.encode(batch.obs).float(), batch.actions[:, :-1]
    rolled = model.fast_rollout()(z[:, :1], actions[:, :0], actions).float()
    imagined = torch.cat([z[:, :1], rolled], dim=1)

    def drawn(latents: Tensor) -> Tensor:
        return decoder(latents.flatten(0, 1)).clamp(0, 1).unflatten(0, real.shape[:2])

    sources = (drawn(z), drawn(imagined), real[:, :1], decoder.mean)
    named = zip(metric_names.PICTURE_SOURCES, sources, strict=True)
    return real, {name: pictures.expand_as(real) for name, pictures in named}


def _rows(
    key: str,
    measure: str,
    unit: str,
    parts: list[dict[str, Tensor]],
    value: Callable[[Tensor], Tensor],
) -> list[rows.MetricRow]:
    """A row for each source and block of a function of the mean over windows, (B, T) in parts; none
    of block 0 for sources that have the real first frame or its latent.
    """
    found = []
    for source in metric_names.PICTURE_SOURCES:
        means = value(torch.cat([part[source] for part in parts]).mean(0))
        name = metric_names.PictureName(source, measure).text()
        first = 1 if source in ("imagined", "copied") else 0
        found += [
            rows.MetricRow(key, "decoder", name, k, float(means[k]), unit)
            for k in range(first, len(means))
        ]
    return found


def _frames(
    key: str,
    model: WorldModel,
    decoder: Decoder,
    windows: Windows,
    index: int,
    device: torch.device,
) -> list[rows.FrameRow]:
    """Pictures of one window."""
    (batch,) = _batches(windows, np.array([index]), device)
    real, drawn = _pictures(model, decoder, batch)
    kinds = {"real": real, "decoded": drawn["decoded"], "imagined": drawn["imagined"]}
    return [
        rows.FrameRow(
            *(key, index, "", kind, k * windows.block, False),
            film.png((255 * pictures[0, k]).round().byte().cpu().numpy()),
            stage="decoder",
        )
        for kind, pictures in kinds.items()
        for k in SHOWN_BLOCKS
        if k < pictures.shape[1]
    ]
