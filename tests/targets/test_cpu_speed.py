"""What makes networks fast changes no result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.targets import speed
from torpor.targets.early_exit.exit_rules import Confidence, ExitRule
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget


class ViewHead(nn.Module):
    """A classifier that insists on feature maps that are stored channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * 6 * 6, 3)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features.view(len(features), -1))
        return logits


class FlattenHead(ViewHead):
    """The same classifier for any layout."""

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features.flatten(1))
        return logits


def build(head: type[ViewHead]) -> EarlyExitTarget:
    torch.manual_seed(0)
    stages = [nn.Conv2d(2, 4, 3, padding=1), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))]
    return EarlyExitTarget(ShallowDeepNetwork(stages, [head(), head()]), Confidence(0.4), input_shape=(2, 6, 6))


def kernel(target: EarlyExitTarget) -> Tensor:
    first = target.blocks[0][0]
    assert isinstance(first, nn.Conv2d)
    return first.weight


def test_a_network_that_views_its_features_keeps_its_layout_and_gives_the_same() -> None:
    inputs = torch.rand(40, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    viewing, flattening = build(ViewHead), build(FlattenHead)
    assert kernel(viewing).is_contiguous()
    assert not kernel(flattening).is_contiguous()
    assert kernel(flattening).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(kernel(viewing), kernel(flattening))
    median = flattening.signals(inputs).exit_logits[:, 0].softmax(-1).amax(-1).median().item()
    viewing.rule = flattening.rule = Confidence(median + 2e-4)
    one, other = viewing.run(inputs), flattening.run(inputs)
    assert torch.equal(one.work.counts, other.work.counts)
    assert 0 < int(one.work.counts[:, 1].sum()) < 40
    torch.testing.assert_close(one.outputs, other.outputs)


def test_pieces_are_whole_samples_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "CACHE", 100)
    sizes = []

    class Double(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            sizes.append(len(inputs))
            return inputs * 2

    inputs = torch.arange(10.0)
    assert torch.equal(speed.in_pieces(Double(), inputs, sample_bytes=30), inputs * 2)
    assert sizes == [4, 4, 2]  # 300 bytes are three times what fits
    sizes.clear()
    assert torch.equal(speed.in_pieces(Double(), inputs, sample_bytes=1000), inputs * 2)
    assert sizes == [1] * 10
    sizes.clear()
    assert torch.equal(speed.in_pieces(Double(), inputs, sample_bytes=0), inputs * 2)
    assert sizes == [10]


def test_pieces_change_neither_work_nor_gradients(
    digits_target: EarlyExitTarget, digits_test: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def results() -> tuple[Tensor, Tensor, Tensor]:
        leaf = digits_test[0].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(digits_target.signals(leaf).exit_logits.square().sum(), leaf)
        outcome = digits_target.run(digits_test[0])
        return outcome.work.counts, outcome.outputs, gradient

    counts, outputs, gradient = results()
    monkeypatch.setattr(speed, "CACHE", 1 << 14)
    torch.testing.assert_close(results(), (counts, outputs, gradient), rtol=1e-4, atol=1e-5)
    assert torch.equal(results()[0], counts)


def test_rules_without_margins_are_refused() -> None:
    class Lost(ExitRule):
        def margin(self, logits: Tensor) -> Tensor:
            return logits[:, -1, 0] * torch.nan

        def describe(self) -> str:
            return "lost"

    target = build(FlattenHead)
    target.rule = Lost()
    with pytest.raises(UsageError, match="margins"):
        target.run(torch.rand(3, 2, 6, 6))
