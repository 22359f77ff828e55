"""The family of targets that iterate until an end token."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples, join
from torpor.core.measures import COST, LATENCY, Headline, Measure
from torpor.core.signals import StepSignals
from torpor.core.units import Behavior
from torpor.core.work import Generation, Outcome, Work
from torpor.metrics.loops import LOOPS, i_loops, loop_summary
from torpor.metrics.tails import tails
from torpor.metrics.translation import CorpusScores
from torpor.targets.decoder.traits import of_steps
from torpor.targets.family import Columns, Family


class StepFamily(Family[Any]):
    """Captioners, translators, language models, speech recognition."""

    id: ClassVar[str] = "decoder"
    behavior: ClassVar[Behavior] = Behavior.ITERATION
    measures: ClassVar[tuple[Measure, ...]] = LOOPS
    signals: ClassVar[type | None] = StepSignals
    batch_size: ClassVar[int] = 16
    by_chance: ClassVar[bool] = True

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        """See :meth:`Family.headlines`; steps run one after the other, so latency follows them rather than FLOPs."""
        return COST, Headline("steps_mean", "decoder steps"), *LATENCY

    def attacks_on(self, target: Any) -> tuple[str, ...]:  # noqa: ANN401 - any target that iterates
        """See :meth:`Family.attacks_on`; by the kind of input."""
        return (self.standard_on(target),)

    @override
    def standard_on(self, target: Any) -> str:
        if target.space.kind != "text":
            return "standard-decoder"
        return "standard-text" if target.offers("embedding_matrix", "score", "cap") else "standard-queries"

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        steps, steps_clean = (target.iterations(each.work).numpy() for each in (outcome, clean))
        return {
            "steps": steps,
            "steps_clean": steps_clean,
            "i_loops": i_loops(steps, steps_clean),
            "cap": target.iterations(static).numpy(),
            "capped": [output.capped for output in outcome.outputs],
            "capped_clean": [output.capped for output in clean.outputs],
            "output": [output.text for output in outcome.outputs],
            "reference_text": list(references) or None,
        }

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        scores = CorpusScores()
        scores.update(columns["output"], columns["reference_text"])
        free = dict.fromkeys(("cap4", "cap4_n", "cap4_i_loops_mean", "cap4_hit_rate"))
        context = target.details().get("context")
        return loop_summary(columns, cap=target.cap, context=context) | scores.compute() | free

    def replay(self, target: Any, clean: Samples, attacked: Samples) -> Mapping[str, Any]:  # noqa: ANN401
        """Run saved inputs with four times the cap, as far as the model has positions for that."""
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of models with fewer positions: "cap4"
            free = target.with_cap(4 * target.cap)
        found = free.run(free.read(clean if attacked is clean else join((attacked, clean))))
        steps, count = free.iterations(found.work).numpy(), len(clean)
        return {
            "cap4": free.cap,
            "cap4_n": count,
            "cap4_i_loops_mean": float(i_loops(steps[:count], steps[-count:]).mean()),
            "cap4_hit_rate": sum(output.capped for output in found.outputs[:count]) / count,
        }

    def from_clock(self, latency_slowdown: float | None) -> Mapping[str, Any]:
        """Return the latency's increase in per cent, the field's I-Latency."""
        return {"i_latency": None if latency_slowdown is None else 100 * (latency_slowdown - 1)}

    def exhausted(self, columns: Columns, caps: Columns) -> list[bool] | None:
        """See :meth:`Family.exhausted`; the cap of a text depends on its length."""
        full: list[bool] = (np.asarray(columns["steps"]) >= np.asarray(caps["cap"])).tolist()
        return full

    def held(self, columns: Columns) -> list[bool] | None:
        """Tell which outputs a cap or a guard ended."""
        return list(columns["capped"])

    def example(self, target: Any, outcome: Outcome) -> dict[str, Samples]:  # noqa: ANN401
        """Return the steps, int64 ``[B]``, and the generated texts."""
        texts = tuple(output.text for output in outcome.outputs)
        return {"steps": target.iterations(outcome.work), "output": texts}

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        steps = tails(target.iterations(work).numpy())
        return {
            "cap": target.cap,
            "steps_mean": steps.mean,
            "steps_p50": steps.p50,
            "steps_p99": steps.p99,
            "steps_max": steps.max,
            "cap_hit_rate": sum(output.capped for output in outputs) / len(work),
        }

    @override
    def profile_rows(self, profile: Mapping[str, Any]) -> list[tuple[str, str]]:
        steps = ", ".join(f"{name} {profile[f'steps_{name}']:.4g}" for name in ("mean", "p50", "p99", "max"))
        return [("decoder steps", f"{steps}; cap {profile['cap']}, hit by {profile['cap_hit_rate']:.1%}")]

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401
        """Return no text."""
        return tuple(Generation((), "", capped=False) for _ in range(count))

    def answers(self, target: Any, signals: StepSignals) -> Tensor:  # noqa: ANN401
        """Return the probabilities of the next token at each step that ran; 0 after the end."""
        return signals.logits.softmax(-1) * signals.mask.unsqueeze(-1)

    @override
    def traits(self, target: Any, signals: StepSignals) -> Tensor:
        return of_steps(signals)
