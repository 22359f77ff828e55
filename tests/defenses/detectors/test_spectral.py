"""The spectral monitor withholds runs that clean inputs never cause, at the rate that it promises."""

from __future__ import annotations

import pytest
import torch

from torpor.data.images import Digits
from torpor.defenses.detectors.spectral import Spectral, deviations, spectrum
from torpor.zoo.registry import sdn_digits


def test_deviations_are_mahalanobis_distances() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(500, 3, generator=rng) @ torch.tensor([[2.0, 0, 0], [1.0, 1.0, 0], [0, 0.5, 0.7]])
    model = spectrum(features)
    centered = (features - features.mean(0)).double()
    ridge = 0.01 * model["variance"].double().mean() * torch.eye(3, dtype=torch.float64)
    inverse = torch.linalg.inv(centered.T @ centered / len(features) + ridge)
    wanted = ((centered @ inverse) * centered).sum(1) / 3
    assert torch.allclose(deviations(model, features).double(), wanted, rtol=1e-3, atol=1e-5)


def test_the_rate_holds_and_noise_is_withheld() -> None:
    target, data = sdn_digits(), Digits()
    monitor = Spectral(0.05).prepared(target, data, (), 0)
    defended = monitor.defend(target)
    clean = target.read(data.load("test").inputs)
    assert isinstance(clean, torch.Tensor)
    noise = torch.rand(50, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    rejected = [defended.run(inputs).rejected for inputs in (clean, noise)]
    assert rejected[0] is not None
    assert rejected[1] is not None
    assert rejected[0].float().mean() < 0.1
    assert rejected[1].float().mean() > 0.2
    added = defended.prices.cost(defended.run(clean).work) - target.prices.cost(target.run(clean).work)
    assert 0 < float(added.unique().item()) == pytest.approx(monitor.flops(target))
