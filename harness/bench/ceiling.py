"""The ceiling of a CPU: floating-point operations a second of large matrix products, against which
figures print the share that a training step or a plan reaches.

oneDNN multiplies, as in harness/runtime/onednn.py: torch's own fp32 products keep to AVX2 on AMD's
CPUs. The speed of a shared machine varies, so measure just before what is to be compared.
"""

from __future__ import annotations

import time

import numpy as np
import torch

SIZE = 1024  # rows and columns; such products stay in the cache and leave overhead behind
_PRODUCTS = 60  # timed products, whose median counts
_LIMIT_S = 2.0  # fewer products where they take longer: a CPU without bf16 needs seconds for one
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure(threads: int) -> dict[str, float]:
    """FLOP/s (2 for each multiply-add) of `threads` threads together, in "fp32" and "bf16"."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {name: 2 * SIZE**3 / _product_s(dtype) for name, dtype in _TYPES.items()}
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def _product_s(dtype: torch.dtype) -> float:
    """Seconds of a product of two square matrices, median."""
    drawn = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, SIZE, SIZE, generator=drawn).to(dtype)
    onednn = torch.backends.mkldnn.is_available()
    taken: list[float] = []
    while len(taken) <= _PRODUCTS and (len(taken) < 2 or sum(taken) < _LIMIT_S):
        started = time.perf_counter()
        torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "") if onednn else a @ b
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))  # the first warms up
