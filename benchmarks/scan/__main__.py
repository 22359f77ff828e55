"""Make models, scan them, and print the table of docs/scan.md. It resumes: each scan is kept in the folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.scan.defended import defended
from benchmarks.scan.specimens import GROUPS, KINDS, measured, specimens
from benchmarks.scan.table import models, table

HEAD = (
    "| models of | figures | AUC [95 %] | tampered flagged | false alarms | flagged of attackers who know |",
    "|---|---|---|---|---|---|",
)
MODELS = (
    "| models of | group | recipe | accuracy | natural cost | with trigger | headroom | score | |",
    "|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the scans")
    parser.add_argument("--kind", choices=tuple(KINDS), action="append", help="one of the kinds; all by default")
    parser.add_argument("--fpr", type=float, default=0.1, help="rate of false alarms that is allowed")
    parser.add_argument("--clean", type=Path, help="folder to write what torpor ships of clean models")
    parser.add_argument("--defenses", action="store_true", help="only what defenses do to three of the models")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.defenses:
        print("\n".join(defended(given.out)))
        return
    summary, each = list(HEAD), list(MODELS)
    for kind in given.kind or KINDS:
        found: dict[str, list[Any]] = {group: [] for group in GROUPS}
        for specimen in specimens(kind):
            found[specimen.group].append(measured(specimen, given.out))
            print(specimen.name, found[specimen.group][-1]["figures"], flush=True)
        summary += table(kind, found, given.fpr)
        each += models(kind, found, given.fpr)
        if given.clean:
            given.clean.mkdir(parents=True, exist_ok=True)
            name = found["clean"][0]["kind"]
            kept = {"kind": name, "made_from": kind, "figures": [one["figures"] for one in found["clean"]]}
            (given.clean / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print("\n".join(["", *summary, "", *each]))


if __name__ == "__main__":
    main()
