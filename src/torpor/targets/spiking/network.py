"""Networks of leaky integrate-and-fire neurons, and the derivatives that stand for that of a spike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

THRESHOLD = 1.0
"""Potential at which a neuron fires."""

Fire = Callable[[Tensor], Tensor]
"""Map how far potentials are above the threshold to spikes: 1 from 0 on, else 0."""


def fire(above: Tensor) -> Tensor:
    """Return 1 where a potential reaches the threshold, else 0, in the same type; nothing to differentiate."""
    return (above >= 0).to(above.dtype)


def smoothed(soft: Callable[[Tensor], Tensor]) -> Fire:
    """Return what fires like :func:`fire` and has the derivative of ``soft``.

    >>> point = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    >>> spikes = smoothed(torch.sigmoid)(point)
    >>> spikes.tolist(), torch.autograd.grad(spikes.sum(), point)[0].gt(0).all().item()
    ([0.0, 1.0, 1.0], True)
    """

    def call(above: Tensor) -> Tensor:
        level = soft(above)
        return fire(above.detach()) + (level - level.detach())  # what is added is exactly 0

    return call


def _fast_sigmoid(above: Tensor) -> Tensor:
    return 5 * above / (1 + 5 * above.abs())


def _arc_tangent(above: Tensor) -> Tensor:
    return torch.atan(math.pi * above) / math.pi


def _box(above: Tensor) -> Tensor:
    return above.clamp(-0.5, 0.5)


SURROGATES: Mapping[str, Fire] = {
    "atan": smoothed(_arc_tangent),
    "fast-sigmoid": smoothed(_fast_sigmoid),
    "box": smoothed(_box),
}
"""Derivatives of a spike: of an arc tangent (Fang et al., ICCV 2021), of a fast sigmoid (Zenke and Ganguli, 2018), and
of a ramp of width 1 (Wu et al., 2018), which is zero outside."""


class SpikingNetwork(nn.Module):
    """Populations of leaky integrate-and-fire neurons on a constant image.

    The image enters directly: ``encoder`` turns it into a current that is the same at every timestep. A neuron adds its
    current to what is left of its potential, fires at :data:`THRESHOLD` and loses as much. ``synapses[k]`` turns the
    spikes of population ``k`` into the current of the next one; the last one's currents are class scores, averaged over
    the timesteps so far.

    Args:
        encoder: maps images ``[B, C, H, W]`` to the current of the first population.
        synapses: each one convolution or linear layer, and modules that move data.
        steps: timesteps at most.
        leak: share of its potential that a neuron keeps from one timestep to the next.
        input_shape: ``(C, H, W)`` of one image.
    """

    def __init__(
        self,
        encoder: nn.Module,
        synapses: Sequence[nn.Module],
        *,
        steps: int,
        leak: float,
        input_shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.encoder, self.synapses = encoder, nn.ModuleList(synapses)
        self.steps, self.leak, self.input_shape = steps, leak, input_shape

    def advance(
        self, current: Tensor, potentials: Sequence[Tensor | None], spike: Fire
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Run one timestep.

        Args:
            current: of the first population, ``[B, ...]``.
            potentials: of each population after the last timestep; None before the first.
            spike: see :data:`Fire`.

        Returns:
            Class scores of this timestep alone ``[B, C]``, potentials, and spikes of each population.
        """
        after, spikes = [], []
        for synapse, before in zip(self.synapses, potentials, strict=True):
            potential = current if before is None else self.leak * before + current
            spikes.append(spike(potential - THRESHOLD))
            after.append(potential - THRESHOLD * spikes[-1])
            current = synapse(spikes[-1])
        return current, after, spikes

    def forward(
        self, images: Tensor, spike: Fire = SURROGATES["atan"], steps: int | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Run ``steps`` timesteps, by default all: class scores after each ``[B, T, C]``, and spikes at each.

        Scores at a timestep are the mean over all up to it. There is one list of spikes per timestep, with those of
        each population.
        """
        current = self.encoder(images)
        potentials: Sequence[Tensor | None] = [None] * len(self.synapses)
        scores, spikes, total = [], [], torch.zeros((), dtype=current.dtype, device=current.device)
        for step in range(steps or self.steps):
            found, potentials, fired = self.advance(current, potentials, spike)
            total = total + found
            scores.append(total / (step + 1))
            spikes.append(fired)
        return torch.stack(scores, 1), spikes
