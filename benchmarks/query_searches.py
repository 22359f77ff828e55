"""(r) Is ``standard-queries`` worth its name? ``python -m benchmarks.query_searches [--data-dir DIR]``: no timing.

Mean slowdown of the ensemble, of the best of as many random texts, and of each member alone with all the queries, on
the first texts of the test split, within budgets that let a text grow and within one that counts edits. Printed as
Markdown. ``--data-dir`` is that of ``lm-multi30k``, which is left out without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from torpor.attacks.base import Attack
from torpor.attacks.registry import load_attack, matched_controls
from torpor.attacks.text.standard_queries import MEMBERS
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

CASES = (
    ("speller", "chars", 3.0),
    ("speller", "suffix", 8.0),
    ("speller", "prompt", 24.0),
    ("lm-multi30k", "chars", 3.0),
    ("lm-multi30k", "suffix", 30.0),
    ("lm-multi30k", "prompt", 96.0),
)
TEXTS, QUERIES = 3, 100


def alone(norm: str, eps: float, queries: int) -> Iterator[Attack]:
    """Yield each member within a budget, with all the queries that it takes."""
    for kind in MEMBERS[norm]:
        options = {"evolution": f":queries={queries}:gradients=false"}.get(kind.id, "")
        options = f":queries={queries}" if kind.id.startswith("llmeffichecker") else options
        yield load_attack(f"{kind.id}{options}", norm=norm, eps=eps)


def compared(target: Target, texts: Sequence[str], norm: str, eps: float, queries: int) -> dict[str, float]:
    """Return the mean slowdown of each search, the ensemble first, random search second."""
    ensemble = load_attack(f"standard-queries:queries={queries}", norm=norm, eps=eps)
    clean, result = target.prices.cost(target.run(texts).work), ensemble(target, texts, seed=0)
    controls = matched_controls(ensemble.budget, target, [ensemble], [result])
    others = {each.id: each(target, texts, seed=0) for each in (*controls, *alone(norm, eps, queries))}
    found = {ensemble.id: result, **others}
    return {name: float((target.attacker_cost(one.attacked) / clean).mean()) for name, one in found.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Print the comparison; return 1 where random search finds more than the ensemble."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=None, help="of lm-multi30k")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    print("| target | budget | `standard-queries` | `control-best-of-k` | members alone |\n|---|---|---|---|---|")
    below = 0
    for name, norm, eps in CASES:
        if name == "lm-multi30k" and options.data_dir is None:
            continue
        target = load_target(name)
        texts = tuple(
            target.read(target.data(options.data_dir if name != "speller" else None).load("test", TEXTS).inputs)
        )
        (_, ours), (_, chance), *members = compared(target, texts, norm, eps, QUERIES).items()
        said = ", ".join(f"`{member}` {value:.2f}x" for member, value in members)
        print(f"| {name} | `{norm}` {eps:g} | {ours:.2f}x | {chance:.2f}x | {said} |", flush=True)
        below += ours < chance
    return int(below > 0)


if __name__ == "__main__":
    sys.exit(main())
