"""Iterations of a planner as one CUDA graph: a launch each, where there would be hundreds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
Replay = Callable[[], None]
Record = Callable[[Function, Sequence[Tensor]], tuple[Replay, tuple[Tensor, ...]]]

_WARM_UP = 3  # calls before a capture, on a stream of their own, as torch asks for


class Recorder:
    """interfaces.Run: records the first function it is given and replays it for all others, which
    must be the same function with arguments of the same shapes.
    """

    def __init__(self, record: Record):
        self._record = record
        self._replay: Replay | None = None

    def __call__(self, function: Function, *arguments: Tensor) -> tuple[Tensor, ...]:
        if self._replay is None:
            self._inputs = [argument.clone() for argument in arguments]
            self._replay, self._outputs = self._record(function, self._inputs)
        for own, given in zip(self._inputs, arguments, strict=True):
            own.copy_(given)
        self._replay()
        return tuple(output.clone() for output in self._outputs)


def graphs() -> Record:
    """Records CUDA graphs that work in the same memory: the outputs of one must be copied before
    another is replayed, as Recorder does.
    """
    return functools.partial(_graph, pool=torch.cuda.graph_pool_handle())


def _graph(
    function: Function, inputs: Sequence[Tensor], pool: tuple[int, int]
) -> tuple[Replay, tuple[Tensor, ...]]:
    """A CUDA graph of function(*inputs): what replays it, and where its outputs are."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    made = torch.cuda.CUDAGraph()
    with torch.cuda.graph(made, pool=pool):
        outputs = function(*inputs)
    return made.replay, outputs


def plain(function: Function, inputs: Sequence[Tensor]) -> tuple[Replay, tuple[Tensor, ...]]:
    """The same by calling it again, on any device."""
    outputs = tuple(output.clone() for output in function(*inputs))

    def replay() -> None:
        for output, new in zip(outputs, function(*inputs), strict=True):
            output.copy_(new)

    return replay, outputs


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def directly(function: Function, *arguments: Tensor) -> tuple[Tensor, ...]:
    """interfaces.Run without a record."""
    return function(*arguments)
