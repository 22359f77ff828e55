"""Prompts that were crafted on one model and are sent to another."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from billed import BilledTarget
from step_targets import AnsweringModel
from toy_audits import call

from torpor.attacks.registry import load_attack
from torpor.attacks.specs import spec_of
from torpor.attacks.text import transfer
from torpor.attacks.text.transfer import Crafted, TransferredPrompts, craft, spec_from
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Stage
from torpor.targets.decoder.toy_text import ToyText

TOY = "torpor.targets.decoder.toy_text:ToyText"
BLACK_BOX = "step_targets:AnsweringModel"
QUICK = "evolution%3Aqueries=40"
TEXTS = ("a cat", "the dog")


def quick(norm: str = "prompt", eps: float = 12, **more: int) -> TransferredPrompts:
    return TransferredPrompts(norm=norm, eps=eps, source=TOY.replace(":", "%3A"), by=QUICK, **more)  # type: ignore[arg-type]


def test_the_costliest_prompts_of_the_source_are_sent_to_the_target() -> None:
    target = BilledTarget()
    texts = (
        *TEXTS,
        "my tree",
        "a bird",
        "no fish",
        "one day",
    )  # the target reads characters: not all that is found fits
    attack = quick(keep=2).fit(target, texts)
    assert not target.asked  # it is crafted elsewhere
    assert attack.crafted is not None
    source = ToyText()
    scores = source.score(attack.crafted.texts).tolist()
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 10
    result = attack(target, ("hello", "world"))
    sent = target.asked[4:-2]  # after the clean runs
    assert set(sent) == set(attack.crafted.texts[:2])
    assert result.candidates.forwards.tolist() == [3, 3]
    assert set(result.inputs) <= set(attack.crafted.texts)
    assert target.tokens(result.inputs[0]) == max(map(target.tokens, sent)) > 1
    assert (attack.access, attack.stage) == (Access.TRANSFER, Stage.UNIVERSAL)
    assert attack.forwards_before == attack.crafted.forwards >= 40


def test_suffixes_are_appended_to_the_targets_own_texts() -> None:
    target = AnsweringModel()
    attack = quick("suffix").fit(target, TEXTS)
    assert attack.crafted is not None
    assert not any(text.startswith(TEXTS) for text in attack.crafted.texts)
    (text,) = attack(target, ("hello",)).inputs
    assert text.removeprefix("hello") in attack.crafted.texts


def test_what_was_crafted_is_kept_and_made_once() -> None:
    craft.cache_clear()
    first = quick().fit(BilledTarget(), TEXTS, seed=3)
    again = quick().fit(BilledTarget(room=500), TEXTS, seed=3)
    assert craft.cache_info().hits == 1
    assert again.crafted == first.crafted
    other = quick().with_state(first.state())
    assert other.crafted == first.crafted
    assert dict(quick().state()) == {}
    with pytest.raises(KeyError):
        quick().with_state({})
    with pytest.raises(UsageError, match="expected a fitted attack, got transfer before"):
        quick()(BilledTarget(), TEXTS)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (TransferredPrompts(), "expected a target to craft prompts on, got none; write transfer:source=NAME"),
        (TransferredPrompts(source="nothing"), "expected a target, got 'nothing'"),
        (TransferredPrompts(source="torpor.targets.early_exit.toys%3Aneedle"), "expected a source that reads text"),
        (TransferredPrompts(source=TOY.replace(":", "%3A"), by="engorgio"), "an attack on each text .* got engorgio"),
        (TransferredPrompts(source=TOY.replace(":", "%3A"), by="control-keep-writing"), "got control-keep-writing"),
        (TransferredPrompts(source=TOY.replace(":", "%3A"), by=QUICK, eps=1), "got none of .*; raise --eps"),
    ],
)
def test_what_cannot_be_transferred_is_refused(attack: TransferredPrompts, words: str) -> None:
    texts = ("9" * 60,) if attack.eps == 1 else TEXTS  # already longer than one token could make it
    with pytest.raises(UsageError, match=words):
        attack.fit(BilledTarget(), texts)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="expected 1 text and 1 prompt or more"):
        TransferredPrompts(keep=0)
    with pytest.raises(UsageError, match="got none; take another source"):
        quick().fit(BilledTarget(), ("x" * 200,))  # more than the toy reads


def test_a_specification_names_any_source() -> None:
    spec = spec_from("hf:models/small,new:cap=64")
    assert "," not in spec
    attack = load_attack(spec)
    assert isinstance(attack, TransferredPrompts)
    assert unquote(attack.source) == "hf:models/small,new:cap=64"
    assert load_attack(spec_of(attack), norm="prompt", eps=32) == attack


def test_an_audit_crafts_once_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts.txt").write_text("the cat sat\nmy dog\n", encoding="utf-8")
    arguments = (
        "audit",
        BLACK_BOX,
        "--attacks",
        "repetition",
        "--transfer-from",
        TOY,
        "--norm",
        "prompt",
        "--eps",
        "6",
        "--inputs",
        tmp_path / "texts.txt",
        "--out",
        tmp_path / "run",
    )
    monkeypatch.setattr(transfer, "REQUESTS", TEXTS)
    code, _, _ = call(*arguments)
    assert code == 0
    rows = {row["attack"]: row for row in json.loads((tmp_path / "run" / "audit.json").read_text())["summary"]}
    (name,) = (name for name in rows if name.startswith("transfer"))
    assert rows[name]["fit_forwards"] > 0
    assert rows[name]["steps_mean"] > rows["clean"]["steps_mean"]
    assert {"repetition", "control-long-requests", "control-keep-writing", "control-best-of-k"} < set(rows)
    kept = list((tmp_path / "run" / "fitted").glob("transfer*.safetensors"))
    assert len(kept) == 1
    monkeypatch.setattr(transfer, "craft", None)  # nothing is crafted again
    (tmp_path / "run" / "audit.json").unlink()
    assert call(*arguments)[0] == 0


def test_crafted_prompts_that_do_not_fit_are_left_out() -> None:
    attack = TransferredPrompts(norm="prompt", eps=5, crafted=Crafted(("9" * 9, "9999"), 1))
    (text,) = attack(BilledTarget(), ("hello",)).inputs
    assert text == "9999"
