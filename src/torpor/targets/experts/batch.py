"""A request in one batch with others: its tokens fill buffers of experts that the others need."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self, Unpack

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.measures import COST, Headline, Measure
from torpor.core.units import Unit
from torpor.core.work import Outcome, PriceList, Work
from torpor.targets.experts.dispatch import ExpertModel, Routed
from torpor.targets.experts.family import ExpertFamily
from torpor.targets.experts.loads import Placement
from torpor.targets.experts.target import DROPPED, FIRST, ExpertTarget
from torpor.targets.family import Columns
from torpor.targets.text.base import TIE, TextOptions, Wrapping

BATCH, LOST, CHANGED = "batch", "neighbor_drop", "neighbor_change"
GROUPS = 8
"""Batches that are run together."""


class ExpertBatchFamily(ExpertFamily):
    """What an input does to its neighbors in a batch."""

    id: ClassVar[str] = "expert-batch"
    needs: ClassVar[tuple[str, ...]] = (*ExpertFamily.needs, "hit")
    measures: ClassVar[tuple[Measure, ...]] = (
        *ExpertFamily.measures,
        Measure(
            "neighbor_drops",
            "sample",
            "count",
            "neighbors' drops",
            "Tokens of neighbors times experts that found their expert full.",
            better="low",
            dtype=int,
        ),
        Measure(
            "neighbor_changes",
            "sample",
            "count",
            "neighbors changed",
            "Neighbors whose next token differs from that of the same batch without this input.",
            better="low",
            dtype=int,
        ),
        Measure(
            "neighbor_drop_share",
            "row",
            "ratio",
            "neighbors' drops",
            "Share of the neighbors' tokens times experts that found their expert full.",
            better="low",
            on_console=True,
        ),
        Measure(
            "neighbor_changed_share",
            "row",
            "ratio",
            "neighbors changed",
            "Share of neighbors whose next token differs from that of the same batch without the input.",
            better="low",
        ),
    )

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        return COST, Headline("neighbor_drop_share", "share of the neighbors' tokens dropped")

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, **{name: values.numpy() for name, values in target.hit(outcome.work).items()}}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        count = len(columns["neighbor_drops"])
        return {
            **super().summarize(target, bare, columns),
            "neighbor_drop_share": int(sum(columns["neighbor_drops"])) / (count * bare.neighbors_assigned),
            "neighbor_changed_share": int(sum(columns["neighbor_changes"])) / (count * len(bare.neighbors)),
        }

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        hit = target.hit(work)
        return {
            **super().profile(target, work, outputs),
            "neighbor_drop_share": hit["neighbor_drops"].double().mean().item() / target.neighbors_assigned,
            "neighbor_changed_share": hit["neighbor_changes"].double().mean().item() / len(target.neighbors),
        }


class ExpertBatchTarget(ExpertTarget):
    """A model with experts that reads an input together with fixed texts of other users, the neighbors.

    Each expert takes a limited number of tokens per layer, those that come first in the batch; the rest is dropped. The
    input stands before its neighbors, so that they lose what it takes: unit ``neighbor_drop`` is one of their tokens at
    one expert that was full, and that is what costs. ``batch`` counts one at the price of one drop, so that a ratio is
    defined where nothing is dropped. ``neighbor_change`` is a neighbor whose next token is another than in the same
    batch without the input. The units of the input itself are counted, without a price.

    Args:
        module: the model with its dispatch.
        codec: the tokenizer.
        placement: of the experts, with a capacity.
        neighbors: texts of others, at least one.
        options: see :class:`~torpor.targets.text.base.TextOptions`.

    Raises:
        UsageError: if there is no capacity, or no neighbor.
        DataError: if a neighbor cannot be read.
    """

    family = ExpertBatchFamily()
    unnamed = "expert-batch"
    counted_apart = "what it counts happens to other users' texts"
    with_capacity = None  # type: ignore[assignment]  # a smaller one would protect nobody
    with_spread = None  # type: ignore[assignment]

    def __init__(
        self,
        module: ExpertModel,
        codec: Wrapping,
        placement: Placement,
        neighbors: Sequence[str],
        **options: Unpack[TextOptions],
    ) -> None:
        if placement.capacity is None:
            raise UsageError("expected a capacity of experts that a batch shares, got none; nothing would be dropped")
        if not neighbors:
            raise UsageError("expected neighbors in the batch, got none; pass texts of other users")
        super().__init__(module, codec, placement, **options)
        self.neighbors = self.space.check(tuple(neighbors))

    @override
    def _units(self) -> tuple[Unit, ...]:
        own = super()._units()
        return (*own, *(Unit(name, None) for name in (BATCH, LOST, CHANGED)))

    @override
    def price(self, units: Sequence[Unit]) -> PriceList:
        own = {unit.name for unit in self.units}
        if unknown := [unit.name for unit in units if unit.name not in own]:
            raise UsageError(f"expected units of {self.name}, whose cost is what others lose, got {unknown[0]}")
        return PriceList("drops of neighbors", tuple(float(unit.name in (BATCH, LOST)) for unit in units))

    @property
    def neighbors_assigned(self) -> int:
        """Tokens of all neighbors times experts, over all layers."""
        tokens = sum(map(len, self.tokenized(self.neighbors)))
        return tokens * self.placement.chosen * self.layer_count

    @cached_property
    def undisturbed(self) -> Tensor:
        """The next token of each neighbor in the batch without an input, int64 ``[n]``."""
        return self.routed(self.tokenized(self.neighbors), together=len(self.neighbors))[0].argmax(-1)

    @override
    def run(self, inputs: Sequence[str]) -> Outcome:
        """Return the scores of each input's next token ``[B, V]``, and what the input did to its neighbors.

        Inputs do not meet each other: each has a batch of its own, with the same neighbors.
        """
        rows, others = self.tokenized(self.space.check(tuple(inputs))), self.tokenized(self.neighbors)
        together = 1 + len(others)
        scores, counts = [], []
        for start in range(0, len(rows), GROUPS):
            some = rows[start : start + GROUPS]
            own, found = self.routed([row for mine in some for row in (mine, *others)], together=together)
            near = (found.gap.unflatten(0, (-1, together)).amin(1) < TIE).nonzero().flatten().tolist()
            for place in near if len(some) > 1 else ():
                at = slice(place * together, (place + 1) * together)
                own[at], again = self.routed([some[place], *others], together=together)
                found.loads[at], found.dropped[at] = again.loads, again.dropped
            scores.append(own[::together])
            counts.append(self._counted(torch.tensor(list(map(len, some))), own, found))
        return Outcome(torch.cat(scores), Work.cat(counts))

    def _counted(self, lengths: Tensor, scores: Tensor, found: Routed) -> Work:
        together = 1 + len(self.neighbors)
        dropped = found.dropped.sum(1).unflatten(0, (-1, together))
        said = scores.argmax(-1).unflatten(0, (-1, together))[:, 1:]
        changed = (said != self.undisturbed).sum(1).cpu()
        own = self._work(lengths, found.loads[::together], dropped[:, 0]).counts
        more = [torch.ones_like(lengths), dropped[:, 1:].sum(1), changed]
        return Work(torch.cat([own, torch.stack(more, 1)], 1))

    @override
    def most(self, lengths: Tensor) -> Tensor:
        """Return the bound: of all tokens of a batch that choose the same experts, the neighbors' are dropped.

        With ``T`` tokens, ``k`` experts each and room for ``C`` at each expert, no more than ``k (T - C)`` are dropped.
        """
        placement, layers = self.placement, self.layer_count
        alone = copy.copy(self)
        alone.placement = replace(placement, capacity=None)
        own = ExpertTarget.most(alone, lengths)
        own[:, FIRST.index(DROPPED)] = placement.chosen * lengths * layers
        total = lengths + sum(map(len, self.tokenized(self.neighbors)))
        lost = placement.chosen * (total - placement.room(total)) * layers
        more = [torch.ones_like(lengths), lost.clamp_max(self.neighbors_assigned)]
        return torch.cat([own, torch.stack([*more, torch.full_like(lengths, len(self.neighbors))], 1)], 1)

    @override
    def least_work(self) -> Work:
        counts = torch.zeros(1, len(self.units), dtype=torch.int64)
        counts[0, :3] = torch.tensor([1, (least := self.codec.overhead + 1), least**2])
        counts[0, [unit.name for unit in self.units].index(BATCH)] = 1
        return Work(counts)

    def hit(self, work: Work) -> Mapping[str, Tensor]:
        """Return the neighbors' drops, and how many neighbors' next tokens changed, int64 ``[B]`` each."""
        names = [unit.name for unit in self.units]
        found = {"neighbor_drops": LOST, "neighbor_changes": CHANGED}
        return {name: work.counts[:, names.index(unit)] for name, unit in found.items()}

    def with_slack(self, percent: int) -> Self:
        """Return the same batch, whose experts take at least so many per cent of an even share.

        Raises:
            UsageError: if that is below 1.
        """
        other = copy.copy(self)
        most = max(percent, self.placement.capacity or 0)
        other.placement = replace(self.placement, capacity=most)
        other.__dict__.pop("undisturbed", None)
        return other

    @override
    def details(self) -> dict[str, Any]:
        return {**super().details(), "neighbors": list(self.neighbors)}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the neighbors count."""
        return f"{super().fingerprint()} {self.neighbors}"
