"""The same numbers each time on a GPU, where the quickest kernels add up in a changing order.

Left out is attention's fused backward pass: torch makes it deterministic only where it may refuse
every operation without a deterministic kernel, of which a ResNet has one. So the trainings of a ViT
repeat themselves up to rounding, those of a convolutional encoder to the bit (tests/test_cuda.py).
"""

from __future__ import annotations

import os
import warnings

import torch
import torch.utils.deterministic


def use(on: bool = True) -> None:
    """From now on, choose kernels that give the same bits each time (CUDA; a CPU's do anyway), or
    the quickest again. Call it before the first product on the GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(on, warn_only=True)
    warnings.filterwarnings("ignore", ".*ttention defaults to a non-deterministic algorithm")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property; every element is written
