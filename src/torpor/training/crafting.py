"""Attack a batch on the model that is being trained, as it now is: adversarial training for efficiency.

A few signed steps in an Linf ball (Madry et al., arXiv:1706.06083) on the objective of the attack to be withstood. The
model is in evaluation mode meanwhile, as an attacker meets it: batch norm uses its running statistics and leaves them
alone. The training step that follows sees clean and attacked samples in one batch, normalizes by their joint statistics
and keeps those: what is deployed has one set of statistics for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from torpor.attacks.decoder.objectives import DelayAndDiverge
from torpor.attacks.detector.overload import ManyBoxes
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.objectives import ExpectedCost, IterateObjective, Labeled, UniformExits
from torpor.attacks.search.optimizers import Change, Steps
from torpor.core.signals import CandidateSignals, GateSignals, Signals, StepSignals
from torpor.core.space import ImageSpace
from torpor.core.work import PriceList, Work
from torpor.targets.detector.nms import NMS
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.detection.network import PyramidDetector

Model = TypeVar("Model", bound=nn.Module)

BatchAttack = Callable[[Model, Tensor, Any, torch.Generator], Tensor]
"""Maps a model in training, images ``[B, C, H, W]`` in [0, 1], their ground truth, and a random generator to
images of which some are attacked."""


@dataclass(frozen=True, kw_only=True)
class Hardening:
    """How strong the attacks are that a network learns to withstand.

    Attributes:
        eps: radius of the Linf ball, in pixels of [0, 1].
        attack_steps: gradient steps per image, each of ``2.5 eps / attack_steps``.
        attacked: share of each batch that is attacked; the rest stays clean.
    """

    eps: float = 8 / 255
    attack_steps: int = 7
    attacked: float = 0.5


def unattacked(model: nn.Module, images: Tensor, truth: object, rng: torch.Generator) -> Tensor:
    """Leave the images as they are: plain training."""
    return images


@contextmanager
def as_deployed(model: nn.Module) -> Iterator[None]:
    """Hold ``model`` in evaluation mode and its weights without gradients; put every flag back afterwards.

    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2).eval())
    >>> with as_deployed(model):
    ...     inside = [part.training for part in model], model[1].weight.requires_grad
    >>> inside, [part.training for part in model], model[1].weight.requires_grad
    (([False, False], False), [True, False], True)
    """
    modes = [(part, part.training) for part in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
        for parameter, gradient in wanted:
            parameter.requires_grad_(gradient)


@dataclass(frozen=True, eq=False)
class Trainee:
    """A model in training as the attack loop sees one. No work is counted, so the iterate of least loss is the best.

    Attributes:
        space: of its images.
        signals: evaluates the model; all rows stay in the batch to the last step.
    """

    space: ImageSpace
    signals: Callable[[Tensor], Signals]
    prices = PriceList("steps", (1.0,))

    def max_work(self, inputs: Tensor) -> Work:
        """Return more than :func:`no_work`, so that no row is done early."""
        return Work(torch.ones(len(inputs), 1, dtype=torch.int64))


def no_work(images: Tensor) -> Work:
    """Return zeros ``[B, 1]``."""
    return Work(torch.zeros(len(images), 1, dtype=torch.int64))


def craft(
    model: nn.Module,
    images: Tensor,
    signals: Callable[[Tensor], Signals],
    objective: IterateObjective[Any],
    hardening: Hardening,
    rng: torch.Generator,
) -> Tensor:
    """Return ``images`` attacked on ``model`` as it now is, which is left as it was.

    Args:
        model: is read by ``signals``.
        images: ``[B, C, H, W]`` in [0, 1].
        signals: of the model, for images of this batch.
        objective: to minimize.
        hardening: how strong the attack is.
        rng: draws the start within the ball.
    """
    space = ImageSpace((images.shape[1], images.shape[2], images.shape[3]))
    offset = hardening.eps * (2 * torch.rand(images.shape, generator=rng) - 1).to(images.device)
    with as_deployed(model), torch.autocast(images.device.type, enabled=False):
        found = amplify(
            Trainee(space, signals),
            images,
            objective=objective,
            ball=BALLS["Linf"],
            eps=hardening.eps,
            optimizer=Steps(2.5 * hardening.eps / hardening.attack_steps),
            steps=hardening.attack_steps,
            variable=Change(),
            start=space.clamp(images + offset) - images,
        )
    assert isinstance(found.inputs, Tensor)
    return found.inputs


def uniform_exits(hardening: Hardening) -> BatchAttack[ShallowDeepNetwork]:
    """Return DeepSloth's attack on the first rows of a batch: no internal classifier is to be sure."""

    def attack(model: ShallowDeepNetwork, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        count = round(hardening.attacked * len(images))

        def signals(candidates: Tensor) -> GateSignals:
            logits = model(candidates)
            return GateSignals(logits, torch.zeros_like(logits[:, 1:, 0]), no_work(candidates))

        objective = Labeled(UniformExits(), labels[:count])
        return torch.cat([craft(model, images[:count], signals, objective, hardening, rng), images[count:]])

    return attack


def closed_gates(hardening: Hardening, wrap: Callable[[Any], GatedClassifier]) -> BatchAttack[nn.Module]:
    """Return the attack of any gates on the first rows of a batch: raise the cost that their margins let expect.

    Args:
        hardening: how strong it is.
        wrap: makes the target whose signals are followed; it shares the model.
    """
    made: dict[int, GatedClassifier] = {}

    def attack(model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        if id(model) not in made:
            with as_deployed(model):
                made[id(model)] = wrap(model)
        target, count = made[id(model)], round(hardening.attacked * len(images))

        def signals(candidates: Tensor) -> GateSignals:
            return replace(target.signals(candidates), work=no_work(candidates))

        objective = Labeled(ExpectedCost(), labels[:count])
        return torch.cat([craft(model, images[:count], signals, objective, hardening, rng), images[count:]])

    return attack


def delayed_end(hardening: Hardening) -> BatchAttack[Captioner]:
    """Return NICGSlowDown's attack on the first rows of a batch: late ends and other words, on the true captions.

    The true words are what the captioner has read at each step, so that one pass gives all steps and no caption must be
    decoded: on what a captioner has learned, both are mostly the same.
    """

    def attack(model: Captioner, images: Tensor, ids: Tensor, rng: torch.Generator) -> Tensor:
        count = round(hardening.attacked * len(images))
        longest = int((ids[:count] != model.vocabulary.pad).sum(1).max())
        said = ids[:count, :longest]
        mask, eos = said != model.vocabulary.pad, (model.vocabulary.end,)

        def signals(candidates: Tensor) -> StepSignals:
            logits = model.teacher(model.encode(candidates), said)
            return StepSignals(logits, said, mask, eos, no_work(candidates))

        return torch.cat([craft(model, images[:count], signals, DelayAndDiverge(), hardening, rng), images[count:]])

    return attack


def many_boxes(hardening: Hardening) -> BatchAttack[PyramidDetector]:
    """Return Overload's attack on the first rows of a batch: raise the scores of all boxes; all pixels at one pace."""

    def attack(model: PyramidDetector, images: Tensor, objects: object, rng: torch.Generator) -> Tensor:
        count = round(hardening.attacked * len(images))
        objective = ManyBoxes(NMS().conf, (images.shape[2], images.shape[3]), 1, "log")

        def signals(candidates: Tensor) -> CandidateSignals:
            boxes, scores = model(candidates)
            return CandidateSignals(boxes, scores, no_work(candidates))

        return torch.cat([craft(model, images[:count], signals, objective, hardening, rng), images[count:]])

    return attack
