"""Genomes of edits: which parts of a text are replaced, deleted or put in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein
from typing_extensions import override

from torpor.attacks.text.evolution.variation import Variation
from torpor.attacks.text.search.characters import ALPHABET
from torpor.attacks.text.search.constraints import Sendable
from torpor.core.text import Codec

INSERT, REPLACE, DELETE = "insert", "replace", "delete"
KINDS = (INSERT, REPLACE, DELETE)
CHANCES = (0.5, 0.35, 0.15)
"""How often a new edit is of each kind."""
FAMILIAR = 0.4
"""How often a new part is copied from the text, or from an edit that already works, instead of drawn."""
NEAR = 3
"""How far a part moves, or is put from another edit, in parts of the text; half of the time anywhere."""

Part = str | int
"""A character, a word with the white space before it, or the id of a token."""


class Edit(NamedTuple):
    """One edit: before, or in the place of, a part of the clean text."""

    place: int
    kind: str
    part: Part


Edits = tuple[Edit, ...]
"""Edits by place; several parts may be put in at one place, in this order."""


class Parts(NamedTuple):
    """A clean text in parts.

    Attributes:
        clean: the parts.
        pool: parts that may be put in.
        join: makes a text of parts.
        split: makes parts of a text.
    """

    clean: tuple[Part, ...]
    pool: Sequence[Part]
    join: Callable[[Sequence[Part]], str]
    split: Callable[[str], tuple[Part, ...]]


def in_characters(text: str) -> Parts:
    """Return a text in characters."""
    return Parts(tuple(text), ALPHABET, lambda parts: "".join(map(str, parts)), tuple)


def in_words(text: str, words: Sequence[str]) -> Parts:
    """Return a text in words, each with the white space before it.

    >>> in_words("a cat", ("dog",)).clean
    ('a', ' cat')
    """

    def split(given: str) -> tuple[Part, ...]:
        return tuple(re.findall(r"\s*\S+", given))

    own = split(text)
    pool = tuple(f" {word}" for word in words) or tuple(f" {str(part).strip()}" for part in own)
    end = text[len(text.rstrip()) :]
    return Parts(own, pool, lambda parts: _spaced(parts, text) + end, split)


def _spaced(parts: Sequence[Part], clean: str) -> str:
    """Join words; the first one has no white space before it unless the clean text has."""
    joined = "".join(str(part) if str(part)[:1].isspace() else f" {part}" for part in parts)
    return joined if clean[:1].isspace() else joined.lstrip()


class EditVariation(Variation[Edits]):
    """Up to as many edits as the budget allows.

    A child changes one edit's part, moves an edit, adds or exchanges one, repeats one elsewhere, or mixes its parent's
    edits with those of another.

    Args:
        fits: what may be sent.
        text: clean.
        parts: the same in parts.

    >>> from random import Random
    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> variation = EditVariation(Sendable(ToyText().space, Budget("chars", 2)), "a cat", in_characters("a cat"))
    >>> variation.spell((Edit(0, "insert", "9"), Edit(4, "replace", "r"))), variation.read("a ca9t")
    ('9a car', (Edit(place=4, kind='insert', part='9'),))
    """

    def __init__(self, fits: Sendable, text: str, parts: Parts) -> None:
        self.fits, self.text, self.parts, self.most = fits, text, parts, int(fits.budget.eps)

    @override
    def draw(self, rng: Random) -> Edits:
        genome: Edits = ()
        for _ in range(rng.randint(1, self.most)):
            genome = self._added(genome, (), rng)
        return genome

    @override
    def vary(self, parent: Edits, others: Sequence[Edits], rng: Random) -> Edits:
        known = [edit for other in others for edit in other]
        how = rng.random()
        if how < 0.2 and others:
            union = list(dict.fromkeys((*parent, *rng.choice(others))))
            rng.shuffle(union)
            return self._settled(union)
        if how < 0.5 or not parent:
            kept = parent if len(parent) < self.most else self._without(parent, rng)
            return self._added(kept, known, rng)
        place = rng.randrange(len(parent))
        edit, rest = parent[place], parent[:place] + parent[place + 1 :]
        if how < 0.75:
            return self._settled([*rest, edit._replace(part=self._part(known, rng))])
        moved = edit._replace(place=self._place([edit], rng))
        if how < 0.85:  # repeat what works
            kept = parent if len(parent) < self.most else rest and self._without(parent, rng)
            return self._settled([moved, *kept])
        return self._settled([moved, *rest])

    @override
    def read(self, text: str) -> Edits | None:
        after = self.parts.split(text)
        found = Levenshtein.editops(*_comparable(self.parts.clean, after))
        edits = [Edit(step.src_pos, step.tag, "" if step.tag == DELETE else after[step.dest_pos]) for step in found]
        return tuple(edits)

    @override
    def spell(self, genome: Edits) -> str:
        made: list[Part] = []
        clean, last = self.parts.clean, 0
        for edit in genome:
            made += clean[last : edit.place]
            last = max(last, edit.place)
            if edit.kind != INSERT:
                last += 1
            if edit.kind != DELETE:
                made.append(edit.part)
        return self.parts.join([*made, *clean[last:]])

    @override
    def sendable(self, text: str) -> bool:
        return self.fits(self.text, text)

    @override
    def near(self, text: str, before: str, rng: Random) -> str:
        after, known = self.read(text) or (), set(self.read(before) or ())
        old = [edit for edit in after if edit in known]
        if len(after) > self.most:
            rng.shuffle(old)
        return self.spell(self._settled([*(edit for edit in after if edit not in known), *old]))

    def _without(self, genome: Edits, rng: Random) -> Edits:
        place = rng.randrange(len(genome))
        return genome[:place] + genome[place + 1 :]

    def _added(self, genome: Edits, known: Sequence[Edit], rng: Random) -> Edits:
        kind = rng.choices(KINDS, CHANCES)[0]
        edit = Edit(self._place(genome, rng), kind, self._part(known, rng))
        return self._settled([edit, *genome])

    def _place(self, near: Sequence[Edit], rng: Random) -> int:
        count = len(self.parts.clean)
        if near and rng.random() < 0.5:
            return min(max(0, rng.choice(near).place + rng.randint(-NEAR, NEAR)), count)
        return rng.randint(0, count)

    def _part(self, known: Sequence[Edit], rng: Random) -> Part:
        if rng.random() < FAMILIAR:
            put_in = [edit.part for edit in known if edit.kind != DELETE]
            return rng.choice(put_in if put_in and rng.random() < 0.5 else self.parts.clean)
        return rng.choice(self.parts.pool)

    def _settled(self, edits: Iterable[Edit]) -> Edits:
        """Return the first edits that can be made together, as many as the budget allows, by place."""
        count, taken = len(self.parts.clean), set[int]()
        kept: list[Edit] = []
        for edit in edits:
            if edit.kind != INSERT:
                if edit.place in taken or edit.place >= count:
                    continue
                taken.add(edit.place)
            kept.append(edit)
        return tuple(sorted(kept[: self.most], key=lambda edit: (edit.place, edit.kind != INSERT)))


def _comparable(first: Sequence[Part], second: Sequence[Part]) -> tuple[Sequence[int], Sequence[int]]:
    numbers: dict[Part, int] = {}
    one, other = ([numbers.setdefault(part, len(numbers)) for part in parts] for parts in (first, second))
    return one, other


def in_tokens(text: str, codec: Codec, pool: Sequence[int]) -> Parts:
    """Return a text in the tokens that the target's tokenizer makes of it."""
    return Parts(
        tuple(codec.encode(text)), pool, lambda parts: codec.decode([int(part) for part in parts]), codec.encode
    )
