"""No input that a target accepts costs more than its static bound, and what the bound does not cover is refused."""

from __future__ import annotations

import pytest
import torch
from generation_models import KINDS, TEXTS, loaded
from hypothesis import given, settings
from hypothesis import strategies as st
from lamp_audits import followed, lamps
from torch import Tensor

from torpor.bounds.static import static_bound
from torpor.core.batches import Samples
from torpor.core.errors import DataError
from torpor.core.space import DenseSpace, InputSpace
from torpor.core.text import WIDTH, TextSpace
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.toys import needle, tug
from torpor.targets.resolve import load_target

TOYS: dict[str, Target] = {
    "needle": needle(), "tug": tug(5), "peak": PeakTarget(), "lamps": lamps(), "followed": followed(),
    "toy-text": ToyText(), "toy-text-long": ToyText(cap=30, max_tokens=2 * WIDTH),
}  # fmt: skip
ZOO = ("speller", "captioner-scenes-lstm", "detector-scenes", "sdn-digits")
ALL = (*TOYS, *KINDS, *ZOO)


def named(name: str) -> Target:
    if name in TOYS:
        return TOYS[name]
    return loaded(name) if name in KINDS else load_target(name)


def inputs_of(space: InputSpace, seed: int) -> Samples:
    """Return inputs of every kind that is accepted: flat, noisy, and the longest."""
    draw = torch.Generator().manual_seed(seed)
    if isinstance(space, TextSpace):
        return tuple(dict.fromkeys(filter(None, (longest(space, part) for part in ("9", "a", " cat", "zz ", "é")))))
    assert isinstance(space, DenseSpace)
    flat = torch.tensor([space.low, (space.low + space.high) / 2, space.high])
    shape = (1,) * len(space.shape)
    noise = space.low + (space.high - space.low) * torch.rand(2, *space.shape, generator=draw)
    return space.snap(torch.cat([flat.view(-1, *shape).expand(-1, *space.shape), noise]))


def longest(space: TextSpace, part: str) -> str | None:
    """Return the longest repetition of ``part`` that is accepted, found by bisection; None if there is none."""
    low, high = 0, 8 * WIDTH
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if space.problem(part * middle) is None else (low, middle - 1)
    return part * low or None


@pytest.mark.parametrize("name", ALL)
def test_no_accepted_input_costs_more_than_the_static_bound(name: str) -> None:
    target = named(name)
    inputs = inputs_of(target.space, 0)
    target.space.check(inputs)
    found, most, bound = target.run(inputs).work, target.max_work(inputs), target.static_work()
    assert (found.counts <= most.counts).all()
    assert (most.counts <= bound.counts).all()
    assert target.prices.cost(bound).item() == static_bound(target).cost


@pytest.mark.parametrize("name", [name for name in ALL if name in TEXTS or "text" in name or name == "speller"])
def test_a_text_longer_than_the_bound_covers_is_refused(name: str) -> None:
    target = named(name)
    text = longest(target.space, "9") or ""  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected texts of"):
        target.run((text + "9",))
    with pytest.raises(DataError, match="expected texts of"):
        target.run((text * 4,))


@pytest.mark.parametrize("name", ["needle", "peak", "lamps", "followed", "captioner", "whisper"])
def test_an_input_of_another_shape_is_refused(name: str) -> None:
    target = named(name)
    sample: Tensor = inputs_of(target.space, 0)[:1]
    with pytest.raises(DataError, match="expected"):
        target.run(torch.cat([sample, sample], -1))


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=300), st.integers(1, 3))
def test_whatever_text_is_accepted_stays_below_the_bound(text: str, times: int) -> None:
    target = TOYS["toy-text"]
    if target.space.problem(text * times) is None:  # type: ignore[attr-defined]
        assert (target.run((text * times,)).work.counts <= target.static_work().counts).all()


def test_bounds_say_of_which_inputs_they_are() -> None:
    assert static_bound(ToyText()).inputs == "text of up to 128 tokens"
    assert static_bound(needle()).inputs == "image of 1 x 4 x 4 pixels"
    assert static_bound(followed()).inputs == "video of 5 x 1 x 16 x 24 pixels"
