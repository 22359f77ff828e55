"""DGSlow: a few tokens of a user's message after which a dialogue model answers at length, and wrongly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.iterative import gradient_of
from torpor.attacks.text.nmtsloth import TOP_K, LateEnd, importance
from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.forced import answer_scores, chosen
from torpor.attacks.text.search.gradients import TokenGradient, first_order, token_gradient
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import token_substitution
from torpor.core.batches import sample_generators
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

PLACES = 5  # most important tokens, each of which is replaced
AT_ONCE = 16  # candidates whose answers are scored together
SMALL = 1e-7  # added to the likelihood of the reference
DELTA = 0.5  # above which the adaptive search picks at random


@dataclass(frozen=True, kw_only=True)
class DGSlow(TextSearch):
    """Replace ``eps`` tokens of the message, one per round, by two gradients at once: a late end and a wrong answer.

    The losses are NMTSloth's, and the mean log-probability of the reference: what the audit's data hold, or the clean
    answer. Their gradients are weighted so that the sum has the least norm (MGDA's closed form for two tasks); the
    tokens that it ranks first are replaced by those that lower both losses most, to first order. A round goes on from
    the candidate with the highest ``steps / (likelihood of the reference + 1e-7)``. The adaptive search picks one at
    random instead once ``round * exp(similarity - 1) / (rounds - 1)`` is above 0.5. Of all candidates the one with the
    longest real output is returned: how wrong it is shows in the utility of the audit, not in its cost.

    Only the user's free message changes: the last turn of a conversation, or the whole of a text without one. What
    differs from the paper:

    - Substitutes come from the gradient, not from BERT: they fit the place less well. They are tried at the five most
      important tokens, 50 each; how many the paper tries is not known.
    - The likelihood of the reference is the geometric mean over its tokens, as the product is below 1e-7 for most.
    - The similarity of candidates and clean text is that of their mean input embeddings, not of sentence embeddings.
    - One candidate is followed, not a beam of two, and the search ends at the cap.
    - For language models that continue their prompt, such as DialoGPT; the paper's BART and T5 are left out.

    Attributes:
        fitness: how the next round's text is chosen.
        references: texts that are to become unlikely, one per input; set by the search.
    """

    id: ClassVar[str] = "dgslow"
    paper: ClassVar[Paper | None] = Paper(
        "White-Box Multi-Objective Adversarial Attack on Dialogue Generation",
        "Li et al.",
        "ACL",
        2023,
        "arXiv:2305.03655",
    )
    norms: ClassVar[tuple[str, ...]] = ("tokens",)
    reads: ClassVar[type | None] = StepSignals
    needs: ClassVar[tuple[str, ...]] = (
        "embedding_matrix",
        "score",
        "cap",
        "decoder_only",
        "soft_continuation",
        "features",
    )

    norm: str = "tokens"
    fitness: Literal["adaptive", "combined"] = "adaptive"
    references: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    @override
    def applies_to(cls, target: Any) -> bool:  # one that reads text
        """Tell whether ``target`` continues its prompt: it is asked how likely the reference is."""
        return super().applies_to(target) and bool(target.decoder_only)

    @override
    def aimed(self, labels: object) -> DGSlow:
        known = labels if isinstance(labels, tuple | list) else ()
        return replace(self, references=tuple(text if isinstance(text, str) else "" for text in known))

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, codec = Sendable(target.space, self.budget), target.space.codec
        matrix = target.embedding_matrix().detach()
        allowed = insertable(codec, len(matrix))
        generators = sample_generators(inputs, seed, self.id)
        references = self.references or ("",) * len(inputs)
        rounds = int(self.eps)

        def proposals(text: str, gradient: TokenGradient) -> Iterator[str]:
            ids = gradient.ids.tolist()
            best = first_order(gradient, matrix, allowed).topk(min(TOP_K, len(matrix)), largest=False)
            for place in importance(gradient)[:PLACES]:
                for score, token in zip(best.values[place].tolist(), best.indices[place].tolist(), strict=True):
                    if score < torch.inf and (changed := token_substitution(codec, ids, place, token)) is not None:
                        yield changed

        def climb(row: int) -> Search:
            clean = current = inputs[row]
            answer = self._answer(target, clean, references[row], row, tally)
            for turn in range(rounds):
                gradient = self._gradient(target, current, answer, row, tally)
                found = dict.fromkeys(text for text in proposals(current, gradient) if fits(clean, text))
                tried = [text for text in found if text != current]
                if not tried:
                    return
                steps = (yield tried).steps
                if turn == rounds - 1 or max(steps) >= tally.cap:
                    return
                if self.fitness == "adaptive" and wanders(target, clean, tried, turn, rounds):
                    current = tried[int(torch.randint(len(tried), (), generator=generators[row]))]
                else:
                    likelihoods = likelihood(target, tried, answer)
                    tally.forwards[row] += len(tried)
                    worth = [one / (likely + SMALL) for one, likely in zip(steps, likelihoods, strict=True)]
                    current = tried[worth.index(max(worth))]

        return climb

    def _answer(self, target: TextTarget, clean: str, reference: str, row: int, tally: Tally) -> Tensor:
        """Return the ids that are to become unlikely, as many as the target could generate."""
        ids = target.space.codec.encode(reference) if reference.strip() else ()
        if not ids:
            ids = target.run((clean,)).outputs[0].ids
            tally.forwards[row] += 1
        most = int(target.iterations(target.max_work((clean,))))
        return torch.tensor(ids[:most], device=target.device)

    def _gradient(self, target: TextTarget, text: str, answer: Tensor, row: int, tally: Tally) -> TokenGradient:
        """Return the gradient of least norm between those of the two losses."""
        late = token_gradient(target, text, LateEnd())
        embeddings = target.embedding_matrix().detach()[late.ids].requires_grad_()
        loss = chosen(answer_scores(target, embeddings.unsqueeze(0), answer)[0], answer).mean()
        wrong = replace(late, rows=gradient_of(loss, embeddings), loss=loss.item())
        for gradient in (late, wrong):
            tally.note(row, gradient)
        share = least_norm(late.rows, wrong.rows)
        return replace(
            late,
            rows=share * late.rows + (1 - share) * wrong.rows,
            loss=share * late.loss + (1 - share) * wrong.loss,
        )


def least_norm(first: Tensor, second: Tensor) -> float:
    """Return the share of ``first`` in the convex combination of two gradients that has the least norm.

    >>> least_norm(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])), least_norm(torch.ones(1), torch.ones(1))
    (0.5, 0.5)
    >>> least_norm(torch.tensor([2.0]), torch.tensor([1.0])), least_norm(torch.tensor([1.0]), torch.tensor([-3.0]))
    (0.0, 0.75)
    """
    between = second - first
    size = float(between.square().sum())
    return 0.5 if size == 0 else min(1.0, max(0.0, float((between * second).sum()) / size))


def likelihood(target: TextTarget, texts: Sequence[str], answer: Tensor) -> list[float]:
    """Return how likely an answer is after each of some texts of the same number of tokens: the mean of its tokens'.

    The mean is the geometric one.
    """
    matrix = target.embedding_matrix().detach()
    found: list[float] = []
    with torch.no_grad():
        for start in range(0, len(texts), AT_ONCE):
            ids = [target.space.codec.encode(text) for text in texts[start : start + AT_ONCE]]
            scores = answer_scores(target, matrix[torch.tensor(ids, device=matrix.device)], answer)
            found += chosen(scores, answer.expand(len(ids), -1)).mean(1).exp().tolist()
    return found


def wanders(target: TextTarget, clean: str, texts: Sequence[str], turn: int, rounds: int) -> bool:
    """Tell whether the adaptive search picks at random in a round, counted from 0."""
    with torch.no_grad():
        known = target.features((clean, *texts))
        similarity = torch.cosine_similarity(known[:1], known[1:]).mean().item()
    return rounds > 1 and turn * math.exp(similarity - 1) / (rounds - 1) > DELTA
