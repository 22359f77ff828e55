"""The tables of what attacks find, on targets whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.adaptive import judge
from benchmarks.masked import masked
from benchmarks.mechanisms.cards import publish as recoveries
from benchmarks.mechanisms.row import Row
from benchmarks.strength import measure as strength
from benchmarks.strength.__main__ import chosen
from benchmarks.strength.cards import publish
from benchmarks.strength.cases import CASES, MASKS, Case
from benchmarks.strength.figures import i_loops, taken
from benchmarks.strength.rivals import AtMost, rivals
from benchmarks.strength.row import Found, Strength
from expert_targets import TEXTS, batched
from torch import Tensor

from torpor.attacks.controls.text import RandomEdits
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.text.engorgio import Engorgio
from torpor.attacks.text.standard import StandardText
from torpor.defenses.registry import load_defense
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.toys import needle
from torpor.zoo.compared import CardRow, Reached, read, write
from torpor.zoo.registry import ZOO


@pytest.fixture
def gray() -> Tensor:
    return needle().space.snap(torch.full((3, 1, 4, 4), 0.74))


def test_every_architecture_of_the_zoo_has_a_row() -> None:
    assert {name.split("-")[0] for name in ZOO} == {case.target.split("-")[0] for case in CASES}


def test_rows_are_named_apart() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert [case.mask for case in chosen(["sdn-digits"], quick=False)] == [""] * 5
    assert [case.mask for case in chosen([f"sdn-digits:{how}" for how in MASKS], quick=False)] == list(MASKS)
    assert Case("toy", "patch", 0.08, 0, 1).budget == "patch 0.08"


def test_cards_show_the_newest_row_of_as_many_samples_and_none_of_masked_networks(tmp_path: Path) -> None:
    path, unit = tmp_path / "compared.json", "headroom, %"
    older = CardRow("act-digits", "Linf 16/255", 2, unit, (Reached("standard", 1.0, 3),))
    strange = CardRow("act-digits", "L7 16/255", 2, unit, (Reached("standard", 1.0, 3),))
    other = CardRow("sdn-digits", "L1 8", 8, unit, (Reached("standard", 2.0, 3),))
    write([strange, older, other], path)
    low = Found("standard", (4.0, 6.0), 10.0)
    rows = [Strength(name, "Linf 16/255", 2, unit, low, (), 1.0) for name in ("act-digits", "sdn-digits:reversed")]
    publish(rows, path)
    newer = CardRow("act-digits", "Linf 16/255", 2, unit, (Reached("standard", 5.0, 10),))
    assert read(path) == [other, newer, strange]
    publish([Strength("sdn-digits", "L1 8", 2, unit, low, (), 1.0)], path)  # of fewer samples
    assert read(path) == [other, newer, strange]


def test_cards_show_recoveries_where_standard_stands_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "compared.json"
    kept = CardRow("sdn-digits", "L1 8", 8, "headroom, %", (Reached("standard", 2.0, 3),))
    write([kept], path)
    rows = [
        Row("skipnet-digits", attack, budget, metric, ours, "", 9.0, 8)
        for budget, attacks in (("Linf 8/255", {"ilfo": 7.0, "standard": 5.0}), ("patch", {"ilfo": 7.0}))
        for attack, ours in attacks.items()
        for metric in ("recovery, %", "class kept, %")
    ]
    recoveries(rows, path)
    reached = (Reached("standard", 5.0, 9), Reached("ilfo", 7.0, 9))
    assert read(path) == [kept, CardRow("skipnet-digits", "Linf 8/255", 8, "recovery, %", reached)]


def test_a_masked_network_is_compared_with_what_is_found_without_the_mask(
    gray: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strength, "load_target", lambda _: needle())
    monkeypatch.setattr(strength, "samples", lambda *_: (gray[:2], torch.zeros(2, dtype=torch.int64)))
    (row,) = strength.measure(Case("toy", "Linf", 0.24, 0, 2, mask="detached"))
    sent = next(each for each in row.others if each.name == "standard-unmasked")
    free = Standard(eps=0.24)(needle(), gray[:2], seed=strength.SEED)
    hidden = masked(needle(), "detached").run(free.inputs).work
    assert hidden.counts.sum(1).tolist() == [4, 4]  # the static bound, which no attack exceeds
    assert sent.each == row.standard.each == (100.0, 100.0)
    assert row.target == "toy:detached"
    assert row.ahead == ()


def test_an_attack_that_must_be_fitted_is_no_search_that_ends_early() -> None:
    target, texts = ToyText(), ("a 3", "my dog")
    case = Case("toy", "prompt", 5, 0, 2, {"I-Loops, %": i_loops}, learned=2)
    found = StandardText(norm="prompt", eps=5, queries=20)(target, texts)
    others = {each.name: each for each in rivals(case, target, found, found.candidates.forwards)}
    assert isinstance(others["engorgio"], Engorgio)
    assert isinstance(others["autodos"], AtMost)


def test_what_neighbors_lose_is_the_share_that_audits_report() -> None:
    target = batched(60)
    result = RandomEdits(norm="prompt", eps=16)(target, TEXTS[3:])
    attacked = target.run(result.inputs)
    columns = target.family.observe(target, attacked, attacked, target.max_work(result.inputs), ())
    share = target.family.summarize(target, target, columns)["neighbor_drop_share"]
    assert taken(target, result).mean().item() == pytest.approx(100 * share)


def test_a_deadline_leaves_the_adaptive_attacker_its_bound(gray: Tensor) -> None:
    free = needle()
    answers = free.run(gray).outputs.argmax(-1)
    (found,) = judge(free, [load_defense("deadline:2")], Standard(eps=0.24), gray, answers, slice(1, 3))
    clean, static, two = free.exit_costs[[int(free.worst_depth(gray, 0.0)[0]) - 1, 3, 1]].tolist()
    assert found.clean == pytest.approx((clean, min(clean, two)))
    assert (found.attacked, found.sent, found.adaptive, found.bound) == pytest.approx((static, two, two, two))
    assert found.accuracy[0] == 1.0
