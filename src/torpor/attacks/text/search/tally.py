"""What a search over texts has found so far, and what it has spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from torpor.attacks.base import Candidates
from torpor.attacks.search.incumbent import Improvement, Incumbent
from torpor.attacks.text.search.goal import Answers, ask, most_steps, rises
from torpor.attacks.text.search.gradients import TokenGradient
from torpor.targets.decoder.contract import TextTarget


@dataclass
class Tally:
    """The costliest text of each sample so far, and what was spent on it.

    Attributes:
        held: the texts, by the decoder steps that each runs; the clean ones at first.
        forwards: texts that the target was given, signals included, for each sample.
        backwards: backward passes for each sample.
        zero_gradient: whether most of each sample's first gradient was exactly zero.
        cap: decoder steps than which no text runs more; see :func:`~torpor.attacks.text.search.goal.most_steps`.
        target: that runs them.
        curves: of each sample, where its text became longer.
        member: of an ensemble, whose turn it is on each sample.
        asked: of each sample, the text after which the output was longest, the clean one left out; None before any.
    """

    held: Incumbent
    forwards: list[int]
    backwards: list[int]
    zero_gradient: list[bool]
    cap: int
    target: TextTarget
    curves: list[list[Improvement]] = field(init=False)
    member: list[str] = field(init=False)
    asked: list[tuple[int, str] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.curves, self.member = [[] for _ in self.forwards], ["" for _ in self.forwards]
        self.asked = [None] * len(self.forwards)

    @staticmethod
    def start(target: TextTarget, clean: Sequence[str]) -> Tally:
        """Return what is known once the clean texts have run."""
        count, held = len(clean), Incumbent.begin(clean)
        held.offer(torch.arange(count), clean, torch.tensor(ask(target, clean).steps))
        return Tally(held, [1] * count, [0] * count, [False] * count, most_steps(target), target)

    @property
    def open(self) -> list[int]:
        """Samples whose output can still become longer."""
        return [row for row, steps in enumerate(self.held.cost.tolist()) if steps < self.cap]

    def best(self, row: int) -> tuple[str, int]:
        """Return the costliest text of a sample, and the decoder steps that it runs."""
        return self.held.inputs[row], int(self.held.cost[row])

    def spent(self, row: int) -> int:
        """Return the passes spent on a sample, forward and backward."""
        return self.forwards[row] + self.backwards[row]

    def answer(self, row: int, texts: Sequence[str], answers: Answers) -> None:
        """Count what was asked, and take the first of the costliest texts if it is costlier."""
        before, steps = self.spent(row), answers.steps
        self.forwards[row] += len(texts)
        for count, text in zip(steps, texts, strict=True):
            if (found := self.asked[row]) is None or count > found[0]:
                self.asked[row] = count, text
        if texts and max(steps) > self.held.cost[row]:
            longest = int(self.held.cost[row])
            self.curves[row] += rises(self.target, texts, answers, longest, before, self.member[row])
            place = steps.index(max(steps))
            self.held.offer(torch.tensor([row]), (texts[place],), torch.tensor([steps[place]]))

    def note(self, row: int, gradient: TokenGradient, forwards: int = 1) -> None:
        """Count one backward pass, and the forward passes that its gradient took."""
        if self.backwards[row] == 0:
            self.zero_gradient[row] = gradient.is_zero
        self.forwards[row] += forwards
        self.backwards[row] += 1

    def candidates(self, *, white: bool, clean: Sequence[str] = ()) -> Candidates:
        """Return what :meth:`torpor.attacks.base.Attack.search` must return.

        Args:
            white: whether it took gradients.
            clean: texts in whose place the longest of what was asked is sent, even if the clean output is longer.
        """
        found = list(self.held.inputs)
        for row, text in enumerate(clean):
            if found[row] == text and (asked := self.asked[row]) is not None:
                found[row] = asked[1]
        return Candidates(
            tuple(found),
            forwards=torch.tensor(self.forwards),
            backwards=torch.tensor(self.backwards),
            zero_gradient=torch.tensor(self.zero_gradient) if white else None,
            curves=self.curves,
        )
