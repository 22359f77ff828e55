"""Tokens that halt: each patch leaves once its halting scores add up (A-ViT, Yin et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.meters.flops import count_flops, counting
from torpor.targets.tokens.dense import attention, straight_through
from torpor.targets.tokens.module import TransformerLayer, TransformerModule, layers_of
from torpor.targets.tokens.packing import TILE, attend, kept_rows
from torpor.targets.tokens.signals import PatchHaltingSignals
from torpor.targets.tokens.target import Passed, TokenTarget, least_of, lowest, per_head

THRESHOLD = 0.99
"""A patch halts once its scores add up to this: the paper's ``1 - 0.01``."""
ALIKE = 1e-6
"""Margin of a decision that neighbors may still round otherwise where rows are computed in the same order among any."""
WIDTH = 0.1
"""Of the sigmoid that stands for the threshold in gradients."""


class PatchHaltingModule(TransformerModule, Protocol):
    """A transformer whose tokens tell in their first entry whether they have halted.

    Attributes:
        scale: of that entry: the paper's ``gamma``.
        center: subtracted: the paper's ``beta``.
    """

    scale: float
    center: float


class Halted(NamedTuple):
    """What every layer left of the patches, differentiably; see :class:`PatchHaltingSignals`.

    Attributes:
        scores: of the classes, ``[B, C]``.
        alive: ``[B, L, N]``.
        soft: the same by degrees, ``[B, L, N]``.
        halting: ``[B, L, N]``.
        cumulative: ``[B, L, N]``.
        margins: ``[B, L - 1, N]``.
    """

    scores: Tensor
    alive: Tensor
    soft: Tensor
    halting: Tensor
    cumulative: Tensor
    margins: Tensor


def halted(module: PatchHaltingModule, images: Tensor, cap: int | None = None) -> Halted:
    """Compute all tokens in every layer, those that have halted without effect."""
    tokens = module.embed(images)
    patches = tokens.shape[1] - 1
    alive = soft = tokens.new_ones(tokens.shape[:2], dtype=torch.float32)
    total = torch.zeros_like(alive[:, 1:])
    lives, softs, scores, sums = [], [], [], []
    margins: list[Tensor] = []
    for depth, layer in enumerate(layers_of(module)):
        lives.append(alive[:, 1:])
        softs.append(soft[:, 1:])
        tokens = tokens + alive[..., None] * attention(layer, tokens, alive).added
        tokens = tokens + alive[..., None] * layer.perceptron(tokens)
        halting = (module.scale * tokens[:, 1:, 0].float() - module.center).sigmoid() * (lives[-1].detach() > 0)
        total = total + halting
        scores.append(halting)
        sums.append(total)
        if depth == len(module.layers) - 1:
            break
        there = total.detach().masked_fill(lives[-1].detach() == 0, torch.inf)
        cut = lowest(there, patches if cap is None else cap)
        margin = torch.maximum(total - THRESHOLD, total - cut)
        if margins:  # what has left keeps the margin by which it did
            margin = torch.where(lives[-1].detach() == 0, margins[-1], margin)
        margins.append(margin)
        own = (-margin / WIDTH).sigmoid()
        stays = straight_through((margin.detach() < 0) & (lives[-1].detach() > 0), own * lives[-1])
        soft = torch.cat([soft[:, :1], own], 1)
        alive = torch.cat([alive[:, :1], stays], 1)
    answer = module.head(module.norm(tokens[:, 0]))
    return Halted(answer, *(torch.stack(each, 1) for each in (lives, softs, scores, sums, margins)))


