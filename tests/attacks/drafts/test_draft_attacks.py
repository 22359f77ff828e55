"""Attacks on speculative decoding: what they lower, what they keep, and where they may be sent."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from draft_targets import drafting, looking_up
from generation_models import sentences

from torpor.attacks.drafts.adsd import ADSD
from torpor.attacks.drafts.base import DraftSearch, Rejecting, acceptance, answer_to, kept_loss
from torpor.attacks.drafts.mistletoe import Mistletoe, without
from torpor.attacks.drafts.speedbumps import SpeedbumpsD, SpeedbumpsP, likely, predictable
from torpor.attacks.registry import ATTACKS
from torpor.attacks.text.search.goal import Answers, ask
from torpor.attacks.text.search.gradients import token_gradient
from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense

TEXTS = sentences(2, seed=1)
KEPT: tuple[Literal["cost"], Literal["rejected"]] = ("cost", "rejected")
KINDS: tuple[type[DraftSearch], ...] = (Mistletoe, ADSD, SpeedbumpsP, SpeedbumpsD)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_suffixes_cost_more_and_a_text_is_attacked_alike_in_any_batch(kind: type[DraftSearch]) -> None:
    target = drafting()
    attack = kind(steps=2, candidates=8, eps=4)
    result = attack(target, TEXTS)
    assert (target.goal(result.attacked.work) > target.goal(result.clean.work)).any()
    assert all(after.startswith(before) for before, after in zip(TEXTS, result.inputs, strict=True))
    assert attack(target, TEXTS[1:]).inputs == result.inputs[1:]


def test_texts_may_be_kept_by_the_share_of_rejected_guesses() -> None:
    target = drafting()
    by_cost, by_share = (SpeedbumpsD(steps=3, candidates=8, eps=4, keep=keep)(target, TEXTS) for keep in KEPT)
    shares = [Rejecting(target, 1.0).attacker_cost(result.attacked) for result in (by_cost, by_share)]
    assert shares[1][0] == 1 > shares[0][0]  # all guesses are rejected, for less than the costliest text costs
    costs = [target.prices.cost(result.attacked.work) for result in (by_cost, by_share)]
    assert target.prices.cost(by_share.clean.work)[0] < costs[1][0] < costs[0][0]
    clean = target.run(TEXTS)
    view = Rejecting(target, float(target.prices.cost(clean.work).max()))
    assert (view.attacker_cost(clean) <= 0).all()
    assert view.goal(clean.work).tolist() == [round(1e6 * worth) for worth in view.attacker_cost(clean).tolist()]
    alone = SpeedbumpsD(steps=3, candidates=8, eps=4, keep="rejected")(target, TEXTS[1:])
    assert alone.inputs == by_share.inputs[1:]
    with pytest.raises(UsageError, match="cost or rejected"):
        SpeedbumpsD(keep="tokens")  # type: ignore[arg-type]


def test_searches_are_told_the_goal_of_their_target_and_the_work_that_a_run_counts() -> None:
    target = drafting()
    work = target.run(TEXTS).work
    assert target.work_of((*TEXTS, TEXTS[0])).counts.tolist() == [*work.counts.tolist(), work.counts[0].tolist()]
    assert ask(target, TEXTS) == Answers(target.goal(work).tolist(), target.prices.cost(work).tolist())
    assert ask(looking_up(), TEXTS).steps == looking_up().goal(looking_up().run(TEXTS).work).tolist()


def test_losses_are_what_they_say() -> None:
    signals = drafting().signals(TEXTS)
    same = drafting(noise=0.0).signals(TEXTS)
    assert ((acceptance(signals) > 0) & (acceptance(signals) < 1)).all()
    assert torch.allclose(acceptance(same), torch.ones(2), atol=1e-3)
    assert (likely(same) >= likely(signals)).all()
    assert (predictable(signals) < 0).all()


def test_mistletoe_leaves_the_clean_answer_alone_to_first_order() -> None:
    target, clean = drafting(), TEXTS[0]
    text, start = f"{clean} the dog", len(target.codec.encode(clean))
    answer = answer_to(target, clean)
    loss, vectors = kept_loss(target, text, answer)
    (kept,) = torch.autograd.grad(loss, vectors)
    rows = Mistletoe().gradient(target, clean, text, acceptance).rows
    raw = token_gradient(target, text, acceptance).rows
    assert abs(float((rows[start:] * kept[0, start:]).sum())) < 1e-6
    assert not torch.equal(raw[start:], rows[start:])
    assert rows[:start].equal(raw[:start])
    assert without(raw, torch.zeros_like(raw)).equal(raw)


def test_adsd_adds_the_gradient_of_the_clean_answer() -> None:
    target, clean = drafting(), TEXTS[0]
    found = [ADSD(preserve=weight).gradient(target, clean, clean, acceptance).rows for weight in (0, 1, 2)]
    assert found[0].equal(token_gradient(target, clean, acceptance).rows)
    assert torch.allclose(found[2] - found[1], found[1] - found[0], atol=1e-5)
    with pytest.raises(UsageError, match="weight of 0 or more"):
        ADSD(preserve=-1)


@pytest.mark.parametrize("name", [kind.id for kind in KINDS])
def test_prompt_look_up_has_no_drafter_to_follow(name: str) -> None:
    options: dict[str, Any] = {"norm": "suffix", "eps": 4}
    attack = ATTACKS.find(name)(**options)
    attack.check(drafting())
    with pytest.raises(UsageError, match="offers"):
        attack.check(looking_up())


def test_a_guard_that_stops_drafting_bounds_what_any_input_wastes() -> None:
    target = drafting()
    guard: Any = load_defense("draft-stop")
    fitted = guard.fit(target, TEXTS)
    guarded: Any = fitted.defend(target)
    assert guarded.run(TEXTS).work.counts.equal(target.run(TEXTS).work.counts)
    tight: Any = load_defense("draft-stop:0").defend(target)
    attacked = SpeedbumpsD(steps=1, candidates=8, eps=4)(tight, TEXTS)
    ran = tight.rounds(attacked.attacked.work)
    assert ((ran["drafted"] - 2 * ran["accepted"]) <= target.drafts).all()
    assert tight.run(TEXTS).outputs == target.run(TEXTS).outputs
    assert fitted.with_state(fitted.state()) == fitted
    with pytest.raises(UsageError, match="whole number after draft-stop"):
        load_defense("draft-stop:-1")
    with pytest.raises(UsageError, match="expected a defense for"):
        load_defense("draft-stop:4").defend(target.large)
