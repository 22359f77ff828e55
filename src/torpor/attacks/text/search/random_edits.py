"""Random texts within a budget: what random search tries, and what controls send."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torpor.attacks.text.search.characters import ALPHABET
from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.transformations import core, replace_span, word_spans
from torpor.attacks.text.search.words import vocabulary_words
from torpor.core.batches import sample_generators
from torpor.core.budget import GROWING

RANDOM_SEARCH = "control-best-of-k"
"""The attack that is random search; its draws are those of every search that begins at random, too."""
TRIES = 30  # random edits that may fail before the text stays as it is


class RandomEditor:
    """Draws random texts within a budget.

    Args:
        fits: what may be sent.
        allowed: which ids may be put in, bool ``[V]``; all that are insertable if None.
    """

    def __init__(self, fits: Sendable, allowed: Tensor | None = None) -> None:
        self.fits = fits
        codec = fits.space.codec
        self._ids = (insertable(codec) if allowed is None else allowed).nonzero().flatten().tolist()
        self._words = vocabulary_words(codec) if fits.budget.norm == "words" else ()
        self._one: dict[str, Callable[[str, torch.Generator], str | None]] = {
            "chars": self._character,
            "tokens": self._token,
            "words": self._word,
        }

    def edit(self, clean: str, edits: int, generator: torch.Generator) -> str:
        """Return a text that is ``edits`` random edits away from ``clean``, fewer where it does not take them."""
        if self.fits.budget.norm in GROWING:
            return self._grown(clean, edits, generator)
        text = clean
        for done in range(edits):
            for _ in range(TRIES):
                new = self._one[self.fits.budget.norm](text, generator)
                if new and self.fits(clean, new) and self.fits.distance(clean, new) == done + 1:
                    text = new
                    break
        return text

    def _grown(self, clean: str, edits: int, generator: torch.Generator) -> str:
        """Append random tokens one by one, each of which the tokenizer reads as drawn."""
        space = self.fits.space
        ids = tuple(space.codec.encode(clean)) if self.fits.budget.norm == "suffix" else ()
        text = clean
        for _ in range(min(edits, space.max_tokens - len(ids))):
            for _ in range(TRIES):
                longer = (*ids, self._ids[below(len(self._ids), generator)])
                new = space.codec.decode(longer)
                if tuple(space.codec.encode(new)) == longer and self.fits(clean, new):
                    ids, text = longer, new
                    break
        return text

    def _character(self, text: str, generator: torch.Generator) -> str:
        kind, place = below(3, generator), below(len(text), generator)
        new = ALPHABET[below(len(ALPHABET), generator)] if kind < 2 else ""
        return text[:place] + new + text[place + (kind > 0) :]

    def _token(self, text: str, generator: torch.Generator) -> str:
        ids = tuple(self.fits.space.codec.encode(text))
        kind, place = below(3, generator), below(len(ids), generator)
        new = (self._ids[below(len(self._ids), generator)],) if kind < 2 else ()
        return self.fits.space.codec.decode((*ids[:place], *new, *ids[place + (kind > 0) :]))

    def _word(self, text: str, generator: torch.Generator) -> str:
        spans = word_spans(text)
        words = self._words or tuple(text[slice(*core(text, span))] for span in spans)
        place = core(text, spans[below(len(spans), generator)])
        return replace_span(text, place, words[below(len(words), generator)])


def random_texts(fits: Sendable, clean: Sequence[str], seed: int) -> Callable[[int, int], list[str]]:
    """Return what draws so many texts for a row, each as far from the clean one as the budget allows.

    The same seed gives the same texts, so that searches that begin with them ask what random search asks first.
    """
    editor, generators = RandomEditor(fits), sample_generators(clean, seed, RANDOM_SEARCH)
    edits = int(fits.budget.eps)
    return lambda row, count: [editor.edit(clean[row], edits, generators[row]) for _ in range(count)]


def below(limit: int, generator: torch.Generator) -> int:
    """Return a whole number from 0 to ``limit - 1``.

    >>> below(1, torch.Generator())
    0
    """
    return int(torch.randint(limit, (), generator=generator))
