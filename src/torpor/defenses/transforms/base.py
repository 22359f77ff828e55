"""Transforms: inputs are changed before the target sees them, in the hope that a perturbation does not survive."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples, sample_generators
from torpor.core.objects import Frames, Objects
from torpor.core.objects import frames_of as objects_of
from torpor.core.signals import Signals
from torpor.core.space import ImageSpace, InputSpace, VideoSpace
from torpor.core.text import TextSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.defenses.base import Defense
from torpor.defenses.layer import STAGE, Layer
from torpor.defenses.wrapped import Wrapped
from torpor.targets.base import Target

CHARACTERS = 100
"""Length of the text whose FLOPs transforms of texts state: their units run once per text."""


@dataclass(frozen=True)
class Transform(Defense):
    """A defense that changes inputs. Kinds of transforms write :meth:`forward`, :meth:`flops` and a surrogate.

    Attributes:
        kinds: kinds of input spaces that it changes.
        moves: whether it moves what an image shows, so that boxes must be moved back.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "video")
    moves: ClassVar[bool] = False

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.space.kind in cls.kinds

    @override
    def defend(self, target: Target) -> Target:
        self.check(target)
        unit = Unit(self.id, self.flops(target.space), STAGE)
        return Wrapped(target, TransformLayer(self, (unit,)), f"{target.name} defended by {self.name}")

    @abstractmethod
    def forward(self, inputs: Samples, generators: list[torch.Generator]) -> Samples:
        """Return what the target sees: valid inputs of the same kind.

        Args:
            inputs: images ``[B, C, H, W]`` in [0, 1], or a tuple of texts.
            generators: one for each input, for defenses that draw at random.
        """

    def surrogate(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return what :meth:`forward` does to images, nearly, but differentiably; the inputs themselves by default.

        Gradients pass through it backward while :meth:`forward` goes forward (BPDA, Athalye et al., ICML 2018).
        """
        return inputs

    def restore(self, boxes: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Return where boxes ``[N, 4]`` that were found in a changed image lie in the one that came in.

        Args:
            boxes: left, top, right, bottom, in pixels.
            size: height and width of the image.
            generator: that of the image.
        """
        return boxes

    @abstractmethod
    def flops(self, space: InputSpace) -> int:
        """Return the FLOPs of :meth:`forward` on one image, or on one text of :data:`CHARACTERS` characters."""


def image_shape(space: InputSpace) -> tuple[int, int, int]:
    """Return channels, height and width of an image, or of a frame.

    >>> image_shape(VideoSpace((5, 3, 8, 6)))
    (3, 8, 6)
    """
    assert isinstance(space, ImageSpace | VideoSpace)
    channels, height, width = space.shape[-3:]
    return channels, height, width


class TransformLayer(Layer):
    """The layer of a transform.

    Args:
        transform: what is done to inputs.
        units: of the transform.
        seed: of its draws.
    """

    def __init__(self, transform: Transform, units: tuple[Unit, ...], seed: int = 0) -> None:
        self.transform, self.units, self.seed = transform, units, seed
        self.moves = transform.moves

    @override
    def run(self, inner: Target, inputs: Samples) -> Outcome:
        outcome = inner.run(self.seen(inner.space, inputs))
        if self.transform.moves and inner.offers("detector"):
            outcome = replace(outcome, outputs=self._restored(inputs, outcome.outputs))
        return replace(outcome, work=self.charge(outcome.work, self.times(inner.space)))

    def max_work(self, inner: Target, inputs: Samples) -> Work:
        """See :meth:`Layer.max_work`; of a text, that of what the target inside sees, which may have more tokens."""
        known = inputs if isinstance(inputs, Tensor) else self.seen(inner.space, inputs)
        return self.charge(inner.max_work(known), self.times(inner.space))

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; forward exactly, backward through the surrogate."""
        seen = self.seen(inner.space, inputs.detach() if isinstance(inputs, Tensor) else inputs)
        if isinstance(inputs, Tensor) and inputs.requires_grad:
            near = _by_image(inner.space, inputs, self._draws(inputs), self.transform.surrogate)
            seen = _Instead.apply(near, seen)  # type: ignore[no-untyped-call]
        if isinstance(inputs, Tensor) or seen == inputs:
            found = inner.signals(seen)
        else:  # edits are made to what is sent, so its tokens count
            found = replace(inner.signals(inputs), work=inner.run(seen).work)
        boxes = getattr(found, "boxes", None)
        if self.transform.moves and boxes is not None:
            found = replace(found, boxes=torch.stack(self._back(inputs, boxes)))
        return replace(found, work=self.charge_rows(inner, found))

    def seen(self, space: InputSpace, inputs: Samples) -> Samples:
        """Return what the target inside sees of ``inputs``: a text as it was, if its changed form cannot be sent."""
        if not isinstance(inputs, Tensor):
            assert isinstance(space, TextSpace)
            changed = self.transform.forward(inputs, self._draws(inputs))
            pairs = [(space.rejoined(text, own), own) for text, own in zip(changed, inputs, strict=True)]
            return tuple(text if text == own or space.problem(text) is None else own for text, own in pairs)
        with torch.no_grad():
            return space.snap(_by_image(space, inputs, self._draws(inputs), self.transform.forward))

    def _draws(self, inputs: Samples) -> list[torch.Generator]:
        """Return one generator for each input: the same input always gets the same draw."""
        if not self.transform.draws:
            return []
        images = inputs.detach().flatten(0, -4) if isinstance(inputs, Tensor) and inputs.ndim > 4 else inputs
        return sample_generators(images, self.seed, self.transform.name)

    def _back(self, inputs: Tensor, boxes: Iterable[Tensor]) -> list[Tensor]:
        """Move the boxes of each image, or of each frame, back to where they belong."""
        size = (inputs.shape[-2], inputs.shape[-1])
        pairs = zip(boxes, self._draws(inputs), strict=True)
        return [self.transform.restore(found, size, generator) for found, generator in pairs]

    def _restored(self, inputs: Tensor, outputs: Sequence[Objects | Frames]) -> tuple[Objects | Frames, ...]:
        """Return what was found in images or videos, in the pixels of what came in."""
        frames = [objects for output in outputs for objects in objects_of(output)]
        moved = self._back(inputs, [objects.boxes for objects in frames])
        pairs = zip(frames, moved, strict=True)
        objects = iter([replace(each, boxes=boxes) for each, boxes in pairs])
        return tuple(
            next(objects) if isinstance(output, Objects) else tuple(next(objects) for _ in output) for output in outputs
        )

    @override
    def reseeded(self) -> Self:
        return type(self)(self.transform, self.units, self.seed + 1) if self.transform.draws else self

    @override
    def calls(self, inputs: Samples) -> Iterator[tuple[list[int], Callable[[], object]]]:
        one = inputs[:, 0] if isinstance(inputs, Tensor) and inputs.ndim > 4 else inputs
        yield [1], lambda: self.transform.forward(one, self._draws(one))

    @override
    def fingerprint(self) -> str:
        return f"{self.transform} {self.seed}"


class _Instead(torch.autograd.Function):
    """Forward one tensor, backward through another; a sum of their difference would round."""

    @staticmethod
    def forward(ctx: object, near: Tensor, seen: Tensor) -> Tensor:
        return seen.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


Change = Callable[[Tensor, list[torch.Generator]], Tensor]


def _by_image(space: InputSpace, inputs: Tensor, draws: list[torch.Generator], change: Change) -> Tensor:
    """Change each image of a batch, or each frame of a batch of videos."""
    if not isinstance(space, VideoSpace):
        return change(inputs, draws)
    return change(inputs.flatten(0, 1), draws).view_as(inputs)
