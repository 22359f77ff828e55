"""A target: a language model behind an HTTP endpoint that says how many tokens it has read and written."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.errors import MeterError, UsageError
from torpor.core.measures import Measure
from torpor.core.text import Characters, TextSpace
from torpor.core.units import Behavior, Unit
from torpor.core.work import Outcome, PriceList, Work
from torpor.targets.base import Target
from torpor.targets.family import Columns, Family

URL = "EXAMPLE_ENDPOINT"
"""Environment variable with the address of an OpenAI-compatible server, such as ``http://127.0.0.1:8000``."""
PROMPT, OUTPUT = Unit("prompt_token", None), Unit("output_token", None)
CONTEXT, CAP = 512, 64
"""Tokens that the server reads at most, and that it is asked to write at most."""
TIMEOUT_S = 30.0


class EndpointFamily(Family[Any]):
    """Black boxes that bill tokens, and what is measured of them beside cost."""

    id: ClassVar[str] = "endpoint"
    behavior: ClassVar[Behavior] = Behavior.ITERATION
    batch_size: ClassVar[int] = 8
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("output_tokens", "sample", "count", "output tokens", "Tokens written.", better="low", dtype=int),
        Measure(
            "output_tokens_mean", "row", "count", "tokens out", "Mean tokens written.", better="low", on_console=True
        ),
        Measure("cap_rate", "row", "percent", "at the cap", "Outputs that the cap ended, in per cent.", better="low"),
    )

    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        return {"output_tokens": outcome.work.counts[:, 1]}

    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        written = columns["output_tokens"]
        capped = sum(count >= CAP for count in written)
        return {"output_tokens_mean": sum(written) / len(written), "cap_rate": 100 * capped / len(written)}

    def blank(self, target: Any, count: int) -> Samples:
        return ("",) * count


class EndpointTarget(Target):
    """A model that is asked over HTTP; nothing is known of it but what it answers and bills."""

    family = EndpointFamily()
    mechanism = "text generation behind an endpoint"
    units = (PROMPT, OUTPUT)

    def __init__(self, url: str) -> None:
        self.url, self.name, self.device = url.rstrip("/"), "example-endpoint", torch.device("cpu")
        self.space = TextSpace(Characters(), max_tokens=CONTEXT)

    def run(self, inputs: Sequence[str]) -> Outcome:
        answers = [self._ask(text) for text in inputs]
        counts = [[usage["prompt_tokens"], usage["completion_tokens"]] for _, usage in answers]
        return Outcome(tuple(text for text, _ in answers), Work(torch.tensor(counts, dtype=torch.int64).view(-1, 2)))

    def _ask(self, text: str) -> tuple[str, dict[str, int]]:
        body = json.dumps({"prompt": text, "max_tokens": CAP, "temperature": 0}).encode()
        request = urllib.request.Request(f"{self.url}/v1/completions", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                found = json.load(answer)
            usage = {name: int(found["usage"][name]) for name in ("prompt_tokens", "completion_tokens")}
            return str(found["choices"][0]["text"]), usage
        except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise MeterError(
                f"expected an answer with its usage in tokens from {self.url}, got {type(error).__name__}: {error}; "
                "see whether the server runs"
            ) from error

    def price(self, units: Sequence[Unit]) -> PriceList:
        """Return one token for what the server reads or writes, and none for what runs on the client before it."""
        return PriceList("tokens", tuple(float(unit in self.units) for unit in units))

    def max_work(self, inputs: Sequence[str]) -> Work:
        """Return one token per byte of the text, since no tokenizer makes more of it, and the cap."""
        read = [min(len(text.encode()), CONTEXT) for text in inputs]
        return Work(torch.tensor([[count, CAP] for count in read], dtype=torch.int64))

    def static_work(self) -> Work:
        return Work(torch.tensor([[CONTEXT, CAP]]))

    def utility(self, outputs: Samples, references: Samples) -> Tensor:
        return torch.full((len(outputs),), torch.nan, dtype=torch.float64)

    def agreement(self, outputs: Samples, clean: Samples) -> Tensor:
        return torch.tensor([one == other for one, other in zip(outputs, clean, strict=True)])

    def to(self, device: torch.device) -> Self:
        """Return this target: it runs elsewhere."""
        return self

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} {CONTEXT} {CAP}"


def build() -> EndpointTarget:
    """Return the endpoint that the environment names."""
    if URL not in os.environ:
        raise UsageError(f"expected the address of a server in {URL}, got none; export {URL}=http://HOST:PORT")
    return EndpointTarget(os.environ[URL])
