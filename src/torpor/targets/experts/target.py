"""A mixture of experts that reads prompts on several devices: its cost is the pace of the busiest one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, Unpack

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.meters.flops import count_flops
from torpor.targets.experts.dispatch import ExpertModel, Routed
from torpor.targets.experts.family import ONE_DEVICE, ExpertFamily
from torpor.targets.experts.loads import Placement, percent_of_device, percent_of_share
from torpor.targets.text.base import TIE, TextClassifier, TextOptions, Wrapping
from torpor.targets.text.lengths import growth

TEXT, TOKEN, PAIR, BUSIEST, DROPPED, MOVED = "text", "token", "token_pair", "busiest", "dropped", "moved"
FIRST = (TEXT, TOKEN, PAIR, BUSIEST, DROPPED, MOVED)
"""Units before those of the experts, in their order."""
AT_ONCE = 64
"""Texts that are read together."""


class ExpertTarget(TextClassifier):
    """A language model that reads a prompt and names the next token, with the experts of each layer on several devices.

    How many FLOPs all devices do together depends on the length of the text alone. The next token must wait for the
    busiest device of every layer, so its FLOPs are the cost: unit ``busiest`` is one token on one expert, counted on
    the busiest device of each layer, at the FLOPs of an expert; ``token``, ``token_pair`` and ``text`` are what no
    expert does, evenly shared out (tensor-parallel attention, expert-parallel experts). Beside them stand, without a
    price, ``expert<l>_<e>``, the tokens that each expert computed, ``dropped``, the assignments that found a full
    expert, and ``moved``, those that another device computed; weights that this sends between devices are bytes, not
    FLOPs.

    Each text is a request of its own: buffers and devices are those of its own tokens, whatever the batch is.

    Args:
        module: the model with its dispatch.
        codec: the tokenizer.
        placement: of the experts on devices.
        options: see :class:`~torpor.targets.text.base.TextOptions`.

    Raises:
        MeterError: if an operator's FLOPs cannot be counted, or do not grow with tokens and their pairs.
    """

    family = ExpertFamily()
    mechanism = "expert routing"
    unnamed = "experts"
    counted_apart = ONE_DEVICE

    def __init__(
        self,
        module: ExpertModel,
        codec: Wrapping,
        placement: Placement,
        **options: Unpack[TextOptions],
    ) -> None:
        super().__init__(module, codec, **options)
        self.placement, self.layer_count = placement, len(module.blocks)
        self.classes = int(module.model.config.vocab_size)
        self.grown, down = growth(self._flops, self.longest, self.name), module.blocks[0].experts.down_proj
        self.of_expert: int = 6 * down.shape[1] * down.shape[2]  # three products with a matrix
        self.units = self._units()

    def _units(self) -> tuple[Unit, ...]:
        placement = self.placement
        shared = (-(-flops // placement.devices) for flops in self.grown)
        prices = {**dict(zip((TEXT, TOKEN, PAIR), shared, strict=True)), BUSIEST: self.of_expert}
        experts = (f"expert{layer}_{one}" for layer in range(self.layer_count) for one in range(placement.experts))
        return tuple(Unit(name, prices.get(name, 0)) for name in (*FIRST, *experts))

    def _flops(self, tokens: int) -> int:
        """Return the FLOPs of a text that no expert does."""
        return count_flops(self.module, torch.zeros(1, tokens, dtype=torch.int64, device=self.device))

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Return the scores of the next token ``[B, V]``, and the work.

        Neither depends on a text's neighbors: where batched arithmetic comes within ``TIE`` of another choice of
        experts, the text is read alone.
        """
        rows = self.tokenized(self.space.check(tuple(inputs)))
        lengths = torch.tensor([len(row) for row in rows])
        scores = torch.empty(len(rows), self.classes, device=self.device)
        loads = torch.empty(len(rows), self.layer_count, self.placement.experts, dtype=torch.int64)
        dropped = torch.empty(len(rows), dtype=torch.int64)
        for some in lengths.argsort(stable=True).split(AT_ONCE):
            own, found = self.routed([rows[row] for row in some.tolist()])
            for place in (found.gap < TIE).nonzero().flatten().tolist() if len(some) > 1 else ():
                alone, again = self.routed([rows[int(some[place])]])
                own[place], found.loads[place], found.dropped[place] = alone[0], again.loads[0], again.dropped[0]
            scores[some], loads[some], dropped[some] = own, found.loads, found.dropped.sum(1)
        return Outcome(scores, self._work(lengths, loads, dropped))

    def routed(self, rows: Sequence[Sequence[int]], *, together: int = 1) -> tuple[Tensor, Routed]:
        """Return the scores of the token after each row of ids, and where their tokens went.

        Args:
            rows: ids, those of the tokenizer's own among them.
            together: rows that share the experts' buffers, one after the other.
        """
        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)
        scores, _, found = self.module.read(ids, lengths, self.placement, together=together)
        return scores, found

    def _work(self, lengths: Tensor, loads: Tensor, dropped: Tensor) -> Work:
        busiest, moved = self.placement.makespan(loads)
        each = torch.stack([torch.ones_like(lengths), lengths, lengths**2, busiest, dropped, moved], 1)
        return Work(torch.cat([each, loads.flatten(1)], 1))

    @override
    def most(self, lengths: Tensor) -> Tensor:
        """Return the bound: in every layer all tokens choose the same experts, as many on one device as can be."""
        placement, layers = self.placement, self.layer_count
        room = placement.room(lengths)
        dropped = placement.chosen * (lengths - room) * layers
        moved = (placement.chosen * lengths if placement.spread is not None else torch.zeros_like(lengths)) * layers
        each = [torch.ones_like(lengths), lengths, lengths**2, placement.most_busy(lengths) * layers, dropped, moved]
        experts = room[:, None].expand(-1, layers * placement.experts)
        return torch.cat([torch.stack(each, 1), experts], 1)

    @override
    def least_work(self) -> Work:
        """Return the shortest text, evenly on all devices."""
        least = torch.tensor([self.codec.overhead + 1])
        counts = torch.zeros(1, len(self.units), dtype=torch.int64)
        busiest = self.placement.least_busy(least) * self.layer_count
        counts[:, : FIRST.index(DROPPED)] = torch.stack([torch.ones_like(least), least, least**2, busiest], 1)
        return Work(counts)

    def loads(self, work: Work) -> Tensor:
        """Return the tokens that each expert computed, int64 ``[B, L, E]``."""
        experts = work.counts[:, len(FIRST) : len(FIRST) + self.layer_count * self.placement.experts]
        loads: Tensor = experts.unflatten(1, (self.layer_count, self.placement.experts))
        return loads

    def balance(self, work: Work) -> Mapping[str, Tensor]:
        """Return assignments that were computed, on the busiest devices, dropped, and moved, int64 ``[B]`` each."""
        named = {name: work.counts[:, FIRST.index(name)] for name in (BUSIEST, DROPPED, MOVED)}
        return {"assigned": self.loads(work).sum((1, 2)), **named}

    def _placed(self, placement: Placement) -> Self:
        other = copy.copy(self)
        other.placement = placement
        other.units = other._units()
        return other

    def with_devices(self, devices: int) -> Self:
        """Return the same model on another number of devices.

        Raises:
            UsageError: if the experts cannot be shared out evenly.
        """
        return self._placed(replace(self.placement, devices=devices))

    def with_capacity(self, percent: int) -> Self:
        """Return the same target, whose experts take so many per cent of an even share of tokens, and drop the rest.

        Raises:
            UsageError: if that is below 1.
        """
        before = self.placement.capacity
        return self._placed(replace(self.placement, capacity=percent if before is None else min(percent, before)))

    def with_spread(self, percent: int) -> Self:
        """Return the same target, whose devices compute so many per cent of an even share, and hand on the rest.

        Raises:
            UsageError: if that is below 100.
        """
        before = self.placement.spread
        return self._placed(replace(self.placement, spread=percent if before is None else min(percent, before)))

    def shares(self, inputs: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the largest load of an expert, and of a device, of each text, in per cent of an even share."""
        loads = self._placed(replace(self.placement, capacity=None, spread=None)).run(inputs)
        found = self.loads(loads.work)
        return percent_of_share(found, self.placement).tolist(), percent_of_device(found, self.placement).tolist()

    @override
    def details(self) -> dict[str, Any]:
        placement = self.placement
        told = {"experts": placement.experts, "chosen": placement.chosen, "devices": placement.devices}
        guarded = {"capacity": placement.capacity, "spread": placement.spread}
        return {**super().details(), **told, **guarded, "imbalance_tmi": placement.most_imbalance}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the placement counts."""
        return f"{super().fingerprint()} {self.placement}"
