from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from torpor.attacks.early_exit.deepsloth_universal import DeepSlothUniversal
from torpor.attacks.universal import Learned
from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.data.images import Digits, to_unit
from torpor.targets.early_exit.family import GateTarget
from torpor.targets.early_exit.target import EarlyExitTarget


def test_audits_fit_on_validation_and_attack_the_test_split(
    digits_target: EarlyExitTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Tensor] = []
    attacked: list[Tensor] = []
    learn, search = DeepSlothUniversal.learn, DeepSlothUniversal.search

    def spy_learn(
        self: DeepSlothUniversal, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int
    ) -> Learned:
        fitted.append(inputs)
        return learn(self, target, inputs[:8], references, seed)

    def spy_search(self: DeepSlothUniversal, target: GateTarget, inputs: Tensor, labels: Tensor, seed: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        attacked.append(inputs)
        return search(self, target, inputs, labels, seed)

    monkeypatch.setattr(DeepSlothUniversal, "learn", spy_learn)
    monkeypatch.setattr(DeepSlothUniversal, "search", spy_search)
    plan = Plan("sdn-digits", ("deepsloth-universal",), "Linf", (0.03125,), limit=6, batch_size=3)
    run_audit(plan, digits_target, tmp_path / "audit")
    learned = {image.numpy().tobytes() for images in fitted for image in images}
    tried, *batches = attacked  # what was learned is tried on some of what it learned from
    sent = [image.numpy().tobytes() for images in batches for image in images]
    assert learned == {image.numpy().tobytes() for image in to_unit(Digits().load("validation").inputs)}
    assert {image.numpy().tobytes() for image in tried} <= learned
    assert sent == [image.numpy().tobytes() for image in to_unit(Digits().load("test", 6).inputs)]
    assert not learned & set(sent)
