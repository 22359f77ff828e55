"""What is measured of endpoints beside cost and decoder steps."""

from __future__ import annotations

from functools import partial

from torpor.core.measures import Measure
from torpor.metrics.loops import LOOPS

_column, _key = partial(Measure, level="sample"), partial(Measure, level="row")
_REJECTED, _NO_PART = "an input detector rejected the input, so that nothing was sent", "no part of an answer came"
_UNBILLED = "the clean input, or several samples that were searched at once"

OWN: tuple[Measure, ...] = (
    _column(
        "prompt_tokens",
        dimension="count",
        title="prompt tokens",
        help="Tokens that the server read, those from a cache included.",
        better="low",
        dtype=int,
    ),
    _column(
        "cached_tokens", dimension="count", title="cached tokens", help="Of these, tokens from a cache.", dtype=int
    ),
    _column(
        "output_tokens",
        dimension="count",
        title="output tokens",
        help="Tokens that the server wrote, those of its reasoning included.",
        better="low",
        dtype=int,
    ),
    _column(
        "reasoning_tokens",
        dimension="count",
        title="reasoning tokens",
        help="Of these, tokens before the answer.",
        better="low",
        dtype=int,
    ),
    _column(
        "tool_calls",
        dimension="count",
        title="tool calls",
        help="Calls of tools in the answer.",
        better="low",
        dtype=int,
    ),
    _column(
        "first_token_s",
        dimension="time",
        title="time to first token",
        help="Seconds until the first part of the answer came.",
        better="low",
        null=_NO_PART,
    ),
    _column(
        "between_tokens_s",
        dimension="time",
        title="time between tokens",
        help="Seconds from the first part to the end, over the tokens after the first.",
        better="low",
        null="the answer has fewer than two tokens, or no part of it came",
    ),
    _column(
        "answer_s",
        dimension="time",
        title="time of the answer",
        help="Seconds until the end of the answer, or until it was given up.",
        better="low",
        null=_REJECTED,
    ),
    _column(
        "faults",
        dimension="text",
        title="faults",
        help="What was wrong with the answers to this input.",
        null="nothing was",
        dtype=str,
    ),
    _column(
        "fault_kinds",
        dimension="text",
        title="kinds of faults",
        help="`unanswered`, `broken`, `misbilled`, `overshot`, separated by spaces.",
        null="nothing was wrong",
        dtype=str,
    ),
    _column(
        "answers",
        dimension="count",
        title="answers",
        help="Answers to this input, of which the one of middle length counts; 0 if it was never sent.",
        dtype=int,
    ),
    _column(
        "varies",
        dimension="ratio",
        title="varies",
        help="Whether equal requests got answers of different lengths.",
        better="low",
        null="it was asked once",
        dtype=bool,
    ),
    _key("prompt_tokens_mean", dimension="count", title="tokens read", help="Mean prompt tokens.", better="low"),
    _key("cached_tokens_mean", dimension="count", title="cached", help="Mean tokens from a cache."),
    _key(
        "output_tokens_mean",
        dimension="count",
        title="tokens written",
        help="Mean output tokens, reasoning included.",
        better="low",
    ),
    _key("reasoning_tokens_mean", dimension="count", title="reasoning", help="Mean tokens of reasoning.", better="low"),
    _key("tool_calls_mean", dimension="count", title="tool calls", help="Mean calls of tools.", better="low"),
    _key(
        "first_token_s_p50",
        dimension="time",
        title="first token",
        help="Median seconds until the first part of an answer; each was seen once, so noise is not ruled out.",
        better="low",
        null=_NO_PART,
    ),
    _key(
        "between_tokens_s_p50",
        dimension="time",
        title="between tokens",
        help="Median seconds between the tokens of an answer, with the same doubt.",
        better="low",
        null="no answer has two tokens",
    ),
    _key(
        "answer_s_p50",
        dimension="time",
        title="whole answer",
        help="Median seconds of an answer, with the same doubt; `latency_s_p50` is timed in interleaved pairs.",
        better="low",
        null=_REJECTED,
    ),
    _key(
        "search_cost_mean",
        dimension="cost",
        title="search, per input",
        help="Mean over samples of what the server billed for the candidates of the search, each request once, retries "
        "left out.",
        null=_UNBILLED,
    ),
    _key(
        "gained_per_spent",
        dimension="ratio",
        title="gained per unit spent",
        help="By how much the inputs that the search found cost more than the clean ones, over what the search cost: "
        "at 0.1, one must be sent 10 times until its extra cost is that of the search.",
        better="low",
        null=f"the search asked nothing, or not this target; {_UNBILLED}",
    ),
    _key(
        "unanswered_rate",
        dimension="ratio",
        title="unanswered",
        help="Share of inputs to which an answer never came.",
        better="low",
    ),
    _key(
        "misbilled_rate",
        dimension="ratio",
        title="misbilled",
        help="Share of inputs whose bill is not what was seen: parts of the stream, words, bytes.",
        better="low",
        on_console=True,
    ),
    _key(
        "overshot_rate",
        dimension="ratio",
        title="over the cap",
        help="Share of inputs whose answer is longer than was asked for.",
        better="low",
    ),
    _key(
        "varies_rate",
        dimension="ratio",
        title="varying",
        help="Share of inputs to which equal requests got answers of different lengths.",
        better="low",
        null="no input was asked twice",
    ),
    _key(
        "faults",
        dimension="text",
        title="faults",
        help="What was wrong with answers, the most frequent first.",
        null="nothing was",
        dtype=str,
    ),
)
"""What only endpoints have."""
SERVED = (*LOOPS, *OWN)
"""What audits measure of them: what targets that iterate have, and their own."""
