"""Inputs that a program hands over: an array of images, sounds or other dense inputs, or a list of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from torpor.core.errors import DataError, UsageError
from torpor.core.space import DenseSpace, InputSpace
from torpor.data.sets import SPLITS, Batch, DataSet

Given: TypeAlias = "DataSet | Tensor | np.ndarray[Any, Any] | Sequence[str]"
"""What a program may hand over as inputs."""


class GivenInputs(DataSet):
    """Inputs in memory. There are no references, and no split but ``test``.

    Args:
        stored: as files hold them: integers ``[N, ...]``, or a tuple of texts.
        what: a word for them in the plural, such as ``"images"``.

    >>> data = GivenInputs(("one", "two"), "texts")
    >>> data.name, len(data.load("test", 1)), data.has("validation")
    ('2 texts given in memory', 1, False)
    """

    def __init__(self, stored: Tensor | tuple[str, ...], what: str) -> None:
        self.stored, self.what, self.name = stored, what, f"{len(stored)} {what} given in memory"
        self._digest = Batch(torch.arange(len(stored)), stored, ()).digest()

    def fingerprint(self) -> str:
        """Return what they are, how many, and a digest of all."""
        return f"{self.name}, {self._digest}"

    def samples(self, split: str) -> Iterator[tuple[Any, None]]:
        """Yield ``(input as it is stored, None)``.

        Raises:
            UsageError: if ``split`` does not exist.
            DataError: if it is not ``test``.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        if split != "test":
            raise DataError(f"expected split test, got {split}; {self.name} are to be audited, none to fit on")
        for each in self.stored:
            yield each, None


def given_inputs(inputs: Given, space: InputSpace) -> DataSet:
    """Return what a program handed over as a data set for targets whose inputs are of ``space``.

    Args:
        inputs: a data set, which is returned as it is; texts; or an array ``[N, ...]``, either integers as files hold
            them, such as pixels uint8, or floats in the space's range, which are rounded to what files can hold.
        space: of the target.

    Raises:
        UsageError: if the inputs are of another kind than the target's.
        DataError: if there are none, or an array has another shape or range.

    >>> from torpor.core.space import ImageSpace
    >>> given_inputs(torch.ones(3, 1, 2, 2), ImageSpace((1, 2, 2))).load("test", 1).inputs.flatten().tolist()
    [255, 255, 255, 255]
    """
    if isinstance(inputs, DataSet):
        return inputs
    if isinstance(inputs, Tensor | np.ndarray):
        if isinstance(space, DenseSpace):
            return GivenInputs(_stored(_tensor(inputs), space), f"{space.what}s")
    elif space.kind == "text" and isinstance(inputs, list | tuple) and all(isinstance(each, str) for each in inputs):
        if not inputs:
            raise DataError("expected at least one text, got an empty list")
        return GivenInputs(tuple(inputs), "texts")
    wanted = "a list of texts" if space.kind == "text" else f"a tensor or an array of {space.kind} inputs"
    raise UsageError(f"expected a path, a DataSet or {wanted} for this target, got {_said(inputs)}")


def _tensor(values: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Return a copy of an array."""
    if isinstance(values, Tensor):
        return values.detach().cpu().clone()
    try:
        return torch.from_numpy(np.array(values, order="C"))
    except TypeError as error:
        raise UsageError(f"expected an array of numbers that torch has, got {values.dtype}") from error


def _stored(values: Tensor, space: DenseSpace) -> Tensor:
    """Return an array as files hold it."""
    if values.dtype == space.stored:
        space.check(space.from_bytes(values))
        return values
    checked = space.check(values)
    return space.to_bytes(checked.to(torch.float32))


def _said(inputs: object) -> str:
    if isinstance(inputs, Tensor | np.ndarray):
        return "an array"
    if isinstance(inputs, list | tuple) and inputs:
        return f"a {type(inputs).__name__} of {type(inputs[0]).__name__}"
    return type(inputs).__name__
