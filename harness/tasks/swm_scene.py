"""The common part of the scene `swm` of all tasks: its size, and how it is resized.

In this scene a picture is the one of `stable-worldmodel` 0.1.1, so that weights which were trained
on such pictures see what they know. README.md says how equal the two are.
"""

from __future__ import annotations

import numpy as np

SIZE = 224  # px, at which every task is drawn there


def resized(pictures: np.ndarray, size: int) -> np.ndarray:
    """Pictures (m, 3, SIZE, SIZE) uint8 as (m, 3, size, size): by Pillow's bilinear filter, which
    averages where it shrinks, as stable-worldmodel's `AddPixelsWrapper` does.
    """
    if size == SIZE:
        return pictures
    from PIL import Image

    out = np.empty((len(pictures), 3, size, size), np.uint8)
    for picture, small in zip(pictures, out, strict=True):
        image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
        small[:] = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).transpose(
            2, 0, 1
        )
    return out
