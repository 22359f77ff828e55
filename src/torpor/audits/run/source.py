"""Which data an audit reads, and its batches by their number, the next one without reading anything twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torpor.core.errors import DataError
from torpor.core.space import DenseSpace
from torpor.data.sets import Batch, DataSet
from torpor.targets.base import Target


class Reader:
    """Reads the test samples in batches; holds the one that was asked for last.

    Args:
        data: what is read.
        batch_size: samples per batch.
        limit: samples at most; all if None.

    >>> import torch
    >>> from torpor.data.tensors import TensorImages
    >>> data = TensorImages({"test": (torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5))})
    >>> reader = Reader(data, batch_size=2, limit=4)
    >>> [batch.index.tolist() for batch in (reader.get(1), reader.get(0)) if batch], reader.get(2)
    ([[2, 3], [0, 1]], None)
    """

    def __init__(self, data: DataSet, batch_size: int, limit: int | None) -> None:
        self.data, self.batch_size, self.limit = data, batch_size, limit
        self._number = -1
        self._batch: Batch | None = None
        self._rest: Iterator[Batch] | None = None

    def get(self, number: int) -> Batch | None:
        """Return batch ``number``, counted from 0; None after the last one.

        Raises:
            DataError: if the data cannot be read.
        """
        if number == self._number:
            return self._batch
        follows = number == self._number + 1
        self._batch = None  # or two would be held while the next one is read
        if self._rest is None or not follows:
            self._rest = self.data.batches("test", self.batch_size, self.limit, first=number * self.batch_size)
        self._number, self._batch = number, next(self._rest, None)
        return self._batch


def source(target: Target, data_dir: Path | str | None, inputs: Path | str | DataSet | None) -> DataSet:
    """Return the user's own ``inputs``, else the target's data, which may lie in ``data_dir``.

    Raises:
        UsageError: if the inputs do not fit the target.
        DataError: if there are no data, or a text of the user's cannot be sent.
    """
    if inputs is None:
        data = target.data(None if data_dir is None else Path(data_dir))
    elif isinstance(inputs, DataSet):
        data = inputs
    else:
        from torpor.data.own import own_inputs

        data = own_inputs(Path(inputs), target.space, letterbox=getattr(target, "letterbox", False))
    if isinstance(target.space, DenseSpace):
        return data
    from torpor.core.text import TextSpace
    from torpor.data.cut_texts import CutTexts

    assert isinstance(target.space, TextSpace)
    data = CutTexts(data, target.space)
    if inputs is not None:
        place = data.name if isinstance(inputs, DataSet) else inputs
        for number, (text, _) in enumerate(data.samples("test"), 1):
            if problem := target.space.problem(text):
                raise DataError(f"expected {problem} in text {number} of {place}; change or remove it")
    return data
