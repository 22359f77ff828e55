"""What every attack on texts owes on encoders that exit early or skim, and what the papers' own attacks do there."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from contract_cases import EPS, FEW, WORDED
from contract_rows import rows_of
from edit_distance import edits
from text_encoders import CODEC, OTHER_TEXTS, TEXT_ENCODERS, TEXTS, exiting, skimming

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.text import BestOfK
from torpor.attacks.registry import ATTACKS, attack_for, load_attack
from torpor.attacks.text.exits.same import SAME, UnsureExits
from torpor.attacks.text.exits.slowbert import SlowBERT, lateness
from torpor.attacks.text.exits.waffle import WAFFLE, slowness
from torpor.attacks.text.exits.waffle_universal import UniversalWords
from torpor.attacks.text.exits.words import STOP_WORDS
from torpor.core.errors import UsageError

TABLE = rows_of(TEXT_ENCODERS)
OWN = ("same", "waffle", "waffle-universal", "slowbert", "slowbert-black", "no-skim")


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the table fast."""
    monkeypatch.setattr("torpor.attacks.text.standard.QUERIES", 60)


def build(name: str, norm: str) -> Attack:
    if name == BestOfK.id:
        return BestOfK(norm=norm, eps=EPS[norm], queries=torch.arange(len(TEXTS)))
    kind = ATTACKS.find(name)
    eps = WORDED.get(name, EPS[norm])
    options: dict[str, Any] = {**FEW.get(name, {}), **({"queries": 60} if name == "standard-text" else {})}
    return kind(norm=norm, eps=eps, **options)


@cache
def case(target_name: str, norm: str, name: str) -> tuple[Attack, AttackResult]:
    target = TEXT_ENCODERS[target_name]()
    attack = build(name, norm)
    attack = attack.fit(target, OTHER_TEXTS) if attack.learns else attack
    return attack, attack(target, TEXTS, seed=3)


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[2] != "transfer"])
def test_results_are_within_the_budget_verified_and_never_cheaper(target_name: str, norm: str, name: str) -> None:
    target = TEXT_ENCODERS[target_name]()
    attack, result = case(target_name, norm, name)
    cost = target.prices.cost
    assert (cost(result.attacked.work) >= cost(result.clean.work)).all()
    assert (cost(result.attacked.work) <= cost(result.static)).all()
    for row, text in enumerate(result.inputs):
        assert target.run((text,)).work.counts.equal(result.attacked.work.counts[row : row + 1])
        assert edits(TEXTS[row], text, norm, CODEC) <= attack.eps


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[2] in OWN])
def test_a_batch_equals_its_samples_and_counts_passes(target_name: str, norm: str, name: str) -> None:
    target = TEXT_ENCODERS[target_name]()
    attack, whole = case(target_name, norm, name)
    for row in (0, 4):
        alone = attack(target, TEXTS[row : row + 1], seed=3)
        assert alone.inputs[0] == whole.inputs[row]
        assert int(alone.candidates.forwards[0]) == int(whole.candidates.forwards[row])
        assert int(alone.candidates.backwards[0]) == int(whole.candidates.backwards[row])


@pytest.mark.parametrize("target_name", TEXT_ENCODERS)
def test_standard_is_the_ensemble_for_texts_with_the_mechanism_s_own_attack(target_name: str) -> None:
    target = TEXT_ENCODERS[target_name]()
    assert attack_for("standard", target) == "standard-text"
    standard = load_attack("standard-text", norm="words", eps=2)
    members = {member.id for member in standard.ensemble if member.applies_to(target)}  # type: ignore[attr-defined]
    assert members == {"evolution", "llmeffichecker-structure", "same" if target_name == "text-exits" else "no-skim"}


def test_same_leaves_stop_words_and_edited_words_alone() -> None:
    target = exiting("entropy:0.9")
    text = "the cat and a dog"
    result = SAME(eps=3)(target, (text,), seed=0)
    words = result.inputs[0].split()
    assert all(new == old for new, old in zip(words, text.split(), strict=True) if old in STOP_WORDS)
    assert result.candidates.backwards[0] >= 1


def test_same_pushes_agreeing_exits_apart() -> None:
    target = exiting("patience:1")
    signals = target.signals(TEXTS)
    logits = signals.exit_logits.detach().requires_grad_()
    loss = UnsureExits()(type(signals)(logits, signals.margins, signals.work))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    own = logits.argmax(-1)
    agrees = own[:, 1:] == own[:, :-1]
    assert agrees.any()
    assert (gradient[:, 1:].gather(-1, own[:, 1:, None])[..., 0][agrees] > 0).all()  # descent lowers the own class


def test_the_paper_s_score_depends_on_the_number_of_classes_and_the_mended_one_does_not() -> None:
    for classes, paper in ((2, 0.0), (3, 1 / 3), (5, 0.6)):
        sure = torch.nn.functional.one_hot(torch.zeros(1, 2, dtype=torch.int64), classes) * 99.0
        assert slowness(sure, "paper").item() == pytest.approx(paper, abs=1e-5)
        assert slowness(sure).item() == pytest.approx(0, abs=1e-5)
        assert slowness(0 * sure).item() == slowness(0 * sure, "paper").item() == pytest.approx(1)


@pytest.mark.parametrize("recipe", ["textfooler", "a2t"])
def test_waffle_raises_its_score(recipe: str) -> None:
    target = exiting()
    texts = ("my cat saw a dog", "a bird or a tree")
    attack = WAFFLE(eps=3, alpha=1.0, recipe=recipe)  # type: ignore[arg-type]
    sent: list[str] = []
    run = target.run
    target.run = lambda inputs: (sent.extend(inputs), run(inputs))[1]  # type: ignore[func-returns-value, method-assign]
    attack(target, texts, seed=0)
    scores = slowness(target.signals(tuple(sent)).exit_logits)
    assert scores.max() > scores[: len(texts)].max()


def test_the_universal_trigger_is_learned_once_and_persists() -> None:
    target = exiting()
    fitted = UniversalWords(eps=2).fit(target, OTHER_TEXTS, seed=0)
    assert fitted.trigger is not None
    assert fitted.forwards_before == fitted.trigger.forwards > 0
    again = UniversalWords(eps=2).with_state(fitted.state())
    assert again.trigger == fitted.trigger
    found = fitted(target, TEXTS[:2]).candidates.inputs
    assert found == tuple(f"{text} {fitted.trigger.words}" for text in TEXTS[:2])
    with pytest.raises(UsageError, match="fit it on other inputs"):
        UniversalWords()(target, TEXTS)


def test_slowbert_prefers_a_later_exit_then_a_flatter_last_classifier() -> None:
    target = exiting()
    signals = target.signals(TEXTS)
    score, taken = lateness(signals), target.exits(signals.work)
    late = taken.argmax()
    assert (score[late] >= score).all()
    assert (score - 100 * taken < 0).all()
    assert SlowBERT.access.value == "white"


def test_no_skim_keeps_more_tokens() -> None:
    target = skimming()
    result = load_attack("no-skim", norm="chars", eps=3)(target, TEXTS, seed=0)
    before, after = (target.tokens_run(outcome.work)[0].sum() for outcome in (result.clean, result.attacked))
    assert after > before


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("same", {"beam": 0}),
        ("waffle", {"alpha": 0.0}),
        ("waffle", {"queries": 0}),
        ("waffle-universal", {"rounds": 0}),
        ("no-skim", {"words": 0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        load_attack(name, **options)
