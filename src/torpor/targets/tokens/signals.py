"""What decides how many tokens, heads and layers of a vision transformer run, differentiably.

Patches are numbered row by row from the top left of the image; the class token always runs and is not among them.
Layers are numbered from the first. What a sample does not compute holds no news: scores of a token that has left are
those with which it left, or 0 where a docstring says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from torpor.core.signals import GateSignals


@dataclass(frozen=True, eq=False)
class TokenSignals(GateSignals):
    """Any transformer whose tokens may leave.

    Attributes:
        scores: class scores of the output, ``[B, C]``, differentiable, for attacks that keep the prediction.
        alive: which patches each layer computes, 1 or 0, ``[B, L, N]``; differentiable, straight-through.
    """

    scores: Tensor = field(default_factory=lambda: torch.empty(0))
    alive: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True, eq=False)
class PatchHaltingSignals(TokenSignals):
    """Tokens that halt once their halting scores add up to the threshold (A-ViT).

    Attributes:
        halting: score ``h`` of each patch after each layer, from 0 to 1, ``[B, L, N]``, as its network says, in the
            last layer too; 0 in layers that the patch did not run. Differentiable.
        cumulative: sum of ``halting`` up to and including each layer, ``[B, L, N]``. A patch runs in the next layer
            while it is below ``threshold``. Differentiable.
        ponder: layers that patches ran and what was left of the threshold before the last of them, averaged over
            patches, ``[B]``: the paper's ``rho``, from 1 to ``L + 1``. Differentiable through that remainder.
        threshold: see ``cumulative``.
    """

    halting: Tensor = field(default_factory=lambda: torch.empty(0))
    cumulative: Tensor = field(default_factory=lambda: torch.empty(0))
    ponder: Tensor = field(default_factory=lambda: torch.empty(0))
    threshold: float = 0.99


@dataclass(frozen=True, eq=False)
class UsageSignals(TokenSignals):
    """Patches, heads and halves of layers that a policy uses or skips (AdaViT); used where a probability is above 0.5.

    All are differentiable. Policies of every layer are told, also those of heads whose layer skips attention.

    Attributes:
        tokens: probability that each layer uses each patch, ``[B, L, N]``.
        heads: probability that each layer uses each head of its attention, ``[B, L, H]``.
        blocks: probability that each layer uses its attention (0) and its perceptron (1), ``[B, L, 2]``.
    """

    tokens: Tensor = field(default_factory=lambda: torch.empty(0))
    heads: Tensor = field(default_factory=lambda: torch.empty(0))
    blocks: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True, eq=False)
class SignificanceSignals(TokenSignals):
    """Patches that a sampling by significance keeps (ATS).

    Attributes:
        attention: of the class token to each patch, as the layer's softmax over class token and patches gives it,
            ``[B, L', H, N]`` of the ``L'`` layers that sample; 0 for patches that had left before. Differentiable.
        significance: what patches are sampled by, attention times the norm of the value, heads summed, normalized to a
            sum of 1 over the patches still there, ``[B, L', N]``; 0 for those that had left before. Differentiable.
        layers: numbers of the layers that sample, of length ``L'``.
    """

    attention: Tensor = field(default_factory=lambda: torch.empty(0))
    significance: Tensor = field(default_factory=lambda: torch.empty(0))
    layers: tuple[int, ...] = ()
