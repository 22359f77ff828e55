"""Searches that ask and are answered, one per sample, so that candidates of all samples are decoded together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.text.search.goal import Answers, ask_each
from torpor.attacks.text.search.tally import Tally
from torpor.core.signals import StepSignals, TextGateSignals
from torpor.targets.base import Target
from torpor.targets.decoder.contract import TextTarget

Search = Generator[Sequence[str], Answers, None]
"""Yields texts that may be sent, is given what each costs and how long it makes the target run, and ends when it has
nothing left to ask."""


@dataclass(frozen=True, kw_only=True)
class TextSearch(Attack):
    """Base of attacks that keep the costliest of many candidates: they say what to ask for one sample.

    Attributes:
        sends_its_own: whether the costliest of its texts is sent even if the clean text costs more: answers may
            vary, and the costlier of the two counts.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    radii: ClassVar[Mapping[str, float]] = {}
    sends_its_own: ClassVar[bool] = False

    eps: float = 3

    @abstractmethod
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        """Return what makes the search of each sample, told by its row.

        Args:
            target: what to attack.
            inputs: clean texts.
            seed: of all randomness, to be drawn per sample.
            tally: what is found and spent; whatever a search is answered is in it already.
        """

    def aimed(self, labels: object) -> TextSearch:
        """Return the search that knows the references of the inputs, for those that aim at them; by default itself."""
        return self

    def follows_gradients(self, target: Target) -> bool:
        """Tell whether gradients of ``target`` may propose candidates."""
        return self.reads is not None

    @override
    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        tally = Tally.start(target, inputs, self.budget)
        search = self.aimed(labels).begin(target, inputs, seed, tally)
        drive(target, {row: search(row) for row in tally.open}, tally)
        return tally.candidates(white=self.follows_gradients(target), clean=inputs if self.sends_its_own else ())


def shows_gradients(target: Target) -> bool:
    """Tell whether a target has gradients with respect to the embeddings of its tokens; a black box has none."""
    signals = target.family.signals
    return (
        signals is not None
        and issubclass(signals, (StepSignals, TextGateSignals))
        and target.offers("embedding_matrix")
    )


def drive(target: TextTarget, searches: Mapping[int, Search], tally: Tally) -> None:
    """Answer the searches of some rows until they end; what they ask at the same time is decoded together.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> heard = []
    >>> def ask(*texts):
    ...     heard.extend((yield texts).steps)
    >>> tally = Tally.start(ToyText(), ("a", "a"))
    >>> drive(ToyText(), {0: ask("9", "a"), 1: ask("z")}, tally)
    >>> heard, tally.best(0), tally.forwards
    ([10, 1, 2], ('9', 10.0), [3, 2])
    """
    asked = {row: texts for row, search in searches.items() if (texts := next(search, None)) is not None}
    while asked:
        answers = ask_each(target, asked)
        for row, answer in answers.items():
            tally.answer(row, asked[row], answer)
        following = {row: told(searches[row], answer) for row, answer in answers.items()}
        asked = {row: texts for row, texts in following.items() if texts is not None}


def told(search: Search, answer: Answers) -> Sequence[str] | None:
    """Give a search its answer, and return what it asks next; None if that was all."""
    try:
        return search.send(answer)
    except StopIteration:
        return None
