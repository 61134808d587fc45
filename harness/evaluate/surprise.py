"""Surprise: how far a world model's prediction of the next latent errs, where a clip is as it was
recorded and where an event breaks what the model should expect (data/clips.py).

LeWM's experiment on violated expectations, with two detectors beside it that know no physics: the
difference of consecutive pictures, and the prediction that the latent stays where it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from harness.contracts.data import Obs
from harness.contracts.method import WorldModel
from harness.data.clips import Clips
from harness.data.normalize import Normalizer
from harness.records import metric_names, rows

FIRST = 3  # frames from here on count as normal ones: those before have a shorter history
FALSE_ALARMS = 1 / 1000  # share of normal frames above the threshold of detection
LEVEL = 0.95  # of the band of a mean
_CHUNK = 8  # clips in one call of the model


class Paired(NamedTuple):
    """Surprise at the event against surprise at the same frame of the undisturbed clip."""

    gap: float  # mean difference
    t_test: float  # two-sided p-value of the paired t-test
    wilcoxon: float  # two-sided p-value of the signed-rank test
    effect: float  # Cohen's d of the differences: their mean over their std
    rank_effect: float  # matched-pairs rank-biserial correlation, -1 to 1


def measure(
    key: str, model: WorldModel, clips: Clips, normalizer: Normalizer, device: torch.device
) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`: curves over time, and for every kind of event and source of
    surprise how well the event is told from normal frames.

    Values are z-scored by the normal frames of their source. The tests are over the means of the
    clips' families, since clips of one family resemble each other.
    """
    families = np.unique(clips.family)
    counts = {"clips": len(clips.family), "families": len(families)}
    found = [rows.MetricRow(key, "surprise", name, 0, n, name) for name, n in counts.items()]
    for source, values in surprise(model, clips, normalizer, device).items():
        normal = values[0, :, FIRST - 1 :]
        values = (values - normal.mean()) / max(float(normal.std()), 1e-12)
        for kind, own in zip((metric_names.UNDISTURBED, *clips.kinds), values, strict=True):
            found += _curve(key, kind, source, own, clips)
        for kind, own in zip(clips.kinds, values[1:], strict=True):
            found += _event(key, kind, source, own, values[0], clips)
    return found


def _curve(
    key: str, kind: str, source: str, values: np.ndarray, clips: Clips
) -> list[rows.MetricRow]:
    """Mean and half width of its band at each frame, by the frame's blocks since the event."""
    means = _family_means(values, clips.family)  # (families, F - 1)
    count = len(means)
    spread = means.std(0, ddof=1) if count > 1 else np.full(means.shape[1], np.nan)
    half = stats.t.ppf((1 + LEVEL) / 2, max(count - 1, 1)) * spread / math.sqrt(count)
    return [
        rows.MetricRow(
            *(key, "surprise", metric_names.SurpriseName(kind, source, measure).text()),
            *(frame - clips.event, float(value), "std"),
        )
        for measure, curve in (("mean", means.mean(0)), ("half_width", half))
        for frame, value in enumerate(curve, start=1)
    ]


def _event(
    key: str, kind: str, source: str, values: np.ndarray, undisturbed: np.ndarray, clips: Clips
) -> list[rows.MetricRow]:
    """How the event's frames differ from the same frames of the undisturbed clips, which may
    surprise more than others (a push, a turn); only the threshold of detection is that of all
    frames. Values (n, F - 1).
    """
    event, before = values[:, clips.event - 1], undisturbed[:, clips.event - 1]
    test = paired(*_family_means(np.stack([event, before], axis=1), clips.family).T)
    found = {
        "auc": (auc(event, before), ""),
        "detected": (detected(event, undisturbed[:, FIRST - 1 :].ravel()), "share"),
        **{name: (value, "std" if name == "gap" else "") for name, value in test._asdict().items()},
    }
    return [
        rows.MetricRow(
            key, "surprise", metric_names.SurpriseName(kind, source, measure).text(), 0, value, unit
        )
        for measure, (value, unit) in found.items()
    ]


def _family_means(values: np.ndarray, family: np.ndarray) -> np.ndarray:
    """Means (families, ...) of values (n, ...) over the clips of each family."""
    return np.stack([values[family == one].mean(0) for one in np.unique(family)])


