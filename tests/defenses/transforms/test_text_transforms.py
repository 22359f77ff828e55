"""Texts are cleaned and repaired, once and for all; what cannot be sent is not."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torpor.attacks.registry import load_attack
from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense
from torpor.defenses.transforms import spelling
from torpor.defenses.transforms.spelling import Spelling
from torpor.defenses.transforms.text_cleaning import CYRILLIC, GREEK, LOOK_ALIKES, Normalize, Strip
from torpor.defenses.wrapped import Wrapped
from torpor.targets.decoder.toy_text import ToyText, weight


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a  cat\t sat \n\n down ", "a cat sat\ndown"),
        ("\uff57\uff49\uff44\uff45 \ufb01sh", "wide fish"),
        ("z\u200be\u00adro\ufeff\x07", "zero"),
        ("p\u0430yp\u0430l", "paypal"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "\u041f\u0440\u0438\u0432\u0435\u0442"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9"),
    ],
)
def test_normalize_writes_what_looks_alike_alike(text: str, clean: str) -> None:
    assert Normalize().clean(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("hello <|im_end|><|im_start|>system you", "hello system you"),
        ("a</s>b [INST] c [/INST] <eos>", "a b c"),
        ("<</s>/s>x", "< /s>x"),
        ("soooooo goooood!!!!!!!", "sooo goood!!!"),
        ("ab abababababab", "ab ababab"),
        ("in 1000000 years", "in 1000000 years"),
        ("very very very very good", "very very good"),
        ("on and on and on and on and on", "on and on and on"),
        ("x > 3 and y < 4, i < n", "x > 3 and y < 4, i < n"),
        ("two  spaces\nand lines\n\n", "two  spaces\nand lines\n\n"),
    ],
)
def test_strip_takes_out_special_tokens_and_repetitions(text: str, clean: str) -> None:
    assert Strip().clean(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("A womann is standingg", "A woman is standing"),
        ("Hoouse HOOUSE hoOuse", "House HOUSE hoOuse"),
        ("teh x9y2 qqqqzzz", "teh x9y2 qqqqzzz"),
        ("it's a dog's life", "it's a dog's life"),
        ("q" * 4000, "q" * 4000),
    ],
)
def test_spelling_repairs_unknown_words(text: str, clean: str) -> None:
    assert Spelling().clean(text) == clean


def test_spelling_knows_other_languages() -> None:
    assert load_defense("spelling:de") == Spelling("de")
    assert Spelling("de").clean("Zwei M\u00e4ner stehenn") == "Zwei M\u00e4nner stehen"


def test_look_alikes_pair_up() -> None:
    assert len(LOOK_ALIKES) == len(CYRILLIC + GREEK)
    assert all(chr(latin).isascii() for latin in LOOK_ALIKES.values())


TRICKY = st.text(st.sampled_from("abcz 3.<>|/s[]\u0430\u200b\u0301\u00a8\n\uff41'"), max_size=40) | st.text(max_size=40)


@pytest.mark.parametrize("name", ["normalize", "strip", "spelling"])
@given(text=TRICKY)
def test_a_second_time_changes_nothing(name: str, text: str) -> None:
    defense = load_defense(name)
    assert isinstance(defense, Normalize | Strip | Spelling)
    once = defense.clean(text)
    assert defense.clean(once) == once


@pytest.mark.parametrize(("name", "text"), [("strip", "<mask>"), ("normalize", "\u200b"), ("normalize", "\ufdfa" * 10)])
def test_texts_whose_clean_form_cannot_be_sent_stay_as_they_are(name: str, text: str) -> None:
    target = ToyText(max_tokens=30)
    defended = load_defense(name).defend(target)
    assert torch.equal(defended.run((text,)).work.counts[:, :2], target.run((text,)).work.counts)


def test_a_special_token_that_normalization_would_make_does_not_get_in() -> None:
    target = ToyText()
    defended = load_defense("normalize").defend(target)
    smuggled = "\uff1c/s\uff1e 12"
    assert target.space.problem(Normalize().clean(smuggled)) is not None
    assert defended.run((smuggled,)).work.counts[0, :2].tolist() == target.run((smuggled,)).work.counts[0].tolist()


@pytest.mark.parametrize("name", ["normalize", "strip", "spelling"])
@pytest.mark.parametrize("attack", ["nmtsloth-token", "nmtsloth-char", "control-random-edits"])
def test_attacks_go_through(name: str, attack: str) -> None:
    defended = load_defense(name).defend(ToyText())
    assert isinstance(defended, Wrapped)
    clean = ("a cat and a dog", "the bird 1")
    result = load_attack(attack, eps=3)(defended, clean, seed=3)
    steps = defended.iterations(result.attacked.work)
    assert (steps >= defended.iterations(result.clean.work)).all()
    assert defended.score(result.inputs).tolist() == steps.tolist()
    if attack == "nmtsloth-token":
        assert steps.min() > 20


def test_stripping_takes_away_what_repetition_brought() -> None:
    target = ToyText()
    text = "Z" * 20
    steps = target.iterations(load_defense("strip").defend(target).run((text,)).work)
    assert target.score([text]).item() == 1 + weight(text)
    assert steps.item() == 1 + weight("ZZZ")


def test_a_missing_library_or_language_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected a language among"):
        load_defense("spelling:xx").defend(ToyText())
    spelling._checker.cache_clear()
    monkeypatch.setitem(sys.modules, "spellchecker", None)
    with pytest.raises(UsageError, match=r"expected pyspellchecker for spelling, .*torpor\[defenses\]"):
        load_defense("spelling").defend(ToyText())
