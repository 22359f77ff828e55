"""Crafting attacks a model in training and leaves no trace in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torpor.core.objects import Objects
from torpor.data.images import to_unit
from torpor.data.scenes import WORDS, Scenes
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.training.captioning import to_ids
from torpor.training.crafting import Hardening, as_deployed, delayed_end, many_boxes, uniform_exits
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.detection.network import PyramidDetector

HARD = Hardening(eps=8 / 255, attack_steps=3)
VOCABULARY = Vocabulary.of(WORDS)


def network() -> ShallowDeepNetwork:
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)), nn.ReLU()]
    heads = [nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) for _ in stages]
    return ShallowDeepNetwork(stages, heads)


def captioner() -> Captioner:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 5, 8, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2))
    return Captioner(encoder, "lstm", VOCABULARY, width=4, positions=16, hidden=8, attention=6, embedding=5)


def detector() -> PyramidDetector:
    torch.manual_seed(0)
    return PyramidDetector(3, (8, 8, 8, 8, 8), 8)


def digits(count: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 256, (count, 1, 8, 8)) / 255, torch.randint(0, 3, (count,))


def captions(count: int) -> tuple[Tensor, Tensor]:
    images, texts = zip(*(Scenes().image("train", number) for number in range(count)), strict=True)
    return to_unit(torch.stack(images)), to_ids(texts, VOCABULARY)


def scenes(count: int) -> tuple[Tensor, list[Objects]]:
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return torch.randint(0, 256, (count, 3, 64, 64)) / 255, [nothing] * count


CASES = [(network, uniform_exits, digits), (captioner, delayed_end, captions), (detector, many_boxes, scenes)]


@pytest.mark.parametrize(("build", "attack", "samples"), CASES, ids=["exits", "captions", "boxes"])
def test_crafting_leaves_the_model_as_it_was(
    build: Callable[[], Any], attack: Callable[[Hardening], Any], samples: Callable[[int], tuple[Tensor, Any]]
) -> None:
    model, (images, truth) = build().train(), samples(5)
    frozen = next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    frozen.eval()  # a training of some parts only finds these flags again
    next(model.parameters()).requires_grad_(False)
    modes = [part.training for part in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    changed = attack(HARD)(model, images, truth, torch.Generator().manual_seed(0))
    assert [part.training for part in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert not changed.requires_grad
    moved = (changed - images).flatten(1).abs().amax(1)
    assert (moved[2:] == 0).all()  # half of 5, rounded to even
    assert (moved[:2] > 0).all()
    assert moved.max() <= HARD.eps * (1 + 1e-5)
    assert torch.allclose(changed * 255, (changed * 255).round(), atol=1e-4)


def test_flags_come_back_after_an_error() -> None:
    model = network().train()

    def fail() -> None:
        with as_deployed(model):
            assert not any(part.training for part in model.modules())
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        fail()
    assert all(part.training for part in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_attacked_images_are_less_sure_than_noise_of_the_same_size() -> None:
    model, (images, labels) = network(), digits(40)
    nn.init.normal_(next(model.heads[0].parameters()))  # else it is sure of nothing
    rng = torch.Generator().manual_seed(0)
    hard = Hardening(eps=0.2, attack_steps=5, attacked=1.0)
    attacked = uniform_exits(hard)(model, images, labels, rng)
    noisy = (images + hard.eps * (2 * torch.rand(images.shape, generator=rng) - 1)).clamp(0, 1)
    with torch.no_grad():
        sure, noise = (model.eval()(each)[:, 0].softmax(-1).amax(-1).mean() for each in (attacked, noisy))
    assert sure < noise - 0.02


def test_attacked_images_have_more_boxes_and_unlikelier_words() -> None:
    rng, hard = torch.Generator().manual_seed(0), Hardening(eps=0.2, attack_steps=5, attacked=1.0)
    finder, (images, nothing) = detector(), scenes(4)
    for head in finder.heads:
        nn.init.normal_(head.get_parameter("where.1.weight")[4:], std=1.0)
    crowded = many_boxes(hard)(finder, images, nothing, rng)
    with torch.no_grad():
        before, after = (finder.eval()(each)[1].amax(2).log().mean() for each in (images, crowded))
    assert after > before
    teller, (images, ids) = captioner(), captions(4)
    nn.init.normal_(teller.to_words.weight, std=5.0)  # else all words are as likely
    attacked = delayed_end(hard)(teller, images, ids, rng)
    mask = ids != VOCABULARY.pad
    with torch.no_grad():
        clean, moved = (teller.eval().teacher(teller.encode(each), ids).softmax(-1) for each in (images, attacked))
    assert moved.amax(-1)[mask].mean() < clean.amax(-1)[mask].mean()
