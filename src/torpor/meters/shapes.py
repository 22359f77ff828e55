"""Run operators on shapes alone, so that what a long input costs can be counted without computing it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map


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
