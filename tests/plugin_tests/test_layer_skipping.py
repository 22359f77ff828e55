"""A plug-in's target of a kind that torpor has never heard of: measured, gated and reported under its own names."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy_audits import call, records

import torpor
from plugin import SKIPPING, installed
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.targets.early_exit.family import EarlyExitFamily, GateFamily
from torpor.targets.resolve import load_target

if TYPE_CHECKING:
    from torpor_example.layer_skipping import SkipNetwork

pytestmark = installed
EPS, COUNT, FRONTS = "4/255", 24, 2
Floats = np.ndarray[Any, np.dtype[np.float64]]
ALWAYS, BLOCK = 2 * 9 * 4 * 16 + 4 * 2 * 4 + 2 * 4 * 2, 2 * 9 * 4 * 4 * 16
"""FLOPs of stem, gates and head, and of one block: two per multiply-add."""
WITHOUT = "import sys; sys.modules['torpor_example'] = None; from torpor.cli.main import main; main()"
"""Runs the command where the plug-in cannot be imported."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an audit, with a defense of torpor's own around the target."""
    out = tmp_path_factory.mktemp("skipping") / "run"
    words = ("audit", SKIPPING, "--eps", EPS, "--limit", str(COUNT), "--defenses", "bit-depth:5")
    code, _, err = call(*words, "--out", out)
    assert code == 0, err
    return out


def by_hand(network: SkipNetwork, image: Floats) -> tuple[int, int]:
    """Return how many blocks run for one image ``[1, S, S]``, and its class, in loops."""

    def convolved(layer: nn.Conv2d, values: Floats) -> Floats:
        assert layer.bias is not None
        weight, bias = layer.weight.numpy(), layer.bias.numpy()
        padded, size = np.pad(values, ((0, 0), (1, 1), (1, 1))), values.shape[1]
        out = np.zeros((len(bias), size, size))
        for channel, row, column in itertools.product(range(len(bias)), range(size), range(size)):
            patch = padded[:, row : row + 3, column : column + 3]
            out[channel, row, column] = (weight[channel] * patch).sum() + bias[channel]
        return out

    features, ran = convolved(network.stem, image), 0
    layers: Any = zip(network.blocks, network.gates, strict=True)
    for block, gate in layers:
        if (gate.weight.numpy()[0] * features.mean((1, 2))).sum() + gate.bias.item() < 0:
            features, ran = features + np.maximum(convolved(block, features), 0), ran + 1
    scores = network.head.weight.numpy() @ features.mean((1, 2)) + network.head.bias.numpy()
    return ran, int(scores.argmax())


def rows_of(folder: Path, **wanted: object) -> list[dict[str, Any]]:
    """Return the records of one row, in the order of the samples."""
    found = [row for row in records(folder).to_pylist() if all(row[key] == value for key, value in wanted.items())]
    return sorted(found, key=lambda row: int(row["sample"]))


@pytest.mark.parametrize("attack", ["standard", "control-noise"])
def test_every_saved_input_costs_what_a_hand_count_says(folder: Path, attack: str) -> None:
    network: Any = load_target(SKIPPING).network  # type: ignore[attr-defined]
    saved = load_file(folder / "examples" / f"{attack}-Linf-0.015686.safetensors")
    recorded = rows_of(folder, attack=attack, defense="none")
    assert len(saved["index"]) >= 16
    for index, pixels, label in zip(saved["index"].tolist(), saved["attacked"], saved["reference"], strict=True):
        ran, said = by_hand(network, pixels.double().numpy() / 255)
        row = recorded[index]
        assert (row["layers"], row["cost"]) == (ran, ALWAYS + ran * BLOCK)
        assert row["utility"] == float(said == label)
        assert row["cost_static"] == ALWAYS + 4 * BLOCK


def test_the_summary_is_that_of_a_hand_count(folder: Path) -> None:
    target = load_target(SKIPPING)
    batch = target.data(None).load("test", COUNT)
    found = [by_hand(target.network, image.double().numpy() / 255) for image in batch.inputs]  # type: ignore[attr-defined]
    mean = sum(ran for ran, _ in found) / COUNT
    audit = json.loads((folder / "audit.json").read_text())
    clean, attacked = audit["summary"][0], audit["summary"][1]
    assert clean["layers_mean"] == pytest.approx(mean)
    assert clean["skipped_share"] == pytest.approx(1 - mean / 4)
    assert clean["cost_mean"] == pytest.approx(ALWAYS + mean * BLOCK)
    assert (
        clean["utility"] == sum(said == label for (_, said), label in zip(found, batch.references, strict=True)) / COUNT
    )
    assert attacked["attack"] == "standard"
    assert attacked["layers_mean"] > clean["layers_mean"]
    assert attacked["slowdown_mean"] > 1


def test_a_defense_around_it_changes_no_measure(folder: Path) -> None:
    network: Any = load_target(SKIPPING).network  # type: ignore[attr-defined]
    batch = load_target(SKIPPING).data(None).load("test", COUNT)
    coarse = (batch.inputs / 255 * 31).round() / 31  # bit-depth:5
    layers = [row["layers"] for row in rows_of(folder, attack="clean", defense="bit-depth:5")]
    assert layers == [by_hand(network, image.double().numpy())[0] for image in coarse]


