"""Objectives of attacks on decoders: the signals of every step to a loss per sample. Attacks minimize them.

Steps after a sample's own end token carry no loss, whatever its neighbors in the batch do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import State
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals

TINY = 1e-12
"""What weights divide by at least."""


class StepObjective(IterateObjective[StepSignals]):
    """A loss to minimize."""


def masked_mean(values: Tensor, signals: StepSignals) -> Tensor:
    """Return the mean of ``values`` ``[B, T]`` over the steps that each sample ran, ``[B]``."""
    return masked_sum(values, signals) / signals.mask.sum(1)


def masked_sum(values: Tensor, signals: StepSignals) -> Tensor:
    """Return the sum of ``values`` ``[B, T]`` over the steps that each sample ran, ``[B]``."""
    return torch.where(signals.mask, values, 0).sum(1)


def end_score(signals: StepSignals) -> Tensor:
    """Return the logit of ending at each step, ``[B, T]``; several end tokens count as one that is as likely."""
    return signals.logits[..., list(signals.eos)].logsumexp(-1)


def end_probability(signals: StepSignals) -> Tensor:
    """Return the probability of ending at each step, ``[B, T]``."""
    return (end_score(signals) - signals.logits.logsumexp(-1)).exp()


def without(logits: Tensor, ids: Tensor) -> Tensor:
    """Return ``logits`` ``[B, T, V]`` with minus infinity at ``ids`` ``[B, T, N]``."""
    return logits.scatter(-1, ids, -torch.inf)


def without_end(signals: StepSignals) -> Tensor:
    """Return the logits of all tokens that do not end the output, minus infinity elsewhere."""
    ends = torch.tensor(signals.eos, device=signals.logits.device)
    return without(signals.logits, ends.expand(*signals.logits.shape[:2], -1))


@dataclass(frozen=True)
class DelayAndDiverge(StepObjective):
    """Make the end token and the likeliest token unlikely (NICGSlowDown, CVPR 2022): ``mean_t -log(1 - s_t)``.

    ``s_t`` is the end token's probability plus, where another token is the likeliest, that one's: the first part delays
    the end, the second one changes the words and with them all that follows. ``1 - s_t`` is summed over the other
    tokens, so the loss is finite and has a gradient where ``s_t`` rounds to 1.

    Attributes:
        terms: ``"both"``, or one of the paper's ablations: the ``"end"`` token only, or the ``"chosen"`` token only.
    """

    terms: Literal["both", "end", "chosen"] = "both"

    @override
    def __call__(self, signals: StepSignals, step: int, state: State) -> Tensor:
        logits = signals.logits
        others = logits if self.terms == "chosen" else without_end(signals)
        likeliest = logits.detach().argmax(-1, keepdim=True)
        if self.terms != "end":
            others = without(others, likeliest)
        rest = others.logsumexp(-1) - logits.logsumexp(-1)
        if self.terms == "chosen":
            ends = torch.tensor(signals.eos, device=logits.device)
            rest = torch.where(torch.isin(likeliest.squeeze(-1), ends), 0, rest)
        return -masked_mean(rest, signals)


@dataclass(frozen=True)
class LowerEnd(StepObjective):
    """Lower the end token at every step, raise the best other one at the last (SlothSpeech, Interspeech 2023).

    ``sum_t z_t(end) - z_N(best token that does not end)``, with logits ``z`` and ``N`` steps.
    """

    @override
    def __call__(self, signals: StepSignals, step: int, state: State) -> Tensor:
        last = signals.mask.sum(1, keepdim=True) - 1
        best = without_end(signals).amax(-1).gather(1, last).squeeze(1)
        return masked_sum(end_score(signals), signals) - best


@dataclass(frozen=True)
class Verbose(StepObjective):
    """Delay the end, make every token uncertain, make tokens differ (Verbose Images, ICLR 2024).

    ``w1 L1 + L2 + w3 L3`` with ``L1`` the mean probability of the end token, ``L2`` the sum over steps of the
    divergence of the tokens' distribution from the uniform one, and ``L3`` minus the nuclear norm of the hidden states
    ``[N, D]``. The weights balance the three by the losses of the iteration before:
    ``w1 = |L2 / L1 / (10 ln(t + 1) - 20)|`` and ``w3 = |L2 / L3 / (0.5 ln(t + 1) + 1)|``, smoothed over iterations. The
    first denominator crosses zero near ``t = 6.4``; it is kept at 1 or more in size.

    Attributes:
        momentum: share of the old weight in the new one.
        reverse: take the divergence of the uniform distribution from the tokens', as the released code does.
    """

    momentum: float = 0.9
    reverse: bool = False

    def __call__(self, signals: StepSignals, step: int, state: State) -> Tensor:
        """See :class:`StepObjective`.

        Raises:
            UsageError: if the target shows no hidden states.
        """
        losses = self.losses(signals)
        found = torch.stack([loss.detach() for loss in losses], 1)
        now = self.weights(state.get("losses", found), step)
        old = state.get("weights", now)
        weights = self.momentum * old + (1 - self.momentum) * now
        state |= {"losses": found, "weights": weights}
        return (weights * torch.stack(losses, 1)).sum(1)

    def losses(self, signals: StepSignals) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three losses, each ``[B]``."""
        if signals.hidden is None:
            raise UsageError("expected a decoder that shows its hidden states, got signals without; use another attack")
        logs = signals.logits.log_softmax(-1)
        uniform = -math.log(logs.shape[-1])
        each = uniform - logs.mean(-1) if self.reverse else (logs.exp() * logs).sum(-1) - uniform
        norms = [nuclear_norm(states[ran]) for states, ran in zip(signals.hidden, signals.mask, strict=True)]
        return masked_mean(end_probability(signals), signals), masked_sum(each, signals), -torch.stack(norms)

    def weights(self, losses: Tensor, step: int) -> Tensor:
        """Return the weights ``[B, 3]`` that follow from ``losses`` ``[B, 3]`` at ``step``, not yet smoothed."""
        end, uncertain, varied = losses.abs().clamp_min(TINY).unbind(1)
        first = max(abs(10 * math.log(step + 1) - 20), 1.0)
        third = 0.5 * math.log(step + 1) + 1
        return torch.stack([uncertain / end / first, torch.ones_like(end), uncertain / varied / third], 1)

    def rank(self, signals: StepSignals, loss: Tensor) -> Tensor:
        """Return the mean probability of the end token: weights differ between iterations."""
        return masked_mean(end_probability(signals), signals).detach()


