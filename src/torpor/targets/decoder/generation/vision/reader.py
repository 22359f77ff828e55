"""How an image of one size and a fixed text become what a vision-language model reads, differentiable in pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.space import ImageSpace
from torpor.targets.decoder.generation.foreign import read_by_others
from torpor.targets.decoder.generation.vision.layout import ShownImage
from torpor.targets.decoder.generation.vision.preprocessing import Preprocessor, Size
from torpor.targets.decoder.generation.vision.prompt import PIXELS, ImagePrompt

ROUNDING = 1e-4
"""How far pixels may be from the processor's own: far less than a level of 8 bits is worth."""


class VisionReader:
    """Do to images of one size what a vision-language model's processor does, and put the text beside them.

    Args:
        preprocessor: what is done to pixels.
        prompt: the text.
        size: height and width of the images.
        image_token: id of the tokens that stand for an image.

    Raises:
        UsageError: if the processor's own pixels are others.
    """

    def __init__(self, preprocessor: Preprocessor, prompt: ImagePrompt, size: Size, image_token: int) -> None:
        self.preprocessor, self.prompt, self.size, self.image_token = preprocessor, prompt, size, image_token
        self.space = ImageSpace((3, *size))
        self._known = dict[Size, dict[str, Tensor]]()
        small, *others = preprocessor.sizes()
        self.cases = ((size, 0), (size, 2), (small, 0), (small, 3), *((one, 1) for one in others))
        for one in dict.fromkeys(shown for shown, _ in self.cases):
            self._check(one)

    def settings(self) -> dict[str, Any]:
        """Return what decides the arguments, as JSON can hold it."""
        fixed = {name: value.tolist() for name, value in self.arguments(self.size).items()}
        return {
            "size": list(self.size),
            "prompt": self.prompt.text,
            "arguments": fixed,
            "processor": self.preprocessor.processor.to_dict(),
        }

    def arguments(self, size: Size) -> dict[str, Tensor]:
        """Return the model's arguments beside pixels for an image of a size, for a batch of one; ids first."""
        if size not in self._known:
            self._known[size] = self._read(torch.zeros(3, *size, dtype=torch.uint8))[0]
        return self._known[size]

    def _read(self, image: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return what the processor itself makes of an image, and its pixels."""
        size = f"{image.shape[2]} x {image.shape[1]} pixels"
        with read_by_others("a processor of an image and a text", f"an error for {size}", "change --image-size"):
            given = dict(self.prompt.read(image))
        pixels = given.pop(PIXELS)
        ids = given.pop("input_ids")
        return {"input_ids": ids, **given}, pixels

    def shown(self, case: int) -> ShownImage:
        """Return what the model reads in one of :attr:`cases`."""
        size, more = self.cases[case]
        ids = self.arguments(size)["input_ids"]
        vision = tuple(self.preprocessor.counts(size).values())
        return ShownImage(vision, int((ids == self.image_token).sum()), ids.shape[1] + more)

    def example(self, case: int, token: int, *, varied: bool = False) -> dict[str, Tensor]:
        """Return arguments of one of :attr:`cases`, ``token`` being what is added to its text."""
        size, more = self.cases[case]
        image = _noise(size, 0) if varied else torch.zeros(3, *size)
        return lengthened(self._given(image.unsqueeze(0), size), torch.full((1, more), token))

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the model's arguments for images ``[B, 3, H, W]``."""
        return self._given(inputs, self.size)

    def _given(self, images: Tensor, size: Size) -> dict[str, Tensor]:
        fixed = {name: torch.cat([one.to(images.device)] * len(images)) for name, one in self.arguments(size).items()}
        return {**fixed, PIXELS: self.preprocessor(images)}

    def _check(self, size: Size) -> None:
        """Compare pixels of some images, and all else that the model is given, with the processor's own.

        Raises:
            UsageError: if they differ.
        """
        for seed in (0, 1):
            image = _noise(size, seed) if seed == 0 else _ramp(size)
            fixed, wanted = self._read((image * 255).round().to(torch.uint8))
            found = self.preprocessor(image.unsqueeze(0))
            known = self.arguments(size)
            alike = fixed.keys() == known.keys() and all(torch.equal(fixed[name], known[name]) for name in fixed)
            far = float((found - wanted).abs().max()) if found.shape == wanted.shape else torch.inf
            if not alike or not far <= ROUNDING:
                raise UsageError(
                    f"expected the pixels that {type(self.preprocessor.processor).__name__} gives for {size[1]} x "
                    f"{size[0]} pixels, got others (off by {far:.3g}), so gradients would be of another model; use its "
                    "PIL backend, or another --image-size"
                )


def lengthened(arguments: dict[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    """Return arguments whose text goes on with ``ids`` ``[B, T]``."""
    found = {**arguments, "input_ids": torch.cat([arguments["input_ids"], ids.to(arguments["input_ids"])], 1)}
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in found:
            found[name] = torch.cat([found[name], torch.full_like(ids, value).to(found[name])], 1)
    return found


def _noise(size: Size, seed: int) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed)).mul(255).round() / 255


def _ramp(size: Size) -> Tensor:
    values = torch.linspace(0, 1, 3 * size[0] * size[1]).view(3, *size)
    return values.mul(255).round() / 255
