"""How near a picture is to another one: PSNR, and SSIM (Wang et al. 2004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5  # px: side and std of the Gaussian window
_C1, _C2 = 0.01**2, 0.03**2  # for pictures in 0..1
_GREY = (0.299, 0.587, 0.114)  # luminance of red, green and blue


def psnr(squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB from mean squared errors of pictures in 0..1."""
    return -10 * torch.log10(squared_error)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of pictures (..., 3, height, width) in 0..1, at most 1: of their
    luminance, the mean over all places where the whole window lies in the picture.
    """
    grey = torch.tensor(_GREY, device=a.device).view(3, 1, 1)
    height, width = a.shape[-2:]
    x, y = ((picture * grey).sum(-3).reshape(-1, 1, height, width) for picture in (a, b))
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    form = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return (light * form).mean((1, 2, 3)).reshape(a.shape[:-3])


def _blurred(x: Tensor) -> Tensor:
    """Mean under the window at every place (M, 1, height, width) that has all of it."""
    at = torch.arange(_WINDOW, device=x.device, dtype=x.dtype) - _WINDOW // 2
    weight = torch.exp(-(at**2) / (2 * _SIGMA**2))
    weight = weight / weight.sum()
    return F.conv2d(F.conv2d(x, weight.view(1, 1, -1, 1)), weight.view(1, 1, 1, -1))
