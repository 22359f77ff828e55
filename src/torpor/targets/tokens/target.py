"""What all vision transformers that skip tokens share: units, ties, caps."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.meters.flops import counting
from torpor.targets.early_exit.family import BatchedClassifier, class_count
from torpor.targets.tokens.family import TokenFamily
from torpor.targets.tokens.module import TransformerLayer, TransformerModule
from torpor.targets.tokens.signals import TokenSignals
from torpor.targets.weights import digest

HEAVY = 50e6
"""FLOPs of a whole network from which on an audit takes few samples by default: attacks run it thousands of times."""
RUNGS = (1.0, 0.75, 0.5, 0.25)
"""Caps on the patches of a layer, as shares of all."""


class Passed(NamedTuple):
    """One batch, run.

    Attributes:
        scores: of the classes, ``[B, C]``.
        counts: of every unit, int64 ``[B, U]``.
        gap: by how much the closest decision of each sample was won, ``[B]``.
    """

    scores: Tensor
    counts: Tensor
    gap: Tensor


class TokenTarget(BatchedClassifier):
    """A vision transformer whose tokens really leave: every layer computes the rows of those that are there.

    Args:
        module: the network. It is put in evaluation mode and its weights are frozen.
        name: shown in reports.
        device: where to run.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.
        cap: patches that a layer after the first computes at most; no limit if None.

    Raises:
        UsageError: if the module has no two layers, or its head does not return class scores.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    family = TokenFamily()
    tie = 2e-5
    space: ImageSpace
    per_layer: ClassVar[int] = 2

    def __init__(
        self,
        module: TransformerModule,
        *,
        name: str,
        device: str | torch.device = "cpu",
        source: Callable[[Path | None], DataSet] | None = None,
        cap: int | None = None,
    ) -> None:
        assert isinstance(module, nn.Module)
        if len(module.layers) < 2:
            raise UsageError(f"expected a transformer of 2 layers or more, got {len(module.layers)}")
        self.module: Any = module.to(device).eval().requires_grad_(False)
        self.layers: list[Any] = list(self.module.layers)
        self.name, self.source, self.device = name, source, torch.device(device)
        self.space = ImageSpace(module.shape)
        with counting() as counter:
            tokens = self.module.embed(torch.zeros(1, *module.shape, device=self.device))
            scores = self.answer(tokens[:, 0])
        self.classes, self.patches, self.dim = class_count(scores), tokens.shape[1] - 1, tokens.shape[2]
        self.cap = self.patches if cap is None else min(cap, self.patches)
        self.units = (Unit("always", counter.flops + self.deciding()), *self.of_layers())
        self.samples = 16 if self.prices.cost(self.static_work()).item() > HEAVY else 32

    def deciding(self) -> int:
        """Return the FLOPs of decisions that every sample pays for, whatever they are."""
        return 0

    @abstractmethod
    def of_layers(self) -> Iterator[Unit]:
        """Yield the units of each layer, :attr:`per_layer` of them."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> Passed:
        """Run one batch as deployed."""

    @abstractmethod
    def signals(self, inputs: Tensor) -> TokenSignals:
        """Evaluate every layer on all tokens, those that have left without effect."""

    @abstractmethod
    def patches_run(self, counts: Tensor) -> Tensor:
        """Return the patches that each layer computed, int64 ``[B, L]``, from counts ``[B, L, per_layer]``."""

    def answer(self, tokens: Tensor) -> Tensor:
        """Return class scores ``[B, C]`` of class tokens ``[B, D]``."""
        scores: Tensor = self.module.head(self.module.norm(tokens))
        return scores

    def _pass(self, inputs: Tensor) -> Passed:
        return self.forward(inputs.to(self.device))

    def _work(self, decided: Tensor) -> Work:
        return Work(decided.cpu())

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the class token and all patches, ``[B, 1 + N, D]``."""
        tokens: Tensor = self.module.embed(inputs.contiguous(memory_format=torch.channels_last))
        return tokens

    def max_work(self, inputs: Tensor) -> Work:
        """Return all patches in each layer, as far as the cap allows."""
        return Work(self.most().expand(len(inputs), -1).clone())

    @abstractmethod
    def most(self) -> Tensor:
        """Return the most work, int64 ``[1, U]``."""

    def tokens(self, work: Work) -> Tensor:
        """Return the patches that ran, summed over layers, int64 ``[B]``; whatever else a defense counts."""
        own = work.counts[:, 1 : len(self.units)].unflatten(1, (len(self.layers), self.per_layer))
        return self.patches_run(own).sum(1)

    @property
    def token_count(self) -> int:
        """Patches of all layers: what :meth:`tokens` is a share of."""
        return len(self.layers) * self.patches

    def costs(self) -> Tensor:
        """Return the price of each layer's units as shares of the static bound, float32 ``[L, per_layer]``."""
        prices = torch.tensor(self.prices.per_unit, dtype=torch.float64)
        shares = prices / (self.most()[0] * prices).sum()
        by_layer: Tensor = shares[1:].unflatten(0, (len(self.layers), self.per_layer))
        return by_layer.to(self.device, torch.float32)

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: caps on the patches of every layer after the first."""
        return len(RUNGS)

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`: the same network that keeps at most so many patches (DeSparsify's defense)."""
        return self.keeping(max(1, round(RUNGS[rung] * self.patches)))

    def keeping(self, most: int) -> Self:
        """Return the same network with a cap on the patches of each layer after the first, never a larger one."""
        other = copy.copy(self)
        other.cap = min(self.cap, most)
        return other

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.module.to(device)
        self.device = device
        return self

    @override
    def details(self) -> dict[str, Any]:
        return {**super().details(), "patches": self.patches, "layers": len(self.layers), "cap": self.cap}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the cap and all weights count."""
        return digest(f"{super().fingerprint()} {self.cap}", [self.module])


def per_head(layer: TransformerLayer, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries ``[T, H, D / H]`` and keys and values ``[T, 2, H, D / H]`` of packed rows ``[T, D]``."""
    three = layer.qkv(layer.norm1(rows)).unflatten(-1, (3, layer.heads, -1))
    return three[:, 0], three[:, 1:]


def least_of(gaps: Tensor, mask: Tensor) -> Tensor:
    """Return the least absolute value of each row of ``gaps`` ``[B, N]`` where ``mask`` is True; infinity if nowhere.

    >>> least_of(torch.tensor([[-2.0, 1.0]]), torch.tensor([[True, False]])).tolist()
    [2.0]
    """
    return gaps.abs().masked_fill(~mask, torch.inf).amin(1)


def lowest(values: Tensor, cap: int) -> Tensor:
    """Return the first value of each row of ``values`` ``[B, N]`` that a cap cuts off, ``[B, 1]``; infinity if none.

    >>> lowest(torch.tensor([[3.0, 1.0, 2.0]]), 2).tolist(), lowest(torch.tensor([[3.0]]), 1).tolist()
    ([[3.0]], [[inf]])
    """
    if cap >= values.shape[1]:
        return torch.full_like(values[:, :1], torch.inf)
    return values.kthvalue(cap + 1, 1, keepdim=True).values
