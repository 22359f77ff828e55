"""What a neural ordinary differential equation learns by: torchdiffeq solves each batch, with steps that it shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.core.errors import UsageError

if TYPE_CHECKING:
    from torpor.training.classifiers import ClassifierRecipe
    from torpor.zoo.networks.odenet import OdeNet

TOLERANCE = 1e-3
"""Of the solver, relative and absolute, as the target's."""


def solved_cross_entropy(
    model: OdeNet, batch: Tensor, labels: Tensor, recipe: ClassifierRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the scores at the end and of the early classifier together, and the former alone.

    Raises:
        UsageError: if torchdiffeq is not installed.
    """
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise UsageError("expected torchdiffeq, got none; run: pip install 'torpor[ode]'") from error
    state = model.stem(batch)
    times = torch.tensor([0.0, 1.0], device=batch.device)
    end = odeint(model.slope, state, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")[-1]
    loss = F.cross_entropy(model.head(end), labels, label_smoothing=recipe.label_smoothing)
    return loss + F.cross_entropy(model.stem.early(state[:, :-1]), labels), loss