@torch.inference_mode()
def surprise(
    model: WorldModel, clips: Clips, normalizer: Normalizer, device: torch.device
) -> dict[str, np.ndarray]:
    """source -> surprise (1 + K, n, F - 1) at the frames 1 .. F - 1, first of the undisturbed
    clips, then of each kind of event: "model", the mean squared error of the predicted latent;
    "stay", that of the last latent; "pixels", the mean squared difference of two pictures.
    """
    model.eval()
    parts: dict[str, list[np.ndarray]] = {source: [] for source in metric_names.SURPRISE_SOURCES}
    for first in range(0, len(clips.family), _CHUNK):
        part = slice(first, first + _CHUNK)
        plain, events = _observe(clips, part, normalizer, device)
        z = _whole(model.encode(plain).float(), model.encode(events).float(), clips.event)
        assert plain.pixels is not None and events.pixels is not None
        pixels = _whole(plain.pixels, events.pixels, clips.event)
        actions = torch.from_numpy(normalizer.encode_actions(clips.actions[part])).to(device)
        actions = actions.repeat(len(z) // len(actions), 1, 1)
        parts["model"].append(_squared(_predicted(model, z, actions), z[:, 1:], len(clips.kinds)))
        parts["stay"].append(_squared(z[:, :-1], z[:, 1:], len(clips.kinds)))
        parts["pixels"].append(_squared(pixels[:, :-1], pixels[:, 1:], len(clips.kinds)))
    return {source: np.concatenate(values, axis=1) for source, values in parts.items()}


def _observe(
    clips: Clips, part: slice, normalizer: Normalizer, device: torch.device
) -> tuple[Obs, Obs]:
    """Observe b clips: undisturbed (b, F, ...), and from the event on (K * b, F - e, ...)."""
    seen = (clips.pixels[part], clips.proprio[part])
    disturbed = (clips.event_pixels[:, part], clips.event_proprio[:, part])
    pairs = (seen, tuple(values.reshape(-1, *values.shape[2:]) for values in disturbed))
    plain, events = (
        Obs(
            torch.from_numpy(np.array(pixels)),
            torch.from_numpy(np.float32(normalizer.encode_proprio(proprio))),
        ).to(device)
        for pixels, proprio in pairs
    )
    return plain, events


def _whole(plain: Tensor, events: Tensor, event: int) -> Tensor:
    """Undisturbed clips (b, F, ...), then for every kind the same up to the event, and from there
    on its frames (K * b, F - e, ...): ((1 + K) * b, F, ...).
    """
    before = plain[:, :event].repeat(len(events) // len(plain), *[1] * (plain.ndim - 1))
    return torch.cat([plain, torch.cat([before, events], dim=1)])


def _predicted(model: WorldModel, z: Tensor, actions: Tensor) -> Tensor:
    """Predictions (B, F - 1, *D) of the frames 1 .. F - 1 of latents (B, F, *D), each from the
    `history` frames before it, or from those that there are.
    """
    history, frames = model.history, z.shape[1]
    first = model.predict(z[:, : min(history, frames - 1)], actions[:, :history])
    later = [
        model.predict(z[:, end - history : end], actions[:, end - history : end])[:, -1:]
        for end in range(history + 1, frames)
    ]
    return torch.cat([first, *later], dim=1).float()


def _squared(guess: Tensor, true: Tensor, kinds: int) -> np.ndarray:
    """Mean squared differences (1 + K, b, F - 1), of pictures in shares of their range."""
    scale = 1.0 if true.is_floating_point() else 255.0
    error = ((guess.float() - true.float()) / scale).pow(2).flatten(2).mean(-1)
    return error.unflatten(0, (1 + kinds, -1)).double().cpu().numpy()


def auc(event: np.ndarray, normal: np.ndarray) -> float:
    """The area under the ROC curve: the chance that an event's value is above a normal one. Equal
    values count half.
    """
    ranks = stats.rankdata(np.concatenate([event, normal]))[: len(event)]
    return float((ranks.mean() - (len(event) + 1) / 2) / len(normal))


def detected(event: np.ndarray, normal: np.ndarray) -> float:
    """The share of events above the lowest threshold that at most FALSE_ALARMS of the normal values
    exceed; with fewer than 1 / FALSE_ALARMS values none does.
    """
    alarms = int(FALSE_ALARMS * len(normal) + 1e-9)
    threshold = np.sort(normal)[-1 - alarms]
    return float((event > threshold).mean())


def paired(event: np.ndarray, undisturbed: np.ndarray) -> Paired:
    """Tests of the differences of two samples (n,), pair by pair.

    Wilcoxon's test leaves out pairs that are equal, and differences of equal size share their mean
    rank; the p-value is exact for up to 50 pairs without either, else from the normal
    approximation. Where all pairs are equal, p-values are 1 and effects 0.
    """
    change = event - undisturbed
    gap, spread = float(change.mean()), float(change.std(ddof=1)) if len(change) > 1 else 0.0
    if not change.any():
        return Paired(0.0, 1.0, 1.0, 0.0, 0.0)
    if spread < 1e-12 * abs(gap):  # all differences are the same; scipy warns of this
        t_test, effect = (0.0 if len(change) > 1 else math.nan), math.copysign(math.inf, gap)
    else:
        t_test, effect = float(stats.ttest_rel(event, undisturbed).pvalue), gap / spread
    ranks = stats.rankdata(np.abs(change[change != 0]))
    signed = float((np.sign(change[change != 0]) * ranks).sum() / ranks.sum())
    wilcoxon = float(stats.wilcoxon(change, zero_method="wilcox").pvalue)
    return Paired(gap, t_test, wilcoxon, effect, signed)
