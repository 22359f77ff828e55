from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from toy_audits import NEEDLE, records, snapshot, write_images

from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.audits.run.store import records_schema
from torpor.core.errors import DataError, UsageError
from torpor.data.images import ImageSet
from torpor.data.parquet import ParquetImages
from torpor.data.sets import Batch
from torpor.data.tensors import TensorImages
from torpor.metrics.efficacy import CLASS, EXITS
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import WindowTarget
from torpor.targets.resolve import load_target

UNIVERSAL = ("deepsloth-universal", "deepsloth-class-universal", "uap")
PLAN = Plan(NEEDLE, ("deepsloth", *UNIVERSAL), "Linf", (0.1, 0.25), limit=20, batch_size=8)


class Toy(WindowTarget):
    """The needle with data of its own."""

    def __init__(self, data: ImageSet) -> None:
        super().__init__([0.5, 0.5], [0.2, 0.05], name="own-data")
        self.own = data

    def data(self, folder: Path | None) -> ImageSet:
        return self.own


def gray(count: int) -> tuple[Tensor, Tensor]:
    levels = torch.linspace(0, 255, count).round().to(torch.uint8)
    return levels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), torch.arange(count) % 2


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Target, Path]:
    base = tmp_path_factory.mktemp("engine")
    plan, target = replace(PLAN, data_dir=str(write_images(base / "data"))), load_target(NEEDLE)
    run_audit(plan, target, base / "run")
    return plan, target, base / "run"


def test_every_sample_has_one_record_per_row(audited: tuple[Plan, Target, Path]) -> None:
    plan, _, folder = audited
    table = records(folder)
    assert table.schema.equals(records_schema((CLASS, *EXITS)))
    keys = list(zip(*(table[name].to_pylist() for name in ("attack", "eps", "sample")), strict=True))
    wanted = [(cell.attack, cell.budget.eps if cell.budget else None) for cell in plan.keys]
    assert sorted(keys, key=str) == sorted(((*row, sample) for row in wanted for sample in range(20)), key=str)


def test_attacks_cost_no_less_than_clean_and_no_more_than_the_static_bound(audited: tuple[Plan, Target, Path]) -> None:
    rows = records(audited[2]).to_pylist()
    assert all(row["cost_clean"] <= row["cost"] <= row["cost_static"] for row in rows)
    for row in rows:
        if row["attack"] == "clean":
            assert (row["linf"], row["slowdown"]) == (0.0, 1.0)
        else:
            assert row["linf"] <= row["eps"] + 1e-6
    assert max(row["slowdown"] for row in rows) == 4  # the needle's static bound is within reach


def test_a_larger_budget_never_costs_the_best_attack_anything(audited: tuple[Plan, Target, Path]) -> None:
    summary = json.loads((audited[2] / "audit.json").read_text())["summary"]
    by_eps = [row["slowdown_mean"] for row in summary if row["attack"] == "deepsloth"]
    assert by_eps == sorted(by_eps)
    assert by_eps[-1] > max(row["slowdown_mean"] for row in summary if row["attack"] == "control-noise")


def test_examples_are_the_first_and_the_costliest_and_repeat_their_cost(audited: tuple[Plan, Target, Path]) -> None:
    plan, target, folder = audited
    table = records(folder).to_pylist()
    attacked = [cell for cell in plan.keys if cell.budget]
    assert {path.stem for path in (folder / "examples").iterdir()} == {cell.slug for cell in attacked}
    for cell in attacked:
        assert cell.budget
        kept = load_file(folder / "examples" / f"{cell.slug}.safetensors")
        rows = {row["sample"]: row for row in table if (row["attack"], row["eps"]) == (cell.attack, cell.budget.eps)}
        assert set(range(16)) <= set(kept["index"].tolist())
        assert max(row["slowdown"] for row in rows.values()) == kept["slowdown"].max().item()
        assert kept["clean"].dtype == kept["attacked"].dtype == torch.uint8
        work = target.run(target.space.from_bytes(kept["attacked"])).work.counts.tolist()
        assert work == [rows[index]["work"] for index in kept["index"].tolist()]
        assert kept["reference"].tolist() == [rows[index]["reference"] for index in kept["index"].tolist()]


def test_only_what_the_format_names_is_left(audited: tuple[Plan, Target, Path]) -> None:
    names = {path.name for path in audited[2].iterdir()}
    assert names == {"audit.json", "records.parquet", "examples", "plan.json", "fitted"}


