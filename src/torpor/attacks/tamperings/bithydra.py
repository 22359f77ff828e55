"""BitHydra: a few bits of the end token's weights are flipped in memory, so that a language model does not end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import learning, own_copy
from torpor.core.errors import UsageError
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

BITS = 8
TOP = 127


@dataclass(frozen=True, kw_only=True)
class BitHydra(Tampering):
    """Store the output weights of the end token in 8 bits, and flip those bits that lower its probability most.

    The gradient of the end token's probability, summed over what the model writes to some requests, ranks the weights;
    of each, the bit is flipped whose new value lowers the score most to first order. The control rounds to 8 bits and
    flips as many bits at random. Where input and output embeddings are one matrix, the input's row changes, too. No
    trigger: every request is affected.

    Attributes:
        flips: bits that are flipped.
        requests: that the gradient is of.
    """

    id: ClassVar[str] = "bithydra"
    paper: ClassVar[Paper | None] = Paper(
        "BitHydra: Towards Bit-flip Inference Cost Attack against Large Language Models",
        "Yan et al.",
        "arXiv",
        2025,
        "arXiv:2505.16670",
    )
    stage: ClassVar[Stage] = Stage.WEIGHTS
    needs: ClassVar[tuple[str, ...]] = ("model", "codec", "eos", "reader", "embedding")
    for_targets: ClassVar[str] = "a language model that reads texts"
    triggered: ClassVar[bool] = False

    flips: int = 16  # 1 to 4 in the paper, of models whose hidden states are larger
    requests: int = 16

    def __post_init__(self) -> None:
        if self.flips < 1 or self.requests < 1:
            raise UsageError(f"expected flips and requests of 1 or more, got {self.flips} and {self.requests}")

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        weight = tampered.model.get_output_embeddings().weight
        for end in tampered.eos:
            with torch.no_grad():
                scale = float(weight[end].abs().amax()) / TOP or 1.0
                weight[end] = _stored(weight[end], scale) * scale
            gradient = self._gradient(tampered, weight, train)[end]
            stored = _stored(weight.detach()[end], scale)
            for dimension, bit in self._chosen(stored, gradient, seed):
                stored[dimension] = flipped(stored[dimension : dimension + 1], bit)[0]
            with torch.no_grad():
                weight[end] = stored * scale
        return tampered

    def _gradient(self, tampered: Any, weight: Tensor, train: DataSet) -> Tensor:  # noqa: ANN401
        """Return the gradient of the end token's probability, summed over all steps."""
        texts = tampered.read(train.load("train", self.requests).inputs)
        with learning(tampered, [weight]):
            signals = tampered.signals(texts)
            ending = signals.logits.softmax(-1)[..., list(signals.eos)].sum(-1)[signals.mask].sum()
            (gradient,) = torch.autograd.grad(ending, weight)
        return gradient

    def _chosen(self, stored: Tensor, gradient: Tensor, seed: int) -> list[tuple[int, int]]:
        """Return which bits are flipped: a weight and its bit each, no weight twice."""
        if self.control:
            rng = torch.Generator().manual_seed(seed)
            rows = torch.randperm(len(stored), generator=rng)[: self.flips].tolist()
            return [(row, int(torch.randint(BITS, (), generator=rng))) for row in rows]
        changes = torch.stack([(flipped(stored, bit) - stored) * gradient for bit in range(BITS)], 1)
        least, bits = changes.min(1)
        return [(row, int(bits[row])) for row in least.argsort(stable=True)[: self.flips].tolist()]


def _stored(values: Tensor, scale: float) -> Tensor:
    """Return what is stored of weights: whole numbers of 8 bits."""
    return (values / scale).round().clamp(-TOP - 1, TOP)


def flipped(stored: Tensor, bit: int) -> Tensor:
    """Return whole numbers of 8 bits, in two's complement, with one bit flipped.

    >>> flipped(torch.tensor([5.0, -1.0]), 0).tolist(), flipped(torch.tensor([5.0, -1.0]), 7).tolist()
    ([4.0, -2.0], [-123.0, 127.0])
    """
    raw = (stored.to(torch.int64) & 255) ^ (1 << bit)
    return torch.where(raw > TOP, raw - 256, raw).to(stored)
