"""Run all benchmarks and print one table: ``python benchmarks/run.py [--data-dir FOLDER] [--markdown]``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, this file does not see its own package

NAMES = (
    "saving",
    "attack_step",
    "counting",
    "equal_efficacy",
    "pgd_peers",
    "memory",
    "teacher_forced",
    "candidate_scoring",
    "nicg_step",
    "suppression",
    "tracking",
    "overload_peer",
    "detector_step",
    "executors",
    "attacked_saving",
    "text_search",
)


def main() -> None:
    """Run all benchmarks."""
    common = import_module("benchmarks.common")

    def every(options: object) -> list[object]:
        """Run all benchmarks; results and method are in docs/benchmarks.md."""
        rows = []
        for name in NAMES:
            print(f"benchmarks.{name} ...", file=sys.stderr, flush=True)
            rows += import_module(f"benchmarks.{name}").run(options)
        return rows

    common.command(every)


if __name__ == "__main__":
    main()
