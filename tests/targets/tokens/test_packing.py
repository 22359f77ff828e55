"""Attention among packed rows, against a loop over samples in plain products."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torpor.targets.tokens.packing import attend, first_scores

HEADS, WIDTH = 2, 8
SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


def drawn(sizes: list[int], *shape: int) -> Tensor:
    return torch.randn(sum(sizes), *shape, generator=torch.Generator().manual_seed(0))


def by_sample(query: Tensor, keyed: Tensor, asked: list[int], sizes: list[int]) -> Tensor:
    found = []
    for own, both in zip(query.split(asked), keyed.split(sizes), strict=True):
        keys, values = both.transpose(0, 2).unbind(1)
        scores = own.transpose(0, 1) @ keys.mT * WIDTH**-0.5
        found.append((scores.softmax(-1) @ values).transpose(0, 1))
    return torch.cat(found)


@pytest.mark.parametrize("fewer", [False, True])
@given(sizes=SIZES)
def test_each_sample_attends_to_its_own_rows(fewer: bool, sizes: list[int]) -> None:
    asked = [-(-size // 3) for size in sizes] if fewer else sizes
    query, keyed = drawn(asked, HEADS, WIDTH), drawn(sizes, 2, HEADS, WIDTH)
    counts = torch.tensor(sizes)
    found = attend(query, keyed, torch.tensor(asked) if fewer else counts, counts)
    assert torch.allclose(found, by_sample(query, keyed, asked, sizes), atol=1e-5)


@given(sizes=SIZES)
def test_scores_are_those_of_each_sample_s_own_query(sizes: list[int]) -> None:
    query, key = torch.randn(len(sizes), HEADS, WIDTH), drawn(sizes, HEADS, WIDTH)
    wanted = (query.repeat_interleave(torch.tensor(sizes), 0) * key).sum(-1) * WIDTH**-0.5
    assert torch.allclose(first_scores(query, key, torch.tensor(sizes)), wanted, atol=1e-5)
