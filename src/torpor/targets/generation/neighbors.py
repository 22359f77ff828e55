"""How a batch may be decoded such that no row's neighbors decide what it says, measured on the model itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from torpor.targets.generation.loop import Loop, Plan, Processors

STEPS = 3
"""Decoder steps of each measurement."""
SUMS = ("mm", "mv", "dot", "attention", "conv", "linear", "einsum")
"""Parts of the names of operators that add up products."""


class Recorder(Loop):
    """A :class:`Loop` that forces a number of steps and keeps the logits of each.

    Attributes:
        logits: ``[B, V]`` of each step.
        cache: keys and values at the end, one of transformers' caches; None if there is none.
    """

    def __init__(self, rows: int, steps: int) -> None:
        super().__init__(Plan([steps] * rows, (), None, plain=True))
        self.logits: list[Tensor] = []
        self.cache: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """See :meth:`Loop.__call__`."""
        self.cache = kwargs.get("past_key_values")
        return super().__call__(*args, **kwargs)

    def _pick(self, logits: Tensor, input_ids: Tensor, rows: Tensor, given: Processors) -> tuple[Tensor, Tensor]:
        self.logits.append(logits.clone())
        return super()._pick(logits, input_ids, rows, given)


def distance(decode: Callable[[list[int]], Recorder], rows: int) -> float:
    """Return how far batched logits are from those of rows alone, as a share of the largest; infinite for NaN.

    Args:
        decode: decodes some of the rows, told by their numbers, for as many steps each.
        rows: how many there are.
    """
    alone = torch.cat([torch.stack(decode([row]).logits, 1) for row in range(rows)])
    batched = torch.stack(decode(list(range(rows))).logits, 1)
    if alone.shape != batched.shape or alone.isnan().any() or batched.isnan().any():
        return torch.inf
    # once a token differs, so do all logits behind it
    scale = alone.abs().amax(-1, keepdim=True).clamp_min(1)
    return float(((alone - batched) / scale).abs().nan_to_num(0.0).amax())


class Products(TorchDispatchMode):
    """Note the shapes of all sums of products that kernels compute.

    Where those of a batch are those of its rows alone, each as often, its rows are computed like that at any length;
    equal logits of a few steps alone would prove little.

    Attributes:
        shapes: how often each operator saw which shapes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: Counter[tuple[object, ...]] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - whatever func returns
        name = str(func)
        if any(part in name for part in SUMS):
            shapes = [tuple(one.shape) for one in args if isinstance(one, Tensor)]
            if "mm" not in name or shapes[-2][-1] > 1:  # products of single numbers have no order
                self.shapes[name, *shapes] += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class CacheSize:
    """Bytes that a decoder keeps of one row.

    Attributes:
        layers: of each layer bytes per token, and how many tokens it keeps at most, if it forgets some.
        read: bytes per token that an encoder read; of all that it read where inputs are no texts.
    """

    layers: tuple[tuple[int, int | None], ...] = ()
    read: int = 0

    def bytes(self, tokens: int, source: int) -> int:
        """Return the bytes at the end of an output.

        Args:
            tokens: that the decoder has seen by then.
            source: that the encoder read; 1 where inputs are no texts.

        >>> CacheSize(((10, None), (10, 4)), read=3).bytes(6, 2)
        106
        """
        own = sum(size * min(tokens, tokens if most is None else most) for size, most in self.layers)
        return own + self.read * source


def cache_size(cache: Any, source: int) -> CacheSize:  # noqa: ANN401 - one of transformers' caches
    """Measure the cache of one row.

    Args:
        cache: at the end of an output.
        source: tokens that the encoder read; 1 where inputs are no texts.
    """
    if hasattr(cache, "cross_attention_cache"):
        read = sum(_bytes(layer) for layer in cache.cross_attention_cache.layers)
        return CacheSize(cache_size(cache.self_attention_cache, source).layers, -(-read // max(source, 1)))
    layers = []
    for layer in getattr(cache, "layers", ()):
        keys = getattr(layer, "keys", None)
        tokens = keys.shape[-2] if isinstance(keys, Tensor) and keys.ndim > 1 else 0
        window = getattr(layer, "sliding_window", None) if getattr(layer, "is_sliding", False) else None
        layers.append((-(-_bytes(layer) // tokens), window) if tokens else (_bytes(layer), 1))
    return CacheSize(tuple(layers))


def _bytes(layer: object) -> int:
    return sum(part.nbytes for part in vars(layer).values() if isinstance(part, Tensor))


def spans(mask: Tensor) -> list[tuple[int, int]]:
    """Return where each row's own tokens begin and end, given an attention mask ``[B, T]``.

    >>> spans(torch.tensor([[0, 1, 1], [1, 1, 1]]))
    [(1, 3), (0, 3)]
    """
    starts: Sequence[int] = mask.argmax(1).tolist()
    return [(start, start + count) for start, count in zip(starts, mask.sum(1).tolist(), strict=True)]
