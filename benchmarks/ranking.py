"""Could one pass of the model replace the decoding of candidate texts? ``python -m benchmarks.ranking``.

The evolution of ``standard`` asks about 24 texts at a time. Each full generation after the first is also ranked without
decoding: one pass of the model reads its texts, with the output of the fittest text so far as the decoder's input. The
table says how often one of the longest outputs is in the first quarter then, how many of the texts whose output is
longer than the fittest one's are, and what chance would give.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import comb
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Options, translators
from torpor.attacks.text.evolution.evolution import Evolution
from torpor.attacks.text.evolution.population import CHILDREN
from torpor.attacks.text.search.driver import told
from torpor.attacks.text.search.goal import ask
from torpor.attacks.text.search.tally import Tally
from torpor.targets.decoder.generation.texts import SourceTarget

TEXTS, QUERIES, EDITS = 16, 400, 3
QUARTER = CHILDREN // 4
HEADS = ("target", "ranked by", "longest", "by chance", "longer", "by chance", "n", "a pass / decoding, time")

Score = Callable[[Tensor, Tensor], Tensor]
"""From log-probabilities ``[B, T, V]`` along an output, and those of its end ``[B, T]``, to a rank of each ``[B]``."""
SCORES: Mapping[str, Score] = {
    "end at the last step": lambda _, end: -end[:, -1],
    "end at any step": lambda _, end: -end.exp().sum(-1),
    "margin of the end at the last step": lambda found, end: found[:, -1].amax(-1) - end[:, -1],
    "entropy": lambda found, _: -(found.exp() * found).sum(-1).mean(-1),
    "doubt of the likeliest tokens": lambda found, _: -found.amax(-1).mean(-1),
}
"""Texts that are taken to be long come first."""


@dataclass(frozen=True)
class Generation:
    """Texts that were asked about together.

    Attributes:
        fittest: text that was worth most before.
        before: its decoder steps.
        texts: that were asked about.
        steps: of each.
        seconds: of processor time to decode them.
    """

    fittest: str
    before: int
    texts: tuple[str, ...]
    steps: tuple[int, ...]
    seconds: float


@dataclass
class Hits:
    """What a score put into the first quarter.

    Attributes:
        longest: for each generation, whether one of its longest outputs is there, and how likely that was.
        longer: for each text that is longer than the fittest one, whether it is there.
    """

    longest: list[tuple[bool, float]] = field(default_factory=list)
    longer: list[bool] = field(default_factory=list)

    def count(self, generation: Generation, first: set[int]) -> None:
        """Add a generation of which some texts were put first."""
        steps = generation.steps
        best = {place for place, count in enumerate(steps) if count == max(steps)}
        self.longest.append((bool(best & first), chance(len(best), len(steps))))
        self.longer += [place in first for place, count in enumerate(steps) if count > generation.before]


def chance(best: int, count: int) -> float:
    """Return how likely it is that one of ``best`` texts is in the first quarter of ``count``, put in any order.

    >>> chance(1, 24), chance(24, 24)
    (0.25, 1.0)
    """
    return 1 - comb(count - best, QUARTER) / comb(count, QUARTER)


def generations(target: SourceTarget, text: str, queries: int) -> Iterator[Generation]:
    """Run the evolution on a text, and yield its full generations after the first."""
    tally = Tally.start(target, (text,))
    search = Evolution(norm="chars", eps=EDITS, queries=queries).begin(target, (text,), 0, tally)(0)
    texts, asked = next(search, None), 0
    while texts is not None:
        fittest, before = tally.best(0)
        start = time.process_time()
        answers = ask(target, texts)
        seconds = time.process_time() - start
        if asked >= CHILDREN == len(texts):
            yield Generation(fittest, int(before), tuple(texts), tuple(answers.steps), seconds)
        asked += len(texts)
        tally.answer(0, texts, answers)
        texts = told(search, answers)


def along(target: SourceTarget, texts: tuple[str, ...], output: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of all tokens ``[B, T, V]`` and of the end ``[B, T]`` along an output, ids ``[T]``."""
    given, own = target.reader.pad(target.reader.rows(texts))
    begin = torch.tensor([target.model.generation_config.decoder_start_token_id])
    known = torch.cat([begin, output[:-1]]).expand(len(given), -1)
    with torch.no_grad():
        found = target.model(input_ids=given, attention_mask=own, decoder_input_ids=known).logits.log_softmax(-1)
    return found, found[..., list(target.eos)].logsumexp(-1)


def ranked(target: SourceTarget, texts: tuple[str, ...], queries: int) -> list[str]:
    """Return the rows of the table for one target."""
    hits, decoding, passes = {name: Hits() for name in SCORES}, 0.0, 0.0
    for text in texts:
        for generation in generations(target, text, queries):
            decoding += generation.seconds
            output = target.signals((generation.fittest,)).ids[0]
            start = time.process_time()
            found, end = along(target, generation.texts, output)
            passes += time.process_time() - start
            for name, score in SCORES.items():
                hits[name].count(generation, set(score(found, end).topk(QUARTER).indices.tolist()))
    rows = []
    for name, each in hits.items():
        longest, by_chance = np.array(each.longest, dtype=np.float64).mean(0)
        shares = (longest, by_chance, np.mean(each.longer), QUARTER / CHILDREN)
        told_apart = " | ".join(f"{100 * share:.0f} %" for share in shares)
        rows.append(f"| {target.name} | {name} | {told_apart} | {len(each.longest)} | {passes / decoding:.2f} |")
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="with the subfolder multi30k; the speller alone without it")
    parser.add_argument("--texts", type=int, default=TEXTS, help=f"test texts of each target (default: {TEXTS})")
    parser.add_argument("--queries", type=int, default=QUERIES, help=f"on each text (default: {QUERIES})")
    given = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for target, texts in translators(given.texts, Options(data_dir=given.data_dir)):
        print("\n".join(ranked(target, texts, given.queries)), flush=True)


if __name__ == "__main__":
    main()
