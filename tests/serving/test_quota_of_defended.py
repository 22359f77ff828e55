"""Quotas degrade a defended target as they degrade the bare one, and count what its defenses spend."""

from __future__ import annotations

import pytest
import torch
from plugged import LAYERS, SkipTarget
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense
from torpor.serving import ClientQuotas, Quota, QuotaError, TokenBucket, metered
from torpor.serving.affordable import at_rung, bound_of, rungs_of, smallest
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.early_exit.toys import needle

CHAINS = ("bit-depth:4", "jpeg:75+bit-depth:4", "median+jpeg:75+bit-depth:4")
HALF: Tensor = torch.full((2, 1, 4, 4), 8 * 17 / 255)
"""Images that survive being stored in 4 bits; the needle runs to its end."""


def layer_cost(defended: Target, inputs: Tensor) -> float:
    """Return what the defenses spend on inputs."""
    units = [unit for unit in defended.units if unit.stage == "defense"]
    return sum(defended.price(units).per_unit) * len(inputs)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("bare", [needle(), PeakTarget(cap=9)], ids=["exits", "steps"])
def test_a_defended_target_is_cut_at_the_same_rung_as_the_bare_one(chain: str, bare: Target) -> None:
    defended = load_defense(chain).defend(bare)
    extra, own = layer_cost(defended, HALF), len(bare.units)
    assert extra > 0
    assert rungs_of(defended) == rungs_of(bare) > 2
    bounds = {bound_of(at_rung(bare, rung), HALF) for rung in range(rungs_of(bare))}
    assert len(bounds) == rungs_of(bare)
    for bound in sorted(bounds):
        for flops in (bound, bound + 1):
            with Quota(flops=flops) as plain:
                free = metered(bare).run(HALF)
            with Quota(flops=flops + extra) as quota:
                outcome = metered(defended).run(HALF)
            assert outcome.work.counts[:, :own].equal(free.work.counts)
            assert quota.spent_flops == plain.spent_flops + extra <= flops + extra
    with Quota(flops=min(bounds) + extra - 1), pytest.raises(QuotaError, match="no cap that is small enough"):
        metered(defended).run(HALF)


def test_the_work_of_a_cut_run_has_the_target_s_columns() -> None:
    target = metered(load_defense("bit-depth:4").defend(needle()))
    with Quota(flops=bound_of(load_defense("bit-depth:4").defend(needle().upto(2)), HALF)):
        work = target.run(HALF).work
    assert work.counts.tolist() == [[1, 1, 0, 0, 1]] * 2
    assert target.exits(work).tolist() == [1, 1]
    assert target.prices.cost(work).sum() == bound_of(smallest(target), HALF)


def test_boxes_and_texts_are_cut_too() -> None:
    lamps, (images, _) = load_defense("bit-depth:4").defend(LampTarget()), lit(24)
    with Quota(flops=bound_of(smallest(lamps), images)) as quota:
        assert len(metered(lamps).run(images).outputs[0]) == 1
    assert quota.flops_left >= 0
    text = load_defense("strip").defend(ToyText(cap=30))
    with Quota(steps=5) as quota:
        assert metered(text).run(("99 99",)).outputs[0].capped
    assert quota.spent_steps == 5


def test_what_has_no_rungs_is_refused_in_one_sentence() -> None:
    for target in (SkipTarget(), load_defense("jpeg:75+bit-depth:4").defend(SkipTarget())):
        whole = bound_of(target, HALF)
        assert whole >= 2 * 10 * LAYERS
        assert rungs_of(target) == 1
        with Quota(flops=whole) as quota:
            metered(target).run(HALF)
        assert quota.spent_flops < whole  # not all layers ran
        with (
            Quota(flops=whole - 1) as quota,
            pytest.raises(QuotaError, match=r"^expected a run of .* got no cap that is small enough; send less"),
        ):
            metered(target).run(HALF)
        assert quota.spent_flops == 0


def test_clients_share_the_ladder() -> None:
    defended = load_defense("bit-depth:4").defend(needle())
    need = bound_of(smallest(defended), HALF)
    clients = ClientQuotas(TokenBucket(0.0, need), clock=lambda: 0.0)
    assert clients.run("eve", defended, HALF).work.counts.tolist() == [[1, 1, 0, 0, 1]] * 2
    assert clients.available("eve") == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Budget", Quota),
        ("BudgetError", QuotaError),
        ("ClientBudgets", ClientQuotas),
        ("WorkBudget", TokenBucket),
        ("metered", metered),
    ],
)
def test_old_names_still_work_and_warn(old: str, new: object) -> None:
    from torpor.defenses import work_budget

    with pytest.warns(DeprecationWarning, match=f"work_budget.{old} is now torpor.serving"):
        assert getattr(work_budget, old) is new
    with pytest.raises(AttributeError):
        _ = work_budget.nothing
    with pytest.raises(UsageError):
        Quota(flops=0)
