"""Audits of attacks with options, and of an attack that torpor does not know."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from toy_audits import NEEDLE, call, records, snapshot, write_images
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates


@dataclass(frozen=True, kw_only=True)
class Toward(Attack):
    """Go a share of the way to gray that the budget allows."""

    id: ClassVar[str] = "toward"
    paper: ClassVar[None] = None

    share: float = 1.0

    @override
    def search(self, target: Any, inputs: Tensor, labels: object, seed: int) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(inputs + self.share * (0.5 - inputs).clamp(-self.eps, self.eps), nothing, nothing)


ATTACKS = ("square", "square:queries=300", "square:queries=20", f"{__name__}:Toward:share=0.5", f"{__name__}:Toward")
NAMES = ("square", "square:queries=300", "square:queries=20", "toward:share=0.5", "toward")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str | Path], Path]:
    folder = tmp_path_factory.mktemp("options")
    words: list[str | Path] = ["audit", NEEDLE, "--attacks", ",".join(ATTACKS), "--eps", "0.3", "--limit", "6"]
    words += ["--data-dir", write_images(folder / "data"), "--out", folder / "run"]
    code, _, err = call(*words)
    assert code == 0, err
    return words, folder / "run"


def test_rows_are_called_by_id_and_options(audited: tuple[list[str | Path], Path]) -> None:
    audit = json.loads((audited[1] / "audit.json").read_text(encoding="utf-8"))
    own = [row for row in audit["summary"] if row["kind"] == "attack"]
    assert tuple(row["attack"] for row in own) == NAMES
    assert tuple(audit["config"]["attacks"]) == ATTACKS
    assert ",".join(ATTACKS) in audit["command"]
    files = {path.name for path in (audited[1] / "examples").iterdir()}
    assert {f"{name.replace(':', '.')}-Linf-0.3.safetensors" for name in NAMES} < files


def test_options_decide_what_rows_hold(audited: tuple[list[str | Path], Path]) -> None:
    table = records(audited[1]).to_pylist()

    def rows(name: str) -> list[dict[str, Any]]:
        return [{**row, "attack": None} for row in table if row["attack"] == name]

    assert rows("square") == rows("square:queries=300")  # as many as it takes by itself
    most = [max(row["forwards"] for row in rows(name)) for name in ("square:queries=20", "square")]
    assert most[0] <= 20 < most[1]
    half, whole = (sum(row["linf"] for row in rows(name)) for name in ("toward:share=0.5", "toward"))
    assert half < whole
    assert sum(row["cost"] for row in rows("toward")) > sum(row["cost"] for row in rows("clean"))


def test_code_of_the_user_s_attack_identifies_the_audit(audited: tuple[list[str | Path], Path]) -> None:
    audit = json.loads((audited[1] / "audit.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert audit["identity"]["code"][__name__] == digest


def test_a_finished_audit_stays_as_it_is(audited: tuple[list[str | Path], Path]) -> None:
    words, folder = audited
    before = snapshot(folder)
    assert call(*words)[0] == 0
    after = snapshot(folder)
    assert {name: after[name] for name in before if "report" not in name} == {
        name: text for name, text in before.items() if "report" not in name
    }


def test_another_number_of_queries_is_another_audit(audited: tuple[list[str | Path], Path]) -> None:
    words, _ = audited
    other = [str(word).replace("queries=20", "queries=21") for word in words]
    code, _, err = call(*other)
    assert code == 2
    assert "attacks" in err
