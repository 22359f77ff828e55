"""An audit of a target whose work is constant says so in one sentence, and attacks nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor, nn

from torpor.audits.read import read_audit
from torpor.audits.request import request
from torpor.cli.audit import audit as audit_command
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.images import Digits
from torpor.reports.console import verdict_line
from torpor.reports.html import write_report
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.early_exit.toys import needle

SENTENCE = "The work of merging is constant by construction, 4.1 kFLOPs for every input: there is nothing to attack"


class Merging(GatedClassifier):
    """A network that drops the same share of every input, as one that merges tokens at a fixed rate does."""

    mechanism = "token merging at a fixed rate"

    def __init__(self) -> None:
        self.name, self.device, self.classes = "merging", torch.device("cpu"), 2
        self.space = ImageSpace((1, 32, 32))
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2)).requires_grad_(False)
        self.units = (Unit("first", 2048), Unit("second", 2048))
        self.source = lambda folder: Digits()

    def run(self, inputs: Tensor) -> Outcome:
        return Outcome(self.net(inputs), self.max_work(inputs))

    def max_work(self, inputs: Tensor) -> Work:
        return Work(torch.ones(len(inputs), 2, dtype=torch.int64))

    def least_work(self) -> Work:
        return self.static_work()

    def signals(self, inputs: Tensor) -> GateSignals:
        raise AssertionError("nothing is attacked")

    def to(self, device: torch.device) -> Self:
        return self


def build() -> Merging:
    return Merging()


def test_only_a_target_that_declares_it_has_constant_work() -> None:
    assert Merging().constant_work()
    assert not needle().constant_work()


@pytest.mark.parametrize("attacks", [None, "standard"])
def test_nothing_is_attacked_and_the_report_says_why(attacks: str | None, tmp_path: Path) -> None:
    asked = request(Merging(), attacks, limit=6, timed=False)
    asked.run(tmp_path)
    audit = read_audit(tmp_path)
    assert [row["attack"] for row in audit.summary] == ["clean"]
    assert audit.parts()["target"]["constant_work"] is True
    assert SENTENCE in verdict_line(audit.parts())
    assert SENTENCE in write_report(tmp_path).read_text(encoding="utf-8")
    asked.run(tmp_path)  # it is finished


def test_the_command_says_it_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    audit_command(f"{Path(__file__).stem}:build", limit=2, out=tmp_path)
    shown = capsys.readouterr()
    assert SENTENCE in " ".join(shown.out.split())
    assert "About to attack" not in shown.out + shown.err
