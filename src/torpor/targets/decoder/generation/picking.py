"""Choose the next token of each row, and tell how close the call was."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def pick(
    logits: Tensor, process: Callable[[Tensor], Tensor], generators: Sequence[torch.Generator] | None, tie: float | None
) -> tuple[Tensor, Tensor]:
    """Choose as transformers does: the best processed score, or a draw from their softmax.

    Args:
        logits: raw scores, ``[B, V]``.
        process: maps them to processed scores.
        generators: one per row to draw with; None for the best.
        tie: scores this close, as a share of the row's largest logit, may swap places when batched arithmetic rounds
            differently; None if not asked for.

    Returns:
        Token ids ``[B]``, and how many times ``tie`` the winner is ahead ``[B]``: below 1 it could have been another.

    >>> pick(torch.tensor([[0.0, 5.0]]), lambda logits: logits, None, tie=0.5)
    (tensor([1]), tensor([2.]))
    """
    scores = process(logits)
    if generators is None:
        race = scores
    else:
        race = scores.softmax(-1) / torch.stack([_exponential(generator, scores) for generator in generators])
    tokens = _first_largest(race)
    if tie is None:
        return tokens, torch.full_like(race[:, 0], torch.inf)
    ahead, winner = race if generators is None else race.log(), tokens.unsqueeze(1)
    second = ahead.scatter(-1, winner, -torch.inf).amax(-1)  # several times as fast as topk
    reach = torch.maximum(logits.amax(-1), -logits.amin(-1)).clamp_min(1) * tie  # without a copy of all logits
    gaps = (ahead.gather(-1, winner).squeeze(1) - second) / reach
    if generators is not None:
        gaps[_at_an_edge(logits, scores, process, reach.unsqueeze(1))] = 0
    return tokens, gaps


def _first_largest(scores: Tensor) -> Tensor:
    """Return where each row's largest score is, the first of equal ones; by numpy, which is faster on a processor."""
    if scores.device.type != "cpu":
        return scores.argmax(-1)
    return torch.from_numpy(scores.numpy().argmax(-1))


def _exponential(generator: torch.Generator, scores: Tensor) -> Tensor:
    """Draw what ``torch.multinomial`` draws for one row; the largest ``probability / draw`` wins there."""
    drawn = torch.empty(scores.shape[1], dtype=scores.dtype, device=generator.device)
    return drawn.exponential_(generator=generator).to(scores.device)


def _at_an_edge(logits: Tensor, scores: Tensor, process: Callable[[Tensor], Tensor], reach: Tensor) -> Tensor:
    """Tell for which rows rounding could change the set of tokens that top-k, top-p and the like let through."""
    kept = scores > -torch.inf
    if kept.all():
        return torch.zeros_like(kept[:, 0])
    push = torch.where(kept, reach, -reach)
    changed = [((process(pushed) > -torch.inf) != kept).any(-1) for pushed in (logits + push, logits - push)]
    return changed[0] | changed[1]
