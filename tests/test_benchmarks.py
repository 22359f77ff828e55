"""Every benchmark runs on a small network and compares what it says it compares; timings are not asserted."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import (
    attack_step,
    attacked_saving,
    candidate_scoring,
    counting,
    detector_step,
    equal_efficacy,
    executors,
    fuzz,
    iteration,
    memory,
    nicg_step,
    overload_peer,
    pgd_peers,
    saving,
    suppression,
    teacher_forced,
    text_search,
)
from benchmarks.common import (
    Always,
    Never,
    Options,
    Row,
    Times,
    caption_steps,
    captioner,
    every_exit,
    images,
    interleave,
    table,
    translators,
    with_rule,
)
from benchmarks.damage import damage_file
from benchmarks.strength import measure as strength
from benchmarks.strength.__main__ import rows_of
from benchmarks.strength.cases import Case
from benchmarks.strength.figures import i_loops
from benchmarks.strength.rivals import AtMost
from benchmarks.strength.row import Found, Strength
from benchmarks.strength.table import table as strength_table
from torch import Tensor, nn

from torpor.attacks.base import Candidates
from torpor.attacks.detector.overload import TINY, Overload
from torpor.attacks.text.dgslow import DGSlow
from torpor.attacks.text.evolution.evolution import Evolution
from torpor.attacks.text.nmtsloth import LateEnd
from torpor.attacks.text.search.gradients import token_gradient
from torpor.attacks.text.standard import StandardText
from torpor.audits.run.executors import Local
from torpor.core.signals import GateSignals
from torpor.meters.clock import RecordedClock
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.targets.decoder.generation.texts import SourceTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.resolve import load_target

QUICK = Options(rounds=2)


@pytest.fixture
def inputs(digits_test: tuple[Tensor, Tensor]) -> Tensor:
    return digits_test[0][:12]


@pytest.fixture(scope="module")
def speller() -> SourceTarget:
    return translators(1, QUICK)[0][0]


@pytest.fixture(scope="module")
def texts() -> tuple[str, ...]:
    return "van on 2", "bus 17", "7"


@pytest.fixture(scope="module")
def scenes() -> tuple[CaptionerTarget, Tensor]:
    return captioner(4)


@pytest.fixture
def labels(digits_test: tuple[Tensor, Tensor]) -> Tensor:
    return digits_test[1][:12]


def test_calls_take_turns_and_the_ratio_is_that_of_the_medians() -> None:
    order: list[str] = []
    times = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, Options(), rounds=3, warmup=1)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert all(len(seconds) == 3 for seconds in times.seconds.values())
    known = Times({"a": np.array([2.0, 2.0, 9.0]), "b": np.array([1.0, 1.0, 1.0])}, 0.0)
    value, (low, high) = known.estimate(lambda median: median["a"] / median["b"])
    assert value == 2
    assert low == 2
    assert high == 9


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("x", 0.9, goal=0.85, at_least=True), "met"),
        (Row("x", 0.8, goal=0.85, at_least=True), "not met"),
        (Row("x", 1.2, goal=1.1), "not met"),
        (Row("x", 1.1, goal=1.1), "met"),
        (Row("x", 1.1), "no goal"),
        (Row("x", None, goal=1.1, note="no peer"), "skipped"),
    ],
)
def test_verdicts(row: Row, verdict: str) -> None:
    assert row.verdict == verdict
    assert verdict in table([row], Options(), markdown=True)


def test_table_says_where_and_on_what_it_was_measured() -> None:
    text = table([Row("x", 1.0)], Options(), markdown=True)
    assert text.startswith("| what")
    assert "random images" in text
    assert torch.__version__ in text


def test_random_images_are_valid_and_repeatable(digits_target: EarlyExitTarget) -> None:
    first, labels = images(digits_target, 4, Options())
    assert torch.equal(first, images(digits_target, 4, Options())[0])
    assert torch.equal(first, digits_target.space.snap(digits_target.space.check(first)))
    assert labels.max() < digits_target.classes


def test_rules_that_never_and_always_leave(digits_target: EarlyExitTarget, inputs: Tensor) -> None:
    never, always = with_rule(digits_target, Never()), with_rule(digits_target, Always())
    assert never.run(inputs).work.counts.all()
    assert always.run(inputs).work.counts.sum(1).tolist() == [1] * len(inputs)
    assert digits_target.rule != never.rule


def test_saving_relates_time_to_flops(digits_target: EarlyExitTarget, inputs: Tensor) -> None:
    row = saving.saving(digits_target, inputs, 4, QUICK, rounds=2)
    assert row.value is not None
    assert math.isfinite(row.value)
    assert row.at_least
    work = digits_target.prices.cost(digits_target.run(inputs).work).mean()
    flops = 1 - (work / sum(digits_target.prices.per_unit)).item()
    assert f"{flops:.0%} of FLOPs" in row.note


def test_attacked_images_are_compared_with_clean_ones() -> None:
    target = load_target("skipnet-digits")
    assert isinstance(target, GatedClassifier)
    row = attacked_saving.attacked_saving(target, "ilfo:steps=5", QUICK, rounds=2)
    assert row.value is not None
    assert "skipnet-digits, batch 32" in row.name
    assert "of FLOPs; ilfo:steps=5" in row.note


def test_saving_without_early_exits_has_no_ratio(digits_target: EarlyExitTarget, inputs: Tensor) -> None:
    assert saving.saving(with_rule(digits_target, Never()), inputs, 4, QUICK, rounds=2).value is None


def test_plain_loop_does_what_run_does(digits_target: EarlyExitTarget, digits_test: tuple[Tensor, Tensor]) -> None:
    outputs = digits_target.run(digits_test[0]).outputs
    torch.testing.assert_close(counting.plain_exits(digits_target, digits_test[0]), outputs)
    row = counting.counting(digits_target, digits_test[0], 32, counting.plain_exits, "plain loop", QUICK, rounds=2)
    assert row.value is not None
    assert row.value > 0


def test_plain_decoding_says_what_run_says(
    scenes: tuple[CaptionerTarget, Tensor], speller: SourceTarget, texts: tuple[str, ...]
) -> None:
    target, inputs = scenes
    assert counting.plain_captions(target, inputs) == [output.text for output in target.run(inputs).outputs]
    answers = [output.text for output in speller.run(texts).outputs]
    assert counting.generated(speller, texts) == counting.plain_texts(speller, texts) == answers
    row = counting.counting(speller, texts, 2, counting.plain_texts, "plain loop", QUICK, rounds=1)
    assert row.value is not None
    assert row.value > 0
    assert "speller, batch 2" in row.name


def test_translator_is_measured_only_where_its_data_are(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        assert [target.name for target, _ in translators(1, Options(data_dir=folder))] == ["speller"]


def test_gradients_of_both_ways_are_equal(
    speller: SourceTarget, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = teacher_forced.teacher_forced(speller, texts, 2, QUICK, rounds=1)
    assert row.value is not None
    assert row.value > 0
    monkeypatch.setattr(teacher_forced, "ALIKE", -1.0)
    with pytest.raises(AssertionError, match="gradients that differ"):
        teacher_forced.difference(speller, texts)


def test_stepwise_decoding_says_what_run_says(speller: SourceTarget, texts: tuple[str, ...]) -> None:
    signals, gradient = teacher_forced.stepwise(speller, texts)
    outputs = [output.ids for output in speller.run(texts).outputs]
    assert [tuple(ids[ran].tolist()) for ids, ran in zip(signals.ids, signals.mask, strict=True)] == outputs
    assert signals.logits.argmax(-1)[signals.mask].equal(signals.ids[signals.mask])
    assert gradient.isfinite().all()


def test_both_ways_of_scoring_choose_the_same_candidate(
    speller: SourceTarget, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = candidate_scoring.candidate_scoring(speller, texts[1], QUICK, most=5, rounds=1)
    assert row.value is not None
    assert row.value > 0
    assert row.note.startswith("5 candidates")
    lengths = candidate_scoring.one_by_one(speller, texts)
    assert lengths == speller.score(texts).tolist()
    monkeypatch.setattr(candidate_scoring, "one_by_one", lambda target, texts: [1] * len(texts))
    with pytest.raises(AssertionError, match="other lengths"):
        candidate_scoring.candidate_scoring(speller, texts[1], QUICK, most=5, rounds=1)


def test_passes_to_a_cost_are_where_the_mean_of_the_curves_reaches_it(
    speller: SourceTarget, texts: tuple[str, ...]
) -> None:
    attack = Evolution(norm="chars", eps=3, queries=40)
    found = attack(speller, texts, seed=0)
    clean, ended = (speller.prices.cost(each.work) for each in (found.clean, found.attacked))
    passes = text_search.passes_to(found, clean, ended.mean().item())
    assert passes is not None
    again, short = (replace(attack, queries=count)(speller, texts, seed=0) for count in (passes, passes - 1))
    assert speller.prices.cost(again.attacked.work).equal(ended)
    assert speller.prices.cost(short.attacked.work).mean() < ended.mean()
    assert text_search.passes_to(found, clean, ended.mean().item() + 1) is None


def test_time_inside_of_the_model_counts_each_pass_once(speller: SourceTarget, texts: tuple[str, ...]) -> None:
    calls = 2 * (1 + int(speller.score(texts[:1]))) + 3  # decoded twice, after the encoder; forced, and backward
    clock = RecordedClock(range(2 * calls))
    with text_search.model_time(speller.model, clock) as spent:
        speller.score(texts[:1])
        token_gradient(speller, texts[0], LateEnd())
    assert (spent.calls, spent.seconds, clock.left) == (calls, calls, 0)
    speller.score(texts[:1])
    assert spent.calls == calls


def test_the_standard_search_is_compared_with_nmtsloth(
    speller: SourceTarget, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_search, "NMTSlothChar", lambda eps: Evolution(norm="chars", eps=eps, queries=30))
    monkeypatch.setattr(text_search, "StandardText", partial(StandardText, queries=30))
    row = text_search.time_to_cost(speller, texts[:2], QUICK)
    assert row.value is not None
    assert row.value > 0
    assert row.verdict == "no goal"
    assert "2 texts" in row.note
    assert "cost reached after" in row.note
    row = text_search.overhead(speller, texts[:2], QUICK)
    assert row.value is not None
    assert row.value > 0
    assert "2 texts" in row.note


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_bare_passes_make_the_steps_of_the_attack(
    scenes: tuple[CaptionerTarget, Tensor], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, inputs = scenes
    monkeypatch.setattr(nicg_step, "STEPS", 2)
    passes: list[tuple[Tensor, bool]] = []
    bare = nicg_step.bare

    def noting(target: CaptionerTarget, inputs: Tensor, *, backward: bool) -> Tensor | None:
        passes.append((inputs, backward))
        return bare(target, inputs, backward=backward)

    monkeypatch.setattr(nicg_step, "bare", noting)
    row = nicg_step.nicg_step(target, inputs, norm, QUICK, rounds=1)
    assert row.value is not None
    assert row.value > 0
    assert [backward for _, backward in passes[:3]] == [True, True, False]
    for found, _ in passes[:3]:
        ran = torch.cat([rows for rows, _, _ in caption_steps(target, found)])
        assert ran.bincount().equal(target.run(found).work.counts[:, 1])


def test_bare_gradient_is_that_of_the_signals(scenes: tuple[CaptionerTarget, Tensor]) -> None:
    target, inputs = scenes
    leaf = inputs.clone().requires_grad_()
    signals = target.signals(leaf)
    ends = signals.logits.log_softmax(-1)[..., signals.eos[0]][signals.mask]
    (gradient,) = torch.autograd.grad(ends.sum(), leaf)
    found = nicg_step.bare(target, inputs, backward=True)
    assert found is not None
    torch.testing.assert_close(found, gradient)
    assert nicg_step.bare(target, inputs, backward=False) is None


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_attack_step_keeps_all_samples(
    digits_target: EarlyExitTarget, inputs: Tensor, labels: Tensor, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    signals = EarlyExitTarget.signals

    def counted(self: EarlyExitTarget, x: Tensor) -> GateSignals:
        sizes.append(len(x))
        return signals(self, x)

    monkeypatch.setattr(EarlyExitTarget, "signals", counted)
    row = attack_step.attack_step(digits_target, inputs, labels, norm, QUICK)
    assert row.value is not None
    assert set(sizes) == {len(inputs)}
    calls = 2 + 2  # warm-up and timed rounds
    assert len(sizes) == calls * (attack_step.STEPS + 1) + calls


def test_reference_deepsloth_is_the_papers(digits_target: EarlyExitTarget, inputs: Tensor) -> None:
    found = equal_efficacy.reference(digits_target, inputs)
    assert (found - inputs).abs().max() <= equal_efficacy.EPS + 0.5 / 255 + 1e-6
    assert torch.equal(found, digits_target.space.snap(found))

    def loss(x: Tensor) -> float:
        return -every_exit(digits_target, x)[:, :-1].log_softmax(-1).mean().item()

    assert loss(found) < loss(equal_efficacy.reference(digits_target, inputs, 3)) < loss(inputs)


def test_equal_efficacy_reaches_the_reference(digits_target: EarlyExitTarget, inputs: Tensor, labels: Tensor) -> None:
    rows = equal_efficacy.equal_efficacy(digits_target, inputs, labels, QUICK)
    assert len(rows) == 2
    assert all(row.value is not None and row.value > 0 for row in rows)


def test_pgd_on_one_exit_gives_the_same_gradient_as_the_network(
    digits_target: EarlyExitTarget, inputs: Tensor, labels: Tensor
) -> None:
    network = pgd_peers.final_exit(digits_target)
    torch.testing.assert_close(network(inputs), every_exit(digits_target, inputs)[:, -1])
    attack = pgd_peers.ours(network, digits_target.space.shape, digits_target.classes, inputs, labels)
    candidates = attack(3)
    assert isinstance(candidates, Candidates)
    found = candidates.inputs
    right = network(inputs).log_softmax(-1).gather(1, labels.unsqueeze(1))
    assert (network(found).log_softmax(-1).gather(1, labels.unsqueeze(1)) < right).all()


def test_absent_peers_are_skipped_with_a_reason(
    digits_target: EarlyExitTarget, inputs: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*args: object) -> None:
        raise ImportError("No module named 'peer'")

    monkeypatch.setattr(pgd_peers, "torchattacks", absent)
    monkeypatch.setattr(pgd_peers, "foolbox", absent)
    rows = pgd_peers.pgd_peers(digits_target, inputs, labels, QUICK, steps=2, rounds=1)
    assert [(row.value, row.verdict) for row in rows] == [(None, "skipped")] * 2
    assert "No module named 'peer'" in rows[0].note


def test_foolbox_runs_beside_ours(digits_target: EarlyExitTarget, inputs: Tensor, labels: Tensor) -> None:
    pytest.importorskip("foolbox")
    rows = pgd_peers.pgd_peers(digits_target, inputs, labels, QUICK, steps=3, rounds=1)
    assert rows[1].value is not None


@pytest.mark.slow
def test_peak_memory_is_that_of_a_whole_audit() -> None:
    row = memory.memory(4, 8, repeats=1)
    assert row.value is not None
    assert 0.5 < row.value < 2
    with pytest.raises(RuntimeError, match="limit"):
        memory.peak("speller", "--limit", "0")


def test_peak_memory_on_texts_is_that_of_few_and_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(*audit: str) -> int:
        few = int(audit[audit.index("--limit") + 1])
        assert len(Path(audit[audit.index("--inputs") + 1]).read_text().splitlines()) == 8 >= few
        return 1024 * few

    monkeypatch.setattr(memory, "peak", peak)
    row = memory.texts(4, 8)
    assert (row.value, row.note, row.verdict) == (2.0, "4 and 8 MiB", "not met")


def test_executors_are_compared_on_the_same_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(executors.PLAN, steps=2, limit=4, batch_size=2)
    row = executors.scaling("local", small, Local(), Local())
    assert row.value is not None
    assert 0 < row.value < math.inf
    assert "4 samples" in row.note
    answers = iter([(2.0, b"same"), (1.0, b"other")])
    monkeypatch.setattr(executors, "seconds", lambda *given: next(answers))
    with pytest.raises(RuntimeError, match="expected the same records"):
        executors.scaling("local", small, Local(), Local())


@pytest.mark.parametrize("crowded", [True, False])
@pytest.mark.parametrize("plain", [suppression.by_numpy, suppression.by_torch])
def test_plain_suppression_keeps_the_same(plain: suppression.Suppress, crowded: bool) -> None:
    row = suppression.suppression(80, "plain", plain, QUICK, crowded=crowded, rounds=1)
    assert row.value is not None
    assert row.note.startswith("80 kept") is not crowded
    with pytest.raises(AssertionError, match="expected 1 kept boxes"):
        suppression.suppression(80, "wrong", lambda boxes, scores: plain(boxes, scores)[:1], QUICK, crowded=crowded)


def test_absent_torchvision_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    monkeypatch.setattr(suppression, "SIZES", (40,))
    rows = suppression.run(QUICK)
    assert len(rows) == 5
    assert rows[-1].verdict == "skipped"


def test_the_plain_tracking_loop_follows_the_same() -> None:
    pytest.importorskip("trackers")
    from benchmarks import tracking

    target = TrackerTarget(LampTarget(16, 24, NMS(max_det=12)), frames=5)
    videos = torch.rand(2, 5, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    for keep in (suppression.greedy, tracking.own):
        row = tracking.tracking(target, videos.sqrt(), keep, "plain", QUICK, rounds=1)
        assert row.value is not None
        assert "tracks per frame" in row.note


class Proposing(nn.Module):
    """An untrained detector that tells objectness and classes apart, as the zoo's does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 8, 4, 4)

    def propose(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return boxes, objectness logits and class logits of cells of 4 x 4 pixels."""
        found = 4 * self.layer(images).flatten(2).transpose(1, 2)
        corner = torch.arange(found.shape[1]).view(1, -1, 1) + 4 * found[..., :2].sigmoid()
        return torch.cat([corner, corner + 3], -1), found[..., 4] - 1, found[..., 5:], None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and scores."""
        boxes, objectness, classes, _ = self.propose(images)
        return boxes, objectness.sigmoid().unsqueeze(-1) * classes.sigmoid()


@pytest.fixture
def proposing() -> tuple[DetectorTarget, Tensor]:
    target = DetectorTarget(Proposing(), input_shape=(3, 16, 24))
    return target, target.space.snap(torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_bare_passes_are_over_the_candidates_of_overload(
    proposing: tuple[DetectorTarget, Tensor], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, inputs = proposing
    monkeypatch.setattr(detector_step, "STEPS", 2)
    row = detector_step.detector_step(target, inputs, norm, QUICK, rounds=1)
    assert row.value is not None
    assert row.value > 0
    attack = Overload(norm=norm, steps=2)
    found = iteration.visited(target, lambda target: attack.search(target, inputs, (), 0))
    assert len(found) == 3
    assert found[0].equal(inputs)
    assert "signals" not in vars(target)
    leaf = found[1].clone().requires_grad_()
    loss = (target.signals(leaf).scores.amax(2) + TINY).log().sum()
    torch.testing.assert_close(detector_step.bare(target, found[1], backward=True), torch.autograd.grad(loss, leaf)[0])
    assert detector_step.bare(target, inputs, backward=False) is None


def test_the_layout_of_the_peer_holds_the_same_boxes_and_scores(proposing: tuple[DetectorTarget, Tensor]) -> None:
    target, inputs = proposing
    found = overload_peer.Layout(target.network)(inputs)
    boxes, scores = target.network(inputs)
    torch.testing.assert_close(found[..., 4:5] * found[..., 5:], scores)
    torch.testing.assert_close(found[..., :2] - found[..., 2:4] / 2, boxes[..., :2])
    torch.testing.assert_close(found[..., :2] + found[..., 2:4] / 2, boxes[..., 2:])


def test_overload_is_compared_with_a_peer(
    proposing: tuple[DetectorTarget, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, inputs = proposing

    def brighter(iterations: int) -> Tensor:
        return (inputs + 0.001 * iterations).clamp(0, 1)

    candidates, time = overload_peer.overload_peer(target, inputs, brighter, 3, QUICK, rounds=1)
    assert candidates.value is not None
    assert candidates.value >= 1
    assert time.value is not None
    monkeypatch.setattr(overload_peer, "ours", lambda target, inputs, steps: 0.0)
    assert overload_peer.overload_peer(target, inputs, brighter, 3, QUICK, rounds=1)[1].verdict == "skipped"


def test_the_toolbox_runs_beside_ours(proposing: tuple[DetectorTarget, Tensor]) -> None:
    pytest.importorskip("art")
    target, inputs = proposing
    attacked = overload_peer.toolbox(target, inputs)(2)
    assert attacked.shape == inputs.shape
    assert (attacked - inputs).abs().max() <= overload_peer.EPS + 1e-6


def test_an_absent_toolbox_is_skipped_with_a_reason(
    proposing: tuple[DetectorTarget, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*args: object) -> None:
        raise ImportError("No module named 'art'")

    monkeypatch.setattr(overload_peer, "detector", lambda count: proposing)
    monkeypatch.setattr(overload_peer, "toolbox", absent)
    rows = overload_peer.run(QUICK)
    assert [(row.value, row.verdict) for row in rows] == [(None, "skipped")]
    assert "No module named 'art'" in rows[0].note


def test_fuzzing_tells_refusals_from_faults_and_keeps_the_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def texts(folder: Path) -> None:
        (folder / "a.json").write_text('{"a": [1, {"b": 2}]}')

    (tmp_path / "sound").mkdir()
    texts(tmp_path / "sound")
    corpora = [fuzz.Corpus("texts", texts, (command,)) for command in ("--version", "check {} n>1")]
    for corpus, expected in zip(corpora, ("done", "refused"), strict=True):
        assert fuzz.fuzz(corpus, tmp_path / "sound", 0, tmp_path / "kept", 30) == expected
    assert not (tmp_path / "kept").exists()

    def broken(words: object) -> int:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(fuzz, "command_line", broken)
    assert fuzz.fuzz(corpora[0], tmp_path / "sound", 7, tmp_path / "kept", 30) == "traceback"
    assert "ZeroDivisionError: on purpose" in (tmp_path / "kept" / "texts-7.txt").read_text()


def test_damage_is_repeatable_and_changes_something(tmp_path: Path) -> None:
    damaged = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(40):
            path = tmp_path / name / f"{number}.json"
            path.write_text('{"a": [1, {"b": 2}]}')
            damage_file(path, random.Random(number))
        damaged.append({each.name: each.read_bytes() for each in (tmp_path / name).iterdir() if each.is_file()})
    assert damaged[0] == damaged[1]
    assert sum(content != b'{"a": [1, {"b": 2}]}' for content in damaged[0].values()) > 30


def test_attacks_are_compared_at_equal_passes_and_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, texts = ToyText(), ("a 3", "my dog")
    monkeypatch.setattr(strength, "load_target", lambda _: target)
    monkeypatch.setattr(strength, "samples", lambda *_: (texts, texts))
    case = Case("toy", "chars", 1, 0, 2, {"I-Loops, %": i_loops})
    (row,) = rows_of(case, None, None, tmp_path)
    worst = [target.worst_steps(text, "chars", 1) for text in texts]
    clean = target.score(texts).tolist()
    most = sum(100 * (steps - before) / before for steps, before in zip(worst, clean, strict=True)) / len(texts)
    assert row.standard.value == pytest.approx(most)
    assert row.ahead == ()
    names = {each.name: each for each in row.others}
    assert {"evolution", "nmtsloth-char", "llmeffichecker-char", "control-best-of-k"} <= names.keys()
    assert names["control-best-of-k"].control
    assert max(each.passes for each in row.others) <= 2 * row.standard.passes  # no sample has more than the longest
    monkeypatch.setattr(strength, "load_target", lambda _: 1 / 0)
    assert rows_of(case, None, None, tmp_path) == [row]


def test_a_search_that_ends_early_aims_at_the_same_references() -> None:
    whole = DGSlow(eps=2)
    capped = AtMost(norm="tokens", eps=2, inner=whole, passes=10_000)
    target, texts, references = ToyText(), ("my dog 3",), ("~~~~",)
    one, other = (attack(target, texts, references=references) for attack in (whole, capped))
    assert one.candidates.forwards.equal(other.candidates.forwards)  # a given reference takes no pass of its own
    assert one.inputs == other.inputs
    assert capped.aimed(references).inner == whole.aimed(references)
    assert whole.aimed(references).references == references


def test_the_table_says_where_standard_is_below() -> None:
    low, noise = Found("standard", (4.0, 6.0), 10.0), Found("control-noise", (5.0, 5.0), 0.0, True)
    equal = Strength("toy", "L2 1", 2, "%", low, (noise,), 1.0)
    below = replace(equal, others=(noise, Found("square", (3.0, 9.0), 9.0), Found("pgd", (5.5, 5.5), 9.0)))
    assert below.behind(below.others[1]) == (-1.0, 3.0)
    assert [each.name for each in below.ahead] == ["square", "pgd"]
    first, last = strength_table([equal, below]).splitlines()[2:4]
    assert first.endswith("| none | control-noise 5.0 (0) | yes |")
    assert last.endswith("| square 6.0 (9) | control-noise 5.0 (0) | no |")
