"""Batches are read by their number, whatever kind of data they are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_audits import write_images

from torpor.audits.run.job import Reader
from torpor.data.cut_texts import CutTexts
from torpor.data.parquet import ParquetImages
from torpor.data.sets import Batch, DataSet
from torpor.data.tensors import TensorImages
from torpor.data.texts import TextLines
from torpor.targets.decoder.toy_text import ToyText


class Shifted(TensorImages):
    """A user's own data, which change what those below yield."""

    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        """Yield brighter images."""
        for image, label in super().samples(split):
            yield image + 1, label


def images() -> dict[str, tuple[Tensor, Tensor]]:
    return {"test": (torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1), torch.arange(7))}


def data(kind: str, folder: Path) -> DataSet:
    if kind == "texts":
        words = ("cat " * 400, "dog", "tree", "a bird", "999", "x" * 300, "the end")
        (folder / "texts.txt").write_text("\n".join(words), encoding="utf-8")
        return CutTexts(TextLines(folder / "texts.txt"), ToyText().space)
    if kind == "files":
        return ParquetImages(write_images(folder / "data", test=7, train=4), (1, 4, 4))
    return {"tensors": TensorImages, "shifted": Shifted}[kind](images())


def told(batch: Batch | None) -> object:
    return None if batch is None else (batch.index.tolist(), batch.digest(), batch.cut)


@pytest.mark.parametrize("kind", ["tensors", "shifted", "texts", "files"])
def test_batches_by_number_are_those_of_the_stream(kind: str, tmp_path: Path) -> None:
    found = data(kind, tmp_path)
    stream = list(map(told, found.batches("test", 2, 6)))
    assert len(stream) == 3
    for order in ((0, 1, 2, 3), (2, 1, 0), (1, 1, 2, 0, 3)):
        reader = Reader(data(kind, tmp_path), 2, 6)
        assert [told(reader.get(number)) for number in order] == [(*stream, None)[number] for number in order]


def test_skipped_images_are_not_decoded(tmp_path: Path) -> None:
    broken = ParquetImages(write_images(tmp_path / "data", test=7, train=4, broken=1), (1, 4, 4))
    assert told(Reader(broken, 2, None).get(1)) == told(Reader(data("files", tmp_path / "whole"), 2, None).get(1))


def test_what_a_class_of_the_users_yields_is_what_is_skipped_too() -> None:
    batch = Reader(Shifted(images()), 2, None).get(2)
    assert batch is not None
    assert batch.inputs.flatten().tolist() == [5, 6]
