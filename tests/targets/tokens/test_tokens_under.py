"""Tokens under a patch and elsewhere: in closed form, as parts of the work, and as columns of an audit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from token_targets import BUILT, bright, layers_of_bright, pictures
from token_toys import halting, images
from torch import Tensor
from toy_audits import call, write_images

from torpor.audits.run.rows import load_examples
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.targets.family import Ran
from torpor.targets.tokens.avit import PatchHaltingTarget
from torpor.targets.tokens.under import tokens_run

APART = ("under", "elsewhere", "under_clean", "elsewhere_clean")


def test_a_patch_covers_every_token_of_which_it_covers_a_pixel() -> None:
    target, inputs = halting(), images(4)
    dark, light = torch.zeros_like(inputs), torch.ones_like(inputs)
    mixed = light.clone()
    mixed[..., :3, :3] = 0  # a patch of nine pixels lies on four tokens
    budget = Budget("patch", 9 / 64)
    every, few, some = (
        tokens_run(target, each, target.run(each).work.counts[:, 1], budget) for each in (dark, light, mixed)
    )
    assert every is not None
    assert few is not None
    assert some is not None
    assert (every.most_under, every.most_elsewhere) == (4 * 4, 4 * 12)
    assert every.under.tolist() == [16] * 4
    assert every.elsewhere.tolist() == [48] * 4
    assert (some.under > few.under).all()
    with pytest.raises(UsageError, match="expected norm patch"):
        tokens_run(target, inputs, every.under, Budget("Linf", 0.1))


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("norm", ["patch", "patch-center"])
def test_each_token_that_ran_is_under_the_patch_or_elsewhere(name: str, norm: str) -> None:
    target, inputs = BUILT[name](0), pictures(16)
    ran = target.tokens(target.run(inputs).work)
    found = tokens_run(target, inputs, ran, Budget(norm, 0.25))
    assert found is not None
    assert (found.under + found.elsewhere).equal(ran)
    assert found.most_under + found.most_elsewhere == target.token_count
    whole = tokens_run(target, inputs, ran, Budget(norm, 1))
    assert whole is not None
    assert whole.under.equal(ran)
    rejected = tokens_run(target, inputs, torch.zeros_like(ran), Budget(norm, 0.25))  # the network did not run
    assert rejected is not None
    assert rejected.under.tolist() == rejected.elsewhere.tolist() == [0] * 16


@pytest.mark.parametrize(("tokens", "side"), [(5, 8), (9, 8)])
def test_tokens_that_are_no_square_grid_are_nowhere(tokens: int, side: int) -> None:
    target = SimpleNamespace(signals=lambda inputs: SimpleNamespace(alive=torch.ones(len(inputs), 2, tokens)))
    inputs, ran = torch.zeros(3, 1, side, side), torch.full((3,), 2 * tokens)
    assert tokens_run(target, inputs, ran, Budget("patch", 0.25)) is None


def test_a_family_locates_tokens_of_patches_alone() -> None:
    target = bright()
    clean, attacked = torch.full((2, 1, 2, 2), 0.6), torch.full((2, 1, 2, 2), 0.6)
    attacked[..., 0, 0] = torch.tensor([0.0, 1.0]).view(2, 1)
    before, after = (Ran(target, each, target.run(each)) for each in (clean, attacked))
    assert target.family.locate(before, after, Budget("Linf", 1)) == {}
    found = target.family.locate(before, after, Budget("patch", 1 / 4))
    expected = layers_of_bright(attacked)
    assert found["tokens_under"].tolist() == expected[:, 0].tolist() == [4, 2]
    assert found["tokens_elsewhere"].tolist() == expected[:, 1:].sum(1).tolist()
    assert found["tokens_under_clean"].tolist() == layers_of_bright(clean)[:, 0].tolist()
    assert found["tokens_under_most"] == [4, 4]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit a network of four tokens, one of them under the patch, and return the audit's folder."""
    folder = tmp_path_factory.mktemp("tokens")
    write_images(folder / "data", side=2, test=12)
    attacks = ("--attacks", "desparsify:steps=8", "--defenses", "tokens:most=2,resize-pad")
    common = ("--data-dir", folder / "data", "--limit", "12", "--batch-size", "5")
    for norm, eps in (("patch", "25%"), ("Linf", "64/255")):
        budget = ("--norm", norm, "--eps", eps)
        code, _, err = call("audit", "token_targets:bright", *attacks, *budget, *common, "--out", folder / norm)
        assert code == 0, err
    return folder


