"""How a batch may be decoded such that no row's neighbors decide what it says, measured on the model itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.dispatch import EagerMode
from torpor.targets.decoder.generation.library import cache_in
from torpor.targets.decoder.generation.loop import DecodingLoop, DecodingPlan, Processors

VARIED = 3
"""Examples that are compared."""
STEPS = 3
"""Decoder steps of each measurement."""
SUMS = ("mm", "mv", "dot", "attention", "conv", "linear", "einsum")
"""Parts of the names of operators that add up products."""


class Recorder(DecodingLoop):
    """A :class:`DecodingLoop` that forces a number of steps and keeps the logits of each.

    Attributes:
        logits: ``[B, V]`` of each step.
        cache: keys and values at the end, one of transformers' caches; None if there is none.
    """

    def __init__(self, rows: int, steps: int) -> None:
        super().__init__(DecodingPlan([steps] * rows, (), None, plain=True))
        self.logits: list[Tensor] = []
        self.cache: Any = None

    @override
    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        self.cache = cache_in(kwargs)
        return super().__call__(*args, **kwargs)

    def _pick(self, logits: Tensor, input_ids: Tensor, rows: Tensor, given: Processors) -> tuple[Tensor, Tensor]:
        self.logits.append(logits.clone())
        return super()._pick(logits, input_ids, rows, given)


class Products(EagerMode):
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


def compared(decode: Callable[[list[int]], Recorder], rows: int) -> tuple[float, bool]:
    """Return how far batched logits are from those of rows alone, and whether all products have the same shapes.

    The distance is a share of the largest logit; infinite where there is no number.

    Args:
        decode: decodes some of the rows, told by their numbers, for as many steps each.
        rows: how many there are.
    """
    singles, together = Products(), Products()
    with singles:
        alone = torch.cat([torch.stack(decode([row]).logits, 1) for row in range(rows)])
    with together:
        batched = torch.stack(decode(list(range(rows))).logits, 1)
    alike = singles.shapes == together.shapes
    if alone.isnan().any() or batched.isnan().any():
        return torch.inf, alike
    scale = alone.abs().amax(-1, keepdim=True).clamp_min(1)
    apart = ((alone - batched) / scale).abs().nan_to_num(0.0).amax(-1)
    same = alone.argmax(-1) == batched.argmax(-1)
    apart[:, 1:] *= same[:, :-1].cumprod(1)  # after another token nothing can be compared
    return float(apart.amax()), alike
