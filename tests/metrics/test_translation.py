from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.metrics.translation import CorpusScores, sentence_chrf

texts = st.text(alphabet="ab c.\n", max_size=20) | st.text(max_size=20)


def ngrams(text: str, order: int) -> Counter[str]:
    packed = "".join(text.split())
    return Counter(packed[start : start + order] for start in range(len(packed) - order + 1))


def plain_chrf(output: str, reference: str) -> float:
    """Return chrF2 by its definition; an order counts only if both texts are long enough for it."""
    precisions, recalls = [], []
    for order in range(1, 7):
        made, wanted = ngrams(output, order), ngrams(reference, order)
        if made and wanted:
            shared = (made & wanted).total()
            precisions.append(shared / made.total())
            recalls.append(shared / wanted.total())
    if not any(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 5 * precision * recall / (4 * precision + recall)


@given(st.lists(st.tuples(texts, texts), max_size=3))
def test_sentence_chrf_is_its_definition(pairs: list[tuple[str, str]]) -> None:
    scores = sentence_chrf([output for output, _ in pairs], [reference for _, reference in pairs])
    assert scores == pytest.approx([plain_chrf(*pair) for pair in pairs], abs=1e-12)


def test_the_corpus_of_one_sentence_scores_as_the_sentence() -> None:
    scores = CorpusScores()
    scores.update(["the cat sat", None], ["the hat sat", "no output"])
    found = scores.compute()
    assert found["chrf"] == pytest.approx(100 * plain_chrf("the cat sat", "the hat sat"))
    assert found["bleu_reason"] is None
