"""A planner's iteration as one CUDA graph: a single launch instead of hundreds.

A graph replays recorded kernels on the same memory as in the recording. So tensors that an
iteration reads and that change from plan to plan are copied into the recording's memory
(Recordings), and so is the state that is passed from iteration to iteration (Replayed).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.contracts.planning import IterationRunner

Iterate = Callable[..., tuple[Tensor, ...]]
Replay = Callable[[], None]
Record = Callable[[Iterate, Sequence[Tensor]], tuple[Replay, tuple[Tensor, ...]]]

_WARM_UP = 3  # calls on a separate stream before a capture, as torch requires


class Replayed:
    """contracts.IterationRunner that records the first iteration and replays the recording for all
    others, which must be the same function on tensors of the same shapes. What the first iteration
    reads beside its arguments stays in memory, where the recording reads it.
    """

    def __init__(self, record: Record):
        self._record = record
        self._replay: Replay | None = None

    def __call__(self, iterate: Iterate, *state: Tensor) -> tuple[Tensor, ...]:
        """The result of iterate(*state), by the recording."""
        if self._replay is None:
            self._inputs, self._read = [tensor.clone() for tensor in state], iterate
            self._replay, self._outputs = self._record(iterate, self._inputs)
        for recorded, tensor in zip(self._inputs, state, strict=True):
            recorded.copy_(tensor)
        self._replay()
        return tuple(output.clone() for output in self._outputs)


class Recordings:
    """One recorded iteration for each number of pairs that are planned together."""

    def __init__(self, record: Record):
        self._record = record
        self._recordings: dict[Hashable, tuple[tuple[Tensor, ...], Replayed]] = {}

    def of(
        self, size: Hashable, tensors: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], IterationRunner]:
        """The recording for plans of one size: the tensors that its iteration reads, which hold the
        values of `tensors` from now on, and its runner.
        """
        if size not in self._recordings:
            own = tuple(tensor.clone() for tensor in tensors)
            self._recordings[size] = own, Replayed(self._record)
        own, runner = self._recordings[size]
        for recorded, tensor in zip(own, tensors, strict=True):
            recorded.copy_(tensor)
        return own, runner


def padded_pairs(pairs: int, pairs_per_call: int) -> int:
    """The number of pairs that the recording for `pairs` pairs has. It is a whole number of calls
    of the model. Above 8 calls, that number is rounded up so that only four sizes are recorded
    between a number of calls and its double.
    """
    calls = -(-pairs // pairs_per_call)
    step = 1 << max(0, (calls - 1).bit_length() - 3)
    return -(-calls // step) * step * pairs_per_call


def graphs() -> Record:
    """A Record of CUDA graphs that share their memory. The outputs of one must be copied before
    another is replayed, as Replayed does.
    """
    return functools.partial(_graph, pool=torch.cuda.graph_pool_handle())


def _graph(
    iterate: Iterate, inputs: Sequence[Tensor], pool: Any
) -> tuple[Replay, tuple[Tensor, ...]]:
    """A CUDA graph of iterate(*inputs): the function that replays it, and its outputs."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            iterate(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        outputs = iterate(*inputs)
    return graph.replay, outputs
