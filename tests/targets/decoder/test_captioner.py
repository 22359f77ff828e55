from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.decoder.verbose_images import VerboseImages
from torpor.core.errors import DataError, UsageError
from torpor.core.work import Generation
from torpor.meters.calibration import _not_identifiable
from torpor.targets.decoder import captioner
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.vocabulary import Vocabulary

SHAPE = (3, 8, 8)
CAP = 30


class Noting(Captioner):
    """A captioner that notes how many rows each step had."""

    def step(self, features: Tensor, ids: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        self.rows.append(len(ids))
        return super().step(features, ids, state)

    rows: list[int]


def network(cell: str = "gru") -> Noting:
    """Build an untrained captioner that is sure enough to say something else about each image."""
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2, 1))
    words = Vocabulary.of(["a b c d e f g h"])
    net = Noting(encoder, cell, words, width=8, positions=4, hidden=16, attention=6, embedding=5)
    net.rows = []
    with torch.no_grad():
        for weight in (net.to_words.weight, net.cell.of_hidden.weight, net.cell.of_input.weight, net.embedding.weight):
            weight.mul_(6 if weight is net.to_words.weight else math.sqrt(6))
        for weight in (encoder.get_parameter("0.weight"), encoder.get_parameter("2.weight")):
            weight.mul_(3)
    return net


def build(cell: str = "gru") -> CaptionerTarget:
    return CaptionerTarget(network(cell), input_shape=SHAPE, cap=CAP)


def images(target: CaptionerTarget, count: int, seed: int = 0) -> Tensor:
    return target.space.snap(torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)))


@settings(max_examples=8)
@given(st.sampled_from(["gru", "lstm"]), st.integers(0, 1000), st.integers(2, 9))
def test_a_sample_says_the_same_in_any_batch(cell: str, seed: int, count: int) -> None:
    target = build(cell)
    inputs = images(target, count, seed)
    outcome = target.run(inputs)
    for row in range(count):
        alone = target.run(inputs[row : row + 1])
        assert alone.outputs == outcome.outputs[row : row + 1]
        assert alone.work.counts.equal(outcome.work.counts[row : row + 1])


def test_captions_have_many_lengths_and_end_as_they_say() -> None:
    target = build()
    outcome = target.run(images(target, 40))
    steps = target.iterations(outcome.work)
    assert len(set(steps.tolist())) > 5
    assert steps.tolist() == [len(output.ids) for output in outcome.outputs]
    assert outcome.work.counts[:, 0].eq(1).all()
    for output in outcome.outputs:
        assert output.capped is (output.ids[-1] != Vocabulary.end)
        assert Vocabulary.end not in output.ids[:-1]
        assert output.capped is (len(output.ids) == CAP) or output.ids[-1] == Vocabulary.end
        assert output.text == Vocabulary.of(["a b c d e f g h"]).decode(output.ids)
    assert any(output.capped for output in outcome.outputs)


def test_near_ties_are_decided_by_a_run_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    target = build()
    inputs = images(target, 6)
    expected = target.run(inputs)
    net = target.module
    assert isinstance(net, Noting)
    monkeypatch.setattr(captioner, "TIE", 1e9)
    net.rows.clear()
    again = target.run(inputs)
    assert again.outputs == expected.outputs
    assert net.rows.count(1) >= sum(len(output.ids) for output in expected.outputs) - CAP


def test_captions_that_ended_leave_the_batch() -> None:
    target = build()
    net = target.module
    assert isinstance(net, Noting)
    inputs = images(target, 9)
    for call in (target.run, target.signals):
        net.rows.clear()
        steps = target.iterations(call(inputs).work)
        assert net.rows[: int(steps.max())] == [int((steps > step).sum()) for step in range(int(steps.max()))]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_signals_are_the_teacher_forced_logits_of_what_is_said(cell: str) -> None:
    target = build(cell)
    inputs = images(target, 7).requires_grad_()
    outcome, signals = target.run(inputs.detach()), target.signals(inputs)
    assert signals.work.counts.equal(outcome.work.counts)
    assert signals.mask.sum(1).equal(target.iterations(outcome.work))
    assert signals.hidden is not None
    net = target.module
    assert isinstance(net, Noting)
    for row, output in enumerate(outcome.outputs):
        count = len(output.ids)
        assert tuple(signals.ids[row, :count].tolist()) == output.ids
        features = net.encode(inputs[row : row + 1])
        expected = net.teacher(features, torch.tensor([output.ids]))[0]
        assert torch.allclose(signals.logits[row, :count], expected, atol=1e-4)
        assert torch.allclose(net.to_words(signals.hidden[row, :count]), expected, atol=1e-4)
        ours = torch.autograd.grad(signals.logits[row, :count, 2].sum(), inputs, retain_graph=True)[0]
        theirs = torch.autograd.grad(expected[:, 2].sum(), inputs)[0]
        assert ours[row].abs().max() > 0
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


