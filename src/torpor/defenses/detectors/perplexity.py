"""Perplexity: a text that no one would write is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import DataError
from torpor.core.threat import Paper
from torpor.defenses.detectors.base import TEXT, Detector
from torpor.defenses.detectors.models import Tensors
from torpor.targets.base import Target

PAPER = Paper(
    "Detecting Language Model Attacks with Perplexity", "Alon and Kamfonas", "arXiv", 2023, "arXiv:2308.14132"
)
START = 0
"""The symbol before a text; 1 is any character that was not there while fitting."""
TRUST = 1.0
"""How many times a context must have been seen for half of the weight to be on it."""


@dataclass(frozen=True)
class Perplexity(Detector):
    """Flag texts by their mean negative log-likelihood: per token to the target itself, else per character.

    A target that is ``decoder_only`` scores its own prompts. For others, such as translators, characters are predicted
    from the two before them, by counts in the clean texts that it was fitted on (Witten-Bell interpolation).
    """

    id: ClassVar[str] = "perplexity"
    paper: ClassVar[Paper | None] = PAPER
    contrasts: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("text",)

    def learn(self, target: Target, clean: Sequence[str], attacked: Samples, seed: int) -> Tensors:
        """Count characters in ``clean`` texts, for targets that cannot score texts themselves.

        Raises:
            DataError: if there are none.
        """
        return {} if getattr(target, "decoder_only", False) else count_characters(clean)

    def flops(self, target: Target) -> int:
        """Return the FLOPs of a text of 100 characters; by counts, five for each of the three orders per character."""
        return 3 * 5 * len(TEXT) if self.ready.model else super().flops(target)

    @override
    def row_scores(self, target: Target, inputs: Sequence[str], model: Tensors) -> Tensor:
        score = _by_characters(model) if model else _by_target(target)
        return torch.stack([score(text) for text in inputs])


class _by_target:  # noqa: N801 - reads as a function
    """Score a text by a language model, float64 ``[]``."""

    def __init__(self, target: Any) -> None:  # noqa: ANN401 - one that continues texts
        self.target = target
        self.matrix: Tensor = target.embedding_matrix()

    def __call__(self, text: str) -> Tensor:
        ids = torch.tensor(self.target.space.codec.encode(text), device=self.matrix.device)
        if len(ids) < 2:  # the first token has nothing before it
            return self.matrix.new_zeros((), dtype=torch.float64)
        scores: Tensor = self.target.soft_logits(self.matrix[ids].unsqueeze(0))[0, :-1].to(torch.float64)
        return -scores.log_softmax(-1).gather(1, ids[1:, None]).mean()


def count_characters(texts: Sequence[str]) -> Tensors:
    """Return the characters of ``texts`` and how often each follows each two others.

    Raises:
        DataError: if there are none.

    >>> count_characters(["abab"])["counts"][2, 3].tolist()  # start, unknown, a, b: after "ab" came "a"
    [0.0, 0.0, 1.0, 0.0]
    """
    known = sorted({ord(character) for text in texts for character in text})
    if not known:
        raise DataError("expected clean texts to learn from, got none; give more")
    codes = torch.tensor(known)
    size = len(known) + 2
    counts = torch.zeros(size, size, size)
    for text in texts:
        counts.index_put_(_triples(codes, text), torch.ones(len(text)), accumulate=True)
    return {"characters": codes, "counts": counts}


def _triples(codes: Tensor, text: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return each symbol of ``text`` and the two before it, as numbers from 0: oldest, older, newest."""
    found = torch.tensor([ord(character) for character in text], dtype=torch.int64)
    place = torch.searchsorted(codes, found).clamp_max(len(codes) - 1)
    symbols = torch.where(codes[place] == found, place + 2, 1)
    line = torch.cat([torch.full((2,), START), symbols])
    return line[:-2], line[1:-1], line[2:]


class _by_characters:  # noqa: N801 - reads as a function
    """Score a text by counts of characters, float64 ``[]``."""

    def __init__(self, model: Tensors) -> None:
        self.codes, counts = model["characters"].cpu(), model["counts"].cpu().to(torch.float64)
        self.orders = [counts, counts.sum(0), counts.sum((0, 1))]  # after two characters, after one, anywhere
        self.size = len(self.orders[-1])

    def __call__(self, text: str) -> Tensor:
        if not text:
            return torch.zeros((), dtype=torch.float64)
        oldest, older, newest = _triples(self.codes, text)
        probability = torch.full((len(text),), 1 / self.size, dtype=torch.float64)
        three, two, one = self.orders
        for seen in (one.expand(len(text), -1), two[older], three[oldest, older]):  # from nothing to the most specific
            kinds = (seen > 0).sum(1)
            hits = seen.gather(1, newest[:, None])[:, 0]
            probability = (hits + (kinds + TRUST) * probability) / (seen.sum(1) + kinds + TRUST)
        return -probability.log().mean()
