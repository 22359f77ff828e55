"""Distillation between exits: what teaches them, that attacked images alone are taught, and what ships."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from interrupted_training import check_resumed_bits
from torch import nn

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.data.images import Digits
from torpor.data.sets import Batch
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.training.distilling import (
    DISTILLERS,
    class_groups,
    distillation_losses,
    neighbor_means,
    orthogonal_labels,
)
from torpor.training.early_exit import losses, train
from torpor.training.hardening import HARDENERS
from torpor.training.loop import Progress
from torpor.training.residual import residual

DISTILLER = DISTILLERS["sdn-digits-neo-kd"]


def network() -> ShallowDeepNetwork:
    """Return three exits on images ``[B, 1, 2, 2]`` of four classes; batch norm tells the modes apart."""
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)), nn.Linear(4, 4), nn.Linear(4, 4)]
    return ShallowDeepNetwork(stages, [nn.Linear(4, 4) for _ in stages]).train()


def test_neighbors_are_the_exit_itself_and_those_beside_it() -> None:
    predictions = torch.rand(2, 4, 3).softmax(2)
    first, second, third, last = predictions.unbind(1)
    expected = [(first + second) / 2, (first + second + third) / 3, (second + third + last) / 3, (third + last) / 2]
    assert neighbor_means(predictions).allclose(torch.stack(expected, 1))
    assert neighbor_means(predictions[:, :1]).equal(predictions[:, :1])


@pytest.mark.parametrize(("classes", "exits"), [(10, 6), (10, 3), (4, 6), (2, 2)])
def test_wrong_classes_are_divided_among_exits(classes: int, exits: int) -> None:
    groups = class_groups(classes, exits, 0)
    for label in range(classes):
        assert groups[label, :, label].all()
        wrong = torch.tensor([each for each in range(classes) if each != label])
        assert (groups[label][:, wrong].sum(0) == 1).all()  # each with one exit
        sizes = groups[label].sum(1)
        assert sizes.max() - sizes.min() <= 1
    assert groups.equal(class_groups(classes, exits, 0))


def test_another_seed_deals_other_groups() -> None:
    assert not class_groups(10, 6, 0).equal(class_groups(10, 6, 1))


def test_orthogonal_labels_share_the_true_class_alone() -> None:
    predictions, labels = torch.randn(5, 3, 4).softmax(2), torch.tensor([0, 1, 2, 3, 0])
    found = orthogonal_labels(predictions, labels, class_groups(4, 3, 0))
    assert found.sum(2).allclose(torch.ones(5, 3))
    for image, label in enumerate(labels.tolist()):
        for k in range(3):
            (other,) = (c for c in range(4) if c != label and found[image, k, c] > 0)
            odds = predictions[image, k, other] / predictions[image, k, label]
            assert (found[image, k, other] / found[image, k, label]).item() == pytest.approx(odds.item(), rel=1e-5)


def test_losses_are_those_of_hardening_and_two_more_on_attacked_images() -> None:
    recipe = replace(DISTILLER.recipe, neighbor=3.0, orthogonal=0.5)
    images, labels = torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 3])
    clean = torch.rand(2, 1, 2, 2)
    model, same = network(), network()
    found, shown = distillation_losses(model, torch.cat([images, clean]), labels, recipe, 0)
    plain, final = losses(same, images, labels, recipe, 0)
    assert shown.item() == final.item()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, student = images, []
        before = network()
        for stage, head in zip(before.stages, before.heads, strict=True):
            features = stage(features)
            student.append(head(features).float()[:2].log_softmax(1))
    teacher = network().eval()(clean).softmax(2).detach()
    own = orthogonal_labels(teacher, labels[:2], class_groups(4, 3, recipe.seed))
    near = neighbor_means(teacher)
    expected = plain.item()
    for k in range(3):
        expected -= (3.0 * near[:, k] * student[k] + 0.5 * own[:, k] * student[k]).sum().item() / 4
    assert found.item() == pytest.approx(expected, rel=1e-3)
    assert model.training
    norm, other = model.stages[0][1], same.stages[0][1]  # type: ignore[index]
    assert norm.running_mean.equal(other.running_mean)  # the teacher leaves batch norm alone


def test_no_gradient_flows_through_the_teacher() -> None:
    model, labels = network().eval(), torch.tensor([0])
    image = torch.rand(1, 1, 2, 2)
    taught = torch.rand(1, 1, 2, 2, requires_grad=True)
    found, _ = distillation_losses(model, torch.cat([image, taught]), labels, DISTILLER.recipe, 0)
    found.backward()
    assert taught.grad is not None
    assert not taught.grad.any()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_interrupted_distillation_ends_with_the_same_bits(tmp_path: Path) -> None:
    few = replace(DISTILLER, recipe=replace(DISTILLER.recipe, epochs=2, batch_size=4, attack_steps=2))

    def fit(data: Batch, checkpoint: Path, progress: Progress) -> ShallowDeepNetwork:
        return train(
            few.start, data, few.recipe, checkpoint, attack=few.attack(), descended=few.losses(), progress=progress
        )

    check_resumed_bits(fit, tmp_path)


def test_training_writes_a_card_and_weights_that_load(tmp_path: Path) -> None:
    few = replace(
        DISTILLER,
        recipe=replace(DISTILLER.recipe, attack_steps=1),
        limit=4,
        judges=(DeepSloth(eps=8 / 255, steps=2),),
    )
    card = json.loads(few.train(None, tmp_path, epochs=1).read_text())
    assert card["recipe"]["neighbor"] == DISTILLER.recipe.neighbor
    assert card["test under deepsloth Linf eps=0.03137"]["samples"] == 4
    assert few.entry.load(tmp_path).name == "sdn-digits-neo-kd"


def test_it_differs_from_the_hardened_network_by_the_distillation_alone() -> None:
    recipe, plain = asdict(DISTILLER.recipe), asdict(HARDENERS["sdn-digits-hardened"].recipe)
    assert {name: value for name, value in recipe.items() if name not in ("neighbor", "orthogonal")} == plain
    assert DISTILLER.judges == HARDENERS["sdn-digits-hardened"].judges


def test_the_shipped_one_is_sure_early_where_its_base_is_not() -> None:
    attack = DeepSloth(eps=16 / 255)
    hard, soft = (residual(each.load(), Digits(), attack, 50) for each in (DISTILLER.entry, DISTILLER.base))
    assert hard["cost, attacked"] < 0.5 * soft["cost, attacked"]
    assert hard["accuracy, clean"] > 0.9
