"""BLEU and chrF by sacrebleu: of single sentences, and of a corpus, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.core.errors import UsageError


def sentence_chrf(outputs: Sequence[str], references: Sequence[str]) -> list[float]:
    """Return the chrF2 (Popovic, WMT 2015) of each output against its reference, from 0 to 1.

    Raises:
        UsageError: if sacrebleu is not installed.

    >>> [round(score, 4) for score in sentence_chrf(["the cat", "the cat", ""], ["the cat", "the hat", "the cat"])]
    [1.0, 0.2806, 0.0]
    """
    try:
        from sacrebleu import CHRF
    except ImportError as error:
        raise UsageError(
            f"expected sacrebleu to score texts against their references, got {error}; pip install 'torpor[language]'"
        ) from error
    score, pairs = CHRF().sentence_score, zip(outputs, references, strict=True)
    return [float(score(output, [reference]).score) / 100 for output, reference in pairs]


class CorpusScores:
    """Gather outputs and references, then score the corpus; None where there is nothing to score or no sacrebleu.

    >>> CorpusScores().compute()["bleu"] is None
    True
    """

    def __init__(self) -> None:
        self._outputs: list[str] = []
        self._references: list[str] = []

    def update(self, outputs: Sequence[str | None], references: Sequence[str | None]) -> None:
        """Add a batch; samples without a reference do not count."""
        for output, reference in zip(outputs, references, strict=True):
            if output is not None and reference is not None:
                self._outputs.append(output)
                self._references.append(reference)

    def compute(self) -> dict[str, float | str | None]:
        """Return ``bleu`` and ``chrf`` from 0 to 100, and in ``bleu_reason`` why there are none."""
        if not self._outputs:
            return {"bleu": None, "chrf": None, "bleu_reason": "the data have no references"}
        try:
            from sacrebleu import corpus_bleu, corpus_chrf
        except ImportError:
            reason = "sacrebleu is not installed; pip install 'torpor[language]'"
            return {"bleu": None, "chrf": None, "bleu_reason": reason}
        bleu = corpus_bleu(self._outputs, [self._references], force=True)  # captions are tokenized
        chrf = corpus_chrf(self._outputs, [self._references])
        return {"bleu": float(bleu.score), "chrf": float(chrf.score), "bleu_reason": None}
