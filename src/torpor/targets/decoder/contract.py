"""The contract of targets that iterate until an end token: captioners, translators, language models, speech."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.text import TextSpace
from torpor.core.units import STEP as STEP
from torpor.core.work import Generation, Work
from torpor.targets.base import Target
from torpor.targets.decoder.family import StepFamily
from torpor.targets.decoder.stops import Stop


class StepTarget(Target):
    """A target whose work grows with the number of tokens that it generates.

    Attributes:
        cap: tokens that it generates at most.
        eos: ids of the tokens that end the output.
        stop: what else ends an output, if anything.
        stoppable: whether the decoding asks ``stop`` after every step.
    """

    family = StepFamily()
    cap: int
    eos: tuple[int, ...]
    stop: Stop | None = None
    stoppable: bool = False

    @abstractmethod
    def signals(self, inputs: Samples) -> StepSignals:
        """Decode as deployed without gradients, then evaluate every step of that sequence differentiably."""

    @abstractmethod
    def with_cap(self, cap: int) -> Self:
        """Return the same target with another cap."""

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: the cap on decoder steps, down to 1."""
        return self.cap

    def at_rung(self, rung: int) -> Self:
        """Return the target at a rung of :meth:`rungs`."""
        return self.with_cap(self.cap - rung)

    def with_stop(self, stop: Stop | None) -> Self:
        """Return the same target, whose outputs also end where ``stop`` decides so.

        Raises:
            UsageError: if its decoding cannot be stopped.
        """
        if not self.stoppable:
            raise UsageError(f"expected a target that asks at every step whether to continue, got {self.name}; cap it")
        other = copy.copy(self)
        other.stop = stop
        return other

    def iterations(self, work: Work) -> Tensor:
        """Return how many decoder steps each sample ran, int64 ``[B]``."""
        column = [unit.name for unit in self.units].index(STEP)
        return work.counts[:, column]

    def least_work(self) -> Work:
        """Return one run of every unit."""
        return Work(torch.ones(1, len(self.units), dtype=torch.int64))

    def details(self) -> dict[str, Any]:
        """Return the cap, and what else ends outputs; see :meth:`Target.details`."""
        return {"cap": self.cap} if self.stop is None else {"cap": self.cap, "stop": str(self.stop)}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the cap and the stop count."""
        return f"{super().fingerprint()} {self.cap} {self.eos} {self.stop or ''}"

    def agreement(self, outputs: Sequence[Generation], clean: Sequence[Generation]) -> Tensor:
        """Tell where the same text was generated."""
        return torch.tensor([one.text == other.text for one, other in zip(outputs, clean, strict=True)])


class TextTarget(StepTarget):
    """A :class:`StepTarget` that reads text.

    Attributes:
        decoder_only: whether the model continues its input, as language models do, with one embedding for both.
    """

    space: TextSpace
    decoder_only: bool = False

    @abstractmethod
    def embedding_matrix(self) -> Tensor:
        """Return the input embedding of every id ``[V, D]``, scaled as those of :meth:`signals` are."""

    def goal(self, work: Work) -> Tensor:
        """Return what searches over texts make as large as they can, int64 ``[B]``: by default the decoder steps."""
        return self.iterations(work)

    @property
    def most_goal(self) -> int:
        """The largest :meth:`goal` that any text can reach."""
        return self.cap

    def score(self, texts: Sequence[str]) -> Tensor:
        """Return the :meth:`goal` of each of many candidates, int64 ``[N]``: the same as of :meth:`run`."""
        return self.goal(self.run(tuple(texts)).work)

    def features(self, texts: Sequence[str]) -> Tensor:
        """Return the mean of the input embeddings of each text's tokens ``[B, D]``."""
        matrix = self.embedding_matrix()
        rows = [matrix[list(self.space.codec.encode(text))] for text in texts]
        return torch.stack([row.sum(0) / max(1, len(row)) for row in rows])

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        """Return the scores of the next token ``[B, P, V]`` at each position of embedded texts ``[B, P, D]``.

        Differentiable; for targets that are ``decoder_only``. What the target prepends to every text, such as a
        start token, is prepended here too, and what it appends, such as the end of a chat turn, is appended: the
        last scores are those of the first token that would be generated.

        Raises:
            UsageError: if the target cannot be asked so.
        """
        raise UsageError(f"expected a decoder-only language model, got {self.name}; attack it with texts")

    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        """Return the scores ``[B, P + T, V]`` at each position of embedded texts and of embedded answers.

        Like :meth:`soft_logits`, with an answer after whatever the target appends to every text; this method is right
        for targets that put nothing there.

        Args:
            embeddings: of texts ``[B, P, D]``.
            continuation: embeddings of what was generated ``[B, T, D]``.

        Raises:
            UsageError: if the target cannot be asked so.
        """
        return self.soft_logits(torch.cat([embeddings, continuation], 1))


def generated_length(ids: Sequence[int], eos: Sequence[int], cap: int) -> tuple[int, bool]:
    """Return how many decoder steps made ``ids``, and whether the cap ended them.

    The one definition of length: tokens after the prompt or start token, the end token counted, padding after it not.

    Args:
        ids: what was generated, prompt and start token left out, padding allowed after the end token.
        eos: ids that end an output.
        cap: tokens at most.

    >>> generated_length([5, 6, 2, 0, 0], eos=[2], cap=10), generated_length([5, 6, 7], eos=[2], cap=3)
    ((3, False), (3, True))
    """
    for place, token in enumerate(ids[:cap], 1):
        if token in eos:
            return place, False
    return min(len(ids), cap), True
