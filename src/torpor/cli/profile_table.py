"""The clean cost profile as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from torpor.core.units import symbol


def profile_table(profile: Mapping[str, Any], own: Sequence[tuple[str, str]] = ()) -> Table:
    """Return a table of what :func:`torpor.audits.profile.clean_profile` found.

    Args:
        profile: of a target.
        own: names and values that its family puts first.
    """
    table = Table(show_header=False, title=f"Clean cost of {profile['target']} on {profile['n']} samples")
    for name, value in own:
        table.add_row(name, value)
    unit = symbol(profile["currency"])
    for name in ("mean", "p50", "p99", "p999", "max", "static"):
        share = profile[f"cost_{name}"] / profile["cost_static"]
        label = {"static": f"{unit}, static bound", "p999": f"{unit}, benign p99.9"}.get(name, f"{unit}, {name}")
        cost = profile[f"cost_{name}"]
        said = f"{cost:,.0f}" if unit == "FLOPs" or cost >= 100 else f"{cost:,.4g}"
        table.add_row(label, f"{said} ({share:.1%} of the bound)")
    if profile["cut_n"]:
        table.add_row("inputs cut", f"{profile['cut_n']} of {profile['n']} are longer than the target reads")
    if profile["utility"] is not None:
        table.add_row(profile["utility_name"], f"{profile['utility']:.2%}")
    if profile["latency_s_p50"] is not None:
        doubt = "" if profile["latency_valid"] else f" (INVALID: {profile['latency_reason']})"
        table.add_row("latency, batch 1", f"{profile['latency_s_p50'] * 1e3:.2f} ms{doubt}")
    for unit, price in profile.get("seconds_per_unit", {}).items():
        table.add_row(f"{unit}, {profile['price_list']}", f"{price * 1e3:.3f} ms")
    if "seconds_error" in profile:
        doubt = "" if profile["seconds_valid"] else f" (INVALID: {profile['seconds_reason']})"
        table.add_row("error of seconds per unit", f"{profile['seconds_error']:.1%}{doubt}")
    return table
