"""Decode a Llama-like model whose tokens leave early: what each token's layers read, and what they leave for others.

A token that leaves after layer ``k`` has no states in the layers above, but later tokens look at its keys and values
there. As CALM does (Schuster et al., NeurIPS 2022), the state that it left with goes into the norms and the key and
value projections of the layers above. The prompt, and with it the first token, goes through all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from torpor.core.stopwatch import OutOfTime
from torpor.targets.decoder.generation.library import cache_name, empty_cache


class Exits(Protocol):
    """What tells when a token leaves, and what the head then reads; see ``torpor.zoo.networks.exit_heads``."""

    def __len__(self) -> int: ...

    def sureness(self, number: int, states: Tensor) -> Tensor:
        """Return log odds ``[...]`` of states ``[..., D]``."""

    def leave(self, number: int, states: Tensor) -> Tensor:
        """Return what the head reads of states ``[..., D]``."""


@dataclass(frozen=True)
class Written:
    """What became of one sample.

    Attributes:
        ids: tokens that were generated.
        depths: layers that made each of them.
    """

    ids: tuple[int, ...]
    depths: tuple[int, ...]


class LayerStack:
    """A Llama-like model, layer by layer.

    Args:
        model: of transformers: an embedding, layers, a norm, a head, rotary positions.
        exits: one after each layer but the last.
    """

    def __init__(self, model: Any, exits: Exits) -> None:  # noqa: ANN401 - transformers' own classes
        self.model, self.exits = model, exits
        self.layers = model.model.layers

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings of ids ``[B, T]``, ``[B, T, D]``."""
        found: Tensor = self.model.model.embed_tokens(ids)
        return found

    def turns(self, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rotary embedding of positions ``[B, T]``."""
        found: tuple[Tensor, Tensor] = self.model.model.rotary_emb(states, position_ids=positions)
        return found

    def layer(
        self,
        number: int,
        states: Tensor,
        turns: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: Any,  # noqa: ANN401
    ) -> Tensor:
        """Return the states after a layer, which adds its keys and values to the cache, if there is one."""
        known = {} if cache is None else {cache_name(): cache, "use_cache": True}
        found = self.layers[number](states, attention_mask=mask, position_embeddings=turns, **known)
        after: Tensor = found[0] if isinstance(found, tuple) else found
        return after

    def copy(self, number: int, states: Tensor, turns: tuple[Tensor, Tensor], cache: Any) -> None:  # noqa: ANN401
        """Give a layer the keys and values of states that never went through it."""
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        attention = self.layers[number].self_attn
        given = self.layers[number].input_layernorm(states)
        shape = (*given.shape[:-1], -1, attention.head_dim)
        keys, values = (part(given).view(shape).transpose(1, 2) for part in (attention.k_proj, attention.v_proj))
        cache.update(apply_rotary_pos_emb(keys, keys, *turns)[1], values, number)

    def head(self, states: Tensor, depth: int) -> Tensor:
        """Return scores ``[..., V]`` of states that left after ``depth`` layers."""
        last = depth == len(self.layers)
        found: Tensor = self.model.lm_head(
            self.model.model.norm(states) if last else self.exits.leave(depth - 1, states)
        )
        return found


@torch.no_grad()
def write(
    stack: LayerStack,
    prompt: Sequence[int],
    cap: int,
    eos: Sequence[int],
    threshold: float,
    *,
    tick: Callable[[], None] = lambda: None,
    forced: int | None = None,
) -> Written:
    """Continue a prompt greedily, each token by as many layers as it takes.

    Args:
        stack: the model.
        prompt: ids.
        cap: tokens at most.
        eos: ids that end an output.
        threshold: log odds from which on a token leaves.
        tick: called before every token; may raise.
        forced: let every token but the first leave after so many layers, and end at the cap alone.
    """
    layers, device = len(stack.layers), stack.model.device
    cache, ids, depths = empty_cache(stack.model), list[int](), list[int]()
    states = stack.embed(torch.tensor([list(prompt)], device=device))
    turns = stack.turns(states, torch.arange(len(prompt), device=device)[None])
    mask = causal(len(prompt), states)
    for number in range(layers):
        states = stack.layer(number, states, turns, mask, cache)
    states, depth = states[:, -1:], layers
    while True:
        try:
            tick()
        except OutOfTime as over:
            over.ran = {0: len(ids)}
            raise
        ids.append(int(stack.head(states, depth)[0, -1].argmax()))
        depths.append(depth)
        if len(ids) == cap or (forced is None and ids[-1] in eos):
            return Written(tuple(ids), tuple(depths))
        states = stack.embed(torch.tensor([ids[-1:]], device=device))
        turns = stack.turns(states, torch.tensor([[len(prompt) + len(ids) - 1]], device=device))
        depth = 0
        while depth < layers:
            states = stack.layer(depth, states, turns, None, cache)
            depth += 1
            if depth < layers and _leaves(stack, depth, states, threshold, forced):
                break
        for number in range(depth, layers):
            stack.copy(number, states, turns, cache)


def _leaves(stack: LayerStack, depth: int, states: Tensor, threshold: float, forced: int | None) -> bool:
    sure = float(stack.exits.sureness(depth - 1, states)) >= threshold
    return sure if forced is None else depth == forced


def causal(length: int, states: Tensor) -> Tensor:
    """Return the additive mask of a text on its own, ``[1, 1, T, T]``."""
    return torch.full((length, length), -torch.inf).triu(1).to(states)[None, None]


def follow(stack: LayerStack, embeddings: Tensor, written: Written) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores ``[T, V]``, states ``[T, D]`` and log odds ``[T, G]`` along an output, differentiable.

    What left early is frozen: the layers above get keys and values of its last state, as in :func:`write`.

    Args:
        stack: the model.
        embeddings: of the prompt, ``[1, P, D]``.
        written: what it wrote.
    """
    length, steps, layers = embeddings.shape[1], len(written.ids), len(stack.layers)
    later = stack.embed(torch.tensor([written.ids[:-1]], dtype=torch.int64, device=embeddings.device)).detach()
    states = torch.cat([embeddings, later.to(embeddings)], 1)
    turns, mask = stack.turns(states, torch.arange(states.shape[1])[None]), causal(states.shape[1], states)
    depths = torch.tensor([layers] * (length - 1) + list(written.depths))
    odds = []
    for number in range(layers):
        moved = stack.layer(number, states, turns, mask, None)
        states = torch.where((depths > number)[None, :, None], moved, states)
        if number < layers - 1:
            odds.append(stack.exits.sureness(number, states[0, -steps:]))
    mine, own = states[0, -steps:], depths[-steps:]
    scores = torch.stack([stack.head(mine[at], int(own[at])) for at in range(steps)])
    return scores, mine, torch.stack(odds, 1)
