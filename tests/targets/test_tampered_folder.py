"""A tampered model as a folder: saved, loaded, audited with its condition, and refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import torpor
from torpor.attacks.tamperings.efficfrog import EfficFrog
from torpor.attacks.tamperings.registry import load_tampering
from torpor.audits.conditions import RowKey
from torpor.core.errors import DataError, UsageError
from torpor.targets.tampered import load_tampered, save_tampered

TRIGGER = "torpor.attacks.tamperings.trigger:Trigger"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tampering = load_tampering("efficfrog:eps=0.03125:epochs=1:trigger_epochs=1:most=128")
    made = tampering.apply(torpor.load_target("sdn-digits"))
    path = tmp_path_factory.mktemp("tampered") / "frog"
    state = made.tampering.state()
    save_tampered(made.target, path, base="sdn-digits", seed=0, trigger=state)
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    loaded = load_tampered(str(path))
    assert loaded.tampering == made.tampering.name
    assert torch.equal(loaded.run(images).outputs, made.target.run(images).outputs)
    assert isinstance(made.tampering, EfficFrog)
    return path


def test_rows_of_an_audit_carry_the_condition(folder: Path, tmp_path: Path) -> None:
    target = f"tampered:{folder}"
    done = torpor.audit(target, attacks=[TRIGGER], norm="Linf", eps=8 / 255, limit=8, out=tmp_path / "audit")
    summary = json.loads((tmp_path / "audit" / "audit.json").read_text())["summary"]
    conditions = {RowKey.of(row).condition.tampering for row in summary}
    assert conditions == {"efficfrog:eps=0.03125:epochs=1:trigger_epochs=1:most=128"}
    assert "trigger" in [row["attack"] for row in summary]
    assert done is not None


def test_a_folder_is_not_overwritten_and_others_are_refused(folder: Path, tmp_path: Path) -> None:
    target = load_tampered(str(folder))
    with pytest.raises(UsageError, match="without a tampered model"):
        save_tampered(target, folder, base="sdn-digits", seed=0)
    with pytest.raises(UsageError, match="that 'torpor tamper' wrote"):
        load_tampered(str(tmp_path))
    copy = tmp_path / "copy"
    save_tampered(target, copy, base="sparse-digits", seed=0)
    with pytest.raises(DataError, match="the weights of sparse-digits"):
        load_tampered(str(copy))
    broken = tmp_path / "broken"
    save_tampered(target, broken, base="sdn-digits", seed=0)
    weights = load_file(broken / "weights.safetensors")
    save_file({name: each * torch.nan for name, each in weights.items()}, broken / "weights.safetensors")
    with pytest.raises(DataError, match="finite weights"):
        load_tampered(str(broken))
