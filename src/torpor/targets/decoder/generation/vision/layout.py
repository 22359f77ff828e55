"""What a vision-language model is charged for: what its encoder cuts an image into, and what its decoder reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from torpor.targets.decoder.contract import STEP
from torpor.targets.decoder.generation.layouts import FEW, Layout, attended

SMALL = 2
"""Place of the case of a small image."""


@dataclass(frozen=True)
class ShownImage:
    """An image of some size, and a text.

    Attributes:
        vision: how often each unit of the vision encoder runs.
        image_tokens: tokens that the decoder reads of the image.
        tokens: that it reads in all.
    """

    vision: tuple[int, ...]
    image_tokens: int
    tokens: int


@dataclass(frozen=True)
class ImageLayout(Layout):
    """An image and a fixed text before what is generated; the prompt's last token is the first step.

    A length is the place of a case here: 0 as deployed, that with more text, a small image, that with more text, and
    images of other sizes. The decoder charges the same for tokens of images and of texts.

    Attributes:
        vision: the names of the vision encoder's units.
        cases: what the model may be shown.

    >>> layout = ImageLayout(("image_tile",), (ShownImage((5,), 20, 24),))
    >>> layout.names, layout.counts(0, 1)
    (('image_tile', 'image_token', 'prompt_token', 'decoder_step', 'attended_key'), [5, 20, 3, 1, 576])
    """

    vision: tuple[str, ...] = ()
    cases: tuple[ShownImage, ...] = ()
    base: ClassVar[tuple[str, ...]] = ("image_token", "prompt_token", STEP)
    alike: ClassVar[tuple[tuple[str, str], ...]] = (("image_token", "prompt_token"),)
    key: ClassVar[str] = "attended_key"
    check: ClassVar[tuple[int, int]] = (0, 5)
    farthest: ClassVar[int] = 2**11

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return (*self.vision, *super().names)

    @property
    @override
    def probes(self) -> tuple[tuple[int, int], ...]:
        small = self.cases[SMALL].tokens
        beyond = [(SMALL, size - small + more) for size in self.windows if size > small for more in (1, 2)]
        others = [(case, 1) for case in range(SMALL + 2, len(self.cases))]
        return ((SMALL, 1), (SMALL + 1, 1), (SMALL, 2), (SMALL, 3), *others, (0, 1), *beyond)

    @property
    @override
    def more(self) -> tuple[tuple[int, int], ...]:
        return ((0, 1), (1, 2), *((case, 2) for case in range(SMALL + 2, len(self.cases))))

    @override
    def size(self, length: int) -> int:
        return self.cases[length].tokens

    @override
    def edge(self, length: int, longest: int) -> Iterable[tuple[int, int]]:
        steps = length + 2 - self.cases[SMALL].tokens
        return ((SMALL, steps),) if steps > 1 and (length in self.windows or steps <= FEW) else ()

    @override
    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        shown = self.cases[length]
        text = shown.tokens - shown.image_tokens - 1
        decoder = (shown.image_tokens, text, steps, *(attended(shown.tokens, steps, size) for size in self._sizes))
        return [*shown.vision, *(beams * count for count in decoder)]
