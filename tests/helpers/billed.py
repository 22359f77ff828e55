"""A model of which nothing is known but what it bills, and whose costliest answers are known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from torpor.core.text import Characters, TextSpace
from torpor.core.units import Behavior, Unit
from torpor.core.work import Outcome, PriceList, Work
from torpor.targets.base import Target
from torpor.targets.family import Family

PROMPT_USD, OUTPUT_USD = 1e-7, 4e-7


class BilledFamily(Family["BilledTarget"]):
    """Models that bill tokens."""

    id: ClassVar[str] = "billed"
    behavior: ClassVar[Behavior] = Behavior.ITERATION


class BilledTarget(Target):
    """Bills a token per character, and answers one token, ten more for each digit and a hundred for each ``again``.

    Args:
        most: tokens of an answer.
        room: characters of a prompt.
    """

    family = BilledFamily()
    space: TextSpace
    mechanism = "text generation"

    def __init__(self, most: int = 5000, room: int = 2000) -> None:
        self.name, self.device, self.most = "billed", torch.device("cpu"), most
        self.units = (Unit("prompt_token", None), Unit("output_token", None))
        self.space = TextSpace(Characters(), room)
        self.asked: list[str] = []

    def tokens(self, text: str) -> int:
        """Return the tokens of an answer."""
        digits = sum(character.isdigit() for character in text)
        return min(self.most, 1 + 10 * digits + 100 * text.lower().count("again"))

    def bill(self, text: str) -> int:
        """Return what a text and its answer cost, in the price of a prompt token."""
        return len(text) + round(OUTPUT_USD / PROMPT_USD) * self.tokens(text)

    def run(self, inputs: Sequence[str]) -> Outcome:
        """See :meth:`Target.run`; what was asked is noted."""
        texts = self.space.check(tuple(inputs))
        self.asked += texts
        counts = [[len(text), self.tokens(text)] for text in texts]
        return Outcome(tuple("yes" for _ in texts), Work(torch.tensor(counts)))

    def max_work(self, inputs: Sequence[str]) -> Work:
        """See :meth:`Target.max_work`."""
        return Work(torch.tensor([[self.space.max_tokens, self.most]] * len(inputs)))

    def price(self, units: Sequence[Unit]) -> PriceList:
        """See :meth:`Target.price`."""
        return PriceList("dollars", (PROMPT_USD, OUTPUT_USD))

    def utility(self, outputs: Sequence[str], references: Sequence[str]) -> Tensor:
        """See :meth:`Target.utility`."""
        return torch.full((len(outputs),), torch.nan, dtype=torch.float64)

    def agreement(self, outputs: Sequence[str], clean: Sequence[str]) -> Tensor:
        """See :meth:`Target.agreement`."""
        return torch.tensor([one == other for one, other in zip(outputs, clean, strict=True)])

    def to(self, device: torch.device) -> BilledTarget:
        """See :meth:`Target.to`."""
        return self
