"""Linear layers of wide batches by oneDNN, where it is faster than what torch takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 2**22
"""Multiply-adds from which on oneDNN is faster."""
OPERATOR = "_linear_pointwise"
"""torch's own name of oneDNN's linear layer, which compiled models call; without it, nothing changes."""
ROWS, MANY = 32, 1024
"""Rows are filled up to a multiple of this, below so many: for each number of rows oneDNN compiles a kernel."""


def is_faster(model: nn.Module) -> bool:
    """Tell whether oneDNN computes linear layers faster: in float32, on processors with AVX-512.

    On those of AMD, torch's matrix products use half of the width of a register.
    """
    first = next(model.parameters(), None)
    return (
        first is not None
        and first.dtype == torch.float32
        and first.device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, OPERATOR)
    )


@contextmanager
def wide_products(model: nn.Module, least: int = LEAST) -> Iterator[None]:
    """Compute linear layers of at least so many multiply-adds by oneDNN, if that is faster on this processor.

    What a gradient is needed of is computed as ever.

    Args:
        model: whose layers.
        least: multiply-adds.
    """
    changed = []
    for module in model.modules() if is_faster(model) else ():
        if type(module) is nn.Linear and "forward" not in vars(module) and module.weight.dtype == torch.float32:
            object.__setattr__(module, "forward", _forward_of(module, least))
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            object.__delattr__(module, "forward")


def _forward_of(module: nn.Linear, least: int) -> Callable[[Tensor], Tensor]:
    return partial(_linear, module, module.in_features * module.out_features, least)


def _linear(module: nn.Linear, per_row: int, least: int, given: Tensor) -> Tensor:
    rows = given.numel() // module.in_features
    if rows * per_row < least or given.requires_grad:
        return F.linear(given, module.weight, module.bias)
    product: Callable[..., Tensor] = getattr(torch.ops.mkldnn, OPERATOR)
    settings: tuple[Any, ...] = (module.weight, module.bias, "none", [], "")
    if rows >= MANY or rows % ROWS == 0:
        return product(given, *settings)
    filled = given.new_empty(rows + -rows % ROWS, module.in_features)
    filled[:rows] = given.reshape(rows, -1)
    filled[rows:] = 0
    return product(filled, *settings)[:rows].view(*given.shape[:-1], module.out_features)
