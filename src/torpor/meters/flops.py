"""Count FLOPs, two per multiply-add, and refuse to guess.

``torch.utils.flop_counter`` silently counts nothing for operators it does not know (fused attention, grouped products
and LSTM on a CPU among them). Here an operator has a formula, or is free by its kind (see
:mod:`torpor.meters.operators`), or the count fails. Only operators that torch dispatches are seen: arithmetic that a
module does in NumPy is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from torpor.core.errors import MeterError
from torpor.meters.operators import formula_flops, has_formula, is_free, lacks_operands, parts
from torpor.meters.shapes import computable, on_meta, shapes_of

_free: set[OpOverload[..., Any]] = set()
"""Operators that turned out to be free, whatever their operands are."""


class _Counter(TorchDispatchMode):
    """Add up the FLOPs of every operator that runs.

    Args:
        large: tensors of floats with this many elements are not computed; None to compute all.
    """

    supports_higher_order_operators = True

    def __init__(self, large: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.large = 0, large

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if not isinstance(func, OpOverload):
            raise _unknown(str(func))
        if not (func in _free or has_formula(func) or is_free(func)):
            with self:  # under torch.inference_mode composite operators arrive whole; count their parts
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = self._run(func, args, kwargs)
        self.flops += _operator_flops(func, args, kwargs, result)
        return result

    def _run(self, func: OpOverload[..., Any], args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        if self.large is None:
            return func(*args, **kwargs)
        result = shapes_of(func, args, kwargs, self.large)
        if result is not NotImplemented:
            return result
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            return func(*computable(args), **computable(kwargs))


def _unknown(name: str) -> MeterError:
    return MeterError(
        f"expected operators with a known FLOP formula, got {name}; give the unit's FLOPs yourself, or switch off the "
        "fused kernel (torch.backends.mha.set_fastpath_enabled(False), torch.backends.mkldnn.flags(enabled=False), "
        "model.set_attn_implementation('sdpa'))"
    )


def _operator_flops(func: OpOverload[..., Any], args: Any, kwargs: Any, result: Any) -> int:  # noqa: ANN401
    if func in _free:
        return 0
    flops = formula_flops(func, args, kwargs, result)
    if flops is not None:
        return flops
    if not is_free(func):
        flops = _flops_of_parts(func, args, kwargs)
        if flops:
            return flops
        if flops == 0:
            _free.add(func)
            return 0
        if lacks_operands(func, args, kwargs):
            return 0  # may have more operands another time
        raise _unknown(str(func.overloadpacket))
    _free.add(func)
    return 0


def _flops_of_parts(func: OpOverload[..., Any], args: Any, kwargs: Any) -> int | None:  # noqa: ANN401
    """Return the FLOPs of the simpler operators that do what ``func`` does; None where torch knows none.

    Nothing is computed: torch has shapes alone follow the parts.
    """
    simpler = parts(func)
    if simpler is None:
        return None
    inner = _Counter()
    try:
        given, named = on_meta((args, kwargs))
        with inner:
            simpler(*given, **named)
    except (MeterError, RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError):
        return None  # a part is unknown, or depends on values
    return inner.flops


@contextmanager
def counting(large: int | None = None) -> Iterator[_Counter]:
    """Count everything that runs inside the block; read ``.flops`` afterwards.

    Args:
        large: tensors of floats with at least this many elements are not computed, they are zeros of the right shape,
            so that counting costs neither time nor memory; None to compute all.
    """
    counter = _Counter(large)
    with torch.no_grad(), counter:
        yield counter


def count_flops(module: nn.Module, *inputs: torch.Tensor) -> int:
    """Return the FLOPs of one call of ``module``, two per multiply-add.

    Elementwise arithmetic, reductions, pooling, normalization and data movement count zero by convention. The module is
    called in evaluation mode and gets its own modes back.

    Raises:
        MeterError: on an operator that has no formula and is not free by convention.

    >>> count_flops(nn.Linear(10, 4), torch.zeros(1, 10))
    80
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with counting() as counter:
            module(*inputs)
    finally:
        for part, training in modes:
            part.training = training
    return counter.flops
