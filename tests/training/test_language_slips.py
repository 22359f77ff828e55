from __future__ import annotations

import torch

from torpor.training.slips import FLAWLESS, Slips
from torpor.zoo.language.tokenizer import SPECIAL

GIVEN = torch.cat([torch.ones(400, 1, dtype=torch.int64), torch.arange(5, 25).repeat(400, 1)], 1)
GIVEN[:, -4:] = 0  # padding
ORDINARY = len(SPECIAL) <= GIVEN


def test_no_slips_change_nothing() -> None:
    assert FLAWLESS(GIVEN, 30) is GIVEN


def test_special_tokens_stay_and_shares_are_as_told() -> None:
    torch.manual_seed(0)
    for slips in (Slips(wrong=0.2), Slips(repeated=0.3), Slips(wrong=0.2, repeated=0.3)):
        slipped = slips(GIVEN, 30)
        assert torch.equal(len(SPECIAL) <= slipped, ORDINARY)
        changed = (slipped != GIVEN)[ORDINARY].double().mean().item()
        assert 0.1 < changed < 0.6


def test_repeated_tokens_are_those_before() -> None:
    torch.manual_seed(0)
    slipped = Slips(repeated=0.5)(GIVEN, 30)
    before = slipped.roll(1, 1)
    changed = slipped != GIVEN
    assert torch.equal(slipped[changed], before[changed])
    assert changed.double().mean(1).std() > 0.1, "rows differ"
