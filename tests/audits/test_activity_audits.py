"""Audits of the networks whose work follows the activity of neurons, from the attack to the report."""

from __future__ import annotations

import pytest

import torpor
from torpor.zoo.registry import snn_digits, sparse_digits


def test_density_is_measured_capped_and_priced_in_joules() -> None:
    found = torpor.audit(
        sparse_digits(),
        ["uniform-inputs", "sponge-vision:steps=2:form=pgd"],
        defenses="density",
        limit=4,
        timed=False,
    )
    rows = {(row["attack"], row["defense"], row["attacker"]): row for row in found.rows}
    clean, uniform = rows["clean", "none", None], rows["uniform-inputs", "none", None]
    assert clean["density_mean"] < uniform["density_mean"] < 1
    assert clean["energy_ratio_mean"] < uniform["energy_ratio_mean"] < 1
    assert len(uniform["density_layers"]) == 7
    adaptive = next(row for row in found.rows if row["attack"] == "uniform-inputs" and row["attacker"] == "adaptive")
    assert adaptive["density_mean"] < uniform["density_mean"]
    records, joules = found.records, found.priced("joules-45nm").records
    here = [place for place, name in enumerate(records["defense"].tolist()) if name == "none"]
    ratios = joules["cost"] / joules["cost_static"]
    assert ratios[here].tolist() == pytest.approx(records["energy_ratio"][here].tolist())
    shared = found.priced("joules-45nm:batch=64").records["cost"]
    assert (shared < joules["cost"]).all()


def test_spikes_and_timesteps_are_measured() -> None:
    found = torpor.audit(snn_digits(), "spikeattack", steps=3, eps="8/255", limit=4, timed=False)
    rows = {row["attack"]: row for row in found.rows}
    assert rows["clean"]["spikes_mean"] <= rows["spikeattack"]["spikes_mean"]
    assert 1 <= rows["clean"]["timesteps_mean"] <= 8
    assert found.records["timesteps"].tolist() == [work[1] for work in found.records["work"].tolist()]
