"""Decode a batch in half precision such that each row is, to the last bit, what it is alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PRODUCTS = frozenset(
    (
        torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.baddbmm, torch.conv1d,
        torch.conv2d, F.conv1d, F.conv2d,
    )
)  # fmt: skip
"""Operators whose arguments have one entry, or as many for each, per row."""

Span = tuple[int, int]
"""Where a row's own tokens begin and end among those of a padded batch."""


class RowWise(TorchFunctionMode):
    """Compute matrix products and attention row by row, each in the shapes of a batch of one.

    Kernels choose the order of their sums by shape. In float32 that moves scores by a millionth, in half precision by
    some per cent, which decides every thirtieth token or so. Whatever else a decoder computes is done for all rows at
    once: norms, activations and the like look at one token at a time.

    Args:
        spans: one per row.
        width: tokens of a row, padding included; 0 where nothing is padded.
        groups: how many heads share their keys; transformers repeats keys where there is a mask, and only there.
    """

    def __init__(self, spans: Sequence[Span], width: int, groups: int = 1) -> None:
        super().__init__()
        self.spans, self.width, self.groups = list(spans), width, groups
        self._masks: dict[int, tuple[Tensor, list[tuple[Span, Tensor | None, bool]]]] = {}

    @classmethod
    def of(cls, model: nn.Module, rows: int, mask: Tensor | None, width: int) -> RowWise:
        """Return what computes a batch of ``model`` row by row.

        Args:
            model: one of transformers' models.
            rows: of the batch.
            mask: of what it reads, ``[B, T]``; None where nothing is padded.
            width: tokens of a row, padding included.
        """
        groups = max((getattr(part, "num_key_value_groups", 1) for part in model.modules()), default=1)
        return cls([(0, 0)] * rows if mask is None else spans(mask), width, groups)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these, told by their places."""
        self.spans = [self.spans[row] for row in rows]

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - whatever func returns
        kwargs = kwargs or {}
        if len(self.spans) > 1:
            if func is F.scaled_dot_product_attention:
                return self._attention(*args, **kwargs)
            if func is F.linear:
                return self._linear(*args, **kwargs)
            if func is torch.addmm:
                return self._linear(args[1], args[2].t(), args[0], **kwargs)
            if func in PRODUCTS:
                return self._product(func, args, kwargs)
        return func(*args, **kwargs)

    def _linear(self, given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = len(self.spans)
        if len(given) % rows or given.ndim > 3:
            return F.linear(given, weight, bias)
        if given.ndim == 3 and len(given) > rows:  # tiles of images
            return torch.cat([F.linear(part, weight, bias) for part in given.chunk(rows)])
        tokens = given.view(rows, -1, given.shape[-1]) if given.ndim == 2 else given
        padded = tokens.shape[1] == self.width > 1
        parts = []
        dense = tokens.stride(0) == tokens.shape[1] * tokens.stride(1)  # else a part of each row's tokens
        for row, (start, stop) in enumerate(self.spans):
            own = tokens[row : row + 1, start:stop] if padded else tokens[row : row + 1]
            if dense or stop - start == 1:  # strides decide between kernels, that of the one row too
                own = own[0].unsqueeze(0)
            made = F.linear(own if given.ndim == 3 else own[0], weight, bias)
            made = made if given.ndim == 3 else made.unsqueeze(0)
            parts.append(F.pad(made, (0, 0, start, self.width - stop)) if padded else made)
        found = torch.cat(parts)
        return found if given.ndim == 3 else found.flatten(0, 1)

    def _product(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        rows, many = len(self.spans), [isinstance(one, Tensor) and one.ndim > 2 for one in args]
        if func in (torch.conv1d, torch.conv2d, F.conv1d, F.conv2d):
            many = [place == 0 for place in range(len(args))]
        if not many[0] or any(len(one) % rows for one, is_many in zip(args, many, strict=True) if is_many):
            return func(*args, **kwargs)
        parts = [one.chunk(rows) if is_many else (one,) * rows for one, is_many in zip(args, many, strict=True)]
        return torch.cat([func(*part, **kwargs) for part in zip(*parts, strict=True)])

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        enable_gqa: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> Tensor:
        rows = len(self.spans)
        if len(query) > rows and len(query) % rows == 0:  # tiles of images
            masks = (attn_mask,) * rows
            if attn_mask is not None and len(attn_mask) == len(query):
                masks = attn_mask.chunk(rows)
            each = zip(query.chunk(rows), key.chunk(rows), value.chunk(rows), masks, strict=True)
            shares = {**kwargs, "enable_gqa": enable_gqa}
            return torch.cat([F.scaled_dot_product_attention(*one, dropout_p, is_causal, **shares) for one in each])
        packed = attn_mask is not None and attn_mask.shape[2] == 1 < query.shape[2] == self.groups
        shape = query.shape
        if packed:  # one query per head that transformers has put side by side where heads share their keys
            query = query.reshape(shape[0], -1, 1, shape[-1])
        square, parts = query.shape[2] == key.shape[2], []
        for row, ((start, stop), mask, causal) in enumerate(self._per_row(attn_mask, key.shape[2], is_causal)):
            asks = query[row : row + 1, :, start:stop] if square else query[row : row + 1]
            once = self.groups if attn_mask is not None and mask is None and not packed else 1
            keys, values = (part[row : row + 1, ::once, start:stop] for part in (key, value))
            shares = {"enable_gqa": True} if keys.shape[1] < asks.shape[1] else {}
            made = F.scaled_dot_product_attention(asks, keys, values, mask, dropout_p, causal, **kwargs, **shares)
            parts.append(F.pad(made, (0, 0, start, key.shape[2] - stop)) if square else made)
        return torch.cat(parts).view(*shape[:-1], value.shape[-1])

    def _per_row(
        self,
        mask: Tensor | None,
        width: int,
        is_causal: bool,
    ) -> list[tuple[Span, Tensor | None, bool]]:
        """Return for each row which keys are its own, and the mask and causality that a batch of one has for them."""
        if mask is None:
            return [((0, width), None, is_causal)] * len(self.spans)
        if id(mask) not in self._masks:  # all layers share it
            self._masks = {id(mask): (mask, [_alone(part) for part in mask.expand(len(self.spans), -1, -1, -1)])}
        return self._masks[id(mask)][1]


def _alone(mask: Tensor) -> tuple[Span, Tensor | None, bool]:
    """Return a row's own keys among those of a mask ``[H, Q, K]``, and what remains of the mask for them."""
    places = _seen(mask)[0, -1].nonzero().flatten().tolist()
    start, stop = (places[0], places[-1] + 1) if places else (0, mask.shape[2])
    square = mask.shape[1] == mask.shape[2]
    own = mask[None, :, start:stop, start:stop] if square else mask[None, :, :, start:stop]
    if mask.dtype == torch.bool or not own.masked_fill(~_seen(own), 0).any():
        kept = _seen(own)
        if kept.all():
            return (start, stop), None, False
        if square and kept.equal(torch.ones_like(kept).tril()):
            return (start, stop), None, True
    return (start, stop), own, False


def _seen(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def spans(mask: Tensor) -> list[tuple[int, int]]:
    """Return where each row's own tokens begin and end, given an attention mask ``[B, T]``.

    >>> spans(torch.tensor([[0, 1, 1], [1, 1, 1]]))
    [(1, 3), (0, 3)]
    """
    starts: Sequence[int] = mask.argmax(1).tolist()
    return [(start, start + count) for start, count in zip(starts, mask.sum(1).tolist(), strict=True)]
