"""Universal adversarial perturbation: an accuracy attack, as a baseline for universal slowdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.spaces import BALLS, apply
from torpor.attacks.universal import Universal
from torpor.core.paper import Paper
from torpor.targets.base import Target

SAMPLES = 100  # as in DeepSloth's comparison
FOOLING_RATE = 0.8
MAX_EPOCHS = 10
DEEPFOOL_STEPS = 50
OVERSHOOT = 0.02


@dataclass(frozen=True, kw_only=True)
class UAP(Universal):
    """Add up DeepFool steps of 100 single samples, projected onto the ball, until 80 % of them change their class."""

    id: ClassVar[str] = "uap"
    paper: ClassVar[Paper | None] = Paper(
        "Universal Adversarial Perturbations", "Moosavi-Dezfooli et al.", "CVPR", 2017, "arXiv:1610.08401"
    )

    def fit(self, target: Target, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0) -> UAP:
        """See :meth:`Attack.fit`."""
        ball = BALLS[self.norm]
        inputs = target.space.snap(target.space.check(inputs[:SAMPLES])).to(target.device)
        with torch.no_grad():
            clean = target.signals(inputs).logits[:, -1].argmax(-1)
        delta = torch.zeros_like(inputs[:1])
        for _ in range(MAX_EPOCHS):
            for row in range(len(inputs)):
                shifted = (inputs[row : row + 1] + delta).clamp(0, 1)
                delta = ball.project(delta + deepfool(target, shifted, int(clean[row])), self.eps)
            with torch.no_grad():
                sent = apply(inputs, delta, ball, self.eps, target.space)
                fooled = target.signals(sent).logits[:, -1].argmax(-1) != clean
            if fooled.to(torch.float32).mean() >= FOOLING_RATE:
                break
        return type(self)(norm=self.norm, eps=self.eps, perturbations=delta)


def deepfool(target: Target, image: Tensor, label: int) -> Tensor:
    """Return a small change of ``image`` ``[1, C, H, W]`` after which the final classifier no longer says ``label``.

    Paper: Moosavi-Dezfooli et al., "DeepFool", CVPR 2016 (L2 form).
    """
    total = torch.zeros_like(image)
    for _ in range(DEEPFOOL_STEPS):
        point = (image + (1 + OVERSHOOT) * total).requires_grad_()
        scores = target.signals(point).logits[0, -1]
        if int(scores.argmax()) != label:
            break
        gradients = torch.stack([torch.autograd.grad(score, point, retain_graph=True)[0][0] for score in scores])
        slopes = gradients - gradients[label]
        gaps = (scores - scores[label]).detach().abs()
        lengths = slopes.flatten(1).norm(dim=1).clamp_min(1e-12)
        distances = gaps / lengths
        distances[label] = torch.inf
        nearest = int(distances.argmin())
        total = total + (distances[nearest] + 1e-4) * slopes[nearest : nearest + 1] / lengths[nearest]
    return (1 + OVERSHOOT) * total.detach()
