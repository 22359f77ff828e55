"""The Excessive Reasoning Attack: a few tokens after a question that make a reasoning model think on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.decoder.objectives import masked_mean, without
from torpor.attacks.text.search.constraints import insertable
from torpor.attacks.text.search.coordinates import CoordinateSearch, Segment
from torpor.attacks.text.search.forced import answer_scores, chosen
from torpor.attacks.text.search.gradients import Loss
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.text import Codec
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

DELIBERATION = ("wait", "but", "alternatively", "maybe", "perhaps", "another")
"""Words that begin another line of thought: the paper's, and the others that Overthink-HGA counts."""
END_OF_THINKING = "</think>"
"""What reasoning models write when they go over to their answer."""
SENTENCE_END = (".", "!", "?", "\n")


@dataclass(frozen=True, eq=False)
class LongReasoning:
    """The sum of the paper's three losses, each a mean over steps.

    *Priority cross-entropy* keeps the answer's tokens likely, most those whose log-probability depends on the prompt:
    their weight is by how much it changes where the embeddings of the user's text are zero, 1 on average. *Excessive
    reasoning* makes a token of deliberation likely wherever a sentence begins. *Delayed termination*, ``beta`` times,
    makes the end token and the end of thinking unlikely: the mean of ``-log(1 - p_t(ends))``.

    Attributes:
        target: the language model.
        deliberation: ids of tokens that begin another line of thought.
        ends: ids of the tokens that end the answer or the thinking.
        beta: weight of delayed termination.
    """

    target: TextTarget
    deliberation: tuple[int, ...]
    ends: tuple[int, ...]
    beta: float

    def __call__(self, signals: StepSignals) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        keep, deliberate, delay = self.losses(signals)
        return keep + deliberate + self.beta * delay

    def losses(self, signals: StepSignals) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three losses, each ``[B]``."""
        total = signals.logits.logsumexp(-1)
        keep = -masked_mean(priorities(self.target, signals) * chosen(signals.logits, signals.ids), signals)
        starts = sentence_starts(self.target.space.codec, signals)
        missing = torch.where(starts, total - signals.logits[..., list(self.deliberation)].logsumexp(-1), 0)
        deliberate = missing.sum(1) / starts.sum(1)
        ends = torch.tensor(self.ends, device=total.device).expand(*total.shape, -1)
        return keep, deliberate, masked_mean(total - without(signals.logits, ends).logsumexp(-1), signals)


def priorities(target: TextTarget, signals: StepSignals) -> Tensor:
    """Return by how much each token's log-probability depends on the user's text, ``[B, T]``, 1 on average."""
    assert signals.embeddings is not None
    assert signals.input_mask is not None
    with torch.no_grad():
        weights = torch.ones(signals.ids.shape, device=signals.logits.device)
        given = chosen(signals.logits, signals.ids)
        for row, length in enumerate(signals.mask.sum(1).tolist()):
            own, ids = signals.embeddings[row][signals.input_mask[row]], signals.ids[row, :length]
            scores = answer_scores(target, torch.zeros_like(own).unsqueeze(0), ids)[0]
            change = (given[row, :length] - chosen(scores, ids)).abs()
            if change.mean() > 0:
                weights[row, :length] = (change / change.mean()).to(weights)
    return weights


def sentence_starts(codec: Codec, signals: StepSignals) -> Tensor:
    """Return at which steps a sentence begins, bool ``[B, T]``: the first, and those after what ends one."""
    known = {token: codec.decode((token,)) for token in set(signals.ids[signals.mask].tolist())}
    before = [
        [known.get(token, "").rstrip(" ").endswith(SENTENCE_END) for token in row] for row in signals.ids.tolist()
    ]
    starts = torch.tensor(before, device=signals.mask.device).roll(1, 1)
    starts[:, 0] = True
    return starts & signals.mask


def deliberation_ids(codec: Codec, size: int) -> tuple[int, ...]:
    """Return the ids that are words of deliberation, or else the first token of each word.

    >>> from torpor.targets.decoder.toy_text import ToyCodec
    >>> ToyCodec().decode(deliberation_ids(ToyCodec(), 107))
    'ABMPW'
    """
    tokens = insertable(codec, size).nonzero().flatten().tolist()
    whole = tuple(token for token in tokens if codec.decode((token,)).strip().lower() in DELIBERATION)
    return whole or tuple(sorted({codec.encode(word.capitalize())[0] for word in DELIBERATION}))


def thinking_ends(codec: Codec) -> tuple[int, ...]:
    """Return the id of the end of thinking, if it is one token."""
    ids = codec.encode(END_OF_THINKING)
    spelled = END_OF_THINKING in codec.special_texts or codec.decode(ids).strip() == END_OF_THINKING
    return tuple(ids) if len(ids) == 1 and spelled else ()


@dataclass(frozen=True, kw_only=True)
class ExcessiveReasoning(CoordinateSearch):
    """Append ``eps`` tokens, and improve them by GCG on the sum of three losses: see :class:`LongReasoning`.

    The paper was read in notes and reviews, not whole. What differs, or is not known:

    - The paper's cross-entropy is to long answers that were written for it; here it is to the answer that the current
      suffix gets, so it keeps the line of thought that the other two losses lengthen.
    - How the paper scales the weights of tokens, and which of its losses has the weight 50, is not known: here weights
      are 1 on average and ``beta`` weighs delayed termination. Its further words of deliberation are not known either.
    - Steps, candidates and substitutes are those of GCG's own paper.
    - All candidates generate, and the longest output decides; see
      :class:`~torpor.attacks.text.search.coordinates.CoordinateSearch`. What counts is all that is generated, not only
      what comes before the end of thinking, and whether the answer stays right is reported, not enforced.

    For language models that continue their prompt; each gradient takes a second forward pass, without the user's text.

    Attributes:
        beta: weight of delayed termination.
    """

    id: ClassVar[str] = "excessive-reasoning"
    paper: ClassVar[Paper | None] = Paper(
        "Excessive Reasoning Attack on Reasoning LLMs", "Si et al.", "arXiv", 2025, "arXiv:2506.14374"
    )
    needs: ClassVar[tuple[str, ...]] = (*CoordinateSearch.needs, "decoder_only", "soft_continuation")
    passes: ClassVar[int] = 2

    eps: float = 10
    beta: float = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta < float("inf"):
            raise UsageError(f"expected beta of 0 or more, got {self.beta}")

    @classmethod
    @override
    def applies_to(cls, target: Any) -> bool:  # one that reads text
        """Tell whether ``target`` continues its prompt: it is asked how it would without the user's text."""
        return super().applies_to(target) and bool(target.decoder_only)

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        codec, size = target.space.codec, len(target.embedding_matrix())
        ends = tuple(sorted({*target.eos, *thinking_ends(codec)}))
        loss = LongReasoning(target, deliberation_ids(codec, size), ends, self.beta)
        return lambda segment: loss
