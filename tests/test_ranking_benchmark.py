"""The ranking of candidate texts without decoding."""

from __future__ import annotations

import pytest
from benchmarks.common import Options, translators
from benchmarks.ranking import QUARTER, Generation, Hits, along, generations
from torch import Tensor

from torpor.targets.decoder.generation.texts import SourceTarget

TEXTS = ("van on 2", "bus 17", "7")


@pytest.fixture(scope="module")
def speller() -> SourceTarget:
    return translators(1, Options())[0][0]


def test_along_its_own_output_a_text_is_as_likely_as_when_it_was_decoded(speller: SourceTarget) -> None:
    signals = speller.signals(TEXTS[:1])
    output: Tensor = signals.ids[0]
    found, end = along(speller, TEXTS, output)
    assert found[0].argmax(-1).tolist() == output.tolist()
    assert found[0].exp().sum(-1).tolist() == pytest.approx([1.0] * len(output), rel=1e-4)
    assert (end[0].argmax().item(), end.shape) == (len(output) - 1, (3, len(output)))
    decoded = signals.logits.detach()[0].log_softmax(-1)
    assert found[0].flatten().tolist() == pytest.approx(decoded.flatten().tolist(), abs=1e-3)


def test_hits_are_counted_against_chance() -> None:
    hits = Hits()
    hits.count(Generation("a", 3, tuple("bcdefghijklm"), (5, 4, *[1] * 10), 0.1), {0, 2, 3, 4, 5, 6})
    hits.count(Generation("a", 9, tuple("bcdefghijklm"), (5, 4, *[1] * 10), 0.1), {2, 3, 4, 5, 6, 7})
    assert hits.longest == [(True, 0.5), (False, 0.5)]  # six of twelve
    assert (QUARTER, hits.longer) == (6, [True, False])


def test_generations_are_whole_and_not_the_first(speller: SourceTarget) -> None:
    found = list(generations(speller, TEXTS[0], 60))
    assert len(found) == 1  # of 60 passes, 24 are the first generation, and 12 are left after the second
    assert speller.score(found[0].texts).tolist() == list(found[0].steps)
    assert found[0].before >= int(speller.score((TEXTS[0],)))
