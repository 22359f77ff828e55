"""Clean fine-tuning and fine-pruning: other weights, the same architecture, and the target as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from torpor.core.accelerator_prices import WEIGHTS
from torpor.core.errors import DataError, UsageError
from torpor.data.images import Digits
from torpor.defenses.hardening.fine_pruning import FinePruning, idle_first, last_convolutions, pruning
from torpor.defenses.hardening.retrained import CleanFineTuning, changed, networks_of
from torpor.defenses.registry import load_defense
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle
from torpor.targets.zero_skipping.target import ZeroSkippingTarget
from torpor.zoo.registry import sdn_digits


def small() -> EarlyExitTarget:
    torch.manual_seed(0)
    stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.ReLU()), nn.Flatten()]
    heads: list[nn.Module] = [nn.Sequential(nn.Flatten(), nn.Linear(256, 10)), nn.Linear(256, 10)]
    return EarlyExitTarget(ShallowDeepNetwork(stages, heads), Confidence(0.9), input_shape=(1, 32, 32))


def skipping() -> ZeroSkippingTarget:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    return ZeroSkippingTarget(network, input_shape=(1, 32, 32))


def images(target: EarlyExitTarget | ZeroSkippingTarget) -> tuple[Tensor, Tensor]:
    known = Digits().load("test", 100)
    inputs = target.read(known.inputs)
    assert isinstance(inputs, Tensor)
    return inputs, known.references


@pytest.mark.parametrize("make", [small, skipping])
@pytest.mark.parametrize("defense", [CleanFineTuning(2), FinePruning(4, 2)])
def test_it_learns_and_leaves_the_target_alone(
    make: Callable[[], EarlyExitTarget | ZeroSkippingTarget], defense: CleanFineTuning | FinePruning
) -> None:
    target = make()
    inputs, labels = images(target)
    before = {name: value.clone() for name, value in networks_of(target).state_dict().items()}
    accuracy = target.utility(target.run(inputs).outputs, labels).mean()
    fitted = defense.prepared(target, Digits(), (), 0)
    defended = fitted.defend(target)
    assert defended.utility(defended.run(inputs).outputs, labels).mean() > accuracy + 0.1
    assert defended.units == target.units
    assert defended.name.endswith(f"defended by {defense.name}")
    assert all(value.equal(before[name]) for name, value in networks_of(target).state_dict().items())
    again = defense.with_state(fitted.state()).prepared(target, Digits(), (), 1).defend(target)
    assert again.run(inputs).outputs.equal(defended.run(inputs).outputs)


def test_pruning_takes_the_channels_that_clean_images_leave_idle() -> None:
    target = small()
    (layer,) = last_convolutions(target)
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, 1.0, -100.0, 1.0]))  # the third never fires
    order = idle_first(target, images(target)[0])
    assert order[0][0] == 2
    (pruned,) = last_convolutions(changed(target, pruning(order, 0.25)))
    assert (pruned.weight.flatten(1).abs().sum(1) == 0).tolist() == [False, False, True, False]
    assert layer.weight[2].abs().sum() > 0


def test_weights_that_are_zero_are_not_moved_any_more() -> None:
    target = skipping()
    order = idle_first(target, images(target)[0])
    pruned = changed(target, pruning(order, 0.5))
    weights = [unit.name for unit in target.units].index(WEIGHTS)
    inputs = images(target)[0][:2]
    less = target.max_work(inputs).counts[0, weights] - pruned.max_work(inputs).counts[0, weights]
    assert less == 2 * (9 + 1)  # two channels of nine weights and a bias


def test_what_cannot_be_retrained_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a defense for"):
        CleanFineTuning().prepared(PeakTarget(), Digits(), (), 0)
    with pytest.raises(UsageError, match="expected learned weights"):
        CleanFineTuning().defend(needle())
    with pytest.raises(UsageError, match="expected convolutions to prune"):
        idle_first(needle(), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="fit it to this target"):
        CleanFineTuning().with_state({"0.weight": torch.zeros(1)}).defend(small())
    with pytest.raises(DataError, match="fit it again"):
        CleanFineTuning().with_state({})
    with pytest.raises(UsageError, match="expected 1 epoch or more"):
        load_defense("clean-fine-tuning:0")
    assert load_defense("fine-pruning:2").name == "fine-pruning:2"


def test_the_zoo_keeps_its_accuracy() -> None:
    target = sdn_digits()
    inputs, labels = images(target)
    before = target.utility(target.run(inputs).outputs, labels).mean()
    tuned = CleanFineTuning(1).prepared(target, Digits(), (), 0).defend(target)
    assert tuned.utility(tuned.run(inputs).outputs, labels).mean() >= before - 0.03
