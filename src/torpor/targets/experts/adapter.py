"""A user's own mixture of experts: of transformers, and on how many devices its experts lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.experts.dispatch import ExpertModel
from torpor.targets.experts.loads import Placement
from torpor.targets.experts.target import ExpertTarget

KINDS = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")
"""What transformers calls models whose router and experts are told apart alike, a shared expert beside them or not."""
MOST = 512
"""Tokens of a prompt at most, where neither the caller nor the tokenizer says less."""


def expert_parallel(
    model: Any,  # noqa: ANN401 - transformers' own classes
    tokenizer: Any,  # noqa: ANN401
    *,
    devices: int,
    longest: int | None = None,
    name: str | None = None,
    data: Callable[[Path | None], DataSet] | None = None,
) -> ExpertTarget:
    """Return the target of a mixture of experts of transformers whose experts lie on several devices, as many on each.

    The model's blocks of experts are replaced by ones that hand each token to its experts one by one and count that;
    its weights and routers stay its own. An expert that all tokens share, and layers without experts, are counted among
    what no routed expert does.

    Args:
        model: a ``MixtralForCausalLM``, ``OlmoeForCausalLM``, ``Qwen2MoeForCausalLM`` or ``Qwen3MoeForCausalLM``
            without a sliding window.
        tokenizer: of transformers, with its special tokens.
        devices: a divisor of the number of experts; 8 for Mixtral-8x7B on 8 GPUs.
        longest: tokens of a prompt at most; what tokenizer and model allow if None, 512 at most.
        name: shown in reports; the kind of the model if None.
        data: makes the data to audit on from the user's ``--data-dir``; pass ``--inputs`` if None.

    Raises:
        UsageError: if it is another kind of model, or the experts cannot be shared out evenly.
        MeterError: if an operator's FLOPs cannot be counted.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", type(model).__name__)
    if config is None or kind not in KINDS:
        raise UsageError(
            f"expected a model of the kind {', '.join(KINDS)}, got {kind}; write a target of your own for it"
        )
    if getattr(config, "sliding_window", None):  # 0 in those of Qwen that have none
        raise UsageError(
            f"expected a {kind} that looks at all tokens, got a sliding window of {config.sliding_window}; set it to "
            "None where no prompt is longer"
        )
    experts = getattr(config, "num_local_experts", None) or config.num_experts
    placement = Placement(int(experts), int(config.num_experts_per_tok), devices)
    known = min(int(getattr(tokenizer, "model_max_length", MOST)), int(config.max_position_embeddings), MOST)
    return ExpertTarget(
        ExpertModel(model),
        HuggingFaceCodec(tokenizer),
        placement,
        longest=known if longest is None else min(longest, int(config.max_position_embeddings)),
        name=name or kind,
        source=data,
    )
