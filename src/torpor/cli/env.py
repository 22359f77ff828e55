"""``torpor env``: what can be metered here."""

from __future__ import annotations

from torpor.cli.options import Device, Json


def env(device: Device = "cpu", as_json: Json = False) -> None:
    """Print versions, hardware, and which of latency, energy and memory this device can measure."""
    from rich.table import Table

    from torpor.audits.plan import check_device
    from torpor.audits.run.identity import environment
    from torpor.cli.console import show
    from torpor.cli.streams import print_json
    from torpor.reports.kit.printable import printable_parts

    found = environment(check_device(device))
    if as_json:
        print_json(found)
        return
    found = printable_parts(found)
    table = Table(show_header=False, title="Environment")
    for key, value in found.items():
        if key != "meters":
            table.add_row(key, str(value))
    for name, meter in found["meters"].items():
        table.add_row(name, "measured" if meter["available"] else f"not measured: {meter['reason']}")
    table.add_row("flops", "counted exactly, 2 per multiply-add")
    show(table)
