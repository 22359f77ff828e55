"""The contract of a target: what keeps it passes, and each way to break it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_audits import call

from torpor.audits.contract.line import ContractLine
from torpor.audits.contract.suite import CHECKS, contract_of, verdict_of
from torpor.audits.contract.trial import Trial
from torpor.core.signals import GateSignals
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.sets import Batch
from torpor.data.tensors import TensorImages
from torpor.targets.base import Target
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.layer_skipping import LayerSkippingSignals, LayerSkippingTarget


class Exits(EarlyExitTarget):
    """Two exits on bright and dark images of 4 x 4 pixels; classes break one thing each."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        stages = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
        classifiers = [nn.Linear(64, 2) for _ in range(2)]
        classifiers[0].weight.data.mul_(8)
        network = ShallowDeepNetwork(stages, [nn.Sequential(nn.Flatten(), each) for each in classifiers])
        pixels = torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        data = TensorImages({"test": (pixels, torch.arange(8) % 2)})
        super().__init__(network, Confidence(0.75), input_shape=(1, 4, 4), name="exits", data=lambda folder: data)


class Forgetful(Exits):
    def run(self, inputs: Tensor) -> Outcome:
        outcome = super().run(inputs)
        return Outcome(outcome.outputs, Work(outcome.work.counts[:1]))


class Random(Exits):
    def run(self, inputs: Tensor) -> Outcome:
        outcome = super().run(inputs)
        return Outcome(outcome.outputs, Work(outcome.work.counts + torch.randint(0, 9, outcome.work.counts.shape)))


class Mixing(Exits):
    """All samples of a batch run as deep as the deepest."""

    def run(self, inputs: Tensor) -> Outcome:
        outcome = super().run(inputs)
        counts = outcome.work.counts
        return Outcome(outcome.outputs, Work(counts.amax(0, keepdim=True).expand_as(counts).clone()))


class First(Exits):
    """The first sample of a batch is charged for it."""

    def run(self, inputs: Tensor) -> Outcome:
        outcome = super().run(inputs)
        counts = outcome.work.counts.clone()
        counts[0, 1] = 1
        return Outcome(outcome.outputs, Work(counts))


class Unbounded(Exits):
    def max_work(self, inputs: Tensor) -> Work:
        return Work(torch.tensor([[1, 0]]).repeat(len(inputs), 1))


class Lying(Exits):
    def signals(self, inputs: Tensor) -> GateSignals:
        signals = super().signals(inputs)
        return GateSignals(signals.logits, signals.margins, Work(torch.ones_like(signals.work.counts)))


class Reversed(Exits):
    def signals(self, inputs: Tensor) -> GateSignals:
        signals = super().signals(inputs)
        return GateSignals(signals.logits, -signals.margins, signals.work)


class Detached(Exits):
    def signals(self, inputs: Tensor) -> GateSignals:
        with torch.no_grad():
            return super().signals(inputs)


class Cheap(Exits):
    """Only accounts for an exit: both stages run for every sample."""

    def run(self, inputs: Tensor) -> Outcome:
        super().signals(inputs)
        return super().run(inputs)


class Dear(Exits):
    def __init__(self) -> None:
        super().__init__()
        self.units = tuple(Unit(unit.name, 2 * (unit.flops or 0)) for unit in self.units)


class Lost(Exits):
    def to(self, device: torch.device) -> Any:  # noqa: ANN401
        super().to(device)


