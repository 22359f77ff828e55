"""Encoders of texts that skim: tokens of no use leave for good (Transkimmer, Guan et al., ACL 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Unpack

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.measures import Measure
from torpor.core.signals import TextGateSignals
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns
from torpor.targets.text.base import TIE, EncoderModule, TextClassifier, TextOptions, Wrapping
from torpor.targets.text.skimmed import skimmed
from torpor.targets.tokens.avit import token_units, whole_layer
from torpor.targets.tokens.module import layers_of

NOWHERE = -1e4
"""Margin of a gate of a token that a text does not have: it is closed and saves nothing."""


class SkimFamily(GateFamily):
    """Encoders of texts that skim tokens."""

    id: ClassVar[str] = "skimming"
    needs: ClassVar[tuple[str, ...]] = ("tokens_run", "layer_count")
    signals: ClassVar[type | None] = TextGateSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("tokens_run", "sample", "count", "tokens run", "Tokens that ran, over all layers.", "low", dtype=int),
        Measure("tokens_most", "sample", "count", "tokens", "Tokens of the text, times layers.", dtype=int),
        Measure(
            "tokens_kept",
            "row",
            "ratio",
            "tokens kept",
            "Tokens that ran, over all layers, as a share of all of the texts.",
            better="low",
            on_console=True,
        ),
    )

    @override
    def standard_on(self, target: Any) -> str:
        return "standard-text"

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        ran, most = target.tokens_run(outcome.work)
        return {**own, "tokens_run": ran, "tokens_most": most}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        most = sum(columns["tokens_most"])
        return {"tokens_kept": sum(columns["tokens_run"]) / most if most else None}


class SkimmingModule(EncoderModule, Protocol):
    """What an encoder that skims must offer.

    Attributes:
        layers: each a :class:`~torpor.targets.tokens.module.TransformerLayer`.
        skims: one per layer, from tokens ``[..., D]`` to a logit ``[..., 1]``: the layer keeps those above 0.
        head: from tokens ``[B, N, D]`` to class scores ``[B, C]``; it reads the first one.
    """

    layers: nn.ModuleList
    skims: nn.ModuleList

    @property
    def head(self) -> nn.Module:
        """See above."""


class SkimTarget(TextClassifier):
    """An encoder that really skims: the rows of tokens that leave are gone, and later layers do not look at them.

    Unit ``skim<l>`` is what decides about one token before layer ``l``, ``tokens<l>`` is the layer's work per token
    that stays, and ``pairs<l>`` per pair of them; ``always`` is the head. The first token is always there.

    Args:
        module: the network; see :class:`SkimmingModule`.
        codec: the tokenizer.
        options: see :class:`~torpor.targets.text.base.TextOptions`.

    Raises:
        UsageError: if there are not as many predictors as layers, or the head returns no class scores.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    family = SkimFamily()
    mechanism = "token skimming"
    unnamed = "skimming"
    per_layer: ClassVar[int] = 3

    def __init__(
        self,
        module: Any,  # noqa: ANN401 - a SkimmingModule
        codec: Wrapping,
        **options: Unpack[TextOptions],
    ) -> None:
        super().__init__(module, codec, **options)
        if not len(module.layers) or len(module.layers) != len(module.skims):
            raise UsageError(
                f"expected one predictor per layer, got {len(module.skims)} for {len(module.layers)} layers; see "
                "SkimmingModule"
            )
        with torch.no_grad():
            token = self.module.enter(self.module.words(torch.zeros(1, 1, dtype=torch.int64, device=self.device)))
            scores = self.module.head(token)
        if scores.ndim != 2 or len(scores) != 1 or scores.shape[1] < 2:
            raise UsageError(f"expected class scores [B, C] from the head, got shape {list(scores.shape)}")
        self.classes, self.dim = scores.shape[1], token.shape[-1]
        self.units = (Unit("always", count_flops(self.module.head, token)), *self._of_layers(token[0]))

    def _of_layers(self, token: Tensor) -> Iterator[Unit]:
        pairs = zip(layers_of(self.module), self.module.skims, strict=True)
        for depth, (layer, skim) in enumerate(pairs):
            yield Unit(f"skim{depth}", count_flops(skim, token))
            yield from token_units(depth, layer, self.dim)

    @property
    def layer_count(self) -> int:
        """How many layers it has."""
        return len(self.module.layers)

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Return class scores and work.

        Neither depends on a text's neighbors: where batched arithmetic comes within ``TIE`` of a threshold, the text is
        decided by a run of its own.

        Raises:
            UsageError: if the network returns no numbers.
        """
        texts = self.space.check(tuple(inputs))
        scores, counts, gap = self._forward(texts)
        if len(texts) > 1:
            for row in (gap < TIE).nonzero().flatten().tolist():
                alone = self._forward(texts[row : row + 1])
                scores[row], counts[row] = alone[0][0], alone[1][0]
        if scores.isnan().any() or gap.isnan().any():
            raise UsageError(f"expected numbers from {self.name}, got NaN; check its weights")
        return Outcome(scores, Work(counts.cpu()))

    @torch.no_grad()
    def _forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Run one batch: scores ``[B, C]``, counts ``[B, U]``, and each text's least gap to a decision ``[B]``."""
        parts = list(self.alike(texts))
        order = torch.cat([rows for rows, _ in parts]).to(self.device)
        rows = torch.cat([self.module.enter(self.module.words(ids)).flatten(0, 1) for _, ids in parts])
        there = torch.tensor([ids.shape[1] for own, ids in parts for _ in own], device=self.device)
        owner = torch.arange(len(there), device=self.device).repeat_interleave(there)
        gap = torch.full((len(there),), torch.inf, device=self.device)
        counts = [torch.ones_like(there)]
        for layer, skim in zip(layers_of(self.module), self.module.skims, strict=True):
            first = there.cumsum(0) - there
            asked = there
            logits = skim(rows).squeeze(-1)
            logits[first] = torch.inf
            gap = gap.scatter_reduce(0, owner, logits.abs(), "amin")
            keep = logits > 0
            rows, owner = rows[keep], owner[keep]
            there = owner.bincount(minlength=len(there))
            counts += [asked, there, there**2]
            rows = whole_layer(layer, rows, there)
        answers = self.module.head(rows[there.cumsum(0) - there][:, None])
        back = order.argsort()
        return answers[back], torch.stack(counts, 1)[back], gap[back]

    @override
    def most(self, lengths: Tensor) -> Tensor:
        of_layer = torch.stack([lengths, lengths, lengths**2], 1)
        return torch.cat([torch.ones_like(lengths)[:, None], of_layer.repeat(1, self.layer_count)], 1)

    @override
    def least_work(self) -> Work:
        """Return a text of one token, which the first layer drops."""
        asked, alone = torch.tensor([self.codec.overhead + 1, 1, 1]), torch.tensor([1, 1, 1])
        return Work(torch.cat([torch.ones(1, dtype=torch.int64), asked, *[alone] * (self.layer_count - 1)])[None])

    def tokens_run(self, work: Work) -> tuple[Tensor, Tensor]:
        """Return the tokens that ran, over all layers, and how many there are in them, both int64 ``[B]``."""
        own = work.counts[:, 1 : len(self.units)].unflatten(1, (self.layer_count, self.per_layer))
        return own[..., 1].sum(1), own[:, 0, 0] * self.layer_count

    def signals(self, inputs: Sequence[str]) -> TextGateSignals:
        """Evaluate every layer on all tokens, those that have left without effect."""
        embeddings, ids, own = self.embedded(inputs)
        count, longest = ids.shape
        scores = torch.zeros(count, self.classes, device=self.device)
        margins = torch.full((count, self.layer_count, longest - 1), NOWHERE, device=self.device)
        expected = torch.zeros(count, device=self.device)
        counts = torch.zeros(count, len(self.units), dtype=torch.int64)
        prices = torch.tensor(self.prices.per_unit, dtype=torch.float64)
        most = (self.most(torch.tensor([self.longest])) * prices).sum()
        shares = (prices[1:] / most).unflatten(0, (self.layer_count, self.per_layer)).to(self.device, torch.float32)
        for rows, alike in self.alike(inputs):
            length, at = alike.shape[1], rows.to(self.device)
            found = skimmed(self.module, embeddings[at, :length])
            scores = scores.index_put((at,), found.scores)
            filled = nn.functional.pad(-found.logits, (0, longest - length), value=NOWHERE)
            margins = margins.index_put((at,), filled)
            soft = found.soft.sum(-1)
            asked = torch.cat([torch.full_like(soft[:, :1], length), soft[:, :-1]], 1)
            cost = (torch.stack([asked, soft, soft**2], -1) * shares).sum((1, 2))
            expected = expected.index_put((at,), cost)
            there = found.alive.detach().round().sum(-1).to(torch.int64).cpu()
            before = torch.cat([torch.full_like(there[:, :1], length), there[:, :-1]], 1)
            of_layers = torch.stack([before, there, there**2], -1).flatten(1)
            counts[rows] = torch.cat([torch.ones_like(rows)[:, None], of_layers], 1)
        return TextGateSignals(
            None,
            margins.flatten(1),
            Work(counts),
            expected=expected,
            embeddings=embeddings,
            input_ids=ids,
            input_mask=own,
            scores=scores,
        )

    @torch.no_grad()
    def probes(self, inputs: Sequence[str]) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of each layer, and of each predictor, on several numbers of tokens, and one of the head."""
        ids = torch.tensor([self.tokenized(inputs)[0]], device=self.device)
        rows = self.module.enter(self.module.words(ids))[0]
        blank = torch.zeros(1, len(self.units), dtype=torch.int64)

        def calling(part: Callable[..., object], *given: Any) -> Callable[[], object]:  # noqa: ANN401
            return torch.no_grad()(lambda: part(*given))

        counts = blank.clone()
        counts[0, 0] = 1
        yield Work(counts), calling(self.module.head, rows[None])
        for depth, (layer, skim) in enumerate(zip(layers_of(self.module), self.module.skims, strict=True)):
            at = 1 + self.per_layer * depth
            for count in sorted({len(rows), max(2, len(rows) // 2), max(1, len(rows) // 4)}):
                some, there = rows[:count], torch.tensor([count], device=self.device)
                counts = blank.clone()
                counts[0, at] = count
                yield Work(counts), calling(skim, some)
                counts = blank.clone()
                counts[0, at + 1 : at + 3] = torch.tensor([count, count**2])
                yield Work(counts), calling(whole_layer, layer, some, there)
