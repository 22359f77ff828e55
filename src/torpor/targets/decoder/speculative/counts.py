"""How often each unit of speculative decoding runs, and at most how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torpor.core.units import STEP, Unit
from torpor.targets.decoder.speculative.rounds import Round

PASS, DRAFTED, ACCEPTED = "target_pass", "drafted_token", "accepted_token"
PROMPT, CHECKED, KEY = "prompt_token", "target_token", "target_key"
READ, DRAFT_KEY = "draft_read", "draft_key"
NAMES = (PROMPT, STEP, PASS, DRAFTED, ACCEPTED, CHECKED, KEY, READ, DRAFT_KEY)
"""Of all units, in their order."""


def units(large: Sequence[Unit], small: Sequence[Unit] | None) -> tuple[Unit, ...]:
    """Return the units, at the prices of both models' own.

    Args:
        large: prompt token, decoder step and attended key of the large model.
        small: the same of the drafter; None for one that computes nothing.

    >>> own = (Unit("prompt_token", 7), Unit(STEP, 9), Unit("attended_key", 2))
    >>> [unit.flops for unit in units(own, None)]
    [7, 0, 0, 0, 0, 9, 2, 0, 0]
    """
    body, step, key = (unit.flops for unit in large)
    draft_body, draft_step, draft_key = (0, 0, 0) if small is None else (unit.flops for unit in small)
    prices: Mapping[str, int | None] = {
        **dict.fromkeys(NAMES, 0),
        PROMPT: body,
        CHECKED: step,
        KEY: key,
        DRAFTED: draft_step,
        READ: draft_body,
        DRAFT_KEY: draft_key,
    }
    return tuple(Unit(name, prices[name]) for name in NAMES)


def counts(length: int, steps: int, rounds: Sequence[Round]) -> list[int]:
    """Return the count of each unit for one sample.

    A pass reads what the large model's cache does not hold, the last token of the output so far, or the whole prompt,
    and all guesses. Tokens whose scores nobody needs are counted apart, those of the prompt but the last and those that
    a drafter catches up with.

    Args:
        length: tokens of the prompt.
        steps: tokens of the output.
        rounds: as they ran.

    >>> found = counts(3, 3, [Round(3, 3, 2, 1), Round(5, 0, 0, 0)])
    >>> found[:5], found[5:]
    ([2, 3, 2, 2, 1], [4, 30, 2, 13])
    """
    found = dict.fromkeys(NAMES, 0) | {PROMPT: length - 1, STEP: steps, PASS: len(rounds)}
    for number, one in enumerate(rounds):
        fed = one.drafted + (1 if number else length)
        found[DRAFTED] += one.drafted
        found[ACCEPTED] += one.accepted
        found[CHECKED] += 1 + one.drafted
        found[KEY] += fed * (one.before + one.drafted)
        if one.read:
            found[READ] += one.read - 1
            found[DRAFT_KEY] += one.read * one.before + sum(one.before + more for more in range(1, one.drafted))
    return list(found.values())


@dataclass(frozen=True)
class Most:
    """What no output can exceed: no guess is accepted, so that every token takes a full round.

    Attributes:
        drafts: tokens per round.
        reads: whether the drafter is a model.
        allowance: see :class:`~torpor.targets.decoder.speculative.rounds.Rules`.
    """

    drafts: int
    reads: bool
    allowance: int | None = None

    def counts(self, length: int, cap: int) -> list[int]:
        """Return the most of each unit for a prompt of ``length`` tokens and an output of up to ``cap``.

        Accepted guesses save whole rounds, and cost no more than two tokens that the drafter reads at once where it
        would have read one; these are counted at their most although no output has all of it.
        """
        rounds = []
        for made in range(cap):
            drafted = min(self.drafts, cap - made - 1)
            read = (1 if made else length) if drafted and self.reads else 0
            rounds.append(Round(length + made, read, drafted, 0))
        found = dict(zip(NAMES, counts(length, cap, rounds), strict=True))
        found[ACCEPTED] = cap - 1
        caught = (cap - 1) // (self.drafts + 1) if self.reads else 0
        found[READ] += caught
        found[DRAFT_KEY] += caught if self.drafts == 1 else 0
        if self.allowance is not None:
            self._cut(found, length, cap, caught)
        return list(found.values())

    def _cut(self, found: dict[str, int], length: int, cap: int, caught: int) -> None:
        """Lower what a guard bounds: of ``d`` guesses at most the accepted ones, as many, and the allowance."""
        assert self.allowance is not None
        drafts = self.drafts
        # rejected <= allowance + drafts + accepted, and each round yields one token beside those accepted
        guesses = (self.allowance + drafts + 2 * cap) * drafts // (drafts + 2)
        last, first = length + cap, min(drafts, cap - 1)
        lower = {
            DRAFTED: guesses,
            CHECKED: cap + guesses,
            KEY: (length + first) ** 2 + sum(range(length + 1, last)) + guesses * last,
            DRAFT_KEY: length * length + (guesses + caught) * last,
        }
        for name, most in lower.items():
            found[name] = min(found[name], most)