class Fresh(Exits):
    """Weights are drawn anew whenever it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad(), torch.random.fork_rng():
            torch.seed()
            for stage, head in self.blocks:
                for values in (*stage.parameters(), *head.parameters()):
                    values.copy_(torch.rand_like(values))


class Crashing(Exits):
    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        raise KeyError("answers")


def lines(make: Callable[[], Target]) -> dict[str, ContractLine]:
    target = make()
    return {line.check: line for line in contract_of(Trial(target, target.data(None).load("test", 6), make))}


def test_what_keeps_the_contract_passes_every_check() -> None:
    found = lines(Exits)
    assert list(found) == [name for name, _ in CHECKS]
    assert {name for name, line in found.items() if line.verdict != "pass"} <= {"devices"}
    assert verdict_of(list(found.values())).value == "pass"
    counts = Exits().run(Exits().read(Exits().data(None).load("test").inputs)).work.counts.sum(1)
    assert set(counts.tolist()) == {1, 2}  # or many checks would say nothing


@pytest.mark.parametrize(
    ("make", "check", "words"),
    [
        (Forgetful, "run", "count one row for each input"),
        (Random, "run again", "draws seeded by the sample's content"),
        (Mixing, "batches of one", "no statistics over the batch"),
        (First, "independent rows", "index that counts within the batch"),
        (Unbounded, "bound", "run() counts 1, max_work() allows 0"),
        (Lying, "signals", "follow the very path that run() takes"),
        (Reversed, "sign of margins", "turn the sign round"),
        (Detached, "gradients", "without torch.no_grad()"),
        (Cheap, "FLOPs", "really skip what is skipped"),
        (Dear, "FLOPs", "FLOPs are 2 for each multiply-add"),
        (Lost, "devices", "return self"),
        (Fresh, "copies", "train with a fixed seed"),
        (Crashing, "outputs", "KeyError: 'answers' (test_target_contract.py, line"),
    ],
)
def test_each_way_to_break_it_is_named(make: Callable[[], Target], check: str, words: str) -> None:
    line = lines(make)[check]
    assert line.verdict == "fail", line
    assert words in str(line)


def test_without_work_no_further_check_is_made() -> None:
    assert list(lines(Forgetful)) == ["units", "run"]


def test_gates_that_are_no_exits_must_have_their_sign() -> None:
    from torpor.zoo.registry import skipnet_digits

    class Turned(LayerSkippingTarget):
        def signals(self, inputs: Tensor) -> LayerSkippingSignals:
            given = super().signals(inputs)
            return replace(given, margins=-given.margins)

    def turned() -> Target:
        target = skipnet_digits()
        target.__class__ = Turned
        return target

    assert lines(skipnet_digits)["sign of margins"].verdict == "pass"
    assert "turn the sign of margins round" in str(lines(turned)["sign of margins"])


def test_gates_that_do_not_tell_their_classes_say_what_to_return() -> None:
    from torpor.zoo.registry import skipnet_digits

    class Nameless(LayerSkippingTarget):
        def details(self) -> dict[str, Any]:
            return {}

    def nameless() -> Target:
        target = skipnet_digits()
        target.__class__ = Nameless
        return target

    line = lines(nameless)["family"]
    assert line.verdict == "pass"
    assert "without blank(), so that detectors do not apply: " in line.told
    assert "return {'classes': C}" in line.told


def test_other_kinds_of_targets_are_tried_too() -> None:
    lamps = LampTarget()
    dark = torch.zeros(2, *lamps.space.shape, dtype=torch.uint8)
    for target, inputs in ((ToyText(), ("99", "a cat")), (lamps, dark)):
        batch = Batch(torch.arange(2), inputs, ())
        found = {line.check: line for line in contract_of(Trial(target, batch))}
        assert [line for line in found.values() if line.verdict == "fail" and line.check != "FLOPs"] == []
        assert found["sign of margins"].told == "no gates"


@pytest.mark.parametrize("name", ["tts-digits", "snn-digits", "sparse-digits", "cascade-digits", "odenet-digits"])
def test_targets_of_the_zoo_keep_it(name: str) -> None:
    from torpor.zoo.registry import ZOO

    target = ZOO[name].load()
    batch = target.data(None).load("test", 2)
    assert [str(line) for line in contract_of(Trial(target, batch)) if line.verdict == "fail"] == []


def test_the_command_prints_lines_json_and_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = "torpor.targets.early_exit.toys:needle"
    code, out, _ = call("check-target", toy)
    assert code == 0
    assert out.splitlines()[-1] == "PASS: toy-needle, tried on noise alone: it has no data here"
    code, out, _ = call("check-target", toy, "--json")
    held = json.loads(out)
    assert (held["schema"], held["verdict"], len(held["lines"])) == ("torpor.contract/1", "pass", len(CHECKS))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    code, out, _ = call("check-target", "test_target_contract:Unbounded", "--json")
    assert code == 10
    assert {line["check"] for line in json.loads(out)["lines"] if line["verdict"] == "fail"} == {
        *("bound", "family")  # whose rungs of caps have no bound either
    }
    assert call("check-target", toy, "--limit", "0")[0] == 2
    assert call("check-target", "torpor.targets.decoder.toy_text:ToyText")[0] == 2  # texts, and none given
