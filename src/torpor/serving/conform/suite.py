"""The suite: every check, in the order in which they are sent, what they may spend, and what they found."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torpor.serving.conform.bounds_in_time import abort, context, headers, timeout
from torpor.serving.conform.caps import max_completion_tokens, max_tokens, stop, streaming, thinking_budget
from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.multipliers import best_of, logprobs, n, prompt_logprobs
from torpor.serving.conform.oddities import odd_values, usage
from torpor.serving.conform.of_a_key import dollars_per_key, parallel_requests
from torpor.serving.conform.probe import Configured, Probe
from torpor.serving.conform.quotas import parallel, tokens_per_minute
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.spending import LimitReachedError

HELD, ELSEWHERE = "the server sends headers without an end", "the server sends clients to another address"
Check = Callable[[Probe], Finding]

CHECKS: Mapping[str, Check] = {
    "headers": headers,
    "usage": usage,
    "max_tokens": max_tokens,
    "max_completion_tokens": max_completion_tokens,
    "max_tokens when streaming": streaming,
    "stop": stop,
    "n": n,
    "best_of": best_of,
    "logprobs": logprobs,
    "prompt_logprobs": prompt_logprobs,
    "thinking budget": thinking_budget,
    "odd values": odd_values,
    "timeout": timeout,
    "client abort": abort,
    "context length": context,
    "parallel requests": parallel_requests,
    "tokens per minute": tokens_per_minute,
    "tokens per minute, in parallel": parallel,
    "dollars per key": dollars_per_key,
}
"""Every check by the limit that it looks at, last what keeps a server busy, and quotas, since they are used up."""


def conform(
    client: Client, configured: Configured, told: Callable[[Finding], None] = lambda finding: None
) -> list[Finding]:
    """Measure every limit.

    Args:
        client: asks, and counts what is spent.
        configured: what the operator says is configured.
        told: is told each finding as it comes.

    Raises:
        MeterError: if the server does not answer at all.
    """
    probe = Probe.begin(client, configured)
    found = []
    for name, check in CHECKS.items():
        try:
            held = HELD if probe.drips else ELSEWHERE if probe.sends_elsewhere else ""
            alone = held and check is not headers
            finding = Finding(name, Standing.UNOBSERVABLE, held) if alone else check(probe)
        except LimitReachedError as error:
            finding = Finding(name, Standing.UNOBSERVABLE, str(error))
        found.append(finding)
        told(finding)
    return found
