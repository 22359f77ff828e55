"""Speculative decoding: how many guesses survive under attack, and whether it is then slower than none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack
from torpor.attacks.controls.text import BestOfK, RandomEdits
from torpor.attacks.drafts.adsd import ADSD
from torpor.attacks.drafts.base import DraftSearch
from torpor.attacks.drafts.mistletoe import Mistletoe
from torpor.attacks.drafts.speedbumps import SpeedbumpsD, SpeedbumpsP
from torpor.attacks.text.standard import StandardText
from torpor.defenses.guards.draft_stop import DraftStop
from torpor.targets.base import Target
from torpor.targets.decoder.speculative.target import SpeculativeTarget
from torpor.zoo.language.speculative import SPECULATIVE

NAME = "speculative-multi30k"
EPS = 8
BUDGET = f"suffix of {EPS} tokens"
QUERIES = 600
STEPS = 40
ACCEPTED = "accepted per pass, % of clean"
OVER_PLAIN = "seconds over plain decoding, %"
THEIRS = {
    "mistletoe": "substantially reduced (abstract)",
    "adsd": "time per sample +62.3 % (digest)",
    "speedbumps-p": "in some cases slower than plain (abstract)",
    "speedbumps-d": "in some cases slower than plain (abstract)",
}
REPEATS = 5


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack the target, then its guarded form by the same attack that knows of the guard."""
    target = SPECULATIVE[NAME].load()
    data = target.data(data_dir)
    texts = tuple(data.load("test", limit).inputs)
    table = [_row(target, "clean", texts, OVER_PLAIN, seconds_over_plain(target, texts), 0)]
    drafts = tuple(kind(eps=EPS, keep="rejected", steps=STEPS) for kind in (Mistletoe, ADSD, SpeedbumpsP, SpeedbumpsD))
    queries = torch.full((len(texts),), QUERIES)
    controls = (RandomEdits(norm="suffix", eps=EPS), BestOfK(norm="suffix", eps=EPS, queries=queries))
    for attack in (StandardText(norm="suffix", eps=EPS, queries=QUERIES), *drafts, *controls):
        table += _rows(target, attack, texts)
    guard = DraftStop().fit(target, tuple(data.load("validation", 200).inputs))
    guarded = guard.bounded(target)
    assert isinstance(guarded, SpeculativeTarget)
    for one in _rows(guarded, StandardText(norm="suffix", eps=EPS, queries=QUERIES), texts):
        table.append(Row(f"{NAME} + {guard.name}:{guard.learned}", *_after_target(one)))
    return table


def _after_target(row: Row) -> tuple[str, str, str, float, str, float, int]:
    return row.attack, row.budget, row.metric, row.ours, row.theirs, row.passes, row.count


def _rows(target: SpeculativeTarget, attack: Attack, texts: tuple[str, ...]) -> list[Row]:
    """Return how much is accepted, and how long it takes, under one attack."""
    result = attack(target, texts)
    name = f"{attack.id}:keep={attack.keep}" if isinstance(attack, DraftSearch) else attack.id
    passes = (result.candidates.forwards + result.candidates.backwards).double().mean().item()
    share = 100 * accepted(target, result.inputs) / accepted(target, texts)
    return [
        _row(target, name, texts, ACCEPTED, share, passes),
        _row(target, name, texts, OVER_PLAIN, seconds_over_plain(target, result.inputs), passes),
    ]


def _row(target: Target, attack: str, texts: Sequence[str], metric: str, ours: float, passes: float) -> Row:
    budget = "" if attack == "clean" else BUDGET
    return Row(NAME, attack, budget, metric, ours, THEIRS.get(attack.split(":")[0], ""), passes, len(texts))


def accepted(target: SpeculativeTarget, texts: tuple[str, ...]) -> float:
    """Return the accepted guesses per pass of the large model, over all texts."""
    ran = target.rounds(target.run(texts).work)
    return float(ran["accepted"].sum() / ran["passes"].sum())


def seconds_over_plain(target: SpeculativeTarget, texts: tuple[str, ...]) -> float:
    """Return how much longer all texts take than by the same loop without guesses, in per cent; a median of pairs."""
    rows = target.large.reader.rows(texts)

    def decode(drafts: int | None) -> Callable[[], None]:
        def call() -> None:
            for row in rows:
                target._speak(row, target.cap_of(len(row)), drafts=drafts)

        return call

    pairs = [(_seconds(decode(None)), _seconds(decode(0))) for _ in range(REPEATS)]
    return 100 * (median(with_drafts / plain for with_drafts, plain in pairs) - 1)


def _seconds(call: Callable[[], None]) -> float:
    """Return the CPU seconds of a call, which other processes do not lengthen, in one thread."""
    began = time.process_time()
    call()
    return time.process_time() - began
