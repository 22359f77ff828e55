"""Print model cards."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def card_tables(card: dict[str, Any]) -> list[Table]:
    """Return a model card as tables: exits, thresholds, training."""
    exits = Table("exit", "cost so far", "test accuracy", "validation accuracy", title=f"{card['name']}: exits")
    accuracy = card["accuracy_per_exit"]
    for k, cost in enumerate(card["cost_per_exit"]):
        exits.add_row(str(k), f"{cost:.1%}", f"{accuracy['test'][k]:.2%}", f"{accuracy['validation'][k]:.2%}")
    table = Table(
        "confidence", "accuracy", "mean cost", "chosen for", title=f"Thresholds on the {card['threshold_split']} split"
    )
    for row in card["threshold_table"]:
        chosen = ", ".join(f"drop:{d}" for d, value in card["thresholds"].items() if value == row["threshold"])
        table.add_row(f"{row['threshold']:g}", f"{row['accuracy']:.2%}", f"{row['mean_cost']:.1%}", chosen)
    training = Table("setting", "value", title="How it was trained")
    for key, value in {**card["recipe"], "parameters": f"{card['parameters']:,}", "torch": card["torch"]}.items():
        training.add_row(key, str(value))
    return [exits, table, training]
