"""Rerouting with the gate at hand: a suffix that lifts its score above the threshold, by greedy coordinate gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.coordinates import Segment, appended, per_slot
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import token_gradient
from torpor.attacks.text.search.random_edits import RandomEditor
from torpor.attacks.text.search.tally import Tally
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import TextGateSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

PAPER = Paper(
    "RerouteGuard: Understanding and Mitigating Adversarial Risks for LLM Routing",
    "Zhang et al.",
    "arXiv",
    2026,
    "arXiv:2601.21380",
)


@dataclass(frozen=True, kw_only=True)
class Rerouting(TextSearch):
    """Append tokens, and change one at a time to what raises the gate's score most.

    The cost escalation of the paper's taxonomy with white-box access, known from its abstract: that it goes by a suffix
    and greedy coordinate gradient is this implementation's reading. It begins anew where no substitution helps, and a
    text is done where the expensive model is asked.

    Attributes:
        steps: substitutions at most.
        candidates: the best to first order, whose scores are computed in each step.
    """

    id: ClassVar[str] = "rerouting"
    paper: ClassVar[Paper | None] = PAPER
    norms: ClassVar[tuple[str, ...]] = ("suffix",)
    reads: ClassVar[type | None] = TextGateSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "expensive")

    norm: str = "suffix"
    eps: float = 4
    steps: int = 16
    candidates: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.candidates) < 1:
            raise UsageError(f"expected steps and candidates of 1 or more, got {self.steps} and {self.candidates}")

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, codec = Sendable(target.space, self.budget), target.space.codec
        matrix = target.embedding_matrix().detach()
        allowed = insertable(codec, len(matrix))
        generators = sample_generators(inputs, seed, self.id)

        def climb(row: int) -> Search:
            clean, editor = inputs[row], RandomEditor(fits, allowed)
            start = len(codec.encode(clean))
            current = editor.edit(clean, int(self.eps), generators[row])
            for _ in range(self.steps):
                if current == clean:
                    return
                yield [current]
                segment = tuple(codec.encode(current))[start:]
                gradient = token_gradient(target, current, margin)
                tally.note(row, gradient)
                if gradient.loss < 0 or not segment:
                    return
                changes = per_slot(gradient, start, segment, matrix, allowed)
                texts = self._better(fits, clean, segment, changes)
                if not texts:
                    return
                margins = [margin_of(target, text) for text in texts]
                tally.forwards[row] += len(texts)
                best = min(margins)
                improved = best < gradient.loss
                current = texts[margins.index(best)] if improved else editor.edit(clean, int(self.eps), generators[row])

        return climb

    def _better(self, fits: Sendable, clean: str, segment: Segment, changes: Tensor) -> list[str]:
        """Return texts with one token of the suffix changed, the best to first order that may be sent."""
        texts, width = dict[str, None](), changes.shape[1]
        for place in changes.flatten().topk(min(8 * self.candidates, changes.numel()), largest=False).indices.tolist():
            slot, token = divmod(place, width)
            text = appended(fits, clean, (*segment[:slot], token, *segment[slot + 1 :]))
            if text is not None:
                texts[text] = None
            if len(texts) == self.candidates:
                break
        return list(texts)


def margin(signals: TextGateSignals) -> Tensor:
    """Return by how much the gate saves the expensive model, ``[B]``: what is to be minimized."""
    return signals.margins[:, 0]


def margin_of(target: Any, text: str) -> float:  # noqa: ANN401 - a router
    """Return the margin of one text."""
    with torch.no_grad():
        return float(margin(target.signals((text,))).detach())
