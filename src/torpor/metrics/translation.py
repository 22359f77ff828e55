"""Corpus BLEU and chrF by sacrebleu, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence


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
