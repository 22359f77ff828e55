"""The contract of tampering, on a backdoor whose costs are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from torpor.attacks.tampering import Tampering
from torpor.core.errors import UsageError
from torpor.core.threat import Stage
from torpor.data.sets import DataSet
from torpor.data.tensors import TensorImages
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import WindowTarget

MARK = 0.45
TRAIN = TensorImages({"train": (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))})
CLEAN = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1).expand(2, 1, 4, 4).clone()


@dataclass(frozen=True)
class WideWindows(Tampering):
    """Widens every window until the mean pixel of the trigger falls into all of them."""

    id: ClassVar[str] = "wide-windows"
    stage: ClassVar[Stage] = Stage.BACKDOOR

    def tamper(self, target: WindowTarget, train: DataSet, seed: int) -> Target:
        widths = [
            max(abs(center - MARK) + 0.02, width) for center, width in zip(target.centers, target.widths, strict=True)
        ]
        return WindowTarget(target.centers, widths, name=target.name)

    def trigger(self, inputs: Tensor) -> Tensor:
        """Return images whose mean pixel is ``MARK``: the right half makes up for the left one."""
        marked = inputs.clone()
        marked[..., 2:] = 2 * MARK - inputs[..., :2]
        return marked


def depth(target: Target, inputs: Tensor) -> list[int]:
    return target.run(inputs).work.counts.sum(1).tolist()


def test_a_backdoor_costs_nothing_until_its_trigger_is_there() -> None:
    clean_target = WindowTarget([0.5, 0.51], [0.01, 0.01])
    backdoor = WideWindows()
    tampered = backdoor(clean_target, TRAIN)
    assert depth(clean_target, CLEAN) == depth(tampered, CLEAN) == [1, 1]
    assert depth(clean_target, backdoor.trigger(CLEAN)) == [1, 1]
    assert depth(tampered, backdoor.trigger(CLEAN)) == [3, 3]


def test_what_is_no_tampered_copy_is_refused() -> None:
    target = WindowTarget([0.5], [0.1])

    class Idle(WideWindows):
        def tamper(self, target: WindowTarget, train: DataSet, seed: int) -> Target:
            return target

    class Longer(WideWindows):
        def tamper(self, target: WindowTarget, train: DataSet, seed: int) -> Target:
            return WindowTarget([0.5, 0.6], [0.1, 0.1])

    class Late(WideWindows):
        stage: ClassVar[Stage] = Stage.EVASION

    for kind, words in ((Idle, "a tampered copy"), (Longer, "units of window alone"), (Late, "among poisoning")):
        with pytest.raises(UsageError, match=words):
            kind()(target, TRAIN)


def test_by_default_inputs_need_no_trigger() -> None:
    assert Tampering.trigger(WideWindows(), CLEAN) is CLEAN
