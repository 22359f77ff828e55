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
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

from torpor.core.dispatch import EagerMode
from torpor.core.errors import MeterError
from torpor.meters.operators import formula_flops, has_formula, is_free, lacks_operands, parts

_free: set[OpOverload[..., Any]] = set()
"""Operators that turned out to be free, whatever their operands are."""


class _Counter(EagerMode):
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
        "fused kernel (torch.backends.mkldnn.flags(enabled=False), "
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

    Layers of transformers take their plain path meanwhile: the fused one, which they take in evaluation mode without
    gradients, does the same multiply-adds in one operator that tells nothing.
    """
    counter, fused = _Counter(large), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), counter:
            yield counter
    except Exception as error:
        if not type(error).__module__.startswith("torch._dynamo"):
            raise
        raise MeterError(
            "expected operators that run one by one, got code that torch's compiler refused (torch.cond and the like, "
            "or torch.compile); write it in plain Python, or give the unit's FLOPs yourself"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


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


def on_meta(values: Any, *, contiguous: bool = False, half: bool = False) -> Any:  # noqa: ANN401 - any nest of values
    """Return the same nest with tensors that have shapes and types but no numbers.

    Args:
        values: any nest of values.
        contiguous: lay them out in memory one after the other, however the given ones are.
        half: give floats the type that most kernels know.
    """

    def shape(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Tensor):
            dtype = torch.bfloat16 if half and value.is_floating_point() else value.dtype
            same = torch.empty_strided(value.shape, value.stride(), dtype=dtype, device="meta")
            return torch.empty_like(same, memory_format=torch.contiguous_format) if contiguous else same
        return torch.device("meta") if isinstance(value, torch.device) else value

    return tree_map(shape, values)


def shapes_of(func: OpOverload[..., Any], args: Any, kwargs: Any, large: int) -> Any:  # noqa: ANN401
    """Return zeros in the shape of what an operator would return, if that is large; they take no memory.

    Operators whose results are small, or hold places or truths, are left to be computed, and so are views, and what
    torch knows no shapes for.

    Args:
        func: the operator.
        args: what it is given.
        kwargs: what it is given by name.
        large: elements from which on a tensor of floats is large.

    Returns:
        The result, or ``NotImplemented`` where it is to be computed.
    """
    given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    if not given:
        return NotImplemented
    if func._schema.is_mutable:
        return args[0] if args and _is_large(args[0], large) else NotImplemented
    if func.is_view:
        try:
            return func(*args, **kwargs)
        except RuntimeError:  # zeros that take no memory cannot be viewed in every way
            return _zeros(func(*on_meta(args, contiguous=True), **kwargs), given[0].device)
    shapes = _shapes(func, args, kwargs)
    leaves = [value for value in tree_leaves(shapes) if isinstance(value, Tensor)]
    if not any(_is_large(value, large) for value in leaves) or any(
        value.numel() >= large and not _is_large(value, large) for value in leaves
    ):
        return NotImplemented
    return tree_map(lambda value: _zeros(value, given[0].device) if isinstance(value, Tensor) else value, shapes)


def _shapes(func: OpOverload[..., Any], args: Any, kwargs: Any) -> Any:  # noqa: ANN401
    """Return the shapes of a result; None where torch does not know them."""
    for contiguous, half in ((False, False), (True, False), (True, True)):
        try:
            given, named = on_meta((args, kwargs), contiguous=contiguous, half=half)
            shapes = func(*given, **named)
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            continue
        return _with_floats_of(args, shapes) if half else shapes
    return None


def _with_floats_of(args: Any, shapes: Any) -> Any:  # noqa: ANN401
    """Return ``shapes`` with floats of the type that the arguments have."""
    dtype = next(value.dtype for value in tree_leaves(args) if _is_float(value))
    return tree_map(lambda value: value.to(dtype) if _is_float(value) else value, shapes)


def computable(values: Any) -> Any:  # noqa: ANN401
    """Return the same nest with zeros that take no memory written out, for operators that insist on it."""

    def written(value: Any) -> Any:  # noqa: ANN401
        spread = isinstance(value, Tensor) and value.numel() > 1 and 0 in value.stride()
        return value.contiguous() if spread else value

    return tree_map(written, values)


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _is_large(value: object, large: int) -> bool:
    """Tell whether a value is a tensor of at least ``large`` numbers, and no places or truths."""
    return isinstance(value, Tensor) and _is_float(value) and value.numel() >= large


def _zeros(shape: Tensor, device: torch.device) -> Tensor:
    """Return zeros that share the memory of one row."""
    row = torch.zeros(shape.shape[-1:], dtype=shape.dtype, device=device)
    return row.expand(shape.shape)
