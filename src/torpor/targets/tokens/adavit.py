"""Policies that use or skip patches, heads and halves of layers (AdaViT, Meng et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.meters.flops import count_flops
from torpor.targets.tokens.avit import pair_flops
from torpor.targets.tokens.dense import attention, straight_through
from torpor.targets.tokens.module import TransformerLayer, TransformerModule, layers_of
from torpor.targets.tokens.packing import attend
from torpor.targets.tokens.signals import UsageSignals
from torpor.targets.tokens.target import Passed, TokenTarget, least_of, lowest, per_head

LogitNoise = Callable[[Tensor], Tensor]
"""Changes logits before they are compared with 0, in training."""


class PolicyModule(TransformerModule, Protocol):
    """A transformer with policies: linear layers that return logits, used above 0.

    Attributes:
        token_policies: one per layer, from a patch to 1 logit.
        layer_policies: one per layer, from the class token to a logit per head, and those of attention and perceptron.
    """

    token_policies: nn.ModuleList
    layer_policies: nn.ModuleList


class Used(NamedTuple):
    """What every layer used, differentiably.

    Attributes:
        scores: of the classes, ``[B, C]``.
        token_logits: ``[B, L, N]``; those that a cap cuts off are below 0.
        layer_logits: of heads, attention and perceptron, ``[B, L, H + 2]``.
        tokens: which of them are used, ``[B, L, N]``, straight-through.
        parts: the same of ``layer_logits``.
    """

    scores: Tensor
    token_logits: Tensor
    layer_logits: Tensor
    tokens: Tensor
    parts: Tensor


def plain(logits: Tensor) -> Tensor:
    """Return logits as they are."""
    return logits


def used(module: PolicyModule, images: Tensor, cap: int | None = None, noise: LogitNoise = plain) -> Used:
    """Compute everything in every layer, what is skipped without effect."""
    tokens = module.embed(images)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for layer, by_token, by_layer in zip(layers_of(module), module.token_policies, module.layer_policies, strict=True):
        logits, parts = capped(by_token(tokens[:, 1:]).squeeze(-1).float(), cap), by_layer(tokens[:, 0]).float()
        uses, runs = gate(noise(logits)), gate(noise(parts))
        alive = torch.cat([torch.ones_like(uses[:, :1]), uses], 1)
        weight = (alive * runs[:, -2, None])[..., None]
        tokens = tokens + weight * attention(layer, tokens, alive, runs[:, :-2]).added
        weight = (alive * runs[:, -1, None])[..., None]
        tokens = tokens + weight * layer.perceptron(tokens)
        found.append((logits, parts, uses, runs))
    return Used(module.head(module.norm(tokens[:, 0])), *(torch.stack(each, 1) for each in zip(*found, strict=True)))


def gate(logits: Tensor) -> Tensor:
    """Return 1 where ``logits`` are above 0, else 0, with the gradient of the sigmoid."""
    return straight_through(logits.detach() > 0, logits.sigmoid())


def capped(logits: Tensor, cap: int | None) -> Tensor:
    """Return ``logits`` ``[B, N]`` with all but the ``cap`` largest at 0 or below."""
    if cap is None or cap >= logits.shape[1]:
        return logits
    cut = -lowest(-logits.detach(), cap)
    return torch.minimum(logits, logits - cut)


class PolicyTarget(TokenTarget):
    """A vision transformer that skips patches, heads, attention and perceptrons, layer by layer (AdaViT).

    Before each layer, a linear policy on each patch decides whether the layer computes it, and one on the class token
    which heads, and whether attention or perceptron at all. A patch that a layer skips may come back. Under a cap, the
    patches that the policy is surest of run.

    Unit ``heads<l>`` is one head of one token of layer ``l``: query, key, value and projection; ``pairs<l>`` is one
    head of one pair; ``perceptron<l>`` is one token.
    """

    mechanism = "patch, head and layer policies"
    per_layer: ClassVar[int] = 3

    @override
    def deciding(self) -> int:
        patches = torch.zeros(1, self.patches, self.dim, device=self.device)
        by_tokens = sum(count_flops(policy, patches) for policy in self.module.token_policies)
        return by_tokens + sum(count_flops(policy, patches[:, 0]) for policy in self.module.layer_policies)

    @override
    def of_layers(self) -> Iterator[Unit]:
        token = torch.zeros(1, self.dim, device=self.device)
        for depth, layer in enumerate(self.layers):
            projections = count_flops(layer.qkv, token) + count_flops(layer.proj, token)
            yield Unit(f"heads{depth}", projections // layer.heads)
            yield Unit(f"pairs{depth}", pair_flops(layer) // layer.heads)
            yield Unit(f"perceptron{depth}", count_flops(nn.Sequential(layer.fc1, layer.fc2), token))

    @override
    def forward(self, inputs: Tensor) -> Passed:
        tokens = self.embed(inputs)
        gap = torch.full((len(inputs),), torch.inf, device=self.device)
        counts = [torch.ones(len(inputs), dtype=torch.int64, device=self.device)]
        policies = zip(self.module.token_policies, self.module.layer_policies, strict=True)
        for layer, (by_token, by_layer) in zip(self.layers, policies, strict=True):
            raw, parts = by_token(tokens[:, 1:]).squeeze(-1), by_layer(tokens[:, 0])
            logits = capped(raw, self.cap)
            everything = torch.cat([raw, parts], 1)
            gap = torch.minimum(gap, least_of(everything, torch.ones_like(everything, dtype=torch.bool)))
            if self.cap < self.patches:
                order = raw.sort(1, descending=True).values
                gap = torch.minimum(gap, order[:, self.cap - 1] - order[:, self.cap])
            mask = torch.cat([torch.ones_like(logits[:, :1], dtype=torch.bool), logits > 0], 1)
            runs = parts > 0
            heads, there = runs[:, :-2] & runs[:, -2:-1], mask.sum(1)
            counts += [there * heads.sum(1), there**2 * heads.sum(1), there * runs[:, -1]]
            attends = mask & runs[:, -2:-1]
            if attends.any():
                tokens[attends] += heads_only(layer, tokens[attends], attends, heads)
            computes = mask & runs[:, -1:]
            if computes.any():
                rows = tokens[computes]
                tokens[computes] = rows + layer.perceptron(rows)
        return Passed(self.answer(tokens[:, 0]), torch.stack(counts, 1), gap)

    def signals(self, inputs: Tensor) -> UsageSignals:
        """Evaluate every policy, what it skips without effect; policies see what ran before them."""
        found = used(self.module, inputs.to(self.device), self.cap)
        tokens, parts = found.token_logits.sigmoid(), found.layer_logits.sigmoid()
        hard, runs = (each.detach().round().to(torch.int64) for each in (found.tokens, found.parts))
        there, heads = 1 + hard.sum(-1), runs[..., :-2].sum(-1) * runs[..., -2]
        work = torch.stack([there * heads, there**2 * heads, there * runs[..., -1]], -1).flatten(1)
        soft, attends = 1 + tokens.sum(-1), parts[..., :-2].sum(-1) * parts[..., -2]
        halves = found.parts[..., -2] * found.parts[..., :-2].amax(-1), found.parts[..., -1]
        prices = self.costs()
        by_head = prices[:, 0] * soft + prices[:, 1] * soft**2
        return UsageSignals(
            None,
            torch.cat([-found.token_logits.flatten(1), -found.layer_logits.flatten(1)], 1),
            Work(torch.cat([torch.ones_like(work[:, :1]), work], 1).cpu()),
            savings=self._savings(),
            expected=(by_head * attends + prices[:, 2] * soft * parts[..., -1]).sum(1),
            scores=found.scores,
            alive=found.tokens * torch.maximum(*halves)[..., None],  # a layer may skip both halves
            tokens=tokens,
            heads=parts[..., :-2],
            blocks=parts[..., -2:],
        )

    def _savings(self) -> Tensor:
        """Return what each policy saves where all else runs: of patches first, then of heads and halves of layers."""
        token, pair, perceptron = self.costs().double().unbind(1)
        most, heads = 1 + self.patches, self.layers[0].heads
        head = token * most + pair * most**2
        patch = heads * (token + 2 * pair * most) + perceptron
        parts = torch.stack([*[head] * heads, heads * head, perceptron * most], 1)
        return torch.cat([patch.repeat_interleave(self.patches), parts.flatten()])

    @override
    def most(self) -> Tensor:
        there = torch.full((len(self.layers),), 1 + self.cap)
        heads = torch.tensor([layer.heads for layer in self.layers])
        counts = torch.stack([there * heads, there**2 * heads, there], 1).flatten()
        return torch.cat([torch.ones(1, dtype=torch.int64), counts])[None]

    @override
    def patches_run(self, counts: Tensor) -> Tensor:
        attended = counts[..., 1] // counts[..., 0].clamp_min(1)
        return (torch.maximum(attended, counts[..., 2]) - 1).clamp_min(0)

    @torch.no_grad()
    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of each half of each layer on several numbers of tokens, and one of all that always runs."""
        images = inputs.to(self.device)
        tokens = self.embed(images)
        blank = torch.zeros(1, len(self.units), dtype=torch.int64)

        def always() -> object:
            with torch.no_grad():
                whole = self.embed(images)
                for by_token, by_layer in zip(self.module.token_policies, self.module.layer_policies, strict=True):
                    by_token(whole[:, 1:])
                    by_layer(whole[:, 0])
                return self.answer(whole[:, 0])

        counts = blank.clone()
        counts[0, 0] = 1
        yield Work(counts), always
        for depth, layer in enumerate(self.layers):
            for share in (1, 2, 4):
                count = max(1, tokens.shape[1] // share)
                some, mask = tokens[0, :count], torch.ones(1, count, dtype=torch.bool, device=self.device)
                heads = torch.ones(1, layer.heads, dtype=torch.bool, device=self.device)

                def attends(
                    layer: TransformerLayer = layer, some: Tensor = some, mask: Tensor = mask, heads: Tensor = heads
                ) -> object:
                    with torch.no_grad():
                        return heads_only(layer, some, mask, heads)

                def computes(layer: TransformerLayer = layer, some: Tensor = some) -> object:
                    with torch.no_grad():
                        return some + layer.perceptron(some)

                counts = blank.clone()
                counts[0, 1 + 3 * depth : 3 + 3 * depth] = layer.heads * torch.tensor([count, count**2])
                yield Work(counts), attends
                counts = blank.clone()
                counts[0, 3 + 3 * depth] = count
                yield Work(counts), computes


def heads_only(layer: TransformerLayer, rows: Tensor, mask: Tensor, heads: Tensor) -> Tensor:
    """Return what attention adds to packed rows ``[T, D]``, each head computed for the samples alone that use it.

    Args:
        layer: whose attention.
        rows: of the tokens that attend.
        mask: which tokens those are, bool ``[B, N]``.
        heads: which heads each sample uses, bool ``[B, H]``.
    """
    if heads[mask.any(1)].all():  # all heads at once
        there = mask.sum(1)
        mixed: Tensor = layer.proj(attend(*per_head(layer, rows), there, there).flatten(1))
        return mixed
    normed, added = layer.norm1(rows), layer.proj.bias.expand_as(rows).clone()
    owner = mask.nonzero()[:, 0]
    entering = layer.qkv.weight.unflatten(0, (3, layer.heads, -1))
    shift = layer.qkv.bias.unflatten(0, (3, layer.heads, -1))
    leaving = layer.proj.weight.unflatten(1, (layer.heads, -1))
    for head in range(layer.heads):
        own = heads[owner, head].nonzero().flatten()
        if len(own) == 0:
            continue
        there = (mask & heads[:, head, None]).sum(1)
        three = F.linear(normed[own], entering[:, head].flatten(0, 1), shift[:, head].flatten())
        three = three.unflatten(-1, (3, 1, -1))
        found = attend(three[:, 0], three[:, 1:], there, there)
        added.index_add_(0, own, F.linear(found.flatten(1), leaving[:, head]))
    return added
