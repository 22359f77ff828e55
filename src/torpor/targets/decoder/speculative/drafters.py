"""What guesses the next tokens: a small model, or the tokens that followed when the text said the same before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from torpor.targets.decoder.generation.forcing import takes
from torpor.targets.decoder.generation.library import cache_name, empty_cache

NGRAM = 2
"""Tokens that must have been there before, at most; what transformers calls ``max_matching_ngram_size``."""


@dataclass(frozen=True)
class Guesses:
    """What a drafter guessed in one round.

    Attributes:
        tokens: in their order.
        read: tokens that it read before its first guess, the text's last one included; 0 if it reads none.
    """

    tokens: list[int]
    read: int = 0


class Drafter(ABC):
    """Guesses for one sample, round after round."""

    @abstractmethod
    def guess(self, text: Sequence[int], most: int) -> Guesses:
        """Return up to ``most`` tokens that may follow ``text``, which begins with that of the round before."""


class CachedModel:
    """A model of transformers that reads one row, remembers it, and can forget the end of it.

    Args:
        model: a decoder-only one without a sliding window.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers' own classes
        self.model, self.cache, self.known = model, empty_cache(model), 0
        self._name, self._keeps = cache_name(), takes(model, "logits_to_keep")

    def read(self, ids: Sequence[int], keep: int) -> Tensor:
        """Read on, and return the scores after the last ``keep`` of these tokens, float32 ``[keep, V]``."""
        given = torch.tensor([list(ids)], device=self.model.device)
        kept = {"logits_to_keep": keep} if self._keeps else {}
        out = self.model(given, **{self._name: self.cache}, **kept, use_cache=True, return_dict=True)
        self.known += len(ids)
        scores: Tensor = out.logits[0, -keep:].to(torch.float32)
        return scores

    def forget(self, known: int) -> None:
        """Keep the first ``known`` tokens."""
        if known < self.known:
            self.cache.crop(known - self.known)  # a negative number removes so many
            self.known = known


class ModelDrafter(Drafter):
    """Guesses what a small model would write, greedily, as many tokens as may be, also after an end token.

    So how much it works depends on the accepted tokens alone.

    Args:
        model: the small model.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self._cached = CachedModel(model)
        self._fed: list[int] = []

    @override
    def guess(self, text: Sequence[int], most: int) -> Guesses:
        same = next((at for at, (one, other) in enumerate(zip(self._fed, text, strict=False)) if one != other), None)
        known = min(len(self._fed) if same is None else same, len(text) - 1)
        self._cached.forget(known)
        self._fed = list(text)
        new, tokens = list(text[known:]), list[int]()
        read = len(new)
        while True:
            tokens.append(int(self._cached.read(new, 1)[0].argmax()))
            if len(tokens) == most:
                return Guesses(tokens, read)
            new = tokens[-1:]
            self._fed += new


class LookupDrafter(Drafter):
    """Guesses what followed the last tokens where they first stood in the text: prompt look-up, which needs no model.

    As transformers does it for ``prompt_lookup_num_tokens``: the longest of the last :data:`NGRAM` tokens or fewer that
    the text had before.

    Args:
        eos: ids that end an output; nothing is guessed after them.

    >>> LookupDrafter(()).guess([5, 6, 7, 8, 5, 6], 3).tokens, LookupDrafter((8,)).guess([6, 7, 8, 9, 6], 4).tokens
    ([7, 8, 5], [7, 8])
    """

    def __init__(self, eos: Collection[int]) -> None:
        self._eos = eos

    @override
    def guess(self, text: Sequence[int], most: int) -> Guesses:
        text = list(text)
        for size in range(min(NGRAM, len(text) - 1), 0, -1):
            last = text[-size:]
            for start in range(len(text) - size):
                if text[start : start + size] == last:
                    found = text[start + size : start + size + most]
                    end = next((at for at, token in enumerate(found, 1) if token in self._eos), len(found))
                    return Guesses(found[:end])
        return Guesses([])
