"""The clean cost profile as a table."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from torpor.core.currency import symbol


def profile_table(profile: dict[str, Any]) -> Table:
    """Return a table of what :func:`torpor.audits.profile.clean_profile` found."""
    table = Table(show_header=False, title=f"Clean cost of {profile['target']} on {profile['n']} samples")
    if "rule" in profile:
        table.add_row("exit rule", profile["rule"])
        total = sum(profile["exit_histogram"])
        shares = [f"{count / total:.1%}" for count in profile["exit_histogram"]]
        table.add_row("leave at exit", ", ".join(f"{k}: {share}" for k, share in enumerate(shares)))
        table.add_row("early-exit efficacy", f"{profile['efficacy_step']:.4f} (1 - mean cost)")
        table.add_row("", f"{profile['efficacy_eec']:.4f} (trapezoid, as in DeepSloth)")
    unit = symbol(profile["currency"])
    for name in ("mean", "p50", "p99", "p999", "max", "static"):
        share = profile[f"cost_{name}"] / profile["cost_static"]
        label = {"static": f"{unit}, static bound", "p999": f"{unit}, benign p99.9"}.get(name, f"{unit}, {name}")
        table.add_row(label, f"{profile[f'cost_{name}']:,.0f} ({share:.1%} of the bound)")
    if "steps_mean" in profile:
        steps = ", ".join(f"{name} {profile[f'steps_{name}']:.4g}" for name in ("mean", "p50", "p99", "max"))
        table.add_row("decoder steps", f"{steps}; cap {profile['cap']}, hit by {profile['cap_hit_rate']:.1%}")
    for unit, count in profile.get("units_mean", {}).items():
        table.add_row(f"{unit}, mean", f"{count:,.1f}")
    if profile["cut_n"]:
        table.add_row("inputs cut", f"{profile['cut_n']} of {profile['n']} are longer than the target reads")
    if profile["utility"] is not None:
        table.add_row(profile["utility_name"], f"{profile['utility']:.2%}")
    doubt = "" if profile["latency_valid"] else f" (INVALID: {profile['latency_reason']})"
    table.add_row("latency, batch 1", f"{profile['latency_s_p50'] * 1e3:.2f} ms{doubt}")
    for unit, price in profile.get("seconds_per_unit", {}).items():
        table.add_row(f"{unit}, {profile['price_list']}", f"{price * 1e3:.3f} ms")
    return table
