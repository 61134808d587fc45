"""How fast a core of this machine trains a small network: the yardstick by which the times of
trials that ran on other machines are scaled.
"""

from __future__ import annotations

import functools
import statistics
import time

import torch
from torch import nn

_STEPS, _WARM_UP = 12, 3
_PERIOD_S = 60.0


def steps_per_cpu_s() -> float:
    """Steps a second of CPU time, which other programs hardly change, of one fixed training in this
    thread: convolutions, BatchNorm, layers of a transformer's sizes and AdamW on 64 pictures of 64
    px, as at scale laptop; the median of some. Draws nothing from torch's global generator. Returns
    0, not measured, where memory is too short for it.

    Trials that begin in the same minute of a process share one measurement.
    """
    return _measured(int(time.monotonic() / _PERIOD_S))


@functools.lru_cache(maxsize=1)
def _measured(_period: int) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return 1 / statistics.median(_taken()[_WARM_UP:])
    except (MemoryError, RuntimeError):  # torch has no other type for memory that is short
        return 0.0
    finally:
        torch.set_num_threads(before)


def _taken() -> list[float]:
    """CPU seconds of each step."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 32, 4, 4), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4096, 128), nn.LayerNorm(128)),
        *(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 64)),
    )
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    pictures = torch.rand(64, 3, 64, 64)
    taken = []
    for _ in range(_STEPS):
        started = time.thread_time()
        optimizer.zero_grad(set_to_none=True)
        net(pictures).square().mean().backward()
        optimizer.step()
        taken.append(time.thread_time() - started)
    return taken
