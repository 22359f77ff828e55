from __future__ import annotations

import numpy as np
import pytest
import torch

from torpor.core.errors import UsageError
from torpor.metrics import distances


def test_each_sample_gets_its_own_norms() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, attacked = torch.rand(2, 5, 3, 4, 6, generator=generator)
    change = (attacked.double() - clean.double()).flatten(1).numpy()
    found = distances(clean, attacked)
    for order, values in zip((np.inf, 2, 1), found, strict=True):
        assert values.dtype == torch.float64
        np.testing.assert_allclose(values.numpy(), np.linalg.norm(change, ord=order, axis=1), rtol=1e-12)


def test_the_same_images_are_at_distance_zero() -> None:
    images = torch.rand(2, 1, 2, 2)
    assert all((values == 0).all() for values in distances(images, images.clone()))


def test_one_step_of_an_8_bit_pixel_is_exact_to_float32() -> None:
    clean = torch.zeros(1, 1, 2, 2)
    attacked = clean.clone()
    attacked[0, 0, 1, 1] = 1 / 255
    for values in distances(clean, attacked):
        assert values.item() == pytest.approx(1 / 255, rel=1e-7)


def test_of_videos_the_farthest_frame_counts_in_each_norm() -> None:
    clean = torch.zeros(1, 2, 1, 1, 4)
    attacked = torch.tensor([[0.5, 0, 0, 0], [0.3, 0.3, 0.3, 0.3]]).view_as(clean)
    linf, l2, l1 = distances(clean, attacked, per_frame=True)
    assert (linf.item(), l2.item(), l1.item()) == pytest.approx((0.5, 0.6, 1.2))
    with pytest.raises(UsageError, match="one shape"):
        distances(torch.zeros(1, 2), torch.zeros(1, 2), per_frame=True)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_shapes_must_agree_and_hold_something(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one shape"):
        distances(torch.zeros(a), torch.zeros(b))
