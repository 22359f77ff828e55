"""How many rows of a batch the memory that is there has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torpor.meters.free import free_memory

SHARE = 0.25
"""Share of the device's free memory that one batch may need."""
ACTIVATIONS = 16
"""Vectors of the hidden size that a layer needs at once for each token that it reads, as an estimate."""


@dataclass(frozen=True)
class CacheSize:
    """Bytes that a decoder keeps of one row.

    Attributes:
        layers: of each layer bytes per token, and how many tokens it keeps at most, if it forgets some.
        read: bytes per token that an encoder read; of all that it read where inputs are not texts.
    """

    layers: tuple[tuple[int, int | None], ...] = ()
    read: int = 0

    def bytes(self, tokens: int, source: int) -> int:
        """Return the bytes at the end of an output.

        Args:
            tokens: that the decoder has seen by then.
            source: that the encoder read; 1 where inputs are not texts.

        >>> CacheSize(((10, None), (10, 4)), read=3).bytes(6, 2)
        106
        """
        own = sum(size * min(tokens, tokens if most is None else most) for size, most in self.layers)
        return own + self.read * source


def cache_size(cache: Any, source: int) -> CacheSize:  # noqa: ANN401 - one of transformers' caches
    """Measure the cache of one row.

    Args:
        cache: at the end of an output.
        source: tokens that the encoder read; 1 where inputs are not texts.
    """
    if hasattr(cache, "cross_attention_cache"):
        read = sum(_bytes(layer) for layer in cache.cross_attention_cache.layers)
        return CacheSize(cache_size(cache.self_attention_cache, source).layers, -(-read // max(source, 1)))
    layers = []
    for layer in getattr(cache, "layers", ()):
        keys = getattr(layer, "keys", None)
        tokens = keys.shape[-2] if isinstance(keys, Tensor) and keys.ndim > 1 else 0
        window = getattr(layer, "sliding_window", None) if getattr(layer, "is_sliding", False) else None
        layers.append((-(-_bytes(layer) // tokens), window) if tokens else (_bytes(layer), 1))
    return CacheSize(tuple(layers))


def _bytes(layer: object) -> int:
    return sum(part.nbytes for part in vars(layer).values() if isinstance(part, Tensor))


def rows_in(most: int, row: int, device: torch.device) -> int:
    """Return how many rows of ``row`` bytes fit into a share of what is free, and into ``most`` bytes; 1 at least."""
    free = free_memory(device)
    return max(1, (most if free is None else min(most, int(SHARE * free))) // row)


def alike(lengths: Sequence[int], worth: float) -> int:
    """Return how many of the longest texts to decode at once: all, unless that fills up the others by too many tokens.

    Args:
        lengths: of the texts, longest first.
        worth: tokens that another batch costs.

    >>> alike([9, 9, 2, 2, 2], worth=20), alike([9, 9, 2, 2, 2], worth=21)
    (2, 5)
    """
    saved, place = max(((len(lengths) - place) * (lengths[0] - one), place) for place, one in enumerate(lengths))
    return place if saved > worth else len(lengths)


def switch_length(config: Any) -> int:  # noqa: ANN401 - one of transformers' configurations
    """Return from how many tokens on a batch's longest row changes how positions of all rows are told apart.

    Rotary embeddings of the types "dynamic" and "longrope" do.
    """
    text = config.get_text_config(decoder=True)
    rotary = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    lengths = [2**31]
    for part in (rotary, *rotary.values()):
        if isinstance(part, dict) and part.get("rope_type", part.get("type")) in ("dynamic", "longrope"):
            known = part.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", None
            )
            lengths.append(int(known or text.max_position_embeddings))
    return min(lengths)