class PatchHaltingTarget(TokenTarget):
    """A vision transformer whose patches halt for good, each on its own (A-ViT).

    A patch's halting score after a layer is the sigmoid of its first entry, scaled and shifted. Where its scores add up
    to 0.99, it leaves: later layers neither compute it nor look at it. The class token stays to the end and answers.
    Under a cap, those that are nearest to halting leave first.

    Unit ``tokens<l>`` is what layer ``l`` does per token, class token included; ``pairs<l>`` is attention, per pair.
    """

    mechanism = "token halting"
    per_layer: ClassVar[int] = 2
    _alike: bool | None = None

    @override
    def nearest(self, count: int) -> float:
        """Return the margin below which a sample among ``count`` is run once more: small where none rounds otherwise.

        From a tile of rows on, each is summed in the same order among however many, if the library's kernels do so:
        that is tried out once.
        """
        if count < TILE:
            return self.tie
        if self._alike is None:
            noise = torch.rand(TILE, *self.space.shape, generator=torch.Generator().manual_seed(0))
            images = (noise * torch.linspace(0, 1, TILE).view(-1, 1, 1, 1)).to(self.device)
            probes = slice(0, TILE, 5)
            copied = torch.stack([self.forward(copies(image)).gap[0] for image in images[probes]])
            self._alike = bool(((self.forward(images).gap[probes] - copied).abs() < ALIKE / 4).all())
        return ALIKE if self._alike else self.tie

    @override
    def _pass(self, inputs: Tensor) -> Passed:
        """Run one batch; one image, whose kernels round otherwise, among copies of it if that might decide."""
        passed = super()._pass(inputs)
        if len(inputs) > 1 or passed.gap >= self.tie:
            return passed
        return Passed(*(part[:1] for part in super()._pass(copies(inputs[0]))))

    @override
    def to(self, device: torch.device) -> Self:
        self._alike = None
        return super().to(device)

    @override
    def of_layers(self) -> Iterator[Unit]:
        for depth, layer in enumerate(self.layers):
            yield from token_units(depth, layer, self.dim)

    @override
    def forward(self, inputs: Tensor) -> Passed:
        tokens = self.embed(inputs)
        gap = torch.full((len(inputs),), torch.inf, device=self.device)
        there = torch.full_like(gap, tokens.shape[1], dtype=torch.int64)
        rows, counts = tokens.flatten(0, 1), [torch.ones_like(there)]
        owner = torch.arange(len(inputs), device=self.device).repeat_interleave(tokens.shape[1])
        total = torch.zeros_like(tokens[:, 1:, 0], dtype=torch.float32)
        total = F.pad(total, (1, 0), value=-torch.inf).flatten()  # class tokens stay
        for depth, layer in enumerate(self.layers):
            counts += [there, there**2]
            rows = whole_layer(layer, rows, there)
            if depth == len(self.layers) - 1:
                break
            total = total + (self.module.scale * rows[:, 0] - self.module.center).sigmoid()
            margin, near = self._margins(total, owner, there)
            gap = torch.minimum(gap, near)
            rows, owner, total = kept_rows(~(margin >= 0), rows, owner, total)  # class tokens stay, even at NaN
            there = torch.bincount(owner, minlength=len(inputs))
        return Passed(self.answer(rows[there.cumsum(0) - there]), torch.stack(counts, 1), gap)

    def _margins(self, total: Tensor, owner: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far each row is above where it halts, ``[T]``, and what is nearest of each sample, ``[B]``.

        Args:
            total: sums of halting scores, packed, ``[T]``; minus infinity for class tokens.
            owner: the sample of each row, int64 ``[T]``.
            there: rows of each sample, int64 ``[B]``.
        """
        margin = total - THRESHOLD
        if self.cap >= self.patches:
            near = margin.new_full(there.shape, torch.inf)
            return margin, near.scatter_reduce(0, owner, margin.abs(), "amin")
        present = torch.arange(1 + self.patches, device=self.device) < there[:, None]
        sums = total.new_full(present.shape, torch.inf)
        sums[present] = total
        cut = lowest(sums[:, 1:], self.cap)
        margins = torch.maximum(sums - THRESHOLD, sums - cut)
        return margins[present], tied(margins[:, 1:], sums[:, 1:], cut, present[:, 1:])

    def signals(self, inputs: Tensor) -> PatchHaltingSignals:
        """Evaluate every layer on all tokens, those that have halted without effect."""
        found = halted(self.module, inputs.to(self.device), self.cap)
        there = 1 + found.alive.detach().round().to(torch.int64).sum(-1)
        work = torch.stack([there, there**2], -1).flatten(1)
        prices, soft = self.costs(), 1 + found.soft.sum(-1)
        ran = found.alive.detach().sum(1)
        last = (ran.long() - 1)[:, None]
        before = (found.cumulative - found.halting).gather(1, last)[:, 0]
        margins = found.margins.flatten(1)
        savings = torch.tensor([unit.flops or 0 for unit in self.units[3::2]]).double().repeat_interleave(self.patches)
        return PatchHaltingSignals(
            None,
            margins,
            Work(torch.cat([torch.ones_like(work[:, :1]), work], 1).cpu()),
            savings=savings.to(self.device),
            expected=(prices[:, 0] * soft + prices[:, 1] * soft**2).sum(1),
            scores=found.scores,
            alive=found.alive,
            halting=found.halting,
            cumulative=found.cumulative,
            ponder=(ran + 1 - before).mean(1),
            threshold=THRESHOLD,
        )

    @override
    def most(self) -> Tensor:
        return most_tokens(len(self.layers), self.patches, self.cap)

    @override
    def patches_run(self, counts: Tensor) -> Tensor:
        return (counts[..., 0] - 1).clamp_min(0)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of each layer on several numbers of tokens, and one of all that always runs."""
        yield from probed(self, inputs)


def tied(margin: Tensor, values: Tensor, cut: Tensor, patches: Tensor) -> Tensor:
    """Return each sample's least distance to a decision, ``[B]``: a threshold, or the next value where a cap cuts."""
    below = values.masked_fill(values >= cut, -torch.inf).amax(1)
    own = least_of(margin.masked_fill(values == cut, torch.inf), patches)
    return torch.where(cut[:, 0].isfinite(), torch.minimum(own, cut[:, 0] - below), own)


def whole_layer(layer: TransformerLayer, rows: Tensor, there: Tensor) -> Tensor:
    """Run a layer on packed rows ``[T, D]``, ``there`` of which belong to each sample."""
    mixed = attend(*per_head(layer, rows), there, there)
    rows = layer.proj(mixed.flatten(1)).add_(rows)
    return layer.perceptron(rows).add_(rows)


def copies(image: Tensor) -> Tensor:
    """Return a batch of one image ``[C, H, W]``, as large as it takes for each row to be computed as among any."""
    return image.expand(TILE, -1, -1, -1)


def token_units(depth: int, layer: TransformerLayer, dim: int) -> Iterator[Unit]:
    """Yield the units of a whole layer: per token, and per pair of tokens."""
    token = torch.zeros(1, dim, device=layer.qkv.weight.device)
    linear = sum(count_flops(part, token) for part in (layer.qkv, layer.proj))
    yield Unit(f"tokens{depth}", linear + count_flops(nn.Sequential(layer.fc1, layer.fc2), token))
    yield Unit(f"pairs{depth}", pair_flops(layer))


def pair_flops(layer: TransformerLayer) -> int:
    """Return the FLOPs of one query and one key, all heads together."""
    three, one = torch.zeros(1, 3, layer.heads, layer.proj.in_features // layer.heads), torch.tensor([1])
    with counting() as counter:
        attend(three[:, 0], three[:, 1:], one, one)
    return counter.flops


def most_tokens(depth: int, patches: int, cap: int) -> Tensor:
    """Return the most work of layers with two units each, where a cap holds from the second layer on."""
    there = torch.tensor([1 + patches, *[1 + cap] * (depth - 1)])
    return torch.cat([torch.ones(1, dtype=torch.int64), torch.stack([there, there**2], 1).flatten()])[None]


@torch.no_grad()
def probed(target: TokenTarget, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
    """Yield calls of each layer on several numbers of tokens, and one of all that always runs."""
    images = inputs.to(target.device)
    tokens = target.embed(images)[0]
    blank = torch.zeros(1, len(target.units), dtype=torch.int64)

    def always() -> Callable[[], object]:
        return torch.no_grad()(lambda: target.answer(target.embed(images)[:, 0]))

    counts = blank.clone()
    counts[0, 0] = 1
    yield Work(counts), always()
    for depth, layer in enumerate(target.layers):
        for count in sorted({len(tokens), max(2, len(tokens) // 2), max(1, len(tokens) // 4)}):
            counts, some = blank.clone(), tokens[:count]
            counts[0, 1 + 2 * depth], counts[0, 2 + 2 * depth] = count, count**2
            there = torch.tensor([count], device=target.device)

            def call(layer: TransformerLayer = layer, some: Tensor = some, there: Tensor = there) -> object:
                with torch.no_grad():
                    return whole_layer(layer, some, there)

            yield Work(counts), call
