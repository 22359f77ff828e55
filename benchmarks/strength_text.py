"""(s) Attacks on texts at equal budgets, on sentences of the test split: the ensemble, its members, random search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Options, Row, command
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.text import BestOfK
from torpor.attacks.registry import load_attack
from torpor.attacks.text.standard import MEMBERS, StandardText
from torpor.metrics.loops import i_loops
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.resolve import load_target

FIRST, COUNT = 0, 10
"""Sentences of the test split that are attacked: ``COUNT`` from ``FIRST`` on; those from 50 to 66 served to tune."""
CASES = (
    ("speller", "chars", 3.0),
    ("speller", "tokens", 3.0),
    ("translator-multi30k", "chars", 3.0),
    ("translator-multi30k", "tokens", 3.0),
    ("lm-multi30k", "suffix", 30.0),
)
NEEDS_DATA = ("translator-multi30k", "lm-multi30k")


@dataclass(frozen=True)
class Strength:
    """What one attack did to all sentences.

    Attributes:
        attack: its name.
        i_loops: mean increase of decoder steps in per cent.
        passes: forward and backward passes per sentence, in the mean.
        seconds: of processor time, all sentences together.
    """

    attack: str
    i_loops: float
    passes: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.attack} {self.i_loops:.0f} % ({self.passes:,.0f}; {self.seconds:.0f} s)"


def strengths(target: TextTarget, texts: tuple[str, ...], norm: str, eps: float) -> Iterator[Strength]:
    """Yield what the ensemble does, each of its members alone, and as many random texts as the ensemble asked about."""
    standard = StandardText(norm=norm, eps=eps)
    others = (load_attack(name, norm=norm, eps=eps) for name in ("evolution", *(kind.id for kind in MEMBERS[norm])))
    found, seconds = timed(standard, target, texts)
    yield strength(standard, target, found, seconds)
    for attack in (*others, BestOfK(norm=norm, eps=eps, queries=found.candidates.forwards)):
        yield strength(attack, target, *timed(attack, target, texts))


def timed(attack: Attack, target: TextTarget, texts: tuple[str, ...]) -> tuple[AttackResult, float]:
    """Attack, and return the processor time that it took."""
    begin = time.process_time()
    return attack(target, texts), time.process_time() - begin


def strength(attack: Attack, target: TextTarget, found: AttackResult, seconds: float) -> Strength:
    """Return what an attack did."""
    steps, clean = (target.iterations(outcome.work).numpy() for outcome in (found.attacked, found.clean))
    spent = found.candidates.forwards + found.candidates.backwards
    return Strength(attack.name, float(i_loops(steps, clean).mean()), float(spent.double().mean()), seconds)


def cases(data_dir: Path | None, first: int, count: int) -> Iterator[tuple[TextTarget, tuple[str, ...], str, float]]:
    """Yield the targets whose data there are, with sentences and budgets."""
    for name, norm, eps in CASES:
        if name not in NEEDS_DATA or data_dir is not None:
            target = load_target(name)
            assert isinstance(target, TextTarget)
            texts = target.data(data_dir).load("test", first + count).inputs
            yield target, texts[first:], norm, eps


def rows_for_texts(options: Options, *, first: int = FIRST, count: int = COUNT) -> list[Row]:
    """Return one row per target and budget: I-Loops of ``standard`` over those of the best other attack."""
    rows = []
    for target, texts, norm, eps in cases(options.data_dir, first, count):
        standard, *others = strengths(target, texts, norm, eps)
        best = max(others, key=lambda other: other.i_loops)
        said = [
            f"{one.attack} {one.i_loops:.0f} % ({one.passes:,.0f}; {one.seconds:.0f} s)" for one in (standard, *others)
        ]
        ratio = standard.i_loops / best.i_loops if best.i_loops > 0 else None
        name = f"(s) {target.name}, {eps:g} {norm}, n = {len(texts)}: standard / {best.attack}"
        note = f"I-Loops (passes; processor time): {', '.join(said)}"
        rows.append(Row(name, ratio, goal=1.0, at_least=True, note=note))
    return rows


def run(options: Options) -> list[Row]:
    """Compare the attacks on texts."""
    return rows_for_texts(options)


if __name__ == "__main__":
    command(run)
