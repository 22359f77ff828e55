"""What a search over texts has found so far, and what it has spent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from torpor.attacks.base import Candidates
from torpor.attacks.search.incumbent import Improvement, Incumbent
from torpor.attacks.text.search.goal import Answers, ask, at_bound, most_steps, rises
from torpor.attacks.text.search.gradients import TokenGradient
from torpor.core.budget import GROWING, Budget
from torpor.targets.decoder.contract import TextTarget


@dataclass
class Tally:
    """The costliest text of each sample so far, and what was spent on it.

    Searches go on from the text that is worth most to them. That is the costliest where the budget lets a text grow,
    so that reading it costs more and more. Where it counts edits, reading costs about the same for all, and the text
    is the one with the longest output: plateaus are crossed sooner if a token more in the prompt decides nothing.

    Attributes:
        held: the texts, by what each costs; the clean ones at first.
        forwards: texts that the target was given, signals included, for each sample.
        backwards: backward passes for each sample.
        zero_gradient: whether most of each sample's first gradient was exactly zero.
        cap: decoder steps than which no text runs more; see :func:`~torpor.attacks.text.search.goal.most_steps`.
        target: that runs them.
        room: tokens that the text of each sample may grow to; None where the budget does not let it grow.
        found: of each sample, the text that is worth most to a search, and its worth: decoder steps, or cost.
        curves: of each sample, where its text became costlier.
        member: of an ensemble, whose turn it is on each sample.
        asked: of each sample, the costliest text with its cost, the clean one left out; None before any.
    """

    held: Incumbent
    forwards: list[int]
    backwards: list[int]
    zero_gradient: list[bool]
    cap: int
    target: TextTarget
    room: list[int] | None = None
    found: list[tuple[str, float]] = field(init=False)
    curves: list[list[Improvement]] = field(init=False)
    member: list[str] = field(init=False)
    asked: list[tuple[float, str] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.curves, self.member = [[] for _ in self.forwards], ["" for _ in self.forwards]
        self.found, self.asked = [("", -1.0) for _ in self.forwards], [None] * len(self.forwards)

    @staticmethod
    def start(target: TextTarget, clean: Sequence[str], budget: Budget | None = None) -> Tally:
        """Return what is known once the clean texts have run.

        Args:
            target: that runs them.
            clean: one per sample.
            budget: how far they may be changed; None if nobody says so.
        """
        count, held, answers = len(clean), Incumbent.begin(clean), ask(target, clean)
        held.offer(torch.arange(count), clean, torch.tensor(answers.costs, dtype=torch.float64))
        tally = Tally(held, [1] * count, [0] * count, [False] * count, most_steps(target), target)
        if budget is not None and budget.norm in GROWING:
            space, more = target.space, int(budget.eps)
            own = [len(space.codec.encode(text)) if budget.norm == "suffix" else 0 for text in clean]
            tally.room = [min(count + more, space.max_tokens) for count in own]
        tally.found = [(text, float(worth)) for text, worth in zip(clean, tally.worth(answers), strict=True)]
        return tally

    def worth(self, answers: Answers) -> Sequence[float]:
        """Return what each text is worth to a search: its cost, or its decoder steps where the budget counts edits."""
        return answers.steps if self.room is None else answers.costs

    @property
    def open(self) -> list[int]:
        """Samples of which a search may still find something costlier."""
        return [row for row in range(len(self.found)) if not self.ended(row)]

    def best(self, row: int) -> tuple[str, float]:
        """Return the text of a sample that is worth most to a search, and its worth."""
        return self.found[row]

    def ended(self, row: int) -> bool:
        """Tell whether a search on a sample is over: its output is as long as can be.

        Where the budget lets the text grow, its length costs, too: the search goes on until a text that is as long as
        the budget allows costs all that its static bound allows.
        """
        text, worth = self.found[row]
        if self.room is None:
            return worth >= self.cap
        return len(self.target.space.codec.encode(text)) >= self.room[row] and at_bound(self.target, text, worth)

    def can_win(self, row: int, texts: Sequence[str]) -> Sequence[str]:
        """Return those of some texts that can cost more than the costliest so far, by their own static bound.

        All of them where outputs decide: each may run to the cap.

        >>> from torpor.targets.decoder.toy_text import ToyText
        >>> Tally.start(ToyText(), ("a 4",)).can_win(0, ("a", "9"))
        ('a', '9')
        """
        if self.cap < sys.maxsize or not texts:
            return texts
        bounds, cost = self.target.prices.cost(self.target.max_work(tuple(texts))), float(self.held.cost[row])
        return [text for text, bound in zip(texts, bounds.tolist(), strict=True) if bound > cost]

    def spent(self, row: int) -> int:
        """Return the passes spent on a sample, forward and backward."""
        return self.forwards[row] + self.backwards[row]

    def answer(self, row: int, texts: Sequence[str], answers: Answers) -> None:
        """Count what was asked, and take the first of the costliest texts if it is costlier."""
        before, costs = self.spent(row), answers.costs
        self.forwards[row] += len(texts)
        for cost, text in zip(costs, texts, strict=True):
            if (found := self.asked[row]) is None or cost > found[0]:
                self.asked[row] = cost, text
        worth = self.worth(answers)
        if texts and max(worth) > self.found[row][1]:
            self.found[row] = texts[worth.index(max(worth))], float(max(worth))
        if texts and max(costs) > (held := float(self.held.cost[row])):
            self.curves[row] += rises(answers, held, before, self.member[row])
            place = costs.index(max(costs))
            self.held.offer(torch.tensor([row]), (texts[place],), torch.tensor([costs[place]], dtype=torch.float64))

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
            clean: texts in whose place the costliest of what was asked is sent, even if the clean text costs more.
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
