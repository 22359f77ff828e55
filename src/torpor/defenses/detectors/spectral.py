"""A spectral monitor: runs whose activations lie off the directions along which clean ones vary are withheld."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.signals import Signals
from torpor.core.threat import Paper
from torpor.defenses.detectors.base import in_chunks
from torpor.defenses.detectors.models import Tensors
from torpor.defenses.detectors.trace import Trace, read
from torpor.meters.flops import counting
from torpor.targets.base import Target

PAPER = Paper("Spectral Signatures in Backdoor Attacks", "Tran et al.", "NeurIPS", 2018, "arXiv:1811.00636")
RIDGE = 0.01
"""Added to the variance along each direction, as a share of the mean variance."""


@dataclass(frozen=True)
class Spectral(Trace):
    """Flag runs by how far they are from clean ones, in deviations along principal directions.

    It reads what :class:`Trace` reads, numbers that a run computes anyway, and learns from clean inputs alone: whoever
    uses a model that somebody else trained has no triggered ones. The paper ranks *training* data of a class by their
    projection on the first singular vector of activations, to throw poisoned ones away; here the same spectrum watches
    inputs, so that all directions count, each by the inverse of its variance.
    """

    id: ClassVar[str] = "spectral"
    paper: ClassVar[Paper | None] = PAPER
    contrasts: ClassVar[bool] = False

    @override
    def learn(self, target: Target, clean: Samples, attacked: Samples, seed: int) -> Tensors:
        return spectrum(in_chunks(lambda part: read(target, target.signals(part)), clean))

    @override
    def of_signals(self, target: Target, signals: Signals, model: Tensors) -> Tensor:
        return deviations(model, read(target, signals))

    @override
    def flops(self, target: Target) -> int:
        model = self.ready.model
        with counting() as counter:
            deviations(model, torch.zeros(1, len(model["mean"])))
        return counter.flops


def spectrum(features: Tensor) -> dict[str, Tensor]:
    """Return the mean, the principal directions and the variance along each, of features ``[N, F]``.

    >>> found = spectrum(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> found["variance"].tolist() == [1.0, 0.0]
    True
    """
    values = features.to(torch.float64)
    mean = values.mean(0)
    _, lengths, directions = torch.linalg.svd(values - mean, full_matrices=True)
    variance = torch.zeros(values.shape[1], dtype=torch.float64, device=values.device)
    variance[: len(lengths)] = lengths.square() / len(values)
    found = {"mean": mean, "directions": directions, "variance": variance}
    return {name: value.to(torch.float32) for name, value in found.items()}


def deviations(model: Tensors, features: Tensor) -> Tensor:
    """Return the mean square of the deviations of each row ``[R, F]`` along all directions, ``[R]``; differentiable.

    >>> model = spectrum(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> along, across = deviations(model, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist()
    >>> along < 1 < across
    True
    """
    names = ("mean", "directions", "variance")
    mean, directions, variance = (model[name].to(features.device, torch.float32) for name in names)
    along = (features.to(torch.float32) - mean) @ directions.T
    return (along.square() / (variance + RIDGE * variance.mean().clamp_min(1e-12))).mean(1)
