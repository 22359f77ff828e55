"""Networks whose gradients are not there, or mislead: what must not change how costly they are found to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.targets.early_exit.exit_rules import ExitRule
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget


class Through(nn.Module):
    """Apply a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


class Lie(torch.autograd.Function):
    """The identity, with a backward pass that says something else."""

    @staticmethod
    @override
    def forward(context: Any, inputs: Tensor, how: Callable[[Tensor], Tensor]) -> Tensor:
        context.how = how
        return inputs.view_as(inputs)

    @staticmethod
    @override
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return context.how(gradients[0]), None


def lying(how: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the identity whose gradient is ``how`` of the true one."""
    return lambda inputs: Lie.apply(inputs, how)  # type: ignore[no-untyped-call]


def noise(gradient: Tensor) -> Tensor:
    """Return the same noise for every sample, as large as the gradient."""
    drawn = torch.randn(gradient.shape[1:], generator=torch.Generator().manual_seed(0))
    return drawn * gradient.abs().flatten(1).amax(1).view(-1, *[1] * (gradient.ndim - 1))


def unable(gradient: Tensor) -> Tensor:
    """Refuse to differentiate."""
    raise NotImplementedError("no derivative")


@torch.no_grad()
def without_graph(inputs: Tensor) -> Tensor:
    """Return the inputs as a network returns what it computed for inference."""
    return inputs.clone()


def outside(inputs: Tensor) -> Tensor:
    """Leave torch, so that nothing is known of how what returns came to be."""
    return torch.from_numpy(inputs.detach().numpy().copy())


def rearranged_outside(inputs: Tensor) -> Tensor:
    """Leave torch, and come back with pixels in another order, which is mended in torch."""
    order = torch.randperm(inputs[0].numel(), generator=torch.Generator().manual_seed(0))
    shuffled = torch.from_numpy(inputs.detach().numpy().reshape(len(inputs), -1).T[order.numpy()])
    return shuffled[order.argsort()].T.reshape(inputs.shape)


def in_place(inputs: Tensor) -> Tensor:
    """Change the inputs themselves, as networks that begin with such an operator do."""
    return inputs.mul_(2).div_(2)


FRONTS: dict[str, Callable[[Tensor], Tensor]] = {
    "detached": Tensor.detach,
    "no-grad": without_graph,
    "four-bits": lambda inputs: (15 * inputs).round() / 15,
    "floored": lambda inputs: (15 * inputs).floor() / 15,
    "reversed": lying(Tensor.neg),
    "noisy": lying(noise),
    "mirrored": lying(lambda gradient: gradient.flip(-1)),
    "nan": lying(lambda gradient: gradient * torch.nan),
    "infinite": lying(lambda gradient: gradient / 0),
    "unable": lying(unable),
    "outside": outside,
    "rearranged-outside": rearranged_outside,
}
"""What precedes the first stage."""
HEADS: dict[str, Callable[[Tensor], Tensor]] = {"rounded-logits": lambda logits: (10 * logits).round() / 10}
"""What follows each head."""


def masked(target: EarlyExitTarget, how: str, rule: ExitRule | None = None) -> EarlyExitTarget:
    """Return ``target`` with one of the maskings, deciding alike except where it rounds.

    Besides ``FRONTS`` and ``HEADS``, ``"detached-heads"`` leaves only the last exit a gradient, ``"detached-bodies"``
    only the first, ``"saturated"`` multiplies logits by 1,000, and ``"in-place"`` overwrites its input.
    """
    stages, heads = ([block[place] for block in target.blocks] for place in (0, 1))
    detach = Through(Tensor.detach)
    if how == "detached-heads":
        heads = [*(nn.Sequential(detach, head) for head in heads[:-1]), heads[-1]]
    elif how == "detached-bodies":
        stages = [stages[0], *(nn.Sequential(detach, stage) for stage in stages[1:])]
    elif how in FRONTS or how == "in-place":
        stages = [nn.Sequential(Through(FRONTS.get(how, in_place)), stages[0]), *stages[1:]]
    elif how in HEADS or how == "saturated":
        masking = Through(HEADS.get(how, lambda logits: 1000 * logits))
        heads = [nn.Sequential(head, masking) for head in heads]
    return EarlyExitTarget(
        ShallowDeepNetwork(stages, heads), rule or target.rule, input_shape=target.space.shape, name=how
    )
