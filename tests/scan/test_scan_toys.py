"""Scans of toys whose worst case is known, and the verdicts on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from torpor.audits.verdict.gate import Verdict
from torpor.core.errors import UsageError
from torpor.scan.calibration import CleanModels
from torpor.scan.images import SEARCHES, invert
from torpor.scan.inputs import ScanInputs
from torpor.scan.judged import judge
from torpor.scan.run import kind_of, scan
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.toys import WindowTarget

EPS = 8 / 255
LINF = SEARCHES[0]
NARROW = WindowTarget([0.5, 0.7], [0.01, 0.01], side=8)
"""No image reaches both windows."""
BACKDOOR = WindowTarget([0.425, 0.425], [0.015, 0.015], side=8)
"""Images of 0.4 reach both with a change of 3 % of all pixels."""


def images(mean: float, count: int = 8) -> Tensor:
    return torch.full((count, 1, 8, 8), round(255 * mean) / 255)


def inputs() -> ScanInputs:
    return ScanInputs(images(0.4, 4), images(0.4, 4), "flat images")


def test_inversion_finds_what_the_closed_form_says_is_there() -> None:
    clean, tampered = (invert(each, images(0.4), images(0.4), LINF) for each in (NARROW, BACKDOOR))
    assert NARROW.worst_depth(images(0.4), EPS).unique().tolist() == [1]
    assert BACKDOOR.worst_depth(images(0.4), EPS).unique().tolist() == [3]
    assert clean.share == 0
    assert tampered.share == 1
    assert tampered.noise < 1
    assert float(tampered.change.abs().max()) <= EPS + 1e-6


def test_a_trigger_is_measured_on_images_that_it_was_not_learned_on() -> None:
    found = invert(BACKDOOR, images(0.4), images(0.9), LINF)
    assert found.share == 0


def test_a_backdoor_costs_nothing_on_natural_inputs_and_is_found_by_its_trigger() -> None:
    clean = CleanModels(kind_of(NARROW), (scan(NARROW, inputs()).figures,) * 9)
    found = scan(BACKDOOR, inputs())
    assert found.figures["natural_cost"] == clean.figures[0]["natural_cost"]
    judged = judge(found, clean)
    assert judged.verdict is Verdict.FAIL
    assert judged.score is not None
    assert judged.score.figure in ("trigger_linf", "trigger_patch", "trigger_wide")
    assert found.figures["trigger_linf"] == 1
    assert judge(scan(NARROW, inputs(), seed=1), clean).verdict is Verdict.PASS


def test_a_reference_adds_the_shift_and_must_be_of_the_same_kind() -> None:
    wide = WindowTarget([0.4, 0.4], [0.1, 0.1], side=8)
    found = scan(wide, inputs(), NARROW)
    one, *_, last = NARROW.prices.cost(wide.run(images(0.4)).work).tolist()
    before = NARROW.prices.cost(NARROW.run(images(0.4)).work)[0].item()
    assert one == last == pytest.approx(before * torch.tensor(found.figures["cost_shift"]).exp().item(), rel=1e-5)
    assert found.figures["distribution_shift"] == 1
    with pytest.raises(UsageError, match="expected a reference of the kind"):
        scan(wide, inputs(), WindowTarget([0.5], [0.1], side=8))


def test_what_there_is_no_time_for_is_left_out_and_no_pass() -> None:
    clean = CleanModels(kind_of(NARROW), (scan(NARROW, inputs()).figures,) * 9)
    found = scan(NARROW, inputs(), seconds=1e-9)
    assert set(found.left_out) == {"trigger_linf", "trigger_patch", "trigger_wide"}
    assert judge(found, clean).verdict is Verdict.INCONCLUSIVE


def test_without_clean_models_there_is_no_verdict() -> None:
    found = scan(NARROW, inputs(), seconds=1e-9)
    assert judge(found, None).verdict is Verdict.INCONCLUSIVE
    few = CleanModels(found.kind, (found.figures,) * 8)
    assert judge(found, few).verdict is Verdict.INCONCLUSIVE
    assert "takes 9 clean models, got 8" in judge(found, few).sentence
    with pytest.raises(UsageError, match="expected clean models of the kind"):
        judge(found, replace(few, kind="another", figures=few.figures * 2))


def test_texts_are_scanned_by_a_trigger_of_tokens() -> None:
    texts = tuple(f"a cat {number}" for number in "123412341234")
    found = scan(ToyText(), ScanInputs(texts[:6], texts[6:], "toy texts"))
    assert found.figures["trigger_tokens"] > 0  # a larger digit makes the toy's answer longer
