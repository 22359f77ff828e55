"""Does anything beat ``standard``? Attacks, controls and ``standard`` side by side: ``python -m benchmarks.strength``.

Every control may spend as many passes as ``standard`` did on that row. Samples are not those that anything was tuned
on: of ``sdn-digits``, what follows the first 200 images of the test split, with a seed of their own. Other families add
rows in modules of their own, by :data:`ROWS`; those that are there are read from :data:`MODULES`.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from typing_extensions import override

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.early_exit.square import Square
from torpor.attacks.registry import ATTACKS, attack_ids
from torpor.attacks.search.balls import BALLS, apply
from torpor.attacks.search.incumbent import Candidates, Incumbent, random_search
from torpor.core.batches import Samples, draw, sample_generators
from torpor.core.space import DenseSpace
from torpor.core.threat import Paper
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

MODULES = ("benchmarks.strength_text", "benchmarks.strength_dense", "benchmarks.strength_objects")
SEED = 17
TUNED = 200
"""Images at the beginning of a test split that audits and tuning may have used."""
TIE = 1e-9


@dataclass(frozen=True)
class Column:
    """What one attack or control found in a row.

    Attributes:
        name: of the attack or control.
        value: in the unit of the row, the mean over samples.
        passes: forward passes per sample, fitting left out.
    """

    name: str
    value: float
    passes: float


@dataclass(frozen=True)
class Strength:
    """One target and budget, and what everything that applies found there.

    Attributes:
        target: what was attacked.
        budget: what an attack may change.
        samples: how many were attacked.
        unit: of all values, such as ``"headroom, %"``.
        standard: what ``standard`` found.
        others: attacks and controls, in the order of the columns.
    """

    target: str
    budget: str
    samples: int
    unit: str
    standard: Column
    others: Sequence[Column] = field(default_factory=tuple)

    @property
    def ahead(self) -> tuple[Column, ...]:
        """What ``standard`` is below."""
        return tuple(each for each in self.others if each.value > self.standard.value + TIE)


Make = Callable[[int], Iterator[Strength]]
"""Make rows from so many samples."""
ROWS: dict[str, Make] = {}
"""Makers of rows by the name that ``--only`` takes."""


def rows(name: str) -> Callable[[Make], Make]:
    """Register a maker of rows.

    Raises:
        ValueError: if the name is taken.
    """

    def put(make: Make) -> Make:
        if ROWS.setdefault(name, make) is not make:
            raise ValueError(f"expected one maker of rows called {name!r}, got two; rename one")
        return make

    return put


def headroom(target: Target, result: AttackResult) -> float:
    """Return the mean share of the headroom that an attack takes, in percent, of the samples that have any."""
    clean, cost, static = (
        target.prices.cost(work) for work in (result.clean.work, result.attacked.work, result.static)
    )
    room = clean < static
    return 100 * ((cost - clean) / (static - clean))[room].mean().item() if room.any() else float("nan")


def slowdown(target: Target, result: AttackResult) -> float:
    """Return the mean of cost over clean cost."""
    return (target.prices.cost(result.attacked.work) / target.prices.cost(result.clean.work)).mean().item()


def column(
    attack: Attack,
    target: Target,
    inputs: Samples,
    references: Samples,
    measure: Callable[[Target, AttackResult], float] = headroom,
    *,
    name: str | None = None,
) -> tuple[Column, torch.Tensor]:
    """Attack, and return what was found and the forward passes of each sample, int64 ``[B]``."""
    result = attack(target, inputs, references=references, seed=SEED)
    passes = result.candidates.forwards.cpu()
    return Column(name or attack.name, measure(target, result), passes.to(torch.float64).mean().item()), passes


@dataclass(frozen=True, kw_only=True)
class RandomSigns(Attack):
    """The costliest of random signs everywhere that spend the budget: what needs no search.

    Attributes:
        queries: runs of the target for each sample of the same batch, int64 ``[B]``.
    """

    id: ClassVar[str] = "random signs"
    paper: ClassVar[Paper | None] = None

    queries: torch.Tensor = field(compare=False, repr=False)

    @override
    def search(self, target: Target, inputs: torch.Tensor, labels: Samples, seed: int) -> Candidates:
        space, ball = target.space, BALLS[self.norm]
        assert isinstance(space, DenseSpace)
        generators = sample_generators(inputs, seed, self.id)
        level = self.eps / float(ball.norm(torch.ones_like(inputs[:1])))

        def propose(query: int, rows: torch.Tensor, held: Incumbent) -> torch.Tensor:
            near, own = inputs[rows], [generators[row] for row in rows.tolist()]
            signs = (draw(own, lambda g: torch.rand(near.shape[1:], generator=g), near) - 0.5).sign()
            return apply(near, level * signs, ball, self.eps, space)

        most = target.prices.cost(target.max_work(inputs))
        held = random_search(target, inputs, propose, self.queries, most=most)
        return Candidates(held.inputs, forwards=held.queries, backwards=torch.zeros_like(held.queries))


def per_sample_attacks(target: Target, norm: str, eps: float) -> Iterator[Attack]:
    """Yield the attacks of papers that apply to ``target`` and need no fitting, ``standard`` and controls left out."""
    for name in attack_ids():
        kind = ATTACKS.find(name)
        if kind.is_control or kind.learns or name.startswith("standard") or norm not in kind.norms:
            continue
        if kind.applies_to(target):
            yield kind(norm=norm, eps=eps)


@rows("gates")
def gates(count: int) -> Iterator[Strength]:
    """Yield the rows of the small early-exit network, on images that nothing was tuned on."""
    target = load_target("sdn-digits")
    batch = target.data(None).load("test", TUNED + count)
    inputs, references = target.space.from_bytes(batch.inputs[TUNED:]), batch.references[TUNED:]
    for norm, eps in (("Linf", 8 / 255), ("Linf", 16 / 255), ("L2", 0.35), ("L2", 1.0), ("L1", 8.0)):
        standard, passes = column(ATTACKS.find("standard")(norm=norm, eps=eps), target, inputs, references)
        attacks = [*per_sample_attacks(target, norm, eps), RandomSigns(norm=norm, eps=eps, queries=passes)]
        others = [column(each, target, inputs, references)[0] for each in attacks]
        equal = Square(norm=norm, eps=eps, queries=max(1, round(standard.passes)))
        others.append(column(equal, target, inputs, references, name="square, equal passes")[0])
        where = f"{norm} {round(255 * eps)}/255" if norm == "Linf" else f"{norm} {eps:g}"
        yield Strength("sdn-digits", where, len(inputs), "headroom, %", standard, others)


def table(found: Sequence[Strength]) -> str:
    """Return rows as Markdown, those of one unit together, and say where ``standard`` is below anything.

    >>> low = Strength("toy", "Linf 0.1", 2, "%", Column("standard", 5.0, 10.0), (Column("square", 6.0, 9.0),))
    >>> print(table([low]))
    | target | budget | n | unit | standard (passes) | square (passes) | below |
    |---|---|---|---|---|---|---|
    | toy | Linf 0.1 | 2 | % | 5.0 (10) | 6.0 (9) | square |
    <BLANKLINE>
    standard is below square on toy, Linf 0.1: 5.0 against 6.0.
    """
    parts = []
    for unit in dict.fromkeys(row.unit for row in found):
        chosen = [row for row in found if row.unit == unit]
        names = list(dict.fromkeys(each.name for row in chosen for each in row.others))
        heads = ["target", "budget", "n", "unit", *(f"{name} (passes)" for name in ("standard", *names)), "below"]
        lines = [heads, ["---"] * len(heads)]
        for row in chosen:
            cells = {each.name: f"{each.value:.1f} ({each.passes:.0f})" for each in (row.standard, *row.others)}
            below = ", ".join(each.name for each in row.ahead) or "none"
            shown = [cells.get(name, "") for name in (row.standard.name, *names)]
            lines.append([row.target, row.budget, str(row.samples), row.unit, *shown, below])
        parts.append("\n".join("|" + "|".join(line) + "|" if line[0] == "---" else _line(line) for line in lines))
    said = [
        f"standard is below {best.name} on {row.target}, {row.budget}: "
        f"{row.standard.value:.1f} against {best.value:.1f}."
        for row in found
        for best in row.ahead
    ]
    return "\n\n".join([*parts, "\n".join(said) or "standard is below nothing."])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    for module in MODULES:
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), default=sorted(ROWS), help="families of rows")
    parser.add_argument("--samples", type=int, default=60, help="samples per row (default: 60)")
    given: Any = parser.parse_args()
    chosen: Mapping[str, Make] = {name: ROWS[name] for name in given.only}
    print(table([row for make in chosen.values() for row in make(given.samples)]))


if __name__ == "__main__":
    from benchmarks import strength  # so that modules of rows register with the one that they import

    strength.main()
