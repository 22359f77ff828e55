"""Universal adversarial perturbation: an accuracy attack, as a baseline for universal slowdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.iterative import gradient_of
from torpor.attacks.search.balls import apply, ball_of
from torpor.attacks.search.objectives import EXITS
from torpor.attacks.universal import Learned, Universal
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
from torpor.targets.early_exit.family import GateTarget

SAMPLES = 100  # as in DeepSloth's comparison
FOOLING_RATE = 0.8
MAX_EPOCHS = 10
DEEPFOOL_STEPS = 50
OVERSHOOT = 0.02
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class UAP(Universal):
    """Add up DeepFool steps of 100 single samples, projected onto the ball, until 80 % of them change their class.

    A sample whose class the perturbation changes already costs one pass and adds nothing, as in the paper. The search
    ends after 10 epochs, where the paper has no end: on networks that resist, the rate may never be reached.
    """

    id: ClassVar[str] = "uap"
    paper: ClassVar[Paper | None] = Paper(
        "Universal Adversarial Perturbations", "Moosavi-Dezfooli et al.", "CVPR", 2017, "arXiv:1610.08401"
    )
    reads: ClassVar[type | None] = GateSignals
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @override
    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        ball = ball_of(self.budget, target.space)
        inputs = inputs[:SAMPLES].to(target.device)
        passes = [len(inputs), 0]
        with torch.no_grad():
            clean = target.signals(inputs).exit_logits[:, -1].argmax(-1)
        delta = torch.zeros_like(inputs[:1])
        for _ in range(MAX_EPOCHS):
            for row in range(len(inputs)):
                shifted = (inputs[row : row + 1] + delta).clamp(0, 1)
                delta = ball.project(delta + deepfool(target, shifted, int(clean[row]), passes), self.eps)
            with torch.no_grad():
                sent = apply(inputs, delta, ball, self.eps, target.space)
                fooled = target.signals(sent).exit_logits[:, -1].argmax(-1) != clean
            passes[0] += len(inputs)
            if fooled.to(torch.float32).mean() >= FOOLING_RATE:
                break
        return Learned(delta, passes[0], passes[1], zero_gradient=not delta.any().item())


def deepfool(target: GateTarget, image: Tensor, label: int, passes: list[int]) -> Tensor:
    """Return a small change of ``image`` ``[1, C, H, W]`` with which the final classifier does not predict ``label``.

    The ten likeliest classes compete, as in the paper: Moosavi-Dezfooli et al., "DeepFool", CVPR 2016 (L2 form).
    ``passes`` counts forward and backward passes.
    """
    total = torch.zeros_like(image)
    for _ in range(DEEPFOOL_STEPS):
        point = (image + (1 + OVERSHOOT) * total).requires_grad_()
        scores = target.signals(point).exit_logits[0, -1]
        passes[0] += 1
        if int(scores.argmax()) != label:
            break
        rivals = [int(rival) for rival in scores.topk(min(CLASSES, len(scores))).indices if int(rival) != label]
        gradients = [gradient_of(scores[k], point, retain_graph=True) for k in (label, *rivals)]
        passes[1] += len(gradients)
        slopes = torch.cat(gradients[1:]) - gradients[0]
        gaps = (scores[rivals] - scores[label]).detach().abs()
        lengths = torch.linalg.vector_norm(slopes.flatten(1), dim=1).clamp_min(1e-12)
        nearest = int((gaps / lengths).argmin())
        step = (gaps[nearest] / lengths[nearest] + 1e-4) / lengths[nearest]
        total = total + step * slopes[nearest : nearest + 1]
    return (1 + OVERSHOOT) * total.detach()
