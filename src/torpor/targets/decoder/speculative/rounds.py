"""The rounds of speculative decoding, one sample at a time (Leviathan et al., ICML 2023), greedily."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from torpor.core.errors import UsageError
from torpor.core.stopwatch import OutOfTime
from torpor.targets.decoder.speculative.drafters import CachedModel, Drafter, Guesses


@dataclass(frozen=True)
class Round:
    """One pass of the large model.

    Attributes:
        before: tokens of the text before it, those of the prompt included.
        read: tokens that the drafter read before its first guess; 0 if it guessed none, or reads none.
        drafted: tokens that were guessed.
        accepted: of these, how many became output.
    """

    before: int
    read: int
    drafted: int
    accepted: int


@dataclass(frozen=True)
class Spoken:
    """What became of one sample.

    Attributes:
        ids: tokens that were generated.
        rounds: in their order.
    """

    ids: tuple[int, ...]
    rounds: tuple[Round, ...]

    @property
    def most_wasted(self) -> int:
        """By how much rejected guesses outnumbered accepted ones before the last round, at most.

        >>> Spoken((), (Round(3, 3, 4, 0), Round(4, 1, 4, 4), Round(9, 2, 4, 0))).most_wasted
        4
        """
        wasted = most = 0
        for one in self.rounds[:-1]:
            wasted += one.drafted - 2 * one.accepted
            most = max(most, wasted)
        return most


@dataclass(frozen=True)
class Rules:
    """How to draft and when to end.

    Attributes:
        drafts: tokens that are guessed per round at most.
        cap: tokens that are generated at most.
        eos: ids that end an output.
        allowance: by how many tokens rejected guesses may outnumber accepted ones before nothing is guessed any more;
            None: guess to the end.
    """

    drafts: int
    cap: int
    eos: Collection[int]
    allowance: int | None = None


@torch.no_grad()
def speculate(
    model: Any,  # noqa: ANN401 - transformers' own classes
    drafter: Drafter,
    prompt: Sequence[int],
    rules: Rules,
    *,
    tick: Callable[[], None] = lambda: None,
    forced: int | None = None,
) -> Spoken:
    """Continue a prompt: in each round, check some guesses in one pass, keep those that the model would have written.

    A round that accepts ``n`` guesses yields ``n + 1`` tokens: after the last accepted guess, the model's own choice is
    known too. Near the cap fewer are guessed, so that no guess is beyond it.

    Args:
        model: the large one.
        drafter: a fresh one.
        prompt: ids.
        rules: how to draft and when to end.
        tick: called before every round; may raise.
        forced: accept so many guesses in every round whatever they are, and end at the cap alone, to find out what
            that takes.

    Raises:
        UsageError: if the model returns no numbers.
    """
    text, cached = list(prompt), CachedModel(model)
    rounds, wasted = list[Round](), 0
    eos = rules.eos if forced is None else ()
    end = len(prompt) + rules.cap
    while True:
        try:
            tick()
        except OutOfTime as over:
            over.ran = {0: len(text) - len(prompt)}
            raise
        before, most = len(text), min(rules.drafts, end - len(text) - 1)
        drafting = most > 0 and (rules.allowance is None or wasted <= rules.allowance)
        found = drafter.guess(text, most) if drafting else Guesses([])
        scores = cached.read([*text[cached.known :], *found.tokens], len(found.tokens) + 1)
        if bool(scores.isnan().any()):
            raise UsageError(f"expected numbers from {type(model).__name__}, got NaN logits; check its weights")
        chosen = scores.argmax(-1).tolist()
        accepted = matching(found.tokens, chosen) if forced is None else min(forced, len(found.tokens))
        new = ended([*found.tokens[:accepted], chosen[accepted]], eos)
        accepted = min(accepted, len(new))
        wasted += len(found.tokens) - 2 * accepted
        rounds.append(Round(before, found.read, len(found.tokens), accepted))
        text += new
        if new[-1] in eos or len(text) >= end:
            return Spoken(tuple(text[len(prompt) :]), tuple(rounds))
        cached.forget(len(text) - 1)


def replayed(length: int, ids: Sequence[int], right: Sequence[bool], rules: Rules) -> list[Round]:
    """Return the rounds of an output, given where a small model that follows it would guess the next token.

    Args:
        length: tokens of the prompt.
        ids: the output.
        right: of each token of the output, whether the drafter guesses it after those before it.
        rules: how to draft.

    >>> [(one.drafted, one.accepted) for one in replayed(3, [5, 6, 7], [True, False, True], Rules(2, 9, ()))]
    [(2, 1), (2, 1)]
    """
    rounds, made, wasted, read = list[Round](), 0, 0, length
    while made < len(ids):
        most = min(rules.drafts, rules.cap - made - 1)
        if most < 1 or (rules.allowance is not None and wasted > rules.allowance):
            rounds.append(Round(length + made, 0, 0, 0))
            made += 1
            continue
        known = right[made : made + most]
        accepted = next((at for at, one in enumerate(known) if not one), len(known))
        rounds.append(Round(length + made, read, most, accepted))
        wasted += most - 2 * accepted
        read = 2 if accepted == most else 1
        made += accepted + 1
    return rounds


def matching(guesses: Sequence[int], chosen: Sequence[int]) -> int:
    """Return how many guesses in a row are what was chosen.

    >>> matching([5, 6, 7], [5, 6, 8, 9])
    2
    """
    return next(
        (at for at, (one, other) in enumerate(zip(guesses, chosen, strict=False)) if one != other), len(guesses)
    )


def ended(tokens: Sequence[int], eos: Collection[int]) -> list[int]:
    """Return tokens up to the first that ends an output.

    >>> ended([5, 2, 6], (2,)), ended([5, 6], (2,))
    ([5, 2], [5, 6])
    """
    return list(tokens[: next((at for at, token in enumerate(tokens, 1) if token in eos), len(tokens))])
