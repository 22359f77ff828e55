"""A router between two models of texts: a gate sends each text to the cheap one or to the expensive one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, Unpack

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.measures import COST, Headline, Measure
from torpor.core.signals import TextGateSignals
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns
from torpor.targets.text.base import TIE, TextClassifier, TextOptions, Wrapping
from torpor.targets.text.lengths import growth

PARTS = ("gate", "cheap", "large")
KINDS = ("text", "token", "pair")
LARGE = len(KINDS) * PARTS.index("large")
"""Column of the first unit of the expensive model."""


class RouterFamily(GateFamily):
    """Routers between a cheap and an expensive model."""

    id: ClassVar[str] = "model-router"
    needs: ClassVar[tuple[str, ...]] = ("expensive",)
    signals: ClassVar[type | None] = TextGateSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("expensive", "sample", "count", "expensive", "1 if the expensive model ran, else 0.", "low", dtype=int),
        Measure(
            "expensive_share",
            "row",
            "ratio",
            "expensive",
            "Share of texts that the gate sent to the expensive model.",
            better="low",
            on_console=True,
        ),
    )

    @override
    def standard_on(self, target: Any) -> str:
        return "standard-text"

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        return COST, Headline("expensive_share", "share of texts at the expensive model")

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "expensive": target.expensive(outcome.work).to(torch.int64)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return {"expensive_share": int(sum(columns["expensive"])) / len(columns["expensive"])}

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        return {"expensive_share": target.expensive(work).double().mean().item()}


class RouterModule(Protocol):
    """What a router must offer. Texts of a batch have as many tokens each, so that nothing needs a mask.

    Attributes:
        words: embeds ids for the gate.
        layers: of the expensive model.
        cheap: from ids ``[B, N]`` to class scores ``[B, C]``.
        large: the same of the expensive model.
    """

    words: nn.Embedding
    layers: nn.ModuleList
    cheap: nn.Module
    large: nn.Module

    def gate(self, vectors: Tensor) -> Tensor:
        """Return how much a text needs the expensive model, logits ``[B]``, given vectors of words ``[B, N, D]``."""


class RoutedTarget(TextClassifier):
    """Two classifiers of texts and a learned gate, which has the expensive one asked where it finds a text hard.

    Of the gate and of each model, ``<part>_text`` is what one text costs, ``<part>_token`` each token and
    ``<part>_pair`` each pair of tokens. The gate always runs, and one of the two models.

    Args:
        module: see :class:`RouterModule`.
        codec: the tokenizer of all three.
        threshold: logit of the gate from which on the expensive model is asked.
        options: see :class:`~torpor.targets.text.base.TextOptions`.

    Raises:
        UsageError: if the two models do not know the same number of classes.
        MeterError: if an operator's FLOPs cannot be counted, or do not grow with tokens and their pairs.
    """

    family = RouterFamily()
    mechanism = "model routing"
    unnamed = "router"
    per_layer: ClassVar[int] = 3

    def __init__(
        self,
        module: Any,  # noqa: ANN401 - a RouterModule
        codec: Wrapping,
        threshold: float,
        **options: Unpack[TextOptions],
    ) -> None:
        super().__init__(module, codec, **options)
        self.threshold, self.always_cheap = threshold, False
        self.parts: dict[str, nn.Module] = {
            "gate": _Gate(self.module),
            "cheap": self.module.cheap,
            "large": self.module.large,
        }
        ids = torch.zeros(1, 2, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            widths = [self.parts[part](ids).shape for part in PARTS]
        if widths[0] != (1,) or widths[1] != widths[2] or len(widths[1]) != 2:
            raise UsageError(
                f"expected a logit [B] of the gate and class scores [B, C] of both models, got {list(widths[0])}, "
                f"{list(widths[1])} and {list(widths[2])} for one text"
            )
        self.classes = widths[1][1]
        grown = [growth(self._flops(part), self.longest, f"{part} of {self.name}") for part in PARTS]
        names = (f"{part}_{kind}" for part in PARTS for kind in KINDS)
        self.units = tuple(Unit(each, flops) for each, flops in zip(names, sum(grown, ()), strict=True))

    def _flops(self, part: str) -> Callable[[int], int]:
        def flops(tokens: int) -> int:
            with torch.no_grad():
                return count_flops(self.parts[part], torch.zeros(1, tokens, dtype=torch.int64, device=self.device))

        return flops

    @torch.no_grad()
    def run(self, inputs: Sequence[str]) -> Outcome:
        """Return class scores of the model that each text is sent to, and the work.

        Neither depends on a text's neighbors: where batched arithmetic comes within ``TIE`` of the threshold, the gate
        reads the text alone.
        """
        texts = self.space.check(tuple(inputs))
        outputs = torch.empty(len(texts), self.classes, device=self.device)
        sent, lengths = torch.zeros(len(texts), dtype=torch.bool), torch.empty(len(texts), dtype=torch.int64)
        for rows, ids in self.alike(texts):
            hard = self._margin(ids)
            for row in (hard.abs() < TIE).nonzero().flatten().tolist() if len(ids) > 1 else ():
                hard[row] = self._margin(ids[row : row + 1])[0]
            to_large = (hard > 0) & (not self.always_cheap)
            for part, mask in (("cheap", ~to_large), ("large", to_large)):
                if mask.any():
                    outputs[rows[mask.cpu()].to(self.device)] = self.parts[part](ids[mask])
            sent[rows], lengths[rows] = to_large.cpu(), ids.shape[1]
        return Outcome(outputs, self._work(sent, lengths))

    def _margin(self, ids: Tensor) -> Tensor:
        """Return by how much the gate's logits exceed the threshold, ``[B]``; the expensive model is asked above 0."""
        logits: Tensor = self.parts["gate"](ids)
        return logits - self.threshold

    def _work(self, sent: Tensor, lengths: Tensor) -> Work:
        each = torch.stack([torch.ones_like(lengths), lengths, lengths**2], 1)
        large = sent.to(torch.int64)[:, None]
        return Work(torch.cat([each, each * (1 - large), each * large], 1))

    @override
    def most(self, lengths: Tensor) -> Tensor:
        """Return the bound, unit by unit: each model's at their most, though only one of them runs."""
        cheap, large = (self._work(torch.full_like(lengths, sent).bool(), lengths).counts for sent in (0, 1))
        return cheap if self.always_cheap else torch.maximum(cheap, large)

    @override
    def least_work(self) -> Work:
        """Return the cheap model on a text of one token."""
        return self._work(torch.zeros(1, dtype=torch.bool), torch.tensor([self.codec.overhead + 1]))

    def expensive(self, work: Work) -> Tensor:
        """Return which texts were sent to the expensive model, bool ``[B]``."""
        return work.counts[:, LARGE] > 0

    def signals(self, inputs: Sequence[str]) -> TextGateSignals:
        """Evaluate the gate, differentiably; its margin is at least 0 where it saves the expensive model."""
        embeddings, ids, own = self.embedded(inputs)
        margins = torch.empty(len(inputs), 1, device=self.device)
        lengths = torch.empty(len(inputs), dtype=torch.int64)
        for rows, alike in self.alike(inputs):
            at = rows.to(self.device)
            needed = self.module.gate(embeddings[at, : alike.shape[1]])
            margins = margins.index_put((at,), (self.threshold - needed)[:, None])
            lengths[rows] = alike.shape[1]
        sent = (margins.detach()[:, 0] < 0).cpu() & (not self.always_cheap)
        return TextGateSignals(
            None, margins, self._work(sent, lengths), embeddings=embeddings, input_ids=ids, input_mask=own
        )

    def with_threshold(self, threshold: float) -> Self:
        """Return the same router with another threshold of the gate's logit."""
        other = copy.copy(self)
        other.threshold = threshold
        return other

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: the last asks the cheap model alone."""
        return 2

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`."""
        other = copy.copy(self)
        other.always_cheap = bool(rung) or self.always_cheap
        return other

    @override
    def details(self) -> dict[str, Any]:
        return {**super().details(), "threshold": self.threshold, "always_cheap": self.always_cheap}

    @torch.no_grad()
    def probes(self, inputs: Sequence[str]) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of the gate and of each model on several numbers of tokens."""
        ids = torch.tensor([self.tokenized(inputs)[0]], device=self.device)
        for place, part in enumerate(PARTS):
            for count in sorted({ids.shape[1], max(2, ids.shape[1] // 2), max(1, ids.shape[1] // 4)}):

                def call(part: str = part, some: Tensor = ids[:, :count]) -> object:
                    with torch.no_grad():
                        return self.parts[part](some)

                counts = torch.zeros(1, len(self.units), dtype=torch.int64)
                counts[0, len(KINDS) * place : len(KINDS) * (place + 1)] = torch.tensor([1, count, count**2])
                yield Work(counts), call

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the threshold and all weights count."""
        return f"{super().fingerprint()} {self.threshold} {self.always_cheap}"


class _Gate(nn.Module):
    """The gate as a function of ids."""

    def __init__(self, module: RouterModule) -> None:
        super().__init__()
        self.words, self.module = module.words, module

    @override
    def forward(self, ids: Tensor) -> Tensor:
        return self.module.gate(self.words(ids))
