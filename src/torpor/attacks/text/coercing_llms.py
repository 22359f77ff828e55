"""Coercing LLMs: a few tokens after a prompt that put off a language model's end token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.text.nmtsloth import LateEnd
from torpor.attacks.text.search.coordinates import CoordinateSearch, Segment
from torpor.attacks.text.search.gradients import Loss
from torpor.core.text import Codec
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True, kw_only=True)
class CoercingLLMs(CoordinateSearch):
    """Append ``eps`` ASCII tokens, and improve them by GCG on the end token: the mean of ``-log(1 - p_t(end))``.

    The paper's denial of service, one of its several goals, with the paper's search: 500 steps, 512 candidates each,
    from the 256 best substitutes of each token. What differs:

    - The paper learns one text for all users, along the answers of a public instruction set; here the suffix is
      searched for each prompt, along the answer that it really gets.
    - The paper ranks candidates by the loss, and returns the text of the lowest; here all of them generate, and the
      longest output decides, as :class:`~torpor.attacks.text.search.coordinates.CoordinateSearch` says. So the paper's
      budget is up to 256,000 generations per prompt: limit it with ``steps`` and ``candidates``, or limit the audit.
    - The text starts as random tokens that the tokenizer reads as drawn, and the search ends at the cap.
    """

    id: ClassVar[str] = "coercing-llms"
    paper: ClassVar[Paper | None] = Paper(
        "Coercing LLMs to do and reveal (almost) anything", "Geiping et al.", "arXiv", 2024, "arXiv:2402.14020"
    )

    eps: float = 8

    @override
    def allowed(self, codec: Codec, size: int) -> Tensor:
        known = super().allowed(codec, size)
        ascii_only = [bool(known[token]) and codec.decode((token,)).isascii() for token in range(size)]
        return torch.tensor(ascii_only)

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        late = LateEnd(chosen=False)
        return lambda segment: late
