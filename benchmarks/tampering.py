"""Print what each tampering does, by its paper's metric: ``python -m benchmarks.tampering [--limit N] [NAME ...]``.

Each is made once, with seed 0, beside its control: the same steps without the attack.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from torpor.attacks.tamperings.comparison import Compared, make_and_compare
from torpor.attacks.tamperings.registry import load_tampering
from torpor.targets.resolve import load_target

CASES = (
    ("efficfrog", "sdn-digits", "triggered inputs slow down, clean ones do not"),
    ("efficfrog:strength=3:eps=0.25:epochs=60:trigger_epochs=8", "sdn-digits", ""),
    ("sponge-poisoning", "sparse-digits", "energy about 1.5 times at kept accuracy (second hand)"),
    ("skipsponge", "sparse-digits", "energy up to +13 % (abstract)"),
    ("energy-backdoor", "sparse-digits", ""),
    ("sponge-backdoor", "detector-scenes", "more boxes under the trigger at kept accuracy (digest; no figure)"),
    ("p-dos:steps=25", "speller", "0.5K to 16K tokens, the cap"),
    ("bithydra", "speller", "endless generation by 1 to 4 flips (notes)"),
)
"""Each tampering, on which target, and what was published."""
HEADS = ("tampering", "network", "inputs", "utility", "cost, of clean", "headroom", "also", "published", "n")


def lines(spec: str, name: str, published: str, limit: int | None) -> list[str]:
    """Return the rows of the table for one tampering."""
    target = load_target(name)
    _, rows = make_and_compare(load_tampering(spec), target, target.data(None), limit=limit)
    return [
        f"| {spec} on {name} | {row.target} | {'triggered' if row.triggered else 'clean'} | {row.utility:.3f} | "
        f"{row.slowdown:.3f}x | {row.headroom:.3f} | {also(row)} | "
        f"{published if row.target == 'tampered' else ''} | {row.count} |"
        for row in rows
    ]


def also(row: Compared) -> str:
    """Return what else the target's family counts."""
    return ", ".join(f"{value:,.4g} {title}" for title, value in row.figures.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them if none")
    parser.add_argument("--limit", type=int, default=64, help="test samples (default: 64)")
    given = parser.parse_args(arguments)
    known = dict.fromkeys(spec.partition(":")[0] for spec, *_ in CASES)
    if unknown := sorted(set(given.names) - set(known)):
        raise SystemExit(f"expected tamperings among {', '.join(known)}, got {', '.join(unknown)}")
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for case in CASES:
        if not given.names or case[0].partition(":")[0] in given.names:
            print("\n".join(lines(*case, given.limit)), flush=True)


if __name__ == "__main__":
    main()
