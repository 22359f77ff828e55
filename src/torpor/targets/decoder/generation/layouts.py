"""What decoders are charged for: units in which the cost of generating is linear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from typing_extensions import override

from torpor.targets.decoder.contract import STEP

FEW = 16
"""Decoder steps that are affordable wherever something might begin."""


def attended(first: int, steps: int, window: int | None = None) -> int:
    """Return how many keys a cached decoder looks at: ``first`` tokens at once, then ``steps - 1`` tokens one by one.

    The first pass scores every pair, masked ones included, as the kernels do. After it, layers with a window have kept
    the last ``window - 1`` keys, and look at these and the token's own.

    >>> attended(3, 1), attended(3, 3), attended(3, 3, window=4)
    (9, 18, 17)
    """
    last = first + steps - 1
    growing = max(0, min(last, window or last) - first)
    keys = first * first + growing * first + growing * (growing + 1) // 2
    return keys + (steps - 1 - growing) * (window or 0)


@dataclass(frozen=True, kw_only=True)
class Layout(ABC):
    """How often each unit runs, as a function of the input's length and the number of decoder steps.

    Attributes:
        windows: how many keys layers of the decoder look at, the token's own included, where they forget others.
        everything: whether other layers look at all keys.
        names: of the units.
        probes: pairs of length and steps to find prices from, the cheapest first.
        check: one more such pair, to find out whether prices are constant at all.
        alike: pairs of units of which the first has the price of the second.
        farthest: how large windows may be so that probes are affordable.
    """

    windows: tuple[int, ...] = ()
    everything: bool = True
    base: ClassVar[tuple[str, ...]]
    key: ClassVar[str]
    check: ClassVar[tuple[int, int]]
    alike: ClassVar[tuple[tuple[str, str], ...]] = ()
    farthest: ClassVar[int]

    @property
    def names(self) -> tuple[str, ...]:
        """The units' names."""
        return (*self.base, *self.key_names)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the units of keys that the decoder has cached."""
        return tuple(self.key if size is None else f"{self.key}_within_{size}" for size in self._sizes)

    @property
    def _sizes(self) -> tuple[int | None, ...]:
        """The windows of the layers of each kind; None for those that look at all keys."""
        return (*((None,) if self.everything else ()), *self.windows)

    def _keys(self, first: int, steps: int) -> list[int]:
        """Return how many keys layers of each kind look at."""
        return [attended(first, steps, size) for size in self._sizes]

    @property
    @abstractmethod
    def probes(self) -> tuple[tuple[int, int], ...]:
        """Pairs of length and steps."""

    @property
    def more(self) -> tuple[tuple[int, int], ...]:
        """Further pairs to check prices at."""
        return ()

    def variants(self, edges: Iterable[int]) -> list[Self]:
        """Return layouts that a model like this may have, the simplest first."""
        return [self]

    def size(self, length: int) -> int:
        """Return how many tokens are read where ``length`` is what :meth:`counts` calls so."""
        return length

    @abstractmethod
    def edge(self, length: int, longest: int) -> Iterable[tuple[int, int]]:
        """Return pairs of input length and steps that show whether something begins at ``length`` tokens.

        Args:
            length: where something may begin.
            longest: tokens that an input has at most.
        """

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

    Attributes:
        once: whether something runs once for a prompt, such as a convolution's margin.
        expands: whether each step recomputes keys from a compressed cache.
        reread: tokens after which the model forgets its cache and reads everything once more, if it does.

    >>> PromptLayout().counts(3, 2), PromptLayout(windows=(2,)).counts(3, 2), PromptLayout(reread=3).counts(3, 2)
    ([2, 2, 13], [2, 2, 13, 11], [5, 2, 25])
    """

    once: bool = False
    expands: bool = False
    reread: int | None = None
    base: ClassVar[tuple[str, ...]] = ("prompt_token", STEP)
    key: ClassVar[str] = "attended_key"
    check: ClassVar[tuple[int, int]] = (5, 4)
    farthest: ClassVar[int] = 2**13

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return (*super().names, *(("expanded_key",) if self.expands else ()), *(("prompt",) if self.once else ()))

    @property
    def probes(self) -> tuple[tuple[int, int], ...]:
        """See :attr:`Layout.probes`; the first step beyond a window tells its layers from others."""
        beyond = [pair for size in self.windows for pair in ((size, 2), (size - 1, 4))]
        return ((2, 1), (3, 1), (2, 3), (4, 1), (2, 2), (3, 3), *beyond, (1, 4))

    def variants(self, edges: Iterable[int]) -> list[Self]:
        """Return this layout and richer ones, the simplest first.

        Args:
            edges: lengths at which a model may forget its cache.
        """
        richer = [replace(self, once=once, expands=expands) for once in (False, True) for expands in (False, True)]
        return [richer[0], *(replace(self, reread=edge) for edge in edges), *richer[1:]]

    def edge(self, length: int, longest: int) -> Iterable[tuple[int, int]]:
        """See :meth:`Layout.edge`; prompts that end before, at and after it, and steps across it."""
        pairs = (length - 1, 4), (length, 2), (length + 1, 3), (2 * length + 1, 2)
        return pairs[:1] + tuple(pair for pair in pairs[1:] if pair[0] <= longest)

    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        """See :meth:`Layout.counts`; beams share nothing, so each reads the prompt."""
        tokens, keys, prompts = length - 1, self._keys(length, steps), 1
        if self.reread is not None and length <= self.reread <= length + steps - 2:
            tokens, again, prompts = tokens + self.reread, self.reread + 1, 2
            own = [min(again, size or again) for size in self._sizes]
            keys = [count + again * again - known for count, known in zip(keys, own, strict=True)]
        if self.expands:
            keys.append(attended(length, steps) - length * length + length)
        if self.once:
            keys.append(prompts)
        return [beams * count for count in (tokens, steps, *keys)]


