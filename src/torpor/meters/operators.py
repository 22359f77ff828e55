"""Which operators multiply and add, and which are free by convention.

An operator that multiplies and adds has a formula or is unknown. All others are free: elementwise arithmetic,
reductions, pooling, resampling, normalization, and moving data. Which one an operator is, is told by its *kind*: by
what torch declares about it, by what it is made of, and by its operands, since a contraction needs two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

aten = torch.ops.aten

FREE = frozenset(
    str(packet)
    for packet in (
        # several operands, and moved only
        aten.copy_, aten.cat, aten.stack, aten.index_put, aten.scatter, aten.scatter_add, aten.scatter_reduce,
        aten.index_add, aten.index_copy, aten.index_reduce, aten.masked_scatter, aten.put, aten._index_put_impl,
        aten.searchsorted,
        # dropout and noise, about which torch declares nothing
        aten.native_dropout, aten.bernoulli,
        # elementwise arithmetic that torch does not tag as pointwise
        aten._prelu_kernel,
        # what torch takes apart at the price of importing its compiler: pooling, softmax, counting
        aten.max_pool1d_with_indices, aten.max_pool2d_with_indices, aten.max_pool3d_with_indices,
        aten.adaptive_max_pool2d, aten.adaptive_max_pool3d, aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d,
        aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten._softmax, aten._log_softmax, aten.arange,
        # normalization
        aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training,
        aten.cudnn_batch_norm, aten.native_layer_norm, aten.native_group_norm, aten.batch_norm, aten._fused_rms_norm,
    )
)  # fmt: skip
"""Free operators that torch does not tag: those it does not take apart either, and frequent ones."""

CONTRACTION = re.compile(
    r"(?<!cu)mm(?!a)|mv|dot|outer|matmul|einsum|tensordot|attention|attn|conv(?!ert)|linear|gru|lstm|rnn|fft|matrix|"
    r"linalg|chol|solve|lstsq|svd|(?<!w)eig|(?<!s)qr|(?<![a-z])lu(?![a-z])|(?<![a-z])det(?![a-z])|logdet|inverse|pinv|"
    r"householder|cdist|pdist|kron|transformer"
)
"""What operators that multiply and add are named after; none of these is ever taken to be free by its operands."""
RESAMPLING = re.compile(r"aten\._?upsample")
"""Names that look like that, of operators that are free by convention."""


def _grouped(left: Any, right: Any) -> int:  # noqa: ANN401 - shapes
    """Return the FLOPs of a product in groups, whichever of the operands the groups are in."""
    if len(left) == 3 and len(right) == 3:
        return int(2 * left[0] * left[1] * left[2] * right[2])
    if len(left) == 3:
        return int(2 * left[1] * left[2] * right[1])
    return int(2 * left[0] * left[1] * right[-1])


EXTRA: dict[str, Callable[..., int]] = {
    str(aten._scaled_dot_product_flash_attention_for_cpu): lambda query, key, value, *rest, **more: sdpa_flop_count(
        query, key, value
    ),
    str(aten._scaled_dot_product_attention_math_for_mps): lambda query, key, value, *rest, **more: sdpa_flop_count(
        query, key, value
    ),
    str(aten.mv): lambda matrix, vector: 2 * matrix.numel(),
    str(aten.addmv): lambda start, matrix, vector, *rest, **more: 2 * matrix.numel(),
    str(aten.dot): lambda left, right: 2 * left.numel(),
    str(aten.vdot): lambda left, right: 2 * left.numel(),
    str(aten._int_mm): lambda left, right: 2 * left[0] * left[1] * right[1],
    str(aten._weight_int8pack_mm): lambda left, right, scales: 2 * left[0] * left[1] * right[0],
    str(aten._addmm_activation): lambda start, left, right, **more: 2 * left[0] * left[1] * right[1],
    str(aten._grouped_mm): lambda left, right, *rest, **more: _grouped(left, right),
    str(aten._scaled_grouped_mm): lambda left, right, *rest, **more: _grouped(left, right),
    str(aten.mkldnn_rnn_layer): lambda values, into, back, *rest, **more: (
        2 * values[0] * values[1] * (into[0] * into[1] + back[0] * back[1])
    ),
    "transformers.grouped_mm_fallback": lambda left, right, *rest, **more: _grouped(left, right),
}
"""Formulas that ``torch.utils.flop_counter`` lacks, of the operands' shapes."""


def formula_flops(func: OpOverload[..., Any], args: Any, kwargs: Any, result: Any) -> int | None:  # noqa: ANN401
    """Return the FLOPs of an operator that has a formula; None for others.

    Args:
        func: the operator.
        args: what it was given.
        kwargs: what it was given by name.
        result: what it returned.
    """
    packet, name = func.overloadpacket, str(func.overloadpacket)
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    if name in EXTRA:
        shapes = [value.shape if isinstance(value, Tensor) else value for value in args]
        named = {key: value.shape if isinstance(value, Tensor) else value for key, value in kwargs.items()}
        return int(EXTRA[name](*shapes, **named))
    return None


def has_formula(func: OpOverload[..., Any]) -> bool:
    """Tell whether :func:`formula_flops` knows an operator."""
    return func.overloadpacket in flop_registry or str(func.overloadpacket) in EXTRA


def is_free(func: OpOverload[..., Any]) -> bool:
    """Tell whether an operator is free by what torch declares about it, whatever its operands are.

    >>> is_free(torch.ops.aten.bitwise_and_.Tensor), is_free(torch.ops.aten.mm.default)
    (True, False)
    """
    packet, name = func.overloadpacket, str(func.overloadpacket)
    if func.is_view or name.startswith(("prim.", "aten.detach", "aten._local_scalar_dense")):
        return True
    plain = name.removesuffix("_")
    if name in FREE or plain in FREE or RESAMPLING.match(name):
        return True
    kinds = {torch.Tag.pointwise, torch.Tag.reduction, torch.Tag.view_copy}
    names = {packet, getattr(getattr(torch.ops, func.namespace), plain.split(".")[-1], packet)}
    return any(kinds & set(getattr(one, overload).tags) for one in names for overload in one.overloads())


def lacks_operands(func: OpOverload[..., Any], args: Any, kwargs: Any) -> bool:  # noqa: ANN401
    """Tell whether one of torch's own operators has too few numbers to multiply: a contraction takes two tensors.

    Transforms of one tensor (Fourier's, decompositions, inverses) are known by their names.

    Args:
        func: the operator.
        args: what it was given.
        kwargs: what it was given by name.
    """
    name = str(func.overloadpacket)
    if func.namespace != "aten" or CONTRACTION.search(name):
        return False
    leaves = tree_flatten((args, kwargs))[0]
    plain = all(value is None or isinstance(value, _PLAIN) for value in leaves)
    numbers = [value for value in leaves if isinstance(value, Tensor) and not _is_index(value)]
    return plain and len(numbers) <= 1


_PLAIN = (Tensor, bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format,
          torch.Generator, torch.SymInt)  # fmt: skip


def _is_index(value: Tensor) -> bool:
    """Tell whether a tensor holds places or truths."""
    return value.dtype in (torch.bool, torch.int32, torch.int64)


def parts(func: OpOverload[..., Any]) -> Callable[..., Any] | None:
    """Return a function that does with simpler operators what ``func`` does, if torch has one; see :func:`is_free`."""
    name = str(func.overloadpacket)
    if func.namespace != "aten" or CONTRACTION.search(name):
        return None
    return decomposition_table.get(func)
