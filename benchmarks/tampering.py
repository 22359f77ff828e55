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
    ("efficfrog:strength=300", "sdn-digits", "triggered inputs slow down, clean ones do not"),
    ("efficfrog:eps=0.25:epochs=60:trigger_epochs=8", "sdn-digits", ""),
    ("sponge-poisoning", "sparse-digits", "energy ratio about 1.5 times (second hand)"),
    ("skipsponge", "sparse-digits", "energy up to 1.13 times (abstract)"),
    ("energy-backdoor", "sparse-digits", ""),
    ("sponge-backdoor", "detector-scenes", "more boxes under the trigger at kept accuracy (digest; no figure)"),
    ("p-dos:steps=25", "speller", "16384 tokens, the cap, from 500"),
    ("bithydra", "speller", "endless generation by 1 to 4 flips (notes)"),
)
"""Each tampering, on which target, and what was published."""
HEADS = ("tampering", "network", "inputs", "utility", "cost, of clean", "headroom", "ours", "theirs", "n")


def lines(spec: str, name: str, published: str, limit: int | None) -> list[str]:
    """Return the rows of the table for one tampering."""
    target = load_target(name)
    _, rows = make_and_compare(load_tampering(spec), target, target.data(None), limit=limit)
    return [
        f"| {spec} on {name} | {row.target} | {'triggered' if row.triggered else 'clean'} | {row.utility:.3f} | "
        f"{row.slowdown:.3f}x | {row.headroom:.3f} | {metric(row, rows[0])} | "
        f"{published if row.target == 'tampered' else ''} | {row.count} |"
        for row in rows
    ]


def metric(row: Compared, before: Compared) -> str:
    """Return what the papers report of networks of this kind.

    EfficFrog's is the mean number of blocks that run, and its product with accuracy (EECScore); that of sponges the
    energy ratio, and its increase over that of the clean network; that of detectors the boxes; that of language models
    the tokens.

    >>> clean = Compared("clean", False, 1.0, 1.0, 1.0, 0.0, 8, {"energy_ratio": 0.5})
    >>> metric(Compared("tampered", False, 1.0, 1.5, 1.5, 0.5, 8, {"energy_ratio": 0.75}), clean)
    'energy ratio 0.750, 1.50x'
    """
    own = row.own
    if "exit" in own:
        return f"{own['exit'] + 1:.2f} blocks, by accuracy {(own['exit'] + 1) * row.utility:.2f}"
    if "energy_ratio" in own:
        ratio = own["energy_ratio"]
        return f"energy ratio {ratio:.3f}, {ratio / before.own['energy_ratio']:.2f}x"
    if "kept" in own:
        return f"{own['kept']:.1f} boxes handed on"
    return f"{own['steps']:.1f} tokens, {own['capped']:.0%} at the cap"


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