def test_records_hold_tokens_under_the_patch_and_elsewhere(run: Path) -> None:
    table = pq.read_table(run / "patch" / "records.parquet").to_pandas()
    clean, attacked = table[table.attack == "clean"], table[table.attack != "clean"]
    assert clean[[f"tokens_{place}" for place in APART]].isna().to_numpy().all()
    moved = attacked.defense == "resize-pad"  # the patch is elsewhere in what the network sees
    assert attacked[moved][[f"tokens_{place}" for place in APART]].isna().to_numpy().all()
    attacked = attacked[~moved]
    assert set(attacked.defense) == {"none", "tokens:most=2"}
    assert (attacked.tokens_under + attacked.tokens_elsewhere == attacked.patches).all()
    assert (attacked.tokens_under_most == 4).all()
    saved = load_examples(run / "patch" / "examples" / "desparsify.steps=8-patch-0.25.safetensors")
    free = attacked[(attacked.attack == "desparsify:steps=8") & (attacked.defense == "none")].set_index("sample")
    for side, suffix in (("attacked", ""), ("clean", "_clean")):
        layers = layers_of_bright(torch.as_tensor(saved[side]) / 255)
        rows = free.loc[saved["index"].tolist()]
        assert rows[f"tokens_under{suffix}"].tolist() == layers[:, 0].tolist()
        assert rows[f"tokens_elsewhere{suffix}"].tolist() == layers[:, 1:].sum(1).tolist()


def test_signals_of_clean_inputs_are_run_once_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, signals = list[int](), PatchHaltingTarget.signals

    def counted(self: PatchHaltingTarget, inputs: Tensor) -> Any:  # noqa: ANN401
        calls.append(len(inputs))
        return signals(self, inputs)

    monkeypatch.setattr(PatchHaltingTarget, "signals", counted)
    write_images(tmp_path / "data", side=2, test=4)
    black_box = ("--attacks", "square:queries=5", "--norm", "patch", "--eps", "25%,100%", "--defenses", "tokens:most=2")
    folders = ("--data-dir", tmp_path / "data", "--out", tmp_path / "run")
    code, _, err = call("audit", "token_targets:bright", *black_box, *folders)
    assert code == 0, err
    rows = [row for row in json.loads((tmp_path / "run" / "audit.json").read_text())["summary"] if row["norm"]]
    assert {row["defense"] for row in rows} == {"none", "tokens:most=2"}
    assert len(calls) == len(rows) + 2  # attacked inputs of each row, clean ones without and with the defense


def test_rows_hold_shares_of_tokens_under_the_patch_and_elsewhere(run: Path) -> None:
    table = pq.read_table(run / "patch" / "records.parquet").to_pandas()
    for row in json.loads((run / "patch" / "audit.json").read_text())["summary"]:
        shares = {place: row[f"token_share_{place}"] for place in APART}
        if row["attack"] == "clean" or row["defense"] == "resize-pad":
            assert set(shares.values()) == {None}
            continue
        same = (table.attack == row["attack"]) & (table.defense == row["defense"])
        same &= table.attacker.fillna("") == (row["attacker"] or "")
        for place, share in shares.items():
            most = 4 if "under" in place else 12
            assert share == pytest.approx(table[same][f"tokens_{place}"].mean() / most)
        assert row["token_share"] == pytest.approx((4 * shares["under"] + 12 * shares["elsewhere"]) / 16)
    code, out, _ = call("check", run / "patch", "token_share_elsewhere < 2", "token_share_under < 0.01")
    assert code == 10
    assert "token_share_under" in " ".join(out.split())


def test_other_budgets_have_no_tokens_under_a_patch(run: Path) -> None:
    table = pq.read_table(run / "Linf" / "records.parquet").to_pandas()
    assert table[[f"tokens_{place}" for place in APART]].isna().to_numpy().all()
    rows = json.loads((run / "Linf" / "audit.json").read_text())["summary"]
    assert {row[f"token_share_{place}"] for row in rows for place in APART} == {None}
