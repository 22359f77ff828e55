"""Lengths at which a model may begin to compute something else, as its configuration, parts and cache name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from torpor.targets.decoder.generation.library import empty_cache

EDGES = re.compile(
    r"window|chunk|sink|local|span|sparse|block|stride|radius|compress|recent|keep|capacity|bucket|index_topk|position|"
    r"context|length|max_seq|memory"
)
"""Names of settings that speak of numbers of tokens."""
OTHER = re.compile(r"layer|expert|token_id|num_hidden|vocab|dim|embd")
"""Names of settings that count something else, although they may look like that."""


def cache_windows(model: Any) -> tuple[int, ...]:  # noqa: ANN401 - transformers' own classes
    """Return how many keys, its own included, a token sees in layers whose cache forgets others; ascending, each once.

    A window of one token is none: transformers' cache then keeps all keys.
    """
    try:
        cache = empty_cache(model)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()  # it prepares a cache of its own
    found = {int(layer.sliding_window) for layer in cache.layers if getattr(layer, "is_sliding", False)}
    return tuple(sorted(size for size in found if size > 1))


def named_lengths(model: Any) -> tuple[int, ...]:  # noqa: ANN401 - transformers' own classes
    """Return all numbers of tokens that the model's configuration or one of its parts names, ascending."""
    found = set(cache_windows(model))
    places: list[Mapping[str, Any]] = [model.config.to_dict()]
    places += [vars(module) for module in model.modules() if isinstance(module, nn.Module)]
    for place in places:
        for name, value in _numbers(place):
            if value > 1 and EDGES.search(name) and not OTHER.search(name):
                found.add(value)
    return tuple(sorted(found))


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield all integers in settings of settings, with the name of the innermost."""
    for name, value in settings.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Mapping) and not str(name).startswith("_"):
                yield from _numbers(one)
            elif isinstance(one, int) and not isinstance(one, bool):
                yield str(name).lower(), one
