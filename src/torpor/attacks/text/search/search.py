"""The search that published attacks on texts share: greedy rounds of one edit each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from torpor.attacks.base import Candidates
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.goal import decoder_steps
from torpor.attacks.text.search.gradients import TokenGradient
from torpor.targets.decoder.contract import TextTarget

AT_ONCE = 128  # candidates of one sample that are scored together


@dataclass
class Tally:
    """The costliest text of each sample so far, and what was spent on it.

    Attributes:
        held: the texts, by the decoder steps that each runs; the clean ones at first.
        forwards: texts that the target was given, signals included, for each sample.
        backwards: backward passes for each sample.
        zero_gradient: whether most of each sample's first gradient was exactly zero.
    """

    held: Incumbent
    forwards: list[int]
    backwards: list[int]
    zero_gradient: list[bool]

    @staticmethod
    def start(target: TextTarget, clean: Sequence[str]) -> Tally:
        """Return what is known once the clean texts have run."""
        count, held = len(clean), Incumbent.begin(clean)
        held.offer(torch.arange(count), clean, torch.tensor(decoder_steps(target, clean)))
        return Tally(held, [1] * count, [0] * count, [False] * count)

    @property
    def steps(self) -> list[int]:
        """Decoder steps that the costliest text of each sample runs."""
        return [int(steps) for steps in self.held.cost.tolist()]

    def offer(self, row: int, text: str, steps: int) -> None:
        """Take a text if it is costlier."""
        self.held.offer(torch.tensor([row]), (text,), torch.tensor([steps]))

    def note(self, row: int, gradient: TokenGradient) -> None:
        """Count one forward and one backward pass."""
        if self.backwards[row] == 0:
            self.zero_gradient[row] = gradient.is_zero
        self.forwards[row] += 1
        self.backwards[row] += 1

    def candidates(self, *, white: bool) -> Candidates:
        """Return what :meth:`torpor.attacks.base.Attack.search` must return; ``white`` if it took gradients."""
        return Candidates(
            tuple(self.held.inputs),
            forwards=torch.tensor(self.forwards),
            backwards=torch.tensor(self.backwards),
            zero_gradient=torch.tensor(self.zero_gradient) if white else None,
        )


Move = Callable[[int, str, Tally], Iterable[str]]
"""From a sample's row and current text to the texts that the next round may try; what it spends goes into the tally."""


def greedy(
    target: TextTarget, clean: Sequence[str], move: Move, fits: Sendable, *, rounds: int, most: int | None = None
) -> Tally:
    """Change each text by one edit per round: always the edit after which the target generates longest.

    The next round starts from that text even if it is shorter than the best so far; the best of all rounds is kept, the
    clean text if none was longer. A sample whose output reached the cap leaves; the candidates that it has left are not
    even asked about, since none can be longer. Candidates are scored in batches across samples.

    Args:
        target: what to attack.
        clean: texts ``[B]``.
        move: proposes candidates; those that may not be sent, or were proposed twice, are dropped without a query.
        fits: what may be sent.
        rounds: edits at most.
        most: candidates per sample and round at most; all if None.
    """
    tally = Tally.start(target, clean)
    current = list(clean)
    rows = [row for row, steps in enumerate(tally.steps) if steps < target.cap]
    for _ in range(rounds):
        allowed = {row: _sendable(move(row, current[row], tally), current[row], clean[row], fits) for row in rows}
        longest = _longest(target, {row: islice(texts, most) for row, texts in allowed.items()}, tally)
        for row, (steps, text) in longest.items():
            tally.offer(row, text, steps)
            current[row] = text
        rows = [row for row in longest if tally.steps[row] < target.cap]
        if not rows:
            break
    return tally


def _sendable(proposed: Iterable[str], current: str, clean: str, fits: Sendable) -> Iterator[str]:
    """Yield each text once that may be sent and changes something."""
    return (text for text in dict.fromkeys(proposed) if text != current and fits(clean, text))


def _longest(target: TextTarget, allowed: Mapping[int, Iterator[str]], tally: Tally) -> dict[int, tuple[int, str]]:
    """Return the first of each row's texts that runs most steps, with these; rows without texts are left out."""
    longest: dict[int, tuple[int, str]] = {}
    rows = list(allowed)
    while rows:
        parts = {row: texts for row in rows if (texts := list(islice(allowed[row], AT_ONCE)))}
        scores = iter(decoder_steps(target, [text for texts in parts.values() for text in texts]))
        for row, texts in parts.items():
            tally.forwards[row] += len(texts)
            found = max(((next(scores), text) for text in texts), key=lambda pair: pair[0])
            longest[row] = max(longest.get(row, found), found, key=lambda pair: pair[0])
        rows = [row for row in parts if longest[row][0] < target.cap]
    return longest
