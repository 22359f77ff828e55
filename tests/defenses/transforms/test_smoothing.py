"""Smoothing is SciPy's and scikit-image's, also where images are thin."""

from __future__ import annotations

import sys

import pytest
import torch

from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense
from torpor.defenses.transforms.smoothing import Median, NonLocalMeans, windows
from torpor.targets.early_exit.toys import needle


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 5, 9), (1, 3, 1, 1), (1, 1, 1, 7)])
def test_the_median_is_that_of_each_window(size: int, shape: tuple[int, ...]) -> None:
    inputs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Median(size).forward(inputs, []), windows(inputs, size).median(-1).values)


def test_a_lonely_pixel_vanishes_in_the_median_only() -> None:
    inputs = torch.zeros(1, 1, 9, 9)
    inputs[0, 0, 4, 4] = 1
    assert Median().forward(inputs, []).eq(0).all()
    assert torch.equal(NonLocalMeans(3).forward(inputs, []).round(), inputs)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 1, 1), (1, 1, 1, 6), (1, 3, 6, 1), (2, 3, 5, 9), (1, 1, 12, 7)])
def test_non_local_means_leave_constant_images_alone(shape: tuple[int, ...]) -> None:
    inputs = torch.full(shape, 0.3)
    assert torch.allclose(NonLocalMeans().forward(inputs, []), inputs)


def test_non_local_means_remove_weak_noise_and_keep_edges() -> None:
    noise = 0.02 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    edge = torch.full((1, 3, 32, 32), 0.2)
    edge[..., 16:] = 0.8
    found = NonLocalMeans().forward((edge + noise).clamp(0, 1), [])
    assert (found - edge).std() < 0.4 * noise.std()
    weaker = NonLocalMeans(2).forward((edge + noise).clamp(0, 1), [])
    assert (weaker - edge).std() > (found - edge).std()


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(UsageError, match=r"expected scikit-image for non-local-means, .*torpor\[defenses\]"):
        load_defense("non-local-means").defend(needle())
