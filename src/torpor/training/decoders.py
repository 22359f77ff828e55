"""How well and how long a trained decoder answers, as it is deployed."""

from __future__ import annotations

from typing import Any

import torch

from torpor.data.sets import DataSet
from torpor.metrics.translation import CorpusScores
from torpor.targets.decoder.contract import StepTarget


def judge(target: StepTarget, data: DataSet, split: str) -> dict[str, Any]:
    """Return quality against references (None where there are none) and output lengths, for a model card.

    A decoder step yields one token, the end token counted.
    """
    corpus = CorpusScores()
    steps, exact, capped = [], 0, 0
    for batch in data.batches(split, 100):
        outcome = target.run(target.read(batch.inputs))
        texts = [output.text for output in outcome.outputs]
        references = batch.references or [None] * len(texts)
        corpus.update(texts, references)
        exact += sum(text == reference for text, reference in zip(texts, references, strict=True))
        capped += sum(output.capped for output in outcome.outputs)
        steps.append(target.iterations(outcome.work).double())
    length, scores = torch.cat(steps), corpus.compute()
    return {
        "samples": len(length),
        "exact_match": round(exact / len(length), 4),
        "bleu": None if scores["bleu"] is None else round(float(scores["bleu"]), 2),
        "chrf": None if scores["chrf"] is None else round(float(scores["chrf"]), 2),
        "steps_mean": round(length.mean().item(), 3),
        "steps_std": round(length.std(correction=0).item(), 3),
        "steps_max": int(length.max()),
        "cap": target.cap,
        "cap_hit_rate": capped / len(length),
    }
