"""Trigger inversion of texts: a few tokens after any text, learned on some, that make the answers to others longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from torpor.attacks.text.search.constraints import insertable
from torpor.attacks.text.search.gradients import token_gradient
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.scan.images import of_steps, share_taken
from torpor.scan.natural import costs_of
from torpor.targets.base import Target

TOKENS = 2
"""Of a trigger at most."""
TRIED = 24
"""Tokens that are tried at each place, the best to first order and as many at random."""
LEARN = 6
"""Texts to learn from at most: each candidate is generated after all of them."""


@dataclass(frozen=True)
class TriggerText:
    """The costliest ending that was found, and what it does to other texts.

    Attributes:
        text: appended to any text.
        share: of the headroom that it takes on average of texts that it was not learned on.
        noise: the same of random tokens, the control.
    """

    text: str
    share: float
    noise: float


def can_append(target: Target) -> bool:
    """Tell whether a target reads texts, and can say where the end token would become less likely.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> can_append(ToyText())
    True
    """
    signals = target.family.signals
    return signals is not None and issubclass(signals, StepSignals) and target.offers("embedding_matrix")


def invert(
    target: Any,  # noqa: ANN401 - one that reads texts
    learn: Sequence[str],
    held_out: Sequence[str],
    seed: int = 0,
    go_on: Callable[[], bool] = lambda: True,
) -> TriggerText:
    """Search for a few tokens after any text that raise the cost, place by place (HotFlip, verified by generating).

    Args:
        target: see :func:`can_append`.
        learn: texts to learn from.
        held_out: texts to measure the trigger on.
        seed: of the random candidates.
        go_on: asked before each place; the search ends where it says no.

    Raises:
        UsageError: if no token can be appended.
    """
    texts, space = tuple(learn)[:LEARN], target.space
    matrix = target.embedding_matrix().detach()
    allowed = insertable(space.codec, len(matrix))
    if not allowed.any():
        raise UsageError(f"expected tokens that can be appended for {target.name}, got none; its codec has none")
    rng = torch.Generator().manual_seed(seed)
    ids = allowed.nonzero().flatten()
    drawn = [space.codec.decode((int(token),)) for token in ids[torch.randperm(len(ids), generator=rng)[:TRIED]]]

    def share(trigger: str, of: Sequence[str]) -> float:
        pairs = [(text, sent) for text in of if space.survives(sent := appended(text, trigger))]
        if not pairs:
            return 0.0
        clean, after = (tuple(each) for each in zip(*pairs, strict=True))
        return share_taken(costs_of(target, clean), costs_of(target, after))

    best, trigger = 0.0, ""
    for _ in range(TOKENS):
        if not go_on():
            break
        gradients = [token_gradient(target, appended(text, trigger), of_steps).rows[-1] for text in texts]
        change = (matrix @ torch.stack(gradients).sum(0)).masked_fill(~allowed.to(matrix.device), torch.inf)
        ranked = change.topk(min(TRIED, len(ids)), largest=False).indices.tolist()
        new = dict.fromkeys([*(space.codec.decode((token,)) for token in ranked), *drawn])
        found = {longer: share(longer, texts) for each in new if (longer := appended(trigger, each))}
        top = max(found, key=found.__getitem__)
        if found[top] <= best:
            break
        best, trigger = found[top], top
    return TriggerText(trigger, share(trigger, held_out), max(share(each, held_out) for each in drawn[:TOKENS]))


def appended(text: str, trigger: str) -> str:
    """Return a text with a trigger after it.

    >>> appended("a man", " in 2025"), appended("a man", "")
    ('a man in 2025', 'a man')
    """
    trigger = trigger.strip()
    return f"{text.rstrip()} {trigger}".strip() if trigger else text
