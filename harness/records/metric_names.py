"""The names of metrics that have parts: how a row's name is put together, and taken apart again."""

from __future__ import annotations

import re
from typing import NamedTuple

# what a probe reads: latents; of several tokens their mean; and the controls
PROBE_SOURCES = ("latent", "pooled", "untrained", "pixels", "shuffled")


# metric "outcome" of stage "plans" is a place in this tuple: solved, or what loses the pair
PLAN_OUTCOMES = ("solved", "search", "model", "cost")


class ProbeName(NamedTuple):
    """The name of a metric of stage "probing": what was read from what, by which probe. The row's
    index is the probe's seed.

    Rows written before there were controls have three of the five parts; their probes were fitted
    on 6,000 frames, and the network had one hidden layer of 128 units.
    """

    quantity: str  # "block_angle"
    source: str  # of PROBE_SOURCES
    probe: str  # "linear"; "mlp2x256": hidden layers x units
    frames: int  # that the probe was fitted on; of speeds, pairs of frames
    measure: str  # "r"; "mse" of standardised values; "error" in the quantity's unit

    def text(self) -> str:
        """The name as a row holds it."""
        return ".".join(map(str, self))

    @classmethod
    def of(cls, text: str) -> ProbeName:
        """The parts of a row's name; raises ValueError for another text."""
        parts = text.split(".")
        if len(parts) == 3:
            quantity, probe, measure = parts
            return cls(quantity, "latent", {"mlp": "mlp1x128"}.get(probe, probe), 6000, measure)
        quantity, source, probe, frames, measure = parts
        return cls(quantity, source, probe, int(frames), measure)


UNDISTURBED = "undisturbed"
SURPRISE_SOURCES = ("model", "stay", "pixels")  # all but the first know no physics


class SurpriseName(NamedTuple):
    """The name of a metric of stage "surprise": what happened, whose surprise, which measure."""

    kind: str  # UNDISTURBED, or the name of a contracts.Surprise
    source: str  # of SURPRISE_SOURCES
    measure: str  # "mean" and "half_width" of a curve; "gap", "auc", "detected", "t_test", ...

    def text(self) -> str:
        """The name as a row holds it."""
        return ".".join(self)

    @classmethod
    def of(cls, text: str) -> SurpriseName | None:
        """The parts of a row's name, None for the name of another metric of the stage."""
        parts = text.split(".")
        return cls(*parts) if len(parts) == 3 else None


LATENT = "latent"  # the quantity of OpenLoopName that is the latent itself
MAP = "map"  # stage of the points of a map: "tsne_1", "tsne_2", and the two states of each point


class OpenLoopName(NamedTuple):
    """The name of a metric of stage "open_loop": an error of what, by which guess. The row's index
    is the number of blocks since the last frame that was seen.
    """

    quantity: str  # LATENT, or what a probe reads
    guess: str  # "model"; "copy": the last frame seen; "mean"; "seen": read from the true latent

    def text(self) -> str:
        """The name as a row holds it: "block.model"."""
        return f"{self.quantity}.{self.guess}"

    @classmethod
    def of(cls, text: str) -> OpenLoopName:
        """The parts of a row's name."""
        return cls(*text.split("."))


class PlanTimeName(NamedTuple):
    """The name of a wall time of stage "plan_time": which call was timed, for how many pairs."""

    timed: str  # "solve" of a planner, "inference" of a feed-forward policy
    pairs: int  # together in one call

    def text(self) -> str:
        """The name as a row holds it: "solve_s_50"."""
        return f"{self.timed}_s_{self.pairs}"

    @classmethod
    def of(cls, text: str) -> PlanTimeName | None:
        """The parts of a row's name, None for the name of another metric. The oldest rows are of
        one pair and say no number.
        """
        match = re.fullmatch(r"(solve|inference)_s(?:_(\d+))?", text)
        return cls(match[1], int(match[2] or 1)) if match else None


PICTURE_SOURCES = ("decoded", "imagined", "copied", "mean")  # evaluate/decoder.py says of what


class PictureName(NamedTuple):
    """The name of a metric of stage "decoder": how near pictures of a source are to the real ones,
    so many blocks (its index) after the first frame of a window.
    """

    source: str  # of PICTURE_SOURCES
    measure: str  # "psnr" or "ssim"

    def text(self) -> str:
        """The name as a row holds it: "imagined.psnr"."""
        return ".".join(self)

    @classmethod
    def of(cls, text: str) -> PictureName:
        """The parts of a row's name; raises ValueError for another text."""
        source, measure = text.split(".")
        return cls(source, measure)
