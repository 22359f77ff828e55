"""The contract's table is complete, and attacks refuse what is not in it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from activity_targets import ACTIVITY_TARGETS
from attack_cases import TARGETS
from column_targets import row_columns
from contract_cases import BOTH, EPS, WORDED
from contract_rows import ELSEWHERE, own_attacks, rows_of
from draft_targets import drafting, exiting
from expert_targets import batched, experts
from ode_targets import decay
from text_encoders import TEXT_ENCODERS, routing
from token_toys import TOKEN_TARGETS

from torpor.attacks.controls.dense import BestNoise, Shuffled
from torpor.attacks.controls.text import BestOfK
from torpor.attacks.registry import ATTACKS
from torpor.core.budget import COUNTS, NORMS, PATCHES
from torpor.core.errors import UsageError
from torpor.targets.base import Target

ANY: dict[str, Callable[[], Target]] = {
    **TARGETS,
    **BOTH,
    **ACTIVITY_TARGETS,
    **TOKEN_TARGETS,
    **TEXT_ENCODERS,
    "ode": decay,
    "columns": row_columns,
    "drafts": drafting,
    "exits": exiting,
    "experts": experts,
    "expert-batch": batched,
    "router": routing,
}
TABLE = rows_of(ANY)
MATCHED: dict[str, dict[str, Any]] = {
    Shuffled.id: {"perturbation": torch.zeros(0)},
    BestNoise.id: {"queries": torch.zeros(0)},
    BestOfK.id: {"queries": torch.zeros(0)},
}


def test_every_attack_has_a_row_for_each_of_its_norms() -> None:
    each = {(norm, attack.id) for attack in own_attacks() for norm in attack.norms}
    assert {row[1:] for row in TABLE} == {(norm, name) for norm, name in each if norm not in ELSEWHERE}


@pytest.mark.parametrize("target_name", ANY)
def test_attacks_run_where_the_table_has_a_row_and_nowhere_else(target_name: str) -> None:
    target = ANY[target_name]()
    for norm, name in product(NORMS + PATCHES[:1] + COUNTS, (attack.id for attack in own_attacks())):
        eps = 1.0 if norm in PATCHES else WORDED.get(name, EPS[norm])  # of one pixel, any smaller patch is none
        options: dict[str, Any] = {"norm": norm, "eps": eps, **MATCHED.get(name, {})}
        if (target_name, norm, name) in TABLE:
            ATTACKS.find(name)(**options).check(target)
        else:
            with pytest.raises(UsageError, match="expected"):
                ATTACKS.find(name)(**options).check(target)
