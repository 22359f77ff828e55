"""Controls: what a perturbation of the same budget does without any optimization. Every table shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.balls import apply, ball_of, spent_noise
from torpor.attacks.search.incumbent import Incumbent, random_search
from torpor.core.batches import Samples, draw, sample_generators
from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class Control(Attack):
    """An attack that asks the target nothing."""

    paper: ClassVar[Paper | None] = None
    access: ClassVar[Access] = Access.NONE
    is_control: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("image", "video", "wave", "features")

    def _free(self, inputs: Tensor) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(inputs, forwards=nothing, backwards=nothing)


@dataclass(frozen=True, kw_only=True)
class Noise(Control):
    """Random noise that spends the whole budget: random signs for Linf and patches, random directions for L2 and L1."""

    id: ClassVar[str] = "control-noise"

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        return self._free(
            inputs + spent_noise(self.budget, target.space, sample_generators(inputs, seed, self.id), inputs)
        )


@dataclass(frozen=True, kw_only=True)
class BestNoise(Control):
    """The costliest of as many noisy inputs as another attack tried candidates: what random search finds.

    For targets whose number of outputs may change by any change: those that iterate, and those that find objects.

    Attributes:
        queries: inputs to try for each sample of the same batch, int64 ``[B]``: what the costliest attack spent.
    """

    id: ClassVar[str] = "control-best-noise"
    access: ClassVar[Access] = Access.DECISION
    by_chance: ClassVar[bool] = True

    queries: Tensor = field(compare=False, repr=False)

    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """See :meth:`Attack.search`.

        Raises:
            UsageError: if the queries are of another batch.
        """
        check_queries(self.queries, inputs)
        space, ball = target.space, ball_of(self.budget, target.space)
        assert isinstance(space, DenseSpace)
        generators = sample_generators(inputs, seed, self.id)

        def propose(query: int, rows: Tensor, held: Incumbent) -> Tensor:
            noise = spent_noise(self.budget, space, [generators[row] for row in rows.tolist()], inputs[rows])
            return apply(inputs[rows], noise, ball, self.eps, space)

        held = random_search(target, inputs, propose, self.queries)
        return Candidates(held.inputs, forwards=held.queries, backwards=held.backwards, curves=held.curves)


def check_queries(queries: Tensor, inputs: Samples) -> None:
    """Refuse queries of another batch.

    Raises:
        UsageError: if they are.
    """
    if len(queries) != len(inputs):
        raise UsageError(f"expected queries for {len(inputs)} samples, got {len(queries)}; pass one each")


@dataclass(frozen=True, kw_only=True)
class Flat(Control):
    """Move towards the image's own mean color as far as the budget allows: less contrast, nothing else."""

    id: ClassVar[str] = "control-flat"

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        axes = (-2, -1) if inputs.ndim > 3 else (-1,)  # the color of an image or frame, the level of a sound
        return self._free(inputs.mean(axes, keepdim=True).expand_as(inputs))


@dataclass(frozen=True, kw_only=True)
class Shuffled(Control):
    """The pixels of another attack's perturbation in random order: same size and histogram, no structure.

    Those of a patch are mixed within it. All frames of a video are mixed alike.

    Attributes:
        perturbation: of the same batch, ``[B, C, H, W]``, ``[B, T, C, H, W]`` or ``[B, T]``.
    """

    id: ClassVar[str] = "control-shuffled"

    perturbation: Tensor = field(compare=False, repr=False)

    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """See :meth:`Attack.search`.

        Raises:
            UsageError: if the perturbation is of another batch.
        """
        if self.perturbation.shape != inputs.shape:
            raise UsageError(
                f"expected a perturbation of shape {list(inputs.shape)}, got {list(self.perturbation.shape)}; pass the "
                "same batch's"
            )
        mixed = self.perturbation.clone()
        part = ball_of(self.budget, target.space).free(mixed)
        pixels = math.prod(part.shape[-2:] if inputs.ndim > 3 else part.shape[-1:])
        generators = sample_generators(inputs, seed, self.id)
        order = draw(generators, lambda g: torch.randperm(pixels, generator=g), torch.zeros(1, dtype=torch.int64))
        flat = part.reshape(len(inputs), -1, pixels)
        part.copy_(flat.gather(2, order.to(flat.device).unsqueeze(1).expand(-1, flat.shape[1], -1)).view_as(part))
        return self._free(inputs + mixed)
