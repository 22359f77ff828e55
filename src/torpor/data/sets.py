"""Data sets of any kind, read a batch at a time so that memory does not grow with the number of samples."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torpor.core.batches import Samples, join
from torpor.core.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Shortened:
    """An input that is longer than what the target reads.

    Attributes:
        kept: what it reads.
        lost: samples or tokens after those, which it does not.
    """

    kept: Any
    lost: int


@dataclass(frozen=True)
class Batch:
    """A few samples with what their outputs are judged by.

    Attributes:
        index: position of each sample in its split, int64 ``[B]``.
        inputs: as they are stored: pixels uint8 ``[B, C, H, W]``, waves int16 ``[B, T]``, or a tuple of texts.
        references: class numbers int64 ``[B]``, or a tuple of texts; the empty tuple where there are none.
        cut: how many sound samples or tokens at the end of each input were left out, since the target does not read
            them; None where inputs have no length.
    """

    index: Tensor
    inputs: Any
    references: Any
    cut: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def digest(self) -> str:
        """Return a digest of the inputs and references.

        >>> one = Batch(torch.arange(1), ("a",), ())
        >>> one.digest() == Batch(torch.arange(1), ("a",), ()).digest() != Batch(torch.arange(1), ("b",), ()).digest()
        True
        """
        return hashlib.blake2b(_raw(self.inputs) + _raw(self.references), digest_size=16).hexdigest()


class DataSet(ABC):
    """Samples in three disjoint splits: ``train`` to fit, ``validation`` to choose settings, ``test`` to report."""

    name: str
    cut: dict[int, int] | None = None
    """What was left out of the inputs read so far, by position in the split; None where inputs have no length."""

    def fingerprint(self) -> str:
        """Return what changes when the data do, as far as that is cheap to tell."""
        return self.name

    def files(self) -> Mapping[str, Path]:
        """Return, for each split, the file whose bytes decide its samples; none where :meth:`fingerprint` tells all."""
        return {}

    @abstractmethod
    def samples(self, split: str) -> Iterator[tuple[Any, Any]]:
        """Yield ``(input, reference)`` in a fixed order; the reference is None where there are none.

        Raises:
            DataError: if the split cannot be read.
        """

    def samples_from(self, split: str, first: int) -> Iterator[tuple[Any, Any]]:
        """Yield the samples from number ``first`` on.

        Raises:
            DataError: if the split cannot be read.
        """
        kinds = type(self).__mro__
        whole, rest = (next(at for at, kind in enumerate(kinds) if name in vars(kind)) for name in ("samples", "_rest"))
        return self._rest(split, first) if rest <= whole else islice(self.samples(split), first, None)

    def _rest(self, split: str, first: int) -> Iterator[tuple[Any, Any]]:
        """Yield the same without reading those before; a subclass that overrides :meth:`samples` alone is not asked."""
        return islice(self.samples(split), first, None)

    def batches(self, split: str, batch_size: int, limit: int | None = None, *, first: int = 0) -> Iterator[Batch]:
        """Yield the first ``limit`` samples of ``split`` (all, if None) in batches of ``batch_size``.

        Args:
            split: one of :data:`SPLITS`.
            batch_size: samples per batch.
            limit: samples at most, counted from the first of the split.
            first: number of the sample to begin with.

        Raises:
            UsageError: if ``split`` does not exist.
            DataError: if it cannot be read.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        inputs: list[Any] = []
        references: list[Any] = []
        start = first
        for number, (sample, reference) in enumerate(self.samples_from(split, first), first):
            if limit is not None and number >= limit:
                break
            inputs.append(sample)
            if reference is not None:
                references.append(reference)
            if len(inputs) == batch_size:
                yield self._batch(start, inputs, references)
                start += len(inputs)
                inputs, references = [], []
        if inputs:
            yield self._batch(start, inputs, references)

    def has(self, split: str) -> bool:
        """Tell whether ``split`` can be read and holds a sample."""
        try:
            return next(iter(self.samples(split)), None) is not None
        except DataError:
            return False

    def load(self, split: str, limit: int | None = None) -> Batch:
        """Read the first ``limit`` samples of ``split`` (all, if None) into memory at once."""
        parts = list(self.batches(split, 1024, limit))
        if not parts:
            raise DataError(f"expected samples in split {split!r} of {self.name}, got none")
        return Batch(
            torch.cat([part.index for part in parts]),
            join([part.inputs for part in parts]),
            join([part.references for part in parts]),
            None if self.cut is None else tuple(lost for part in parts for lost in part.cut or ()),
        )

    def _batch(self, start: int, inputs: list[Any], references: list[Any]) -> Batch:
        index = range(start, start + len(inputs))
        cut = None if self.cut is None else tuple(self.cut.get(number, 0) for number in index)
        return Batch(torch.tensor(index), _stack(inputs), _stack(references), cut)


def _stack(values: Sequence[Any]) -> Samples:
    if values and isinstance(values[0], Tensor):
        return torch.stack(list(values))
    if values and isinstance(values[0], int):
        return torch.tensor(values)
    return tuple(values)


def _raw(part: object) -> bytes:
    """Return the bytes of samples of any kind."""
    if isinstance(part, Tensor):
        head = f"{part.dtype} {tuple(part.shape)}".encode()
        return head + part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(part, tuple | list):
        return f"{len(part)}".encode() + b"".join(_raw(each) for each in part)
    if isinstance(part, str):
        return f"{len(part)}:{part}".encode(errors="surrogatepass")
    names = getattr(part, "__dataclass_fields__", ())
    return b"".join(name.encode() + _raw(getattr(part, name)) for name in names) if names else repr(part).encode()