def test_flops_are_those_of_hand_counting() -> None:
    target = build()
    names = [unit.name for unit in target.units]
    hidden, width, attention, embedding, places, words = 16, 8, 6, 5, 4, 12
    convolutions = 2 * 16 * 8 * 3 * 9 + 2 * 4 * 8 * 8 * 9
    encoder = convolutions + 2 * places * width * attention + 2 * width * hidden
    look = 2 * hidden * attention + 2 * places * attention + 2 * places * width + 2 * hidden * width
    step = look + 2 * 3 * hidden * (embedding + width + hidden) + 2 * hidden * words
    assert names == ["encoder", "decoder_step"]
    assert [unit.flops for unit in target.units] == [encoder, step]


def test_a_cap_bounds_the_work() -> None:
    target = build()
    inputs = images(target, 20)
    short = target.with_cap(3)
    assert target.cap == CAP
    steps, most = target.run(inputs).work.counts, short.max_work(inputs).counts
    assert most.tolist() == [[1, 3]] * 20
    assert short.run(inputs).work.counts.equal(torch.minimum(steps, most))
    assert short.signals(inputs).logits.shape[1] == 3
    assert short.static_work().counts.tolist() == [[1, 3]]
    assert len({target.fingerprint(), short.fingerprint(), build("lstm").fingerprint()}) == 3
    assert build().fingerprint() == target.fingerprint()
    with pytest.raises(UsageError, match="cap of 1 token"):
        target.with_cap(0)


def test_probes_do_the_work_that_they_name_and_price_every_unit() -> None:
    target = build()
    net = target.module
    assert isinstance(net, Noting)
    probes = list(target.probes(images(target, 1)))
    for work, call in probes:
        net.rows.clear()
        call()
        assert work.counts.tolist() == [[1, len(net.rows)]]
    assert len(_not_identifiable(torch.cat([work.counts for work, _ in probes]).double().numpy())) == 0
    assert len(list(target.with_cap(1).probes(images(target, 1)))) == 2


def test_utility_is_the_f_score_of_each_caption() -> None:
    target = build()
    outputs = (Generation((5,), "a b", False), Generation((5,), "c", False))
    assert target.utility(outputs, ("a b", "a")).tolist() == [1, 0]
    assert target.utility(outputs, ()).isnan().all()
    assert target.utility_name == "ROUGE-L F1"
    assert target.agreement(outputs, outputs[::-1]).tolist() == [False, False]


def test_references_are_captions() -> None:
    target = build()
    assert target.labels((), ("a b",)) == ("a b",)
    assert target.labels((), None) == ()
    with pytest.raises(DataError, match="expected captions as references"):
        target.labels((), torch.tensor([1, 2]))


def test_broken_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="a network without vocabulary, encode, start, step"):
        CaptionerTarget(nn.Linear(2, 2), input_shape=SHAPE)
    net = network()
    net.to_words = nn.Linear(16, 11)
    with pytest.raises(UsageError, match="expected scores of 12 tokens"):
        CaptionerTarget(net, input_shape=SHAPE)
    target = build()
    next(target.module.parameters()).fill_(torch.nan)
    with pytest.raises(UsageError, match="expected numbers as scores"):
        target.run(images(target, 2))


def test_steps_that_grow_are_refused() -> None:
    class Growing(Noting):
        def step(self, features: Tensor, ids: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            logits, after = super().step(features, ids, state)
            for _ in self.rows:
                self.to_words(state[0])
            return logits, after

    net = network()
    net.__class__ = Growing
    with pytest.raises(UsageError, match="steps that all cost the same"):
        CaptionerTarget(net, input_shape=SHAPE)


@pytest.mark.parametrize(
    "attack",
    [NICGSlowDown(norm="L2", eps=2.0, steps=12), NICGSlowDown(eps=0.1, steps=12), VerboseImages(eps=0.1, steps=12)],
)
def test_attacks_lengthen_captions(attack: NICGSlowDown | VerboseImages) -> None:
    target = build()
    inputs = images(target, 8)
    result = attack(target, inputs, references=("a",) * 8)
    before, after = target.iterations(result.clean.work), target.iterations(result.attacked.work)
    assert (after >= before).all()
    assert (after > before).sum() >= 3
    assert after.sum() > 1.1 * before.sum()
    assert target.run(result.inputs).work.counts.equal(result.attacked.work.counts)
    assert result.candidates.zero_gradient is not None
    assert not result.candidates.zero_gradient.any()
    alone = attack(target, inputs[2:3])
    assert alone.attacked.work.counts.equal(result.attacked.work.counts[2:3])