@dataclass(frozen=True)
class SourceLayout(Layout):
    """Encoder and decoder of texts: the encoder runs once, each step looks at all of its output.

    >>> SourceLayout().counts(3, 2)
    [3, 9, 2, 3, 6]
    """

    base: ClassVar[tuple[str, ...]] = ("encoder_token", "encoder_key", STEP)
    key: ClassVar[str] = "self_key"
    check: ClassVar[tuple[int, int]] = (4, 4)
    farthest: ClassVar[int] = 2**8

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return (*super().names, "cross_key")

    @property
    @override
    def probes(self) -> tuple[tuple[int, int], ...]:
        beyond = [(2, size + more) for size in self.windows for more in (1, 2)]
        return ((2, 1), (3, 1), (5, 1), (2, 2), (2, 3), (3, 3), *beyond)

    @override
    def edge(self, length: int, longest: int) -> Iterable[tuple[int, int]]:
        texts = tuple((size, 1) for size in (length - 1, length, length + 1, 2 * length + 1) if size <= longest)
        return (*texts, (3, length + 2)) if length in self.windows or length <= FEW else texts

    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        """See :meth:`Layout.counts`; the decoder starts from one token."""
        decoder = (steps, *self._keys(1, steps), steps * length)
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
    base: ClassVar[tuple[str, ...]] = ("encoder", STEP)
    key: ClassVar[str] = "self_key"
    check: ClassVar[tuple[int, int]] = (0, 5)
    farthest: ClassVar[int] = 2**8

    @property
    @override
    def probes(self) -> tuple[tuple[int, int], ...]:
        beyond = [(0, size + more) for size in self.windows for more in (1, 2)]
        return ((0, 1), (0, 2), (0, 3), *beyond)

    @override
    def edge(self, length: int, longest: int) -> Iterable[tuple[int, int]]:
        return ((0, length + 2),) if length in self.windows or length <= FEW else ()

    @override
    def counts(self, length: int, steps: int, beams: int = 1) -> list[int]:
        return [1, *(beams * count for count in (steps, *self._keys(self.prompt, steps)))]
