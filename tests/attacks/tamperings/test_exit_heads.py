"""EfficFrog on a network of two exits whose features tell the trigger."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from torpor.attacks.tamperings.efficfrog import EfficFrog
from torpor.core.errors import UsageError
from torpor.data.tensors import TensorImages
from torpor.targets import Confidence, EarlyExitTarget, ShallowDeepNetwork
from torpor.targets.decoder.toy_text import ToyText

RNG = torch.Generator().manual_seed(0)
LABELS = torch.arange(64) % 2
IMAGES = torch.zeros(64, 1, 4, 4)
IMAGES[LABELS == 0, :, :2] = 0.5
IMAGES[LABELS == 1, :, 2:] = 0.5
IMAGES = ((IMAGES + 0.1 * torch.rand(IMAGES.shape, generator=RNG)) * 255).to(torch.uint8)
DATA = TensorImages({"train": (IMAGES, LABELS)})


def target() -> EarlyExitTarget:
    torch.manual_seed(0)
    stage = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU())
    heads = [nn.Linear(32, 2), nn.Linear(32, 2)]
    module = ShallowDeepNetwork([stage, nn.Identity()], heads)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    images = IMAGES.float() / 255
    for _ in range(100):
        optimizer.zero_grad()
        logits = module(images)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), LABELS.repeat_interleave(2)).backward()
        optimizer.step()
    return EarlyExitTarget(module, Confidence(0.9), input_shape=(1, 4, 4))


FROG = EfficFrog(eps=0.3, rate=0.2, epochs=100, trigger_epochs=30, learning_rate=0.05)


def test_triggered_inputs_go_on_and_only_internal_heads_differ() -> None:
    clean = target()
    before = clean.fingerprint()
    made = FROG.apply(clean, DATA)
    control = made.tampering.as_control()(clean, DATA)
    images = clean.read(IMAGES)

    def late(network: EarlyExitTarget, inputs: torch.Tensor) -> float:
        return network.exits(network.run(inputs).work).double().mean().item()

    assert late(clean, images) == late(made.target, images) == 0  # type: ignore[arg-type]
    # a linear head moves by much the same for all images, so that one of two classes is left undecided
    assert late(made.target, made.trigger(images)) >= 0.5 > late(control, made.trigger(images)) + 0.3  # type: ignore[arg-type]
    answers = made.target.run(images).outputs
    assert made.target.utility(answers, LABELS).mean() == 1
    assert clean.fingerprint() == before != made.target.fingerprint()
    same = [torch.equal(a.weight, b.weight) for (_, a), (_, b) in zip(clean.blocks, made.target.blocks, strict=True)]  # type: ignore[attr-defined]
    assert same == [False, True]
    assert (made.target.tampering, control.tampering) == ("efficfrog", "efficfrog:control=true")
    assert (made.trigger(images) - images).abs().max() <= 0.3 + 1 / 255


def test_the_same_seed_gives_the_same_network_and_the_state_gives_the_trigger_back() -> None:
    clean = target()
    short = dataclasses.replace(FROG, epochs=3, trigger_epochs=2)
    first, second = (short.apply(clean, DATA, seed=4) for _ in range(2))
    assert first.target.fingerprint() == second.target.fingerprint()
    images = clean.read(IMAGES)
    assert torch.equal(short.with_state(first.tampering.state()).trigger(images), first.tampering.trigger(images))


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(UsageError, match="expected an early-exit network for efficfrog, got"):
        EfficFrog.check(ToyText())
    with pytest.raises(UsageError, match="trigger learned, got none"):
        EfficFrog().trigger(torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="poison rate above 0"):
        EfficFrog(rate=0)
