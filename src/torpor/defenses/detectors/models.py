"""Small models that detectors learn: fitted by scikit-learn, kept as tensors, evaluated differentiably by torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torpor.core.errors import DataError

Tensors = Mapping[str, Tensor]
"""A fitted model; float64, ready for safetensors."""


def fit_rbf(clean: Tensor, attacked: Tensor, seed: int) -> Tensors:
    """Fit scikit-learn's ``StandardScaler`` and ``SVC`` as they come, an RBF kernel; see :func:`rbf`.

    Classes weigh the same however many samples they have, which changes nothing where both have as many.

    Args:
        clean: features of clean inputs ``[N, F]``.
        attacked: features of attacked inputs ``[M, F]``.
        seed: of the solver.

    Raises:
        DataError: if features are not finite.
    """
    from sklearn.svm import SVC

    scaler, features, labels = _scaled(clean, attacked)
    machine = SVC(class_weight="balanced", random_state=seed).fit(features, labels)
    return {
        **_scale(scaler),
        "support": torch.from_numpy(machine.support_vectors_.copy()),
        "weights": torch.from_numpy(machine.dual_coef_[0].copy()),
        "bias": torch.from_numpy(machine.intercept_.copy()),
        "gamma": torch.tensor([machine._gamma], dtype=torch.float64),  # what "scale" came to
    }


def rbf(model: Tensors, features: Tensor) -> Tensor:
    """Return the decision function of :func:`fit_rbf` at features ``[B, F]``, float64 ``[B]``; 0 is the machine's own.

    The same as scikit-learn's, but differentiable.
    """
    points, support = _standard(model, features), model["support"].to(features.device)
    squares = points.square().sum(1, keepdim=True) + support.square().sum(1) - 2 * points @ support.T
    kernel = torch.exp(-model["gamma"].to(points) * squares.clamp_min(0))
    return kernel @ model["weights"].to(points) + model["bias"].to(points)


def fit_linear(clean: Tensor, attacked: Tensor, seed: int) -> Tensors:
    """Fit logistic regression on standardized features; see :func:`linear` and :func:`fit_rbf`.

    Raises:
        DataError: if features are not finite.
    """
    from sklearn.linear_model import LogisticRegression

    scaler, features, labels = _scaled(clean, attacked)
    model = LogisticRegression(class_weight="balanced", max_iter=5000, random_state=seed).fit(features, labels)
    return {
        **_scale(scaler),
        "weights": torch.from_numpy(model.coef_[0].copy()),
        "bias": torch.from_numpy(model.intercept_.copy()),
    }


def linear(model: Tensors, features: Tensor) -> Tensor:
    """Return the log odds that features ``[B, F]`` are an attack's, float64 ``[B]``."""
    points = _standard(model, features)
    return points @ model["weights"].to(points) + model["bias"].to(points)


def _scaled(clean: Tensor, attacked: Tensor) -> tuple[Any, Any, Any]:
    """Return a fitted scaler, and all features and labels for scikit-learn."""
    from sklearn.preprocessing import StandardScaler

    features = torch.cat([clean, attacked]).detach().cpu().to(torch.float64).numpy()
    if not np.isfinite(features).all():
        raise DataError("expected finite features, got NaN or infinity; check the target's weights")
    scaler = StandardScaler().fit(features)
    return scaler, scaler.transform(features), np.repeat([0, 1], [len(clean), len(attacked)])


def _scale(scaler: Any) -> dict[str, Tensor]:  # noqa: ANN401 - scikit-learn has no types
    return {"mean": torch.from_numpy(scaler.mean_.copy()), "scale": torch.from_numpy(scaler.scale_.copy())}


def _standard(model: Tensors, features: Tensor) -> Tensor:
    points = features.to(torch.float64)
    return (points - model["mean"].to(points)) / model["scale"].to(points)
