"""What decoders are charged for: units in which the cost of generating is linear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torpor.targets.steps import STEP


def attended(first: int, steps: int) -> int:
    """Return how many keys a cached decoder looks at: ``first`` tokens at once, then ``steps - 1`` tokens one by one.

    The first pass scores every pair, masked ones included, as the kernels do.

    >>> attended(3, 1), attended(3, 3)
    (9, 18)
    """
    return first * first + (steps - 1) * first + (steps - 1) * steps // 2


@dataclass(frozen=True)
class Layout(ABC):
    """How often each unit runs, as a function of the input's length and the number of decoder steps.

    Attributes:
        names: of the units.
        probes: pairs of length and steps whose counts are linearly independent, to find prices from.
        check: one more such pair, to find out whether prices are constant at all.
    """

    names: ClassVar[tuple[str, ...]]
    probes: ClassVar[tuple[tuple[int, int], ...]]
    check: ClassVar[tuple[int, int]]

    @abstractmethod
    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        """Return the count of each unit.

        Args:
            length: tokens that are read, special ones included; ignored where all inputs have one size.
            steps: forward calls of the decoder.
            beams: rows that the decoder computes at each step for one sample.
        """


@dataclass(frozen=True)
class PromptLayout(Layout):
    """Decoder-only: the prompt's last token is the first step.

    >>> PromptLayout().counts(3, 2)
    [2, 2, 13]
    """

    names: ClassVar[tuple[str, ...]] = ("prompt_token", STEP, "attended_key")
    probes: ClassVar[tuple[tuple[int, int], ...]] = ((2, 1), (3, 1), (2, 3))
    check: ClassVar[tuple[int, int]] = (5, 4)

    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        """See :meth:`Layout.counts`; beams share nothing, so each reads the prompt."""
        return [beams * (length - 1), beams * steps, beams * attended(length, steps)]


@dataclass(frozen=True)
class SourceLayout(Layout):
    """Encoder and decoder of texts: the encoder runs once, each step looks at all of its output.

    >>> SourceLayout().counts(3, 2)
    [3, 9, 2, 3, 6]
    """

    names: ClassVar[tuple[str, ...]] = ("encoder_token", "encoder_key", STEP, "self_key", "cross_key")
    probes: ClassVar[tuple[tuple[int, int], ...]] = ((2, 1), (3, 1), (5, 1), (2, 2), (2, 3))
    check: ClassVar[tuple[int, int]] = (4, 4)

    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        """See :meth:`Layout.counts`; the decoder starts from one token."""
        decoder = [steps, attended(1, steps), steps * length]
        return [length, length * length, *(beams * count for count in decoder)]


@dataclass(frozen=True)
class FixedLayout(Layout):
    """Encoder of images or sounds of one size: all that does not depend on the number of steps runs once.

    Attributes:
        prompt: tokens that the decoder reads before it generates, such as language and task.

    >>> FixedLayout(prompt=2).counts(0, 2)
    [1, 2, 7]
    """

    prompt: int = 1
    names: ClassVar[tuple[str, ...]] = ("encoder", STEP, "self_key")
    probes: ClassVar[tuple[tuple[int, int], ...]] = ((0, 1), (0, 2), (0, 3))
    check: ClassVar[tuple[int, int]] = (0, 5)

    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        """See :meth:`Layout.counts`."""
        return [1, beams * steps, beams * attended(self.prompt, steps)]
