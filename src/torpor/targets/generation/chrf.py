"""Sentence chrF (Popovic, WMT 2015): F-score over character n-grams."""

from __future__ import annotations

from collections import Counter

ORDER = 6
BETA = 2


def chrf(output: str, reference: str) -> float:
    """Return chrF2 from 0 to 1 as sacrebleu computes it: n-grams of up to 6 characters, white space left out.

    An order counts only if both texts are long enough for it.

    >>> chrf("the cat", "the cat"), chrf("the cat", ""), round(chrf("the cat", "the hat"), 4)
    (1.0, 0.0, 0.2806)
    """
    precisions, recalls = [], []
    for order in range(1, ORDER + 1):
        made, wanted = _ngrams(output, order), _ngrams(reference, order)
        if made and wanted:
            shared = (made & wanted).total()
            precisions.append(shared / made.total())
            recalls.append(shared / wanted.total())
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    if precision + recall == 0:
        return 0.0
    weight = BETA**2
    return (1 + weight) * precision * recall / (weight * precision + recall)


def _ngrams(text: str, order: int) -> Counter[str]:
    packed = "".join(text.split())
    return Counter(packed[start : start + order] for start in range(len(packed) - order + 1))
