from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.sdn import ShallowDeepNetwork, build_sdn
from torpor.targets.early_exit.target import EarlyExitTarget

SHAPE = (2, 6, 9)


class Residual(nn.Module):
    """A block whose shortcut crosses any cut made inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3, padding=1)
        self.outer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.outer(torch.relu(self.inner(features))) + features)


class Backbone(nn.Module):
    """Functional calls between the blocks, so that only tracing can cut it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.blocks = nn.ModuleList([Residual(), Residual()])
        self.head = nn.Linear(3, 4)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.stem(images * 2 - 1))
        for block in self.blocks:
            features = block(features) * 0.5
        logits: Tensor = self.head(features.mean((-2, -1)))
        return logits


class Moody(nn.Module):
    """What runs depends on the pixels: no tracer can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 2, 1), nn.Linear(2, 4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.one(images)
        if features.sum() > 0:
            features = -features
        logits: Tensor = self.two(features.mean((-2, -1)))
        return logits


def build(backbone: nn.Module, *cuts: str) -> ShallowDeepNetwork:
    return build_sdn(backbone, cuts, num_classes=4, input_shape=SHAPE)


def test_a_sequential_is_cut_where_asked() -> None:
    body = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(140, 4))
    nn.init.constant_(body[1].get_buffer("running_mean"), 0.3)
    net = build(body.eval(), "0", "2")
    images = torch.rand(3, *SHAPE)
    assert net(images).shape == (3, 3, 4)
    assert torch.allclose(net(images)[:, -1], body(images), atol=1e-6)
    first, second, _ = net.stages
    assert torch.allclose(second(first(images)), body[:3](images), atol=1e-6)
    assert not net.training
    assert {id(value) for value in body.parameters()} <= {id(value) for value in net.parameters()}


@pytest.mark.parametrize("cuts", [("stem",), ("blocks.0",), ("stem", "blocks.0", "blocks.1")])
def test_a_residual_network_is_cut_by_tracing(cuts: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    body = Backbone()
    net = build(body, *cuts)
    images = torch.rand(3, *SHAPE)
    assert net.training
    assert torch.allclose(net.eval()(images)[:, -1], body.eval()(images), atol=1e-6)
    target = EarlyExitTarget(net, Confidence(0.3), input_shape=SHAPE)
    assert len(target.units) == len(cuts) + 1
    outcome, signals = target.run(images), target.signals(images)
    assert outcome.work.counts.equal(signals.work.counts)


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        (("blocks.7",), "name of a submodule of the backbone, got 'blocks.7'"),
        (("",), "name of a submodule"),
        (("blocks.1", "blocks.0"), "order in which the backbone runs them"),
        (("stem", "stem"), "order in which the backbone runs them"),
        (("unused",), "order in which the backbone runs them"),
        (("blocks.0.inner",), "one tensor across each cut, got 2"),
        (("head",), "feature map|computation after"),
    ],
)
def test_bad_cuts_are_refused_in_a_sentence(cuts: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(Backbone(), *cuts)


def test_cuts_after_the_flattening_are_refused() -> None:
    body = nn.Sequential(nn.Conv2d(2, 1, 3), nn.Flatten(), nn.Linear(28, 8), nn.Linear(8, 4))
    with pytest.raises(UsageError, match=r"expected a feature map .* after '2', got shape \(1, 8\)"):
        build(body, "2")


def test_networks_that_cannot_be_traced_are_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"expected a backbone that torch\.fx can trace"):
        build(Moody(), "one")


def test_stages_need_heads() -> None:
    for stages in ([], [nn.Flatten()]):
        with pytest.raises(UsageError, match="one head per stage"):
            ShallowDeepNetwork(stages, [])