def test_it_is_gated_and_reported_where_the_plug_in_is_not(folder: Path) -> None:
    def without(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", WITHOUT, *map(str, words)], capture_output=True, text=True)

    for gate, code in (("mean(layers) < 4", 0), ("mean(layers) < 1", 10), ("layers_mean < 1", 10)):
        found = without("check", folder, gate)
        assert found.returncode == code, (gate, found.stdout, found.stderr)
    before = (folder / "report.html").read_text()
    found = without("report", folder)
    assert found.returncode == 0, found.stderr
    page = (folder / "report.html").read_text()
    for text in (before, page):
        assert "layers run" in text
        assert "layers skipped" in text
        assert "layer skipping" in text
    assert without("audit", SKIPPING).returncode == 2


def test_nothing_calls_it_an_early_exit(folder: Path) -> None:
    texts = [(folder / name).read_text() for name in ("report.html", "audit.json")]
    for text in (*texts, call("measure", SKIPPING, "--limit", "4")[1], call("bound", SKIPPING)[1]):
        plain = text.lower().replace("-", " ").replace("_", " ")
        assert "early exit" not in plain
        assert "efficacy" not in plain


def test_an_executor_of_the_plug_in_gives_the_same_records(tmp_path: Path) -> None:
    few = ("--attacks", "square:queries=40", "--limit", "8", "--batch-size", "4")
    words = ("audit", SKIPPING, *few, "--defenses", "bit-depth:5")
    for more in (("--out", tmp_path / "here"), ("--executor", "example-fresh", "--out", tmp_path / "there")):
        code, _, err = call(*words, *more)
        assert code == 0, err
    here, there = ((tmp_path / name / "records.parquet").read_bytes() for name in ("here", "there"))
    assert here == there


@pytest.mark.parametrize("levels", [1, 2])
def test_no_input_at_all_exceeds_the_interval_bound(levels: int) -> None:
    from torpor_example.bound import Intervals
    from torpor_example.layer_skipping import build

    target = build(side=2)
    images = target.space.from_bytes(target.data(None).load("test").inputs)
    bound = Intervals()(target, images, Budget("Linf", levels / 255)).counts
    changes = torch.cartesian_prod(*[torch.arange(-levels, levels + 1)] * 4).view(-1, 1, 2, 2) / 255
    worst = torch.stack([target.run((image + changes).clamp(0, 1)).work.counts.amax(0) for image in images])
    assert (worst <= bound).all()
    assert (bound == worst).all(1).float().mean() > 0.5  # and it is worth something
    assert (bound < target.max_work(images).counts).any(1).float().mean() > 0.5
    assert (bound > target.run(images).work.counts).any()


def test_an_audit_puts_the_worst_of_all_inputs_between_what_is_found_and_the_interval_bound() -> None:
    from torpor_example.layer_skipping import build

    target = build(side=2)
    found = torpor.audit(
        target, "square:queries=60", norm="Linf", eps="2/255", limit=16, bounds="example-intervals", timed=False
    )
    batch = target.data(None).load("test", 16)
    changes = torch.cartesian_prod(*[torch.arange(-2, 3)] * 4).view(-1, 1, 2, 2) / 255
    images = target.space.from_bytes(batch.inputs)
    worst = [target.prices.cost(target.run((image + changes).clamp(0, 1)).work).max().item() for image in images]
    row = next(each for each in found.rows if each["kind"] == "attack")
    columns = ("cost", "certified_cost", "cost_static")
    cost, most, static = (found.records.to_arrow(columns, row)[name].to_numpy() for name in columns)
    assert (cost <= worst).all()
    assert (worst <= most).all()
    assert (most < static).any()
    assert row["certified_gap"] == pytest.approx(most.mean() / cost.mean())
    assert row["certified_gap"] >= np.mean(worst) / cost.mean()
    assert row["certified_by"] == {"example-intervals": 16}


def test_the_command_prints_the_interval_bound() -> None:
    code, out, err = call(
        *(
            "bound",
            SKIPPING,
            "--bound",
            "example-intervals",
            "--norm",
            "Linf",
            "--eps",
            "1/255",
            "--limit",
            "8",
            "--json",
        )
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["clean"] <= found["certified"] < found["static"] == ALWAYS + 4 * BLOCK


def test_squeezed_into_another_family_it_is_right_or_refused() -> None:
    from torpor_example.layer_skipping import build

    from torpor.audits.plan import Plan
    from torpor.audits.run.engine import check_applies

    own, plain, wrong = build(), build(), build()
    plain.family = GateFamily()  # type: ignore[assignment]
    wrong.family = EarlyExitFamily()  # type: ignore[assignment]
    images = own.space.from_bytes(own.data(None).load("test", 8).inputs)
    plan = Plan("example", ("standard",), "Linf", (8 / 255,))
    check_applies(plan, own)
    check_applies(plan, plain)
    attack = plan.attacks_at(Budget("Linf", 8 / 255))[0]
    assert attack(own, images).attacked.work.counts.equal(attack(plain, images).attacked.work.counts)
    with pytest.raises(UsageError, match=r"family early-exit to offer exits, exit_costs, rule, got example-skipping"):
        check_applies(plan, wrong)
