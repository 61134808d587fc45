"""How far the model's rollouts go astray: in the latent space, and in what a probe reads there."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from harness.evaluate.held_out import Rollouts
from harness.evaluate.probing import KINDS, Probe
from harness.records import metric_names, rows

_SHARE = "share of variance"


def measure(key: str, rollouts: Rollouts, probe: Probe) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`: mean errors after 1, 2, ... blocks, of the latents and of
    every quantity of the probe, by the model and by guesses that need no model.
    """
    tables: dict[tuple[str, str], Any] = {
        (metric_names.LATENT, _SHARE): latent_errors(rollouts.z, rollouts.rolled)
    }
    tables |= quantity_errors(rollouts, probe)
    return [
        rows.MetricRow(
            key, "open_loop", metric_names.OpenLoopName(what, by).text(), k, float(error), unit
        )
        for (what, unit), guesses in tables.items()
        for by, errors in guesses.items()
        for k, error in enumerate(errors, start=1)
    ]


def latent_errors(z: Tensor, rolled: Tensor) -> dict[str, Tensor]:
    """Squared errors (K,) k blocks after the first of latents z (W, K + 1, F), as shares of their
    variance: of the predicted latents `rolled` (W, K, F), of the first latent itself ("copy"), and
    of the mean latent ("mean").
    """
    mean = z.flatten(0, 1).mean(0)
    variance = (z - mean).pow(2).mean().clamp_min(1e-12)
    guesses = {"model": rolled, "copy": z[:, :1], "mean": mean}
    return {
        name: (guess - z[:, 1:]).pow(2).mean(dim=(0, 2)) / variance
        for name, guess in guesses.items()
    }


def quantity_errors(
    rollouts: Rollouts, probe: Probe
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(quantity, its unit) -> guess -> mean errors (K,) of what the probe's networks read, against
    the true states: from the predicted latents ("model"), from the first latent ("copy"), from the
    true latents ("seen", the best that the probe can do), and of the mean of the training frames
    ("mean").
    """
    z, rolled = rollouts.z.numpy(), rollouts.rolled.numpy()
    read = {"model": _read(probe, rolled), "copy": _read(probe, z[:, :1]), "seen": _read(probe, z)}
    read["seen"] = read["seen"][:, :, 1:]
    read["mean"] = probe.centre
    errors = {}
    for quantity, own in probe.parts():
        true = quantity.targets(rollouts.state[:, 1:])  # (W, K, C)
        errors[quantity.name, quantity.unit] = {
            name: quantity.errors(*np.broadcast_arrays(true, guess[..., own]))
            .reshape(-1, *true.shape[:2])
            .mean(axis=(0, 1))
            for name, guess in read.items()
        }
    return errors


def _read(probe: Probe, z: np.ndarray) -> np.ndarray:
    """Readings of every network of the probe, (seeds, W, T, C), from latents (W, T, F)."""
    found = probe.read(z.reshape(-1, z.shape[-1]))[KINDS[1]]
    return found.reshape(len(found), *z.shape[:2], -1)
