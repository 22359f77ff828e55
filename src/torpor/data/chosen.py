"""Some samples of a test split: those after the first few, or a random choice; each keeps its number in the split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.data.sets import Batch, DataSet


class ChosenSamples(DataSet):
    """The samples of the test split from number ``offset`` on, or ``count`` of these drawn at random.

    The other splits stay as they are. To draw, the split is read once to its end.

    Args:
        data: all samples.
        offset: how many are left out at the beginning.
        count: how many are drawn without replacement, in the order of the split; None for all.
        seed: of the draw.

    >>> from torpor.data.tensors import TensorImages
    >>> every = TensorImages({"test": (torch.zeros(9, 1, 1, 1, dtype=torch.uint8), torch.arange(9))})
    >>> ChosenSamples(every, offset=6).load("test").index.tolist()
    [6, 7, 8]
    >>> drawn = ChosenSamples(every, count=3, seed=1).load("test")
    >>> len(set(drawn.index.tolist())), drawn.index.equal(drawn.references)
    (3, True)
    """

    def __init__(self, data: DataSet, *, offset: int = 0, count: int | None = None, seed: int = 0) -> None:
        self.data, self.offset, self.count, self.seed, self.name = data, offset, count, seed, data.name

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what a data set of its own kind has, such as its classes
        if name == "data":
            raise AttributeError(name)
        return getattr(self.data, name)

    @property
    @override
    def cut(self) -> dict[int, int] | None:  # type: ignore[override]
        return self.data.cut

    def fingerprint(self) -> str:
        """Return that of all samples, and which of them are taken."""
        return f"{self.data.fingerprint()} offset {self.offset} sample {self.count} seed {self.seed}"

    @override
    def files(self) -> Mapping[str, Path]:
        return self.data.files()

    @override
    def samples(self, split: str) -> Iterator[tuple[Any, Any]]:
        return self._rest(split, 0)

    @override
    def _rest(self, split: str, first: int) -> Iterator[tuple[Any, Any]]:
        if split != "test":
            yield from self.data.samples_from(split, first)
        elif self.count is None:
            yield from self._some(self.data.samples_from(split, self.offset + first), first)
        elif wanted := self._drawn[first:]:
            chosen = set(wanted)
            for number, sample in enumerate(self.data.samples_from(split, wanted[0]), wanted[0]):
                if number in chosen:
                    yield sample
                if number == wanted[-1]:
                    return

    def _some(self, samples: Iterator[tuple[Any, Any]], first: int) -> Iterator[tuple[Any, Any]]:
        """Yield samples; complain if there are none at all."""
        empty = first == 0
        for sample in samples:
            empty = False
            yield sample
        if empty:
            raise DataError(f"expected more than {self.offset} samples in {self.name}, got fewer; lower --offset")

    @cached_property
    def _drawn(self) -> list[int]:
        """The numbers of the samples that are drawn, ascending."""
        total = sum(1 for _ in self.data.samples_from("test", self.offset))
        assert self.count is not None
        if total < self.count:
            raise DataError(
                f"expected {self.count} samples to draw from {self.name}, got {total}; lower --sample or leave it out"
            )
        rng = torch.Generator().manual_seed(self.seed)
        return sorted((torch.randperm(total, generator=rng)[: self.count] + self.offset).tolist())

    @override
    def batches(self, split: str, batch_size: int, limit: int | None = None, *, first: int = 0) -> Iterator[Batch]:
        if split == "test":
            return super().batches(split, batch_size, limit, first=first)
        return self.data.batches(split, batch_size, limit, first=first)

    @override
    def _batch(self, start: int, inputs: list[Any], references: list[Any]) -> Batch:
        places = range(start, start + len(inputs))
        index = [self.offset + place if self.count is None else self._drawn[place] for place in places]
        cut = None if self.cut is None else tuple(self.cut.get(number, 0) for number in index)
        return replace(super()._batch(start, inputs, references), index=torch.tensor(index), cut=cut)
