"""Speech synthesizers: exact work, one row's speech in any batch, and signals that are those of the deployed run."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torpor.attacks.registry import ATTACKS
from torpor.core.errors import DataError, UsageError
from torpor.meters.flops import counting
from torpor.targets.decoder import synthesis
from torpor.targets.decoder.synthesis import FRAME, STOP, SynthesisTarget
from torpor.zoo.speech.symbols import STRANGE, SYMBOLS
from torpor.zoo.speech.synthesizer import BANDS, FRAMES, Synthesizer

TEXTS = ("one", "seven two", "three, four five", "a", "Zero\u0430!")
CAP = 25
spoken = st.text(st.sampled_from(SYMBOLS), min_size=1, max_size=20).filter(str.strip)


class Noting(Synthesizer):
    """A synthesizer that notes how many rows each step had."""

    def __init__(self) -> None:
        super().__init__(embedding=8, width=12, hidden=16, bells=2)
        self.rows: list[int] = []

    def step(
        self, memory: Tensor, inside: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        self.rows.append(len(memory))
        return super().step(memory, inside, state)


@functools.cache
def network() -> Noting:
    """Build an untrained network whose speech stops after as many steps as a text wants it to."""
    torch.manual_seed(1)
    net = Noting()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(2 if weight.ndim > 1 else 1)
        net.to_stop.weight.mul_(3)
        net.to_stop.bias.fill_(-2)
    return net


def build(cap: int = CAP) -> SynthesisTarget:
    return SynthesisTarget(network(), cap=cap)


def lengths(target: SynthesisTarget, texts: tuple[str, ...]) -> list[int]:
    return target.iterations(target.run(texts).work).tolist()


def test_texts_differ_in_length_and_some_reach_the_cap() -> None:
    outcome = build().run(TEXTS)
    steps = [len(output.ids) for output in outcome.outputs]
    assert len(set(steps)) > 2
    assert [output.capped for output in outcome.outputs] == [output.ids[-1] == FRAME for output in outcome.outputs]
    for output in outcome.outputs:
        assert output.frames.shape == (len(output.ids), FRAMES * BANDS)
        assert STOP not in output.ids[:-1]


@settings(max_examples=20)
@given(st.lists(spoken, min_size=2, max_size=6))
def test_speech_is_as_long_in_any_batch(texts: list[str]) -> None:
    target = build()
    alone = [target.run((text,)) for text in texts]
    together = target.run(tuple(texts))
    assert together.work.counts.equal(torch.cat([one.work.counts for one in alone]))
    for one, other in zip(together.outputs, alone, strict=True):
        torch.testing.assert_close(one.frames, other.outputs[0].frames, atol=1e-4, rtol=0)
    assert target.score(texts).tolist() == target.iterations(together.work).tolist()


def test_close_decisions_are_taken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    target = build()
    known = target.run(TEXTS).work.counts
    monkeypatch.setattr(synthesis, "TIE", 1e9)
    network().rows.clear()
    assert target.run(TEXTS).work.counts.equal(known)
    assert network().rows.count(1) >= int(known[:, 1].sum())


def test_speech_that_stopped_leaves_the_batch() -> None:
    target = build()
    network().rows.clear()
    steps = lengths(target, TEXTS)
    assert network().rows[: max(steps)] == [sum(one > place for one in steps) for place in range(max(steps))]


@pytest.mark.parametrize("text", TEXTS)
def test_work_times_prices_is_what_the_counter_counts(text: str) -> None:
    target = build()
    counts = target.run((text,)).work.counts[0].tolist()
    characters = len(target.space.codec.encode(text)) + 1
    assert counts == [characters, counts[1], characters * counts[1]]
    price = target.prices.cost(target.run((text,)).work).item()
    with counting() as counter:
        target.score((text,))
    assert counter.flops == price


def test_a_network_of_other_work_is_refused() -> None:
    class Quadratic(Synthesizer):
        """Its characters attend to each other."""

        def encode(self, embedded: Tensor, inside: Tensor) -> Tensor:
            memory = super().encode(embedded, inside)
            return torch.bmm(torch.bmm(memory, memory.transpose(1, 2)), memory)

    class Growing(Synthesizer):
        """Its first step does without its last frames."""

        def step(
            self, memory: Tensor, inside: Tensor, state: tuple[Tensor, ...]
        ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
            return super().step(memory, inside, (*state[:3], state[3] @ torch.eye(80) if state[3].any() else state[3]))

    for kind in (Quadratic, Growing):
        with pytest.raises(UsageError, match="expected FLOPs proportional to the characters"):
            SynthesisTarget(kind(embedding=4, width=4, hidden=4, bells=1))


def test_no_text_costs_more_than_the_bound() -> None:
    target = build()
    longest = "e" * target.space.max_tokens
    most = target.max_work((longest, "a")).counts
    assert (target.run((longest, "a")).work.counts <= most).all()
    assert most.tolist() == [[41, CAP, 41 * CAP], [2, CAP, 2 * CAP]]
    assert most[:1].equal(target.static_work().counts)
    assert (target.least_work().counts <= target.run(("a",)).work.counts).all()
    with pytest.raises(DataError, match="expected texts of 1 to 40 tokens, got 41"):
        target.run((longest + "e",))


def test_caps_cut_speech_and_nothing_else() -> None:
    steps = lengths(build(), TEXTS)
    for cap in (1, 3):
        assert lengths(build().with_cap(cap), TEXTS) == [min(cap, one) for one in steps]
    with pytest.raises(UsageError, match="expected a cap of 1 step or more, got 0"):
        build().with_cap(0)
    with pytest.raises(UsageError, match="asks at every step whether to continue"):
        build().with_stop(None)


def test_signals_are_those_of_the_deployed_run() -> None:
    target = build()
    signals, outcome = target.signals(TEXTS), target.run(TEXTS)
    assert signals.work.counts.equal(outcome.work.counts)
    assert [tuple(ids[ran].tolist()) for ids, ran in zip(signals.ids, signals.mask, strict=True)] == [
        output.ids for output in outcome.outputs
    ]
    assert signals.logits.argmax(-1)[signals.mask].equal(signals.ids[signals.mask])
    assert signals.input_ids is not None
    assert signals.input_mask is not None
    own = [tuple(ids[mask].tolist()) for ids, mask in zip(signals.input_ids, signals.input_mask, strict=True)]
    assert own == [target.space.codec.encode(text) for text in TEXTS]


def test_gradients_are_those_of_the_stop_head_with_respect_to_embeddings() -> None:
    target, text = build(), "two one"
    signals = target.signals((text,))
    assert signals.embeddings is not None
    ends = signals.logits[0, :, STOP]
    (gradient,) = torch.autograd.grad(ends.sum(), signals.embeddings)
    module, moved = network(), signals.embeddings.detach().clone()
    moved[0, 2] += 1e-3 * gradient[0, 2] / gradient[0, 2].norm()
    inside = torch.ones(1, moved.shape[1], dtype=torch.bool)
    memory = module.encode(moved, inside)
    state, total = module.start(memory), 0.0
    for _ in range(len(ends)):
        _, stop, state = module.step(memory, inside, state)
        total += stop.item()
    assert (total - ends.sum().item()) / 1e-3 == pytest.approx(gradient[0, 2].norm().item(), rel=0.05)
    matrix = target.embedding_matrix()
    assert signals.embeddings[0, 0].equal(matrix[target.space.codec.encode(text)[0]])


def test_teacher_forcing_says_what_steps_say() -> None:
    module = network()
    embedded, inside = module.embed(module.ids([module.symbols.encode("six one")]))
    memory = module.encode(embedded, inside)
    state, said, stops = module.start(memory), [], []
    for _ in range(6):
        one, stop, state = module.step(memory, inside, state)
        said.append(one)
        stops.append(stop)
    frames, ends = module.teacher(memory, inside, torch.stack(said, 1))
    torch.testing.assert_close(frames, torch.stack(said, 1))
    torch.testing.assert_close(ends, torch.stack(stops, 1))


def test_characters_that_are_no_symbols_are_sendable_and_read_alike() -> None:
    target = build()
    assert all(target.space.survives(text) for text in ("tw\u043e", "tw0", "TWO", f"tw{STRANGE}"))
    assert target.run(("tw\u043e",)).outputs == target.run(("tw0",)).outputs
    assert target.run(("TWO",)).outputs == target.run(("two",)).outputs


def test_without_references_there_is_no_utility_and_a_stranger_is_no_synthesizer() -> None:
    target = build()
    outputs = target.run(TEXTS).outputs
    assert target.utility(outputs, ()).isnan().all()
    assert target.agreement(outputs, outputs).all()
    assert target.utility(outputs, [output.text for output in outputs]).tolist() == [
        float(bool(output.text)) for output in outputs
    ]
    with pytest.raises(UsageError, match="got a network without symbols, ids"):
        SynthesisTarget(nn.Linear(1, 1))


@pytest.mark.parametrize(
    "name", ["ttslow", "nmtsloth-char", "nmtsloth-token", "llmeffichecker-char", "control-random-edits"]
)
def test_attacks_on_texts_run_unchanged(name: str) -> None:
    target = build()
    attack = ATTACKS.find(name)
    found = attack(norm=attack.norms[0], eps=1)(target, TEXTS[:2], seed=0)
    assert (target.iterations(found.attacked.work) >= target.iterations(found.clean.work)).all()
    assert lengths(target, found.inputs) == target.iterations(found.attacked.work).tolist()


def test_work_follows_from_what_was_read_and_said() -> None:
    target = build()
    ran = target.run(TEXTS)
    assert torch.equal(target.known_work(TEXTS, target.iterations(ran.work).tolist()).counts, ran.work.counts)


def test_probes_do_the_work_that_they_say_and_price_every_unit() -> None:
    target = build(cap=4)
    works = []
    for work, call in target.probes(("two",)):
        with counting() as counter:
            call()
        assert counter.flops == target.prices.cost(work).item()
        works.append(work.counts[0].to(torch.float64))
    assert torch.linalg.matrix_rank(torch.stack(works)) == len(target.units)