@dataclass(frozen=True)
class SayAgain(StepObjective):
    """Make what was said before likely at every step, so that the output repeats itself: ``mean_t -log(p_t(said))``.

    An output of nothing but the end token has said nothing; there, all other tokens count.
    """

    @override
    def __call__(self, signals: StepSignals, step: int, state: State) -> Tensor:
        logits = signals.logits
        said = torch.zeros(len(logits), logits.shape[-1], dtype=torch.int64, device=logits.device)
        said = said.scatter_add(1, signals.ids, signals.mask.to(torch.int64)) > 0
        said[:, list(signals.eos)] = False
        said |= ~said.any(1, keepdim=True)
        again = without_end(signals).masked_fill(~said.unsqueeze(1), -torch.inf).logsumexp(-1)
        return -masked_mean(again - logits.logsumexp(-1), signals)


@dataclass(frozen=True)
class Wander(StepObjective):
    """Delay the end, make every token uncertain, and make steps differ in what the decoder remembers.

    The terms of :class:`Verbose` in sizes that stay: the mean of ``-log(1 - p_t(end))``, minus the mean entropy as a
    share of the largest, and minus the nuclear norm of the hidden states, each scaled to length 1, over their number.
    Without hidden states, the last one is left out.
    """

    @override
    def __call__(self, signals: StepSignals, step: int, state: State) -> Tensor:
        logs = signals.logits.log_softmax(-1)
        entropy = -torch.where(logs.isfinite(), logs.exp() * logs, 0).sum(-1) / math.log(logs.shape[-1])
        loss = DelayAndDiverge("end")(signals, step, state) - masked_mean(entropy, signals)
        if signals.hidden is None:
            return loss
        units = signals.hidden / signals.hidden.norm(dim=-1, keepdim=True).clamp_min(TINY)
        varied = [nuclear_norm(states[ran]) / len(states[ran]) for states, ran in zip(units, signals.mask, strict=True)]
        return loss - torch.stack(varied)


def nuclear_norm(matrix: Tensor) -> Tensor:
    """Return the sum of the singular values, as the inner product with its own gradient ``U V^T``: one decomposition.

    >>> round(nuclear_norm(torch.tensor([[3.0, 0.0], [4.0, 5.0]])).item(), 4)  # of sqrt(45) and sqrt(5)
    8.9443
    """
    left, _, right = torch.linalg.svd(matrix.detach(), full_matrices=False)
    inner: Tensor = (matrix * (left @ right)).sum()
    return inner
