"""The family of models behind an endpoint: black boxes that iterate until an end token, and bill what they do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, ClassVar

import torch
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import MeterError
from torpor.core.measures import COST, Headline, Measure
from torpor.core.units import symbol
from torpor.core.work import Outcome, Work
from torpor.metrics.tails import tails
from torpor.targets.decoder.family import StepFamily
from torpor.targets.endpoint.faults import FaultKind
from torpor.targets.endpoint.measures import SERVED
from torpor.targets.endpoint.options import REPEATS
from torpor.targets.endpoint.served import ServedText
from torpor.targets.endpoint.work import CALL, OUTPUT, PROMPT, REASONING, UNCACHED
from torpor.targets.family import Columns

QUERIES = 100
"""Passes on a sample that the default ensemble takes at most: each is paid for."""
SHOWN_FAULTS = 5
"""Faults that a row names."""
FLAGS = {
    FaultKind.UNANSWERED.value: "unanswered",
    FaultKind.BROKEN.value: "unanswered",
    FaultKind.MISBILLED.value: "misbilled",
    FaultKind.OVERSHOT.value: "over-the-cap",
}
"""Reliability flags of kinds of faults."""
VARYING = "varying-answers"
NOT_TIMED = "answers are timed as they come; add timed=true behind the address to time inputs again and again"


class EndpointFamily(StepFamily):
    """Models that are asked over HTTP."""

    id: ClassVar[str] = "endpoint-text"
    measures: ClassVar[tuple[Measure, ...]] = SERVED
    signals: ClassVar[type | None] = None

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        return COST, Headline("output_tokens_mean", "tokens written"), Headline("reasoning_tokens_mean", "reasoning")

    @override
    def attacks_on(self, target: Any) -> tuple[str, ...]:
        return (f"{self.standard_on(target)}:queries={QUERIES}",)

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        _stop_unless_clean(clean)
        counts, every = outcome.work.counts, outcome.outputs
        return {
            **super().observe(target, clean, outcome, static, references),
            "prompt_tokens": counts[:, PROMPT],
            "cached_tokens": counts[:, PROMPT] - counts[:, UNCACHED],
            "output_tokens": counts[:, OUTPUT],
            "reasoning_tokens": counts[:, REASONING],
            "tool_calls": counts[:, CALL],
            "first_token_s": [_known(each.reply.seconds_first) if each.reply else None for each in every],
            "between_tokens_s": [_between(each) for each in every],
            "answer_s": [each.reply.seconds if each.reply else None for each in every],
            "faults": ["; ".join(fault.told for fault in each.faults) or None for each in every],
            "fault_kinds": [
                " ".join(dict.fromkeys(fault.kind.value for fault in each.faults)) or None for each in every
            ],
            "answers": [each.asked for each in every],
            "varies": [each.varies for each in every],
        }

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return {**super().summarize(target, bare, columns), **_served(columns), **_searched(columns)}

    @override
    def flags(self, columns: Columns) -> list[str]:
        kinds = {kind for each in columns["fault_kinds"] if each for kind in each.split()}
        found = [name for kind, name in FLAGS.items() if kind in kinds]
        once = [varies for varies, count in zip(columns["varies"], columns["answers"], strict=True) if count < REPEATS]
        varying = [VARYING] if any(once) else []
        return list(dict.fromkeys((*found, *varying)))

    @override
    def replay(self, target: Any, clean: Samples, attacked: Samples) -> Mapping[str, Any]:
        """Return nothing: a higher cap is asked for where the user asks for one, and pays for it."""
        return {}

    @override
    def untimed(self, target: Any) -> str:
        return "" if target.options.timed else NOT_TIMED

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        outcome = Outcome(tuple(outputs), work)
        _stop_unless_clean(outcome)
        columns = {name: _listed(values) for name, values in self.observe(target, outcome, outcome, work, ()).items()}
        written = tails(work.counts[:, OUTPUT].numpy())
        return {
            **_served(columns),
            **super().profile(target, work, outputs),
            "output_tokens_p50": written.p50,
            "output_tokens_p99": written.p99,
            "output_tokens_max": written.max,
            "requests": target.spending.sent,
            "spent": target.spending.spent,
        }

    @override
    def profile_rows(self, profile: Mapping[str, Any]) -> list[tuple[str, str]]:
        def tokens(name: str) -> str:
            return f"{profile[f'{name}_mean']:,.4g}"

        written = ", ".join(f"{name} {profile[f'output_tokens_{name}']:,.4g}" for name in ("p50", "p99", "max"))
        timed = [
            f"{title} {1000 * profile[key]:,.4g} ms"
            for key, title in (
                ("first_token_s_p50", "to the first token"),
                ("between_tokens_s_p50", "between tokens"),
                ("answer_s_p50", "whole answer"),
            )
            if profile[key] is not None
        ]
        return [
            ("tokens read", f"mean {tokens('prompt_tokens')}, from a cache {tokens('cached_tokens')}"),
            ("tokens written", f"mean {tokens('output_tokens')}, {written}; of reasoning {tokens('reasoning_tokens')}"),
            ("cap", f"{profile['cap']:,} tokens, hit by {profile['cap_hit_rate']:.1%}"),
            ("median seconds, seen once", ", ".join(timed) or "no part of an answer came"),
            ("faults", str(profile["faults"] or "none")),
            ("requests", f"{profile['requests']:,}, {profile['spent']:,.4g} {symbol(profile['currency'])}"),
        ]

    @override
    def blank(self, target: Any, count: int) -> Samples:
        return tuple(ServedText.none() for _ in range(count))


def _served(columns: Columns) -> dict[str, Any]:
    """Return the keys of a row that are about tokens, times and faults."""
    kinds = [(each or "").split() for each in columns["fault_kinds"]]
    told = Counter(told for each in columns["faults"] if each for told in each.split("; "))
    varies = [each for each in columns["varies"] if each is not None]
    said = [f"{name} ({count})" for name, count in told.most_common(SHOWN_FAULTS)]
    means = ("prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "tool_calls")
    return {
        **{f"{name}_mean": _mean(columns[name]) for name in means},
        **{f"{name}_p50": _middle(columns[name]) for name in ("first_token_s", "between_tokens_s", "answer_s")},
        **{f"{kind}_rate": _mean([kind in each for each in kinds]) for kind in ("misbilled", "overshot")},
        "unanswered_rate": _mean([bool({"unanswered", "broken"} & set(each)) for each in kinds]),
        "varies_rate": _mean(varies) if varies else None,
        "faults": "; ".join(said) or None,
    }


def _searched(columns: Columns) -> dict[str, Any]:
    """Return the keys of a row that are about what its searches cost, and what for."""
    spent, curves = columns["search_cost"], columns["curve"]
    if None in spent:
        return {"search_cost_mean": None, "gained_per_spent": None}
    found = {"search_cost_mean": _mean(spent), "gained_per_spent": None}
    if None not in curves and math.fsum(spent) > 0:
        rises = zip(curves, columns["cost_own"], strict=True)
        gained = [curve[-1]["cost"] - own if curve else 0.0 for curve, own in rises]
        found["gained_per_spent"] = math.fsum(gained) / math.fsum(spent)
    return found


def _stop_unless_clean(clean: Outcome) -> None:
    """Refuse clean inputs that are not answered: nothing could be compared with them.

    Raises:
        MeterError: if there is one.
    """
    for each in clean.outputs:
        why = next((fault.told for fault in each.faults if fault.kind is FaultKind.UNANSWERED), "")
        if why:
            raise MeterError(
                f"expected an answer to each clean input, got none to one ({why}); leave it out of --inputs, or see "
                "what the server has against it"
            )


def _between(text: ServedText) -> float | None:
    reply = text.reply
    if reply is None or math.isnan(reply.seconds_first) or text.counts[OUTPUT] < 2:
        return None
    return (reply.seconds - reply.seconds_first) / (text.counts[OUTPUT] - 1)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Sequence[Any]) -> float:
    return math.fsum(values) / len(values)


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _listed(values: Any) -> Any:  # noqa: ANN401 - a tensor, an array or a list
    return values.tolist() if isinstance(values, torch.Tensor) or hasattr(values, "tolist") else values
