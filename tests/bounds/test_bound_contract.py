"""What a bound may and may not say, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from toy_audits import NEEDLE, call, write_images

from torpor.bounds.base import Bound, refuse_exceeded
from torpor.bounds.registry import BOUNDS, load_bound
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.work import Work
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import needle


@dataclass(frozen=True)
class Guess(Bound):
    """So many runs of each unit."""

    id: ClassVar[str] = "guess"

    runs: int = 1

    def work(self, target: Target, inputs: Samples, budget: Budget | None) -> Work:
        return Work(torch.full((len(inputs), len(target.units)), self.runs))


GUESS = "test_bound_contract:Guess"
IMAGES = torch.full((3, 1, 4, 4), 128 / 255)  # these never leave early


def test_no_bound_is_above_the_static_one() -> None:
    assert Guess(7)(needle(), IMAGES, None).counts.equal(needle().max_work(IMAGES).counts)


def test_a_bound_below_a_clean_cost_is_refused() -> None:
    with pytest.raises(UsageError, match="the bound guess allows, got 256 over 0 flops; the bound is wrong"):
        Guess(0)(needle(), IMAGES, None)


def test_a_found_cost_above_a_bound_is_refused() -> None:
    bound = torch.tensor([4.0, 4.0], dtype=torch.float64)
    refuse_exceeded("guess", needle(), bound, bound)
    with pytest.raises(UsageError, match="got 5 over 4 flops"):
        refuse_exceeded("guess", needle(), bound, bound + torch.tensor([0.0, 1.0]))


def test_a_bound_of_other_units_is_refused() -> None:
    class Short(Guess):
        def work(self, target: Target, inputs: Samples, budget: Budget | None) -> Work:
            return Work(torch.ones(len(inputs), 1, dtype=torch.int64))

    with pytest.raises(UsageError, match=r"expected work of 3 inputs on 4 units from the bound guess, got \[3, 1\]"):
        Short()(needle(), IMAGES, None)


def test_bounds_have_names_and_options() -> None:
    assert BOUNDS.names()[0] == "static"
    found = load_bound(f"{GUESS}:runs=3")
    assert isinstance(found, Guess)
    assert found.runs == 3


def test_the_command_says_how_tight_a_bound_is(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    budget = ("--norm", "Linf", "--eps", "8/255", "--limit", "5", "--data-dir", tmp_path / "data")
    code, out, err = call("bound", NEEDLE, "--bound", GUESS, *budget)
    assert code == 0, err
    words = " ".join(out.split())
    assert "Over 5 test samples of toy-needle, any input within Linf eps=0.03137 costs at most" in words
    assert "by the bound guess" in words
    assert call("bound", NEEDLE, "--bound", "static", "--limit", "5")[0] == 2
    assert call("bound", NEEDLE, "--bound", GUESS, "--eps", "8/255")[0] == 2
    assert call("bound", NEEDLE, "--bound", "nothing")[0] == 2


def test_bounds_and_executors_are_listed() -> None:
    assert "What structure and caps allow" in call("list", "bounds")[1]
    assert "In this process" in call("list", "executors")[1]
