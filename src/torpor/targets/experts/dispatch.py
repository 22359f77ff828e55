"""A mixture of experts whose tokens are really handed to experts: its own router decides, full experts take no more."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.targets.experts.loads import Placement


class Pass(NamedTuple):
    """What every layer of a forward pass must know.

    Attributes:
        real: which tokens are there, bool ``[B, N]``; others fill up rows and go to no expert.
        together: rows that share the experts' buffers, always as many, one after the other.
        placement: with the capacity.
    """

    real: Tensor
    together: int
    placement: Placement


class Routed(NamedTuple):
    """What layers did in a pass.

    Attributes:
        loads: tokens that each expert computed of each row, int64 ``[B, L, E]``.
        dropped: assignments that found a full expert, int64 ``[B, L]``.
        gap: the least difference between the scores of the last expert chosen and the first not, ``[B]``.
    """

    loads: Tensor
    dropped: Tensor
    gap: Tensor


class ExpertLayer(nn.Module):
    """In the place of a layer's block: the router and the experts are the block's own.

    Args:
        block: of transformers, with ``gate``, a router that returns scores, weights and experts of each token, and
            ``experts`` with ``gate_up_proj`` ``[E, 2F, D]``, ``down_proj`` ``[E, D, F]`` and ``act_fn``; and, where all
            tokens share one more, ``shared_expert`` with ``shared_expert_gate``.
    """

    def __init__(self, block: Any) -> None:  # noqa: ANN401 - transformers' own classes
        super().__init__()
        self.gate, self.experts = block.gate, block.experts
        self.shared: nn.Module | None = getattr(block, "shared_expert", None)
        self.shared_gate: nn.Module | None = getattr(block, "shared_expert_gate", None)
        self.now: Pass | None = None
        self.seen: list[Routed] = []

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        assert self.now is not None
        rows, length, width = hidden.shape
        flat = hidden.reshape(-1, width)
        scores, weights, chosen = self.gate(flat)
        asked = torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, value=True)
        asked &= self.now.real.reshape(-1, 1)
        kept = self._fitting(asked.unflatten(0, (rows, length)))
        out = torch.zeros_like(flat)
        for number in kept.flatten(0, 1).any(0).nonzero().flatten().tolist():
            tokens = kept[..., number].flatten().nonzero().flatten()
            weight = (weights[tokens] * (chosen[tokens] == number)).sum(-1, keepdim=True)
            out.index_add_(0, tokens, (self._expert(number, flat[tokens]) * weight).to(out.dtype))
        best = scores.float().topk(min(chosen.shape[1] + 1, scores.shape[1])).values
        gap = (best[:, -2] - best[:, -1]).unflatten(0, (rows, length))
        loads = kept.sum(1)
        dropped = asked.unflatten(0, (rows, length)).sum((1, 2)) - loads.sum(-1)
        self.seen.append(Routed(loads, dropped, gap.masked_fill(~self.now.real, torch.inf).amin(1)))
        if self.shared is not None and self.shared_gate is not None:
            out += self.shared_gate(flat).sigmoid() * self.shared(flat)
        return out.reshape(hidden.shape)

    def _fitting(self, asked: Tensor) -> Tensor:
        """Return which assignments ``[B, N, E]`` find room: the first ones of those that share buffers."""
        assert self.now is not None
        if self.now.placement.capacity is None:
            return asked
        group: Tensor = asked.unflatten(0, (-1, self.now.together)).flatten(1, 2)
        tokens = self.now.real.sum(1).unflatten(0, (-1, self.now.together)).sum(1)
        fits = group.cumsum(1) <= self.now.placement.room(tokens)[:, None, None]
        return (group & fits).reshape(asked.shape)

    def _expert(self, number: int, tokens: Tensor) -> Tensor:
        gate, up = F.linear(tokens, self.experts.gate_up_proj[number]).chunk(2, dim=-1)
        return F.linear(self.experts.act_fn(gate) * up, self.experts.down_proj[number])


class ExpertModel(nn.Module):
    """A causal language model whose blocks of experts are replaced by :class:`ExpertLayer`.

    Args:
        model: of transformers, changed in place, such as ``MixtralForCausalLM``; some layers may have no experts.

    Raises:
        UsageError: if none of its layers has such a block.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        for layer in getattr(getattr(model, "model", None), "layers", ()):
            if isinstance(layer.mlp, ExpertLayer):  # it was made a target before
                continue
            if all(hasattr(layer.mlp, part) for part in ("gate", "experts")):
                layer.mlp = ExpertLayer(layer.mlp)
        self.model = model
        if not self.blocks:
            raise UsageError(f"expected a model with layers of experts, got {type(model).__name__}; take a Mixtral")

    @property
    def words(self) -> nn.Embedding:
        """The input embedding."""
        words: nn.Embedding = self.model.get_input_embeddings()
        return words

    @property
    def layers(self) -> list[nn.Module]:
        """The layers."""
        return list(getattr(getattr(self.model, "model", None), "layers", ()))

    @property
    def blocks(self) -> list[ExpertLayer]:
        """What stands in each layer for its experts."""
        return [part for part in self.modules() if isinstance(part, ExpertLayer)]

    @torch.no_grad()
    def read(
        self, ids: Tensor, lengths: Tensor, placement: Placement, *, together: int = 1
    ) -> tuple[Tensor, Tensor, Routed]:
        """Read texts, filled up at their end, which no token before it sees.

        Args:
            ids: int64 ``[B, N]``.
            lengths: tokens of each row, int64 ``[B]``; those after them go to no expert.
            placement: of the experts.
            together: rows that share buffers.

        Returns:
            Scores of the token after each text ``[B, V]``, states of the last layer ``[B, N, D]``, and where tokens
            went.
        """
        real = torch.arange(ids.shape[1], device=ids.device) < lengths.to(ids.device)[:, None]
        blocks, now = self.blocks, Pass(real, together, placement)
        for block in blocks:
            block.now, block.seen = now, []
        try:
            hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        finally:
            seen = [part for block in blocks for part in block.seen]
            for block in blocks:
                block.now, block.seen = None, []
        last = hidden[torch.arange(len(ids), device=ids.device), (lengths.to(ids.device) - 1).clamp_min(0)]
        logits = self.model.get_output_embeddings()(last).float()
        loads, dropped = (torch.stack([part[place] for part in seen], 1).cpu() for place in range(2))
        return logits, hidden, Routed(loads, dropped, torch.stack([part.gap for part in seen]).amin(0).cpu())

    @override
    def forward(self, ids: Tensor) -> Tensor:
        """Return the scores after ids ``[B, N]`` without any work of experts: what every token costs anyway."""
        nothing = torch.zeros(len(ids), dtype=torch.int64)
        experts = self.blocks[0].experts
        return self.read(ids, nothing, Placement(len(experts.gate_up_proj), 1, 1))[0]
