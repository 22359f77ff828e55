"""What a network's ReLUs read: whether a neuron is close to firing shows before the ReLU alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_RELU = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu_)
_MOVES = (torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape, F.max_pool2d, torch.max_pool2d)
"""What a ReLU can be moved behind."""


class BeforeReLU(TorchFunctionMode):
    """Remember what ReLUs read while it is entered.

    >>> with BeforeReLU() as before:
    ...     fired = F.relu(torch.tensor([-2.0, 3.0]))
    >>> before.of(fired).tolist()
    [-2.0, 3.0]
    """

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[int, tuple[Tensor, Tensor]] = {}  # what came out is kept, so that no other has its number

    def of(self, values: Tensor) -> Tensor:
        """Return what stood in the place of ``values`` before a ReLU made them; their magnitude if none did."""
        if id(values) in self._read:
            return self._read[id(values)][1]
        return torch.where(values < 0, -values, values)  # with a derivative at 0, unlike its absolute value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operator, and note what a ReLU reads."""
        kwargs = kwargs or {}
        if func in _RELU:
            read = args[0].clone()  # it may work in place
            found = func(*args, **kwargs)
            self._read[id(found)] = (found, read)
            return found
        found = func(*args, **kwargs)
        if func in _MOVES and id(args[0]) in self._read:
            self._read[id(found)] = (found, func(self._read[id(args[0])][1], *args[1:], **kwargs))
        return found
