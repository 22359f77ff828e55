"""Count FLOPs, two per multiply-add, and refuse to guess.

``torch.utils.flop_counter`` silently counts nothing for operators it does not know (fused attention and LSTM on a CPU
among them). Here an operator has a formula, or is one of those that are free by convention (elementwise arithmetic,
reductions, pooling, resampling, normalization, and moving data), or the count fails. Only operators that torch
dispatches are seen: arithmetic that a module does in NumPy is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from torpor.core.errors import MeterError

aten = torch.ops.aten

FREE = frozenset(
    str(packet)
    for packet in (
        # moving data
        aten._to_copy, aten.cat, aten.stack, aten.clone, aten.contiguous, aten.copy_, aten.index, aten.index_select,
        aten.gather, aten.embedding, aten.constant_pad_nd, aten.empty, aten.empty_like, aten.full, aten.full_like,
        aten.zeros, aten.zeros_like, aten.ones, aten.ones_like, aten.arange, aten.fill_, aten.zero_, aten.roll,
        aten.flip, aten.repeat, aten.scatter, aten._reshape_copy, aten.lift_fresh, aten.scalar_tensor, aten.new_zeros,
        aten.new_empty, aten.new_ones, aten.new_full, aten.masked_select, aten.nonzero, aten.upsample_nearest2d,
        aten._unsafe_view, aten.unsafe_split, aten.pixel_shuffle, aten.pixel_unshuffle, aten.native_channel_shuffle,
        aten.im2col, aten.reflection_pad1d, aten.reflection_pad2d, aten.replication_pad1d, aten.replication_pad2d,
        aten.index_put, aten.index_put_, aten.index_add, aten.scatter_, aten.scatter_add, aten.tril, aten.triu,
        aten.as_strided_, aten.eye, aten.linspace, aten.rand, aten.randn, aten.rand_like, aten.randn_like,
        # elementwise arithmetic that torch does not tag as pointwise
        aten.hardswish, aten.hardswish_, aten._prelu_kernel, aten.native_dropout, aten.bernoulli, aten.bernoulli_,
        # pooling and resampling
        aten.upsample_bilinear2d,
        aten.max_pool2d_with_indices, aten.avg_pool2d, aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d,
        aten.adaptive_avg_pool2d, aten.max_pool2d, aten.mean, aten.sum, aten.max, aten.amax, aten.amin, aten.min,
        aten.argmax, aten.argmin, aten.topk, aten.sort, aten.cumsum, aten.all, aten.any, aten.var, aten.var_mean,
        aten.std, aten.std_mean, aten.prod, aten.cumprod, aten.aminmax, aten.linalg_vector_norm,
        # normalization
        aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training,
        aten.cudnn_batch_norm, aten.native_layer_norm, aten.native_group_norm, aten._softmax, aten._log_softmax,
        aten.batch_norm, aten.logsumexp, aten._fused_rms_norm,
    )
)  # fmt: skip

EXTRA: dict[str, Callable[..., int]] = {
    str(aten._scaled_dot_product_flash_attention_for_cpu): lambda query, key, value, *rest: sdpa_flop_count(
        query, key, value
    ),
    str(aten.mv): lambda matrix, vector: 2 * matrix.numel(),
    str(aten.addmv): lambda start, matrix, vector, *rest: 2 * matrix.numel(),
    str(aten.dot): lambda left, right: 2 * left.numel(),
}


class _Counter(TorchDispatchMode):
    """Add up the FLOPs of every operator that runs."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if not isinstance(func, OpOverload):
            raise _unknown(str(func))
        if not _is_known(func):
            with self:  # under torch.inference_mode composite operators arrive whole; count their parts
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self.flops += _operator_flops(func, args, kwargs, result)
        return result


def _unknown(name: str) -> MeterError:
    return MeterError(
        f"expected operators with a known FLOP formula, got {name}; give the unit's FLOPs yourself, or switch off the "
        "fused kernel (torch.backends.mha.set_fastpath_enabled(False), torch.backends.mkldnn.flags(enabled=False))"
    )


def _is_known(func: OpOverload[..., Any]) -> bool:
    return func.overloadpacket in flop_registry or str(func.overloadpacket) in EXTRA or _is_free(func)


def _is_free(func: OpOverload[..., Any]) -> bool:
    name = str(func.overloadpacket)
    by_name = name in FREE or name.startswith(("prim.", "aten.detach", "aten._local_scalar_dense"))
    return by_name or torch.Tag.pointwise in func.tags or func.is_view


def _operator_flops(func: OpOverload[..., Any], args: Any, kwargs: Any, result: Any) -> int:  # noqa: ANN401
    packet, name = func.overloadpacket, str(func.overloadpacket)
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    if name in EXTRA:
        return int(EXTRA[name](*(value.shape if isinstance(value, torch.Tensor) else value for value in args)))
    if _is_free(func) or not any(isinstance(leaf, torch.Tensor) for leaf in tree_flatten((args, kwargs, result))[0]):
        return 0
    raise _unknown(name)


@contextmanager
def counting() -> Iterator[_Counter]:
    """Count everything that runs inside the block; read ``.flops`` afterwards."""
    counter = _Counter()
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
