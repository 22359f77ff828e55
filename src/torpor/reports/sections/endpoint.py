"""What a report shows of models behind an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from torpor.audits.conditions import NON_ADAPTIVE
from torpor.core.units import symbol
from torpor.reports.kit.tables import Column, Table, filled
from torpor.reports.kit.words import Row, is_missing, percent, quantity, steps_text, value_text
from torpor.reports.sections.base import Part
from torpor.reports.sections.decoder import DecoderSection

NOTE = (
    "A decoder step is a token that the server wrote. Tokens are those that it bills, or those that were seen in the "
    "stream where that is more. Each reported input was asked anew, not only the one time that a search chose it by. "
    "The static bound is what the request allows: a token per byte that is sent, some for the template of the "
    "server, and the cap on the answer. Times are those of answers as they came: what else the server did is in them."
)


class EndpointSection(DecoderSection):
    """Decoder steps, and what was read, written, billed and wrong."""

    note = NOTE
    caption = "How many tokens were written, under the cap"

    @override
    def higher_cap_columns(self) -> list[Column]:
        return []  # no endpoint is asked for more than its user pays for

    @override
    def parts(self) -> list[Part]:
        columns = [
            Column("read", "mean tokens, those from a cache included", "prompt_tokens_mean", steps_text),
            Column("from a cache", "mean tokens", "cached_tokens_mean", steps_text),
            Column("written", "mean tokens, reasoning included", "output_tokens_mean", steps_text),
            Column("reasoning", "mean tokens", "reasoning_tokens_mean", steps_text),
            Column("tool calls", "mean", "tool_calls_mean", steps_text),
            Column("to the first token", "median", "first_token_s_p50", _seconds, optional=True),
            Column("between tokens", "median", "between_tokens_s_p50", _seconds, optional=True),
            Column("whole answer", "median", "answer_s_p50", _seconds, optional=True),
        ]
        wrong = [
            Column("unanswered", "share of inputs without a whole answer", "unanswered_rate", percent),
            Column("misbilled", "share of inputs whose bill is not what was seen", "misbilled_rate", percent),
            Column("over the cap", "share of inputs", "overshot_rate", percent),
            Column(
                "varying", "share of inputs with answers of different lengths", "varies_rate", percent, optional=True
            ),
            Column("faults", "the most frequent first", only=_faults),
        ]
        return [
            *super().parts(),
            Part(
                "Tokens and times",
                "What the server read and wrote, and how long it took",
                filled(self._explained(columns), self.summary),
            ),
            *self._searches(),
            Part("Findings", "What was wrong with answers", filled(self._explained(wrong), self.summary)),
        ]

    def _searches(self) -> list[Part]:
        """Return what each search cost, and what for; nothing where candidates were not billed."""
        rows = [row for row in self.summary if row["kind"] != "clean" and row.get("attacker") != NON_ADAPTIVE]
        if all(is_missing(row.get("search_cost_mean")) for row in rows):
            return []
        unit = symbol(str(self.audit.get("currency") or "tokens"))
        once = "what the server billed for the candidates, each request once, mean"
        gained = f"extra cost of one request that the search found, over what the search cost, both in {unit}"
        columns = [
            Column("requests, per input", "candidates that the search asked about, mean", only=_requests),
            Column("search, per input", once, "search_cost_mean", lambda value: quantity(value, unit)),
            Column(f"gained per {unit.removesuffix('s')} spent", gained, "gained_per_spent", "{:.3g}".format),
        ]
        return [Part("Searches", "What they cost, and what for", filled(self._explained(columns), rows))]

    def _explained(self, columns: Sequence[Column]) -> list[Column]:
        """Let columns say what a missing value means, as the audit's own measures do."""
        nulls = {measure.name: measure.null for measure in self.measures}
        return [replace(column, null=nulls.get(column.key, "")) for column in columns]

    @override
    def sentences(self, worst: Row, clean: Row | None) -> list[str]:
        found = list(dict.fromkeys(row["faults"] for row in self.summary if not is_missing(row.get("faults"))))
        said = [f"Findings on the server's answers: {'; '.join(found)}."] if found else []
        varies = worst.get("varies_rate")
        if varies:
            share = value_text(worst, "varies_rate", percent)
            said.append(f"Equal requests got answers of different lengths for {share} of the inputs.")
        return [*super().sentences(worst, clean), *said]


def _seconds(value: float) -> str:
    return quantity(value, "s")


def _requests(table: Table, row: Row) -> str:
    return table.cell(row, "forwards", lambda value: f"{value / row['n']:,.4g}")


def _faults(_: Table, row: Row) -> str:
    return str(row.get("faults") or "none")
