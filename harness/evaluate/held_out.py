"""Encodes recorded frames for the stages that look inside a latent space, each frame once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Obs
from harness.contracts.method import LatentModel, WorldModel
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.data.windows import Windows
from harness.runtime import seeding

BLOCKS = 10  # of a rollout, and of a held-out window
WINDOWS = 256
MOST_FEATURES = 8192  # a latent with more floats is reduced to this number
_CHUNK = 32  # windows in one call of the model: frames of many tokens take much memory
_FRAMES = 128  # frames in one call

Read = Callable[[Obs], dict[str, Tensor]]  # (B, T, ...) -> features (B, T, F) by their source


class Rollouts(NamedTuple):
    """Windows of test episodes, one frame a block: their latents, and those that the model predicts
    from the first frame and the recorded actions.
    """

    z: Tensor  # (W, K + 1, F) float32, on the CPU
    rolled: Tensor  # (W, K, F)
    state: np.ndarray  # (W, K + 1, S)


@torch.inference_mode()
def rollouts(
    model: WorldModel, dataset: Dataset, normalizer: Normalizer, block: int, device: torch.device
) -> Rollouts:
    """At most WINDOWS windows of BLOCKS blocks, fewer where no test episode is that long."""
    longest = int(dataset.lengths[dataset.split("test")].max())
    frames = min(BLOCKS, longest // block - 1) + 1
    windows = Windows(dataset, "test", frames, block, normalizer)
    order = seeding.stream("rollouts").permutation(len(windows))[:WINDOWS]
    model.eval()
    rollout, parts = model.fast_rollout(), []
    for chosen in np.array_split(np.sort(order), -(-len(order) // _CHUNK)):
        window = windows.take(chosen)
        obs, actions = window.batch.obs.to(device), window.batch.actions[:, :-1].to(device)
        z = model.encode(obs).float()  # (B, K + 1, *D)
        rolled = rollout(z[:, :1], actions[:, :0], actions).float()  # (B, K, *D)
        parts.append((flat(z).cpu(), flat(rolled).cpu(), window.state))
    latents, rollouts, states = zip(*parts, strict=True)
    return Rollouts(torch.cat(latents), torch.cat(rollouts), np.concatenate(states))


@torch.inference_mode()
def read(
    features: Read,
    dataset: Dataset,
    normalizer: Normalizer,
    rows: np.ndarray,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Features (M, T, F) float32 of the frames at `rows` (M, T) of the dataset, by their source."""
    parts = []
    for part in np.array_split(rows, -(-rows.size // _FRAMES)):
        pixels = dataset.read_pixels(part.reshape(-1))
        proprio = normalizer.encode_proprio(dataset.proprio[part])
        obs = Obs(torch.from_numpy(pixels).unflatten(0, part.shape), torch.from_numpy(proprio))
        parts.append({name: z.cpu().numpy() for name, z in features(obs.to(device)).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def pairs(dataset: Dataset, split: str, block: int, count: int) -> np.ndarray:
    """Rows (M, 2) of two frames of one episode, a block apart; at most `count` pairs, ascending."""
    episodes = dataset.split(split)
    firsts = [
        dataset.first_row[i] + np.arange(max(0, dataset.lengths[i] - block)) for i in episodes
    ]
    first = np.concatenate(firsts)
    chosen = seeding.stream("probing", split).permutation(len(first))[:count]
    return np.sort(first[chosen])[:, None] + [0, block]


def latent(model: LatentModel) -> Read:
    """Reads the model's latents, "latent"; where a frame has several tokens also their mean,
    "pooled".
    """
    model.eval()

    def features(obs: Obs) -> dict[str, Tensor]:
        z = model.encode(obs).float()
        known = {"latent": flat(z)}
        return known | {"pooled": z.mean(2)} if z.dim() == 4 and z.shape[2] > 1 else known

    return features


def flat(z: Tensor) -> Tensor:
    """Latents (B, T, *D) as (B, T, F), the tokens of a frame one after the other.

    More than MOST_FEATURES floats are reduced to that number by a count sketch (Charikar et al.
    2002): each is added, with a random sign, to one of MOST_FEATURES sums, which preserves inner
    products and distances on average.
    """
    z = z.flatten(2)
    if z.shape[2] <= MOST_FEATURES:
        return z
    rng = seeding.stream("sketch", z.shape[2])
    slot = torch.from_numpy(rng.integers(MOST_FEATURES, size=z.shape[2])).to(z.device)
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=z.shape[2])).to(z)
    return z.new_zeros(*z.shape[:2], MOST_FEATURES).index_add_(2, slot, z * sign)
