from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_audits import NEEDLE, TUG, call, write_images

from torpor.attacks.registry import attack_ids
from torpor.audits.run.executors import EXECUTORS
from torpor.targets.resolve import load_target, target_names


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("verbs"))


def output(*words: str | Path) -> str:
    code, out, err = call(*words)
    assert code == 0, err
    return out


def test_list_attacks_names_every_attack_and_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(output("list", "attacks", "--json"))
    assert [row["name"] for row in rows] == list(attack_ids())
    assert all(row["does"] and row["stage"] and row["access"] for row in rows)
    assert "arXiv:2010.02432" in rows[0]["paper"]
    monkeypatch.setattr("torpor.cli.console.console.width", 80)
    executors = json.loads(output("list", "executors", "--json"))
    assert [row["name"] for row in executors] == list(EXECUTORS.names())
    text = output("list", "attacks")
    assert max(map(len, text.splitlines())) <= 80
    for name in attack_ids():
        assert f" {name} " in text  # whole, whatever the width
    assert "``" not in text


def test_list_targets() -> None:
    rows = json.loads(output("list", "targets", "--json"))
    assert [row["name"] for row in rows] == target_names()
    text = output("list", "targets")
    assert "sdn-digits" in text
    assert "Needs no data" in text
    assert {row["weights"] for row in rows} >= {"ships with torpor", "torpor zoo train sdn-vgg16-cifar10"}


def test_lists_say_for_what_each_thing_is_and_what_it_needs_and_costs() -> None:
    attacks = {row["name"]: row for row in json.loads(output("list", "attacks", "--json"))}
    assert attacks["square"]["forward_passes"] == 300
    assert attacks["deepsloth"] | {"targets": "exits or gates", "needs_validation_data": False} == attacks["deepsloth"]
    assert attacks["uap"]["needs_validation_data"]
    assert attacks["nmtsloth-char"]["norms"] == ["chars"]
    assert all(row["inputs"] and row["norms"] and row["targets"] for row in attacks.values())
    targets = {row["name"]: row for row in json.loads(output("list", "targets", "--json"))}
    assert targets["speech-digits-features"]["data"] == "spoken digits: --data-dir"
    assert (targets["sdn-digits"]["inputs"], targets["sdn-digits"]["data"]) == ("image", "")
    assert targets["sdn-digits"]["costs"] == "1.13 MFLOPs"
    assert "--data-dir" in targets["translator-multi30k"]["data"]
    shipped = [row for row in targets.values() if row["weights"] != "plug-in"]
    assert all(row["does"] and row["inputs"] for row in shipped)
    defenses = {row["defense"]: row for row in json.loads(output("list", "defenses", "--json"))}
    assert defenses["svm"]["needs_training_data"]
    assert "image" in defenses["jpeg"]["inputs"]
    assert defenses["jpeg"]["by default"] == "jpeg:75"
    measures = {(row["measure"], row["of each"]): row for row in json.loads(output("list", "measures", "--json"))}
    assert measures["slowdown", "sample"]["in a gate"] == "mean(slowdown)"
    assert all(row["what it is"] for row in measures.values())
    for what in ("targets", "attacks", "defenses", "measures"):
        assert "what it does" in output("list", what)


def test_the_shell_completes_names() -> None:
    from torpor.cli.options import complete_attacks, complete_defenses, complete_targets

    assert complete_targets("sdn-d") == ["sdn-digits", "sdn-digits-hardened", "sdn-digits-neo-kd"]
    assert complete_attacks("square,deepsl")[0] == "square,deepsloth"
    assert complete_defenses("jp") == ["jpeg", "jpeg-random", "jpeg-blocks"]
    assert "--show-completion" in output("--help")


def test_list_taxonomy() -> None:
    everything = json.loads(output("list", "taxonomy", "--json"))["entries"]
    attacks = json.loads(output("list", "taxonomy", "--json", "--kind", "attack", "--behavior", "D1"))["entries"]
    assert 0 < len(attacks) < len(everything)
    assert "deepsloth-universal" in output("list", "taxonomy", "--mechanism", "early exit", "--implemented")


def test_env_as_json_says_what_can_be_metered() -> None:
    found = json.loads(output("env", "--json"))
    assert {"torpor", "python", "torch", "platform", "processor", "threads", "device", "meters"} <= found.keys()
    assert set(found["meters"]) == {"latency", "energy", "memory"}
    for meter in found["meters"].values():
        assert meter["available"] or meter["reason"]
    assert "2 per multiply-add" in output("env")


@pytest.mark.parametrize("name", [NEEDLE, TUG, "sdn-digits"])
def test_bound_as_json_is_the_sum_of_all_units(name: str) -> None:
    found = json.loads(output("bound", name, "--json"))
    target = load_target(name)
    assert found["cost"] == sum(target.prices.per_unit)
    assert found["slowdown"] == pytest.approx(found["cost"] / target.units[0].flops)
    assert f"{found['cost']:,.0f} FLOPs" in output("bound", name)


def test_measure_prints_the_profile(data: Path) -> None:
    found = json.loads(output("measure", NEEDLE, "--data-dir", data, "--limit", "10", "--json"))
    assert found["n"] == sum(found["exit_histogram"]) == 10
    assert found["cost_mean"] <= found["cost_max"] <= found["cost_static"]
    text = output("measure", NEEDLE, "--data-dir", data, "--rule", "entropy:0.5")
    assert "normalized entropy <= 0.5" in text
    assert "FLOPs, static bound" in text


def test_measure_in_seconds_prices_every_unit() -> None:
    found = json.loads(output("measure", "sdn-digits", "--limit", "4", "--seconds", "--json"))
    units = [unit.name for unit in load_target("sdn-digits").units]
    assert list(found["seconds_per_unit"]) == units
    assert all(price >= 0 for price in found["seconds_per_unit"].values())
    assert sum(found["seconds_per_unit"].values()) > 0


@pytest.mark.parametrize("name", ["pgd", "deepsloth-universal", "control-noise"])
def test_attack_writes_inputs_that_repeat_their_work(data: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "not" / "there" / "yet.safetensors"
    text = output("attack", NEEDLE, name, "--data-dir", data, "--eps", "0.2", "--limit", "9", "--out", out)
    assert "on 9 samples" in text
    kept = load_file(out)
    target = load_target(NEEDLE)
    assert target.run(target.space.from_bytes(kept["attacked"])).work.counts.equal(kept["work"])
    assert target.run(target.space.from_bytes(kept["clean"])).work.counts.equal(kept["work_clean"])
    assert kept["index"].equal(torch.arange(9))
    far = (kept["attacked"].to(torch.int64) - kept["clean"].to(torch.int64)).abs().max().item()
    assert far <= 0.2 * 255
    again = tmp_path / "again.safetensors"
    output("attack", NEEDLE, name, "--data-dir", data, "--eps", "0.2", "--limit", "9", "--out", again)
    assert again.read_bytes() == out.read_bytes()


def test_zoo_info_prints_the_card() -> None:
    card = json.loads(output("zoo", "info", "sdn-digits", "--json"))
    assert {each["attack"] for row in card["attacks"] for each in row["reached"]} >= {"standard", "control-best-noise"}
    assert card["name"] == "sdn-digits"
    text = output("zoo", "info", "sdn-digits")
    for drop in card["thresholds"]:
        assert f"drop:{drop}" in text
