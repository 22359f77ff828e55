"""Tokens sampled by their significance to the class token, without training (ATS, Fayyaz et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.meters.flops import count_flops
from torpor.targets.tokens.avit import pair_flops
from torpor.targets.tokens.dense import attention, straight_through
from torpor.targets.tokens.module import TransformerLayer
from torpor.targets.tokens.packing import attend, first_scores, kept_rows
from torpor.targets.tokens.signals import SignificanceSignals
from torpor.targets.tokens.target import Passed, TokenTarget, least_of, per_head


def midpoints(significance: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Return how far each patch's share of the cumulative significance is from a quantile, and half the share.

    Patches share the interval from 0 to ``draws``, each as much as its significance. The fixed quantiles 0.5, 1.5, ...
    each draw the patch in whose share they lie: one is drawn where its half share reaches the quantile next to its
    middle.

    Args:
        significance: of each patch, ``[B, N]``, 0 where it has left; every row sums up to 1.
        draws: how many quantiles.

    >>> middle, half = midpoints(torch.tensor([[0.75, 0.25]]), 2)
    >>> middle.tolist(), half.tolist()
    ([[0.25, 0.25]], [[0.75, 0.25]])
    """
    share = significance * draws
    middle = share.cumsum(1) - share / 2
    quantile = (middle.detach() - 0.5).round().clamp(0, draws - 1) + 0.5
    return (middle - quantile).abs(), share / 2


