"""Encoders of texts with an exit after each layer, as DeeBERT, PABEE and BERxiT run them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, Unpack

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.signals import TextGateSignals
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.exit_rules import ExitRule, leave
from torpor.targets.early_exit.family import EarlyExitFamily
from torpor.targets.text.base import TIE, EncoderModule, TextClassifier, TextOptions, Wrapping
from torpor.targets.text.learned import LEARNED, LearnedToExit, WithCertainty, read_rule
from torpor.targets.text.lengths import Growth, growth

LEAST = 2
"""Layers that must be left of an encoder: with one, there is nothing dynamic."""


class TextExitFamily(EarlyExitFamily):
    """Encoders of texts that stop at the first exit that is sure enough."""

    id: ClassVar[str] = "early-exit-text"
    signals: ClassVar[type | None] = TextGateSignals

    @override
    def standard_on(self, target: Any) -> str:
        return "standard-text"


class ExitingModule(EncoderModule, Protocol):
    """What an encoder with exits must offer.

    ``heads[k](layers[k](... layers[0](enter(words(ids)))))`` are the logits of exit ``k``. Texts of a batch have as
    many tokens each, so that layers need no mask.

    Attributes:
        layers: each maps ``[B, N, D]`` to ``[B, N, D]``.
        heads: one per layer, from ``[B, N, D]`` to logits ``[B, C]``; the last is the network's own classifier.
    """

    layers: nn.ModuleList
    heads: nn.ModuleList


class TextExitTarget(TextClassifier):
    """A multi-exit encoder that really stops: texts that leave are gone from the batch.

    Of layer ``k``, unit ``exit<k>`` is its head and whatever it computes once per text, ``tokens<k>`` is its work per
    token, and ``pairs<k>`` per pair of tokens, that is attention.

    Args:
        module: the network; see :class:`ExitingModule`. Where it has ``certainty``, a classifier that tells how sure an
            exit may be, the rule may be ``learned:THRESHOLD``.
        codec: the tokenizer.
        rule: when texts leave, or what reads as one, such as ``"entropy:0.3"`` or ``"learned:0.9"``.
        named_rules: other rules that users may choose by name.
        options: see :class:`~torpor.targets.text.base.TextOptions`.

    Raises:
        UsageError: if the module lacks layers or heads, or a head returns no logits ``[B, C]``.
        MeterError: if an operator's FLOPs cannot be counted, or do not grow with tokens and their pairs.
    """

    family = TextExitFamily()
    mechanism = "early exit"
    unnamed = "early-exit-text"
    per_layer: ClassVar[int] = 3

    def __init__(
        self,
        module: Any,  # noqa: ANN401 - an ExitingModule
        codec: Wrapping,
        rule: ExitRule | str,
        *,
        named_rules: Mapping[str, ExitRule] | None = None,
        **options: Unpack[TextOptions],
    ) -> None:
        super().__init__(module, codec, **options)
        layers, heads = getattr(module, "layers", ()), getattr(module, "heads", ())
        if len(layers) != len(heads) or len(layers) < LEAST:
            raise UsageError(
                f"expected as many layers as heads, at least {LEAST}, got {len(layers)} and {len(heads)}; see "
                "ExitingModule"
            )
        self.named_rules = dict(named_rules or {})
        self.layers, self.kept = list(layers), len(layers)
        self._choose(read_rule(rule, self.named_rules))

    def _choose(self, rule: ExitRule) -> None:
        """Leave by a rule: what it reads of each exit is part of the exit's work."""
        self.rule, heads = rule, list(self.module.heads)
        if isinstance(rule, LearnedToExit):
            if getattr(self.module, "certainty", None) is None:
                raise UsageError(
                    f"expected a network with a classifier of certainty for the rule {LEARNED}, got {self.name} "
                    "without; train one, or leave by entropy or patience"
                )
            heads = [WithCertainty(head, self.module.certainty) for head in heads]
        self.heads = heads
        self.growths = [self._growth(k) for k in range(len(heads))]
        self.units = tuple(
            Unit(f"{part}{k}", flops)
            for k, grown in enumerate(self.growths)
            for part, flops in zip(("exit", "tokens", "pairs"), grown, strict=True)
        )

    def _growth(self, k: int) -> Growth:
        """Return how the FLOPs of a layer with its head grow; those of what enters count to the first."""
        ids = torch.zeros(1, 2, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            logits = self.heads[k](self.layers[k](self.enter(ids)))
        if k == 0:
            self.width: int = logits.shape[-1]
        self.classes = self.width - isinstance(self.rule, LearnedToExit)
        if logits.ndim != 2 or logits.shape != (1, self.width) or self.classes < LEAST:
            raise UsageError(f"expected head {k} to return logits [B, C], got shape {list(logits.shape)} for one text")
        part = nn.Sequential(self.layers[k], self.heads[k])

        def flops(tokens: int) -> int:
            ids = torch.zeros(1, tokens, dtype=torch.int64, device=self.device)
            with torch.no_grad():
                entering = self.enter(ids)
            return count_flops(part, entering) + (count_flops(_Entrance(self.module), ids) if k == 0 else 0)

        return growth(flops, self.longest, f"layer {k} of {self.name}")

    def enter(self, ids: Tensor) -> Tensor:
        """Return what enters the first layer, ``[B, N, D]``, given ids ``[B, N]``."""
        entering: Tensor = self.module.enter(self.module.words(ids))
        return entering

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Return the logits of the exit that each text takes, and its work.

        Neither depends on a text's neighbors: where batched arithmetic comes within ``TIE`` of a threshold, the text is
        decided by a run of its own.

        Raises:
            UsageError: if a head returns no numbers.
        """
        texts = self.space.check(tuple(inputs))
        outputs = torch.empty(len(texts), self.width, device=self.device)
        depth, lengths = (torch.empty(len(texts), dtype=torch.int64) for _ in range(2))
        for rows, ids in self.alike(texts):
            own, taken, gap = self._pass(ids)
            if len(ids) > 1:
                for row in (gap < TIE).nonzero().flatten().tolist():
                    alone = self._pass(ids[row : row + 1])
                    own[row], taken[row] = alone[0][0], alone[1][0]
            if own.isnan().any() or gap.isnan().any():
                raise UsageError(f"expected numbers from the heads of {self.name}, got NaN; check its weights")
            outputs[rows], depth[rows], lengths[rows] = own, taken.cpu(), ids.shape[1]
        return Outcome(outputs[:, : self.classes], self._work(depth, lengths))

    def _pass(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run texts of one length; see :func:`torpor.targets.early_exit.exit_rules.leave`."""
        with torch.no_grad():
            entering = self.enter(ids)
        heads = self.heads[: self.kept]
        return leave(lambda k, tokens: self.layers[k](tokens), heads, self.rule, entering, self.width)

    def _work(self, depth: Tensor, lengths: Tensor) -> Work:
        """Turn exits ``[B]`` and tokens ``[B]`` into counts: each unit of every layer up to and including the exit."""
        ran = (torch.arange(len(self.layers)) <= depth[:, None]).to(torch.int64)
        of_layer = torch.stack([torch.ones_like(lengths), lengths, lengths**2], 1)
        return Work((ran[:, :, None] * of_layer[:, None]).flatten(1))

    @override
    def most(self, lengths: Tensor) -> Tensor:
        return self._work(torch.full_like(lengths, self.kept - 1), lengths).counts

    @override
    def least_work(self) -> Work:
        """Return the first layer of a text with the fewest tokens."""
        return self._work(torch.zeros(1, dtype=torch.int64), torch.tensor([self.codec.overhead + 1]))

    def signals(self, inputs: Sequence[str]) -> TextGateSignals:
        """Evaluate every exit, differentiably."""
        embeddings, ids, own = self.embedded(inputs)
        logits = torch.empty(len(inputs), self.kept, self.width, device=self.device)
        lengths = torch.empty(len(inputs), dtype=torch.int64)
        for rows, alike in self.alike(inputs):
            tokens, found = self.module.enter(embeddings[rows, : alike.shape[1]]), []
            for layer, head in zip(self.layers[: self.kept], self.heads[: self.kept], strict=True):
                tokens = layer(tokens)
                found.append(head(tokens))
            logits = logits.index_put((rows.to(self.device),), torch.stack(found, 1))
            lengths[rows] = alike.shape[1]
        exits = range(1, self.kept)
        margins = torch.stack([self.rule.log_odds(logits[:, :k]) for k in exits], 1)
        depth = (margins.detach() < 0).to(torch.int64).cumprod(1).sum(1).cpu()
        scores = logits[..., : self.classes]
        return TextGateSignals(
            scores, margins, self._work(depth, lengths), embeddings=embeddings, input_ids=ids, input_mask=own
        )

    def exits(self, work: Work) -> Tensor:
        """Return the last layer that ran for each text, int64 ``[B]``; 0 where none did, since it was rejected."""
        own: Tensor = work.counts[:, : len(self.units)].unflatten(1, (len(self.layers), self.per_layer))
        return ((own[..., 0] > 0).sum(1) - 1).clamp_min(0)

    @property
    def exit_costs(self) -> Tensor:
        """Cumulative FLOPs at each exit as a share of all, float64 ``[K]``, of texts of the greatest length."""
        flops = torch.tensor([grown.at(self.longest) for grown in self.growths], dtype=torch.float64).cumsum(0)
        return flops / flops[-1]

    @override
    def details(self) -> dict[str, Any]:
        return {"rule": self.rule.describe(), **super().details(), "exit_costs": self.exit_costs.tolist()}

    def with_rule(self, rule: str | ExitRule) -> Self:
        """Return a target that shares this one's network but leaves by another rule.

        Raises:
            UsageError: if it is no rule, or one that this network has no classifier for.
        """
        other = copy.copy(self)
        other._choose(read_rule(rule, self.named_rules))
        return other

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: the last exit that texts may take."""
        return self.kept - LEAST + 1

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`: all units are still there, and the last ones never run."""
        other = copy.copy(self)
        other.kept = self.kept - rung
        return other

    @torch.no_grad()
    def probes(self, inputs: Sequence[str]) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of each layer with its head on several numbers of tokens."""
        ids = torch.tensor([self.tokenized(inputs)[0]], device=self.device)
        for k in range(len(self.layers)):
            for count in sorted({ids.shape[1], max(2, ids.shape[1] // 2), max(1, ids.shape[1] // 4)}):
                some = ids[:, :count]
                tokens = self.enter(some)

                def call(k: int = k, some: Tensor = some, tokens: Tensor = tokens) -> object:
                    with torch.no_grad():
                        return self.heads[k](self.layers[k](self.enter(some) if k == 0 else tokens))

                counts = torch.zeros(1, len(self.units), dtype=torch.int64)
                counts[0, self.per_layer * k : self.per_layer * (k + 1)] = torch.tensor([1, count, count**2])
                yield Work(counts), call

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the rule, the cap and all weights count."""
        return f"{super().fingerprint()} {self.rule} {self.kept}"


class _Entrance(nn.Module):
    """What happens before the first layer, for the FLOP counter."""

    def __init__(self, module: EncoderModule) -> None:
        super().__init__()
        self.words, self.module = module.words, module

    def forward(self, ids: Tensor) -> Tensor:
        return self.module.enter(self.words(ids))