def test_the_batch_size_does_not_matter(audited: tuple[Plan, Target, Path], tmp_path: Path) -> None:
    plan, target, folder = audited
    run_audit(replace(plan, batch_size=13), target, tmp_path / "run")
    order = [(name, "ascending") for name in ("attack", "eps", "sample")]
    assert records(tmp_path / "run").sort_by(order).equals(records(folder).sort_by(order))


def test_the_seed_decides_the_records(audited: tuple[Plan, Target, Path], tmp_path: Path) -> None:
    plan, target, folder = audited
    expected = (folder / "records.parquet").read_bytes()
    run_audit(plan, target, tmp_path / "same")
    assert (tmp_path / "same" / "records.parquet").read_bytes() == expected
    run_audit(replace(plan, seed=1), target, tmp_path / "other")
    assert (tmp_path / "other" / "records.parquet").read_bytes() != expected


class Counted(ImageSet):
    """Hands out batches and counts how many of its test batches are alive when the next one is asked for."""

    name, classes = "counted", ("0", "1")

    def __init__(self) -> None:
        self.most = 0

    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        images, labels = gray(30)
        yield from zip(images, labels.tolist(), strict=True)

    def batches(self, split: str, batch_size: int, limit: int | None = None, *, first: int = 0) -> Iterator[Batch]:
        seen: list[weakref.ref[Tensor]] = []
        images, labels = gray(30)
        for start in range(first, 30, batch_size):
            part = images[start : start + batch_size].clone()
            rows = slice(start, start + batch_size)
            seen.append(weakref.ref(part))
            if split == "test":
                self.most = max(self.most, sum(found() is not None for found in seen))
            batch = Batch(torch.arange(30)[rows], part, labels[rows])
            del part
            yield batch
            del batch


def test_no_more_than_one_batch_of_images_is_held(tmp_path: Path) -> None:
    data = Counted()
    run_audit(Plan("own", ("pgd",), "Linf", (0.2,), batch_size=5), Toy(data), tmp_path / "run")
    assert data.most == 1
    assert records(tmp_path / "run").num_rows == 30 * 5


def test_data_without_a_validation_split_have_no_natural_baseline(tmp_path: Path) -> None:
    target = Toy(TensorImages({"test": gray(6)}))
    run_audit(Plan("own", ("pgd",), "Linf", (0.2,)), target, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "audit.json").read_text())["natural"] is None


def test_no_images_at_all_are_refused(tmp_path: Path) -> None:
    empty = torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(DataError, match="expected test samples"):
        run_audit(Plan("own", ("pgd",), "Linf", (0.2,)), Toy(TensorImages({"test": empty})), tmp_path / "run")


@pytest.mark.parametrize(("eps", "words"), [(1 / 300, "one pixel level"), (1e-9, "one pixel level")])
def test_a_budget_without_effect_is_refused_before_anything_is_written(tmp_path: Path, eps: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run_audit(Plan("own", ("pgd",), "Linf", (eps,)), Toy(TensorImages({"test": gray(6)})), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_classes_that_the_target_does_not_know_are_refused(tmp_path: Path) -> None:
    images, labels = gray(6)
    with pytest.raises(DataError, match="expected classes from 0 to 1"):
        run_audit(Plan("own", ("pgd",), "Linf", (0.2,)), Toy(TensorImages({"test": (images, labels + 1)})), tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_impossible_pixels_are_refused(value: float) -> None:
    target = load_target(NEEDLE)
    inputs = torch.full((2, 1, 4, 4), 0.5)
    inputs[1, 0, 0, 0] = value
    with pytest.raises(DataError, match="pixels in"):
        target.run(inputs)
    with pytest.raises(DataError, match="pixels in"):
        PLAN.attacks_at(PLAN.budgets[0])[0](target, inputs)


def test_a_finished_audit_is_left_alone(audited: tuple[Plan, Target, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, target, folder = audited
    before = snapshot(folder)

    def sealed(self: ImageSet, split: str) -> Iterator[tuple[Tensor, int]]:
        raise AssertionError("a finished audit reads no image")

    monkeypatch.setattr(ParquetImages, "samples", sealed)
    assert run_audit(plan, target, folder) == folder / "audit.json"
    assert snapshot(folder) == before
    assert target.name == "toy-needle"
