"""The ceiling of a device: floating-point operations a second of large matrix products, against
which figures print the share that a training step or a plan reaches.

On a CPU oneDNN multiplies, as in harness/runtime/onednn.py: torch's own fp32 products keep to AVX2
on AMD's CPUs. On CUDA fp32 is what torch multiplies by default, without TF32. The speed of a shared
machine varies, so measure just before what is to be compared.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from harness.bench.versus import BenchRow

SIZE = 1024  # rows and columns; such products stay in the cache and leave overhead behind
CUDA_SIZE = 8192  # fills a large GPU
_SMALL = 128  # the size where a product of SIZE would take seconds: bf16 on an older CPU
_PRODUCTS = 60  # timed products, whose median counts
_LIMIT_S = 2.0  # for the products of one size, the first excepted
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SECONDS = {"s": 1.0, "ms": 1e-3}  # of a unit


def measure(threads: int, device: str = "cpu") -> dict[str, float]:
    """FLOP/s (2 for each multiply-add) in "fp32" and "bf16", of `threads` threads together or of
    the GPU "cuda".
    """
    if device == "cuda":
        return {
            name: 2 * CUDA_SIZE**3 / _product_on_cuda_s(dtype) for name, dtype in _TYPES.items()
        }
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {name: _rate(dtype) for name, dtype in _TYPES.items()}
    finally:
        torch.set_num_threads(before)


def shares(
    measured: Sequence[BenchRow], flops: int, ceilings: Mapping[str, float]
) -> list[BenchRow]:
    """A row for each time of work of `flops` operations, with its share, in percent, of the ceiling
    (FLOP/s) that belongs to its figure; other figures have none.
    """
    return [
        dataclasses.replace(
            row,
            figure=f"{row.figure}, share of the ceiling",
            value=100 * flops / (row.value * _SECONDS[row.unit]) / ceilings[row.figure],
            unit="%",
            larger_is_better=True,
            outcome=math.nan,
            outcome_name="",
        )
        for row in measured
        if row.figure in ceilings
    ]


def sentence(ceilings: Mapping[str, float], device: str = "cpu") -> str:
    """A caption's sentence that names the ceiling of the shares."""
    rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in ceilings.items())
    size, whose = (CUDA_SIZE, "torch") if device == "cuda" else (SIZE, "oneDNN")
    return f"Ceiling: {whose}'s products of {size} x {size} matrices in GFLOP/s, {rates}."


def _rate(dtype: torch.dtype) -> float:
    slow = _product_s(dtype, _SMALL) * (SIZE / _SMALL) ** 3 > _LIMIT_S
    size = _SMALL if slow else SIZE
    return 2 * size**3 / _product_s(dtype, size)


@torch.inference_mode()
def _product_s(dtype: torch.dtype, size: int) -> float:
    """Seconds of a product of two square matrices, median."""
    drawn = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, size, size, generator=drawn).to(dtype)
    onednn = torch.backends.mkldnn.is_available()
    taken: list[float] = []
    while len(taken) <= _PRODUCTS and sum(taken[1:]) < _LIMIT_S:
        started = time.perf_counter()
        torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "") if onednn else a @ b
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))  # the first warms up


@torch.inference_mode()
def _product_on_cuda_s(dtype: torch.dtype) -> float:
    """Seconds of a product of two square matrices on the GPU, median."""
    drawn = torch.Generator("cuda").manual_seed(0)
    shape = 2, CUDA_SIZE, CUDA_SIZE
    a, b = torch.randn(shape, generator=drawn, device="cuda").to(dtype)
    taken: list[float] = []
    while len(taken) <= _PRODUCTS and sum(taken[1:]) < _LIMIT_S:
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started.record()
        a @ b
        ended.record()
        torch.cuda.synchronize()
        taken.append(started.elapsed_time(ended) / 1e3)
    return float(np.median(taken[1:]))  # the first warms up
