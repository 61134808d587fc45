"""PSNR and SSIM of known pictures."""

import numpy as np
import pytest
import torch

from harness.evaluate import similarity

ROW, COLUMN = np.mgrid[0:24, 0:32]
WAVES = 0.5 + 0.5 * np.sin(0.7 * ROW) * np.cos(0.4 * COLUMN)
SHIFTED = 0.5 + 0.4 * np.sin(0.7 * ROW + 0.5) * np.cos(0.4 * COLUMN)
ROUGH = np.clip(WAVES + 0.1 * np.cos(5 * ROW * COLUMN), 0, 1)


def picture(grey):
    """(3, height, width)."""
    return torch.tensor(grey, dtype=torch.float32).expand(3, -1, -1)


@pytest.mark.parametrize(("other", "known"), [(SHIFTED, 0.8477697), (ROUGH, 0.9501381)])
def test_ssim_is_that_of_scikit_image(other, known):
    """scikit-image 0.26.0, structural_similarity(data_range=1, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False).
    """
    assert float(similarity.ssim(picture(WAVES), picture(other))) == pytest.approx(known, abs=2e-5)


def test_ssim_of_each_picture_of_a_batch():
    many = torch.stack([picture(WAVES), picture(ROUGH)]).expand(5, 2, 3, 24, 32)
    found = similarity.ssim(many, picture(WAVES).expand_as(many))
    assert found.shape == (5, 2)
    assert found[:, 0].tolist() == pytest.approx([1.0] * 5, abs=1e-6)
    assert found[:, 1].tolist() == pytest.approx([0.9501381] * 5, abs=2e-5)


def test_ssim_of_two_even_greys():
    """Only their brightness counts: (2ab + C1) / (a^2 + b^2 + C1)."""
    a, b = picture(np.full((16, 16), 0.4)), picture(np.full((16, 16), 0.6))
    known = (2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4)
    assert float(similarity.ssim(a, b)) == pytest.approx(known, abs=1e-4)


def test_psnr():
    errors = torch.tensor([1.0, 0.01, 1e-4])
    assert similarity.psnr(errors).tolist() == pytest.approx([0.0, 20.0, 40.0], abs=1e-4)
