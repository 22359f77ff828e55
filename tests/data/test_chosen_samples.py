"""Samples after the first, and samples drawn at random, keep their numbers in the split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_audits import NEEDLE, call, records, write_images

from torpor.audits.plan import Plan
from torpor.audits.run.job import Reader
from torpor.core.errors import DataError, UsageError
from torpor.data.chosen import ChosenSamples
from torpor.data.tensors import TensorImages

LEVELS = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1)
EVERY = TensorImages({"test": (LEVELS, torch.arange(40)), "validation": (LEVELS[:3], torch.arange(3))})


@pytest.mark.parametrize(("offset", "count"), [(0, 7), (11, None), (11, 7), (38, 2)])
def test_batches_hold_what_their_index_says(offset: int, count: int | None) -> None:
    chosen = ChosenSamples(EVERY, offset=offset, count=count, seed=3)
    whole = chosen.load("test")
    reader, found, number = Reader(chosen, 3, None), list[int](), 0
    while (batch := reader.get(number)) is not None:
        assert batch.inputs.flatten().tolist() == batch.index.tolist() == batch.references.tolist()
        found, number = found + batch.index.tolist(), number + 1
    assert found == whole.index.tolist() == sorted(set(found))
    assert min(found) >= offset
    assert len(found) == (40 - offset if count is None else count)
    again = Reader(chosen, 3, None).get(number - 1)  # from the middle, as a worker reads it
    assert again is not None
    assert again.index.tolist() == found[3 * (number - 1) :]
    assert chosen.load("validation").index.tolist() == [0, 1, 2]
    assert chosen.fingerprint() != EVERY.fingerprint()


def test_a_draw_is_its_seeds_and_spreads() -> None:
    first, same, other = (ChosenSamples(EVERY, count=20, seed=seed).load("test").index for seed in (0, 0, 1))
    assert first.equal(same)
    assert not first.equal(other)
    assert first.max() > 25


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="expected more than 40 samples in tensors, got fewer; lower --offset"):
        ChosenSamples(EVERY, offset=40).load("test")
    with pytest.raises(DataError, match="expected 5 samples to draw from tensors, got 2; lower --sample"):
        ChosenSamples(EVERY, offset=38, count=5).load("test")
    for settings, words in (({"offset": -1}, "an offset of 0 or more"), ({"sample": 0}, "a sample of 1 or more")):
        with pytest.raises(UsageError, match=words):
            Plan(NEEDLE, ("pgd",), **settings)  # type: ignore[arg-type]


def test_plans_of_before_are_the_same() -> None:
    assert not {"offset", "sample"} & Plan(NEEDLE, ("pgd",)).to_json().keys()
    plan = Plan(NEEDLE, ("pgd",), limit=5, offset=2, sample=5)
    assert {"offset", "sample"} <= plan.to_json().keys()
    assert "--offset 2 --sample 5" in str(plan.command("run"))
    assert "--limit" not in str(plan.command("run"))


def test_an_audit_of_a_draw_names_the_samples(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=12, train=2)
    words = ("audit", NEEDLE, "--attacks", "pgd", "--steps", "2", "--data-dir", data, "--batch-size", "2")
    code, _, err = call(*words, "--offset", "4", "--sample", "3", "--seed", "5", "--out", tmp_path / "run")
    assert code == 0, err
    drawn = sorted(set(records(tmp_path / "run")["sample"].to_pylist()))
    assert len(drawn) == 3
    assert min(drawn) >= 4
    assert "expected a limit or a sample, got 2 and 3" in call(*words, "--limit", "2", "--sample", "3")[2]