class SamplingTarget(TokenTarget):
    """A vision transformer that samples the patches which matter to the class token, at fixed quantiles.

    In every layer after the first, patches are scored by the class token's attention to them times the norm of their
    value, summed over heads. Inverse-transform sampling at ``N`` fixed quantiles (at ``cap`` of them under a cap) draws
    patches by that score, most of them several times where few matter; those that are not drawn leave for good, before
    the layer's own attention looks at all that came.

    Unit ``in<l>`` is what layer ``l`` does per token that comes: keys, values and its score by the class token;
    ``out<l>`` is per token that stays; ``pairs<l>`` is attention per pair of one that stays and one that comes.
    """

    mechanism = "adaptive token sampling"
    per_layer: ClassVar[int] = 3

    @override
    def of_layers(self) -> Iterator[Unit]:
        token = torch.zeros(1, self.dim, device=self.device)
        for depth, layer in enumerate(self.layers):
            both = count_flops(layer.qkv, token)
            scored = pair_flops(layer) // 2 if depth else 0  # one product with the class token's query
            later = count_flops(layer.proj, token) + count_flops(nn.Sequential(layer.fc1, layer.fc2), token)
            yield Unit(f"in{depth}", both + scored)
            yield Unit(f"out{depth}", later)
            yield Unit(f"pairs{depth}", pair_flops(layer))

    @override
    def forward(self, inputs: Tensor) -> Passed:
        tokens = self.embed(inputs)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=self.device)
        gap = torch.full((len(inputs),), torch.inf, device=self.device)
        rows, counts = tokens.flatten(0, 1), [torch.ones(len(inputs), dtype=torch.int64, device=self.device)]
        for depth, layer in enumerate(self.layers):
            query, keyed = per_head(layer, rows)
            there = mask.sum(1)
            if depth:
                significance = self._significance(query, keyed, mask)
                middle, half = midpoints(significance, self.cap)
                margin = middle - half
                gap = torch.minimum(gap, least_of(margin, mask[:, 1:]))
                stays = torch.cat([mask[:, :1], (margin < 0) & mask[:, 1:]], 1)
                rows, query = kept_rows(stays[mask], rows, query)
                mask = stays
            stay = mask.sum(1)
            counts += [there, stay, there * stay]
            rows = rows + layer.proj(attend(query, keyed, stay, there).flatten(1))
            rows = rows + layer.perceptron(rows)
        first = mask.sum(1).cumsum(0) - mask.sum(1)
        return Passed(self.answer(rows[first]), torch.stack(counts, 1), gap)

    def _significance(self, query: Tensor, keyed: Tensor, mask: Tensor) -> Tensor:
        """Return the significance of each patch, float64 ``[B, N]``; 0 where it has left."""
        there, (key, value) = mask.sum(1), keyed.unbind(1)
        heads = query.new_full((*mask.shape, query.shape[1]), -torch.inf, dtype=torch.float64)
        heads[mask] = first_scores(query[there.cumsum(0) - there], key, there).double()
        norms = torch.zeros_like(heads)
        norms[mask] = value.norm(dim=-1).double()
        found = (heads.softmax(1) * norms).sum(-1)[:, 1:]
        return found / found.sum(1, keepdim=True)

    def signals(self, inputs: Tensor) -> SignificanceSignals:
        """Evaluate every layer on all tokens, those that were not drawn without effect."""
        tokens = self.module.embed(inputs.to(self.device))
        alive = torch.ones_like(tokens[..., 0])
        soft = alive[:, 1:]
        lives, softs, looks, signif, counts = [], [], [], [], []
        margins: list[Tensor] = []
        for depth, layer in enumerate(self.layers):
            found, came = attention(layer, tokens, alive), alive
            if depth:
                looks.append(found.weights[:, :, 0, 1:])
                score = (looks[-1] * found.values.norm(dim=-1)[:, :, 1:]).sum(1).double()
                score = score / score.sum(1, keepdim=True)
                middle, half = midpoints(score, self.cap)
                there = alive[:, 1:].detach() > 0
                margin = (middle - half).to(tokens.dtype)
                if margins:  # what has left keeps the margin by which it did
                    margin = torch.where(there, margin, margins[-1])
                soft = soft * (2 * half).clamp(max=1).to(tokens.dtype)
                stays = straight_through(there & (margin.detach() < 0), (2 * half).clamp(max=1).to(tokens.dtype))
                alive = torch.cat([alive[:, :1], stays * there], 1)
                signif.append(score.to(tokens.dtype))
                margins.append(margin)
            lives.append(alive[:, 1:])
            softs.append(soft)
            hard = torch.stack([came, alive], -1).detach().round().to(torch.int64).sum(1)
            counts.append(torch.stack([hard[:, 0], hard[:, 1], hard.prod(1)], -1))
            tokens = tokens + alive[..., None] * found.added
            tokens = tokens + alive[..., None] * layer.perceptron(tokens)
        work = torch.stack(counts, 1).flatten(1)
        prices, stay = self.costs(), 1 + torch.stack(softs, 1).sum(-1)
        come = torch.cat([stay[:, :1], stay[:, :-1]], 1)
        return SignificanceSignals(
            None,
            torch.cat(margins, 1),
            Work(torch.cat([torch.ones_like(work[:, :1]), work], 1).cpu()),
            expected=(prices[:, 0] * come + prices[:, 1] * stay + prices[:, 2] * come * stay).sum(1),
            scores=self.answer(tokens[:, 0]),
            alive=torch.stack(lives, 1),
            attention=torch.stack(looks, 1),
            significance=torch.stack(signif, 1),
            layers=tuple(range(1, len(self.layers))),
        )

    @override
    def most(self) -> Tensor:
        stay = torch.tensor([1 + self.patches, *[1 + self.cap] * (len(self.layers) - 1)])
        come = torch.cat([stay[:1], stay[:-1]])
        counts = torch.stack([come, stay, come * stay], 1).flatten()
        return torch.cat([torch.ones(1, dtype=torch.int64), counts])[None]

    @override
    def patches_run(self, counts: Tensor) -> Tensor:
        return (counts[..., 1] - 1).clamp_min(0)

    @torch.no_grad()
    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of each layer on several numbers of tokens that come and stay, and one of what always runs."""
        images = inputs.to(self.device)
        tokens = self.embed(images)[0]
        blank = torch.zeros(1, len(self.units), dtype=torch.int64)

        def always() -> object:
            with torch.no_grad():
                return self.answer(self.embed(images)[:, 0])

        counts = blank.clone()
        counts[0, 0] = 1
        yield Work(counts), always
        whole = len(tokens)
        for depth, layer in enumerate(self.layers):
            for came, stayed in ((whole, whole), (whole, whole // 4), (whole // 4, whole // 4)):

                def call(
                    layer: TransformerLayer = layer,
                    rows: Tensor = tokens[:came],
                    stayed: int = stayed,
                    scored: bool = depth > 0,
                ) -> object:
                    with torch.no_grad():
                        query, keyed = per_head(layer, rows)
                        asked, there = torch.tensor([[stayed], [len(rows)]], device=rows.device)
                        if scored:
                            first_scores(query[:1], keyed[:, 0], there)
                        mixed = attend(query[:stayed], keyed, asked, there)
                        some = rows[:stayed] + layer.proj(mixed.flatten(1))
                        return some + layer.perceptron(some)

                counts = blank.clone()
                counts[0, 1 + 3 * depth : 4 + 3 * depth] = torch.tensor([came, stayed, came * stayed])
                yield Work(counts), call
