"""The tables of docs/targets.md say what the cards that ship say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torpor.zoo.registry import ZOO

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"
CARDS: dict[str, dict[str, Any]] = {name: entry.card() for name, entry in ZOO.items() if entry.ships}


def cells_of(name: str) -> list[str]:
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if "accuracy_per_exit" in card])
def test_the_row_of_a_multi_exit_network_is_its_card(name: str) -> None:
    card, cells = CARDS[name], cells_of(name)
    accuracy = card["accuracy_per_exit"]["test"]
    wanted = [f"{share:.2%}" for share in (accuracy[-1], accuracy[0])] + [f"{card['cost_per_exit'][0]:.1%}"]
    assert [cell.replace(" ", "") for cell in cells[3:6]] == wanted
    assert int(cells[6]) == len(accuracy)


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if "steps_mean" in card.get("test", {})])
def test_the_row_of_a_decoder_is_its_card(name: str) -> None:
    test, cells = CARDS[name]["test"], cells_of(name)
    quality = f"{test['exact_match']:.1%} of outputs exact".replace("%", " %")
    if name == "translator-multi30k":
        quality = f"BLEU {test['bleu']:.2f}"
    if "perplexity_per_token" in test:
        quality = f"perplexity {test['perplexity_per_token']:.2f} per token"
    assert cells[3:] == [quality, f"{test['steps_mean']:.1f}", str(test["steps_max"]), str(test["cap"])]
    assert test["cap_hit_rate"] == 0


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if "mAP@.5" in card.get("test", {})])
def test_the_row_of_a_detector_or_tracker_is_its_card(name: str) -> None:
    card, cells = CARDS[name], cells_of(name)
    scores = ("MOTA", "IDF1") if "MOTA" in card["test"] else ("mAP@.5", "mAP@[.5:.95]")
    for cell, split in zip(cells[3:5], ("test", "test with cifar10"), strict=True):
        assert cell == ", ".join(f"{score} {card[split][score]:.3f}" for score in scores)
    assert cells[5:] == [f"{card['test'][key]:.1f}" for key in ("objects_mean", "candidate_mean")]


OTHERS = [name for name, card in CARDS.items() if "cost_share" in card.get("test", {}) and "cost_per_exit" not in card]


@pytest.mark.parametrize("name", OTHERS)
def test_the_row_of_a_dynamic_network_is_its_card(name: str) -> None:
    test = CARDS[name]["test"]
    assert cells_of(name)[2:] == [f"{100 * test['accuracy']:.2f} %", f"{100 * test['cost_share']:.1f} %"]


def test_every_shipped_target_has_a_row() -> None:
    assert all(cells_of(name) for name in CARDS)
