"""Saved models that draft for others: ``hf:NAME:assistant=SMALLER`` and ``hf:NAME:lookup=10``."""

from __future__ import annotations

from urllib.parse import unquote

from torpor.core.errors import UsageError
from torpor.targets.decoder.contract import StepTarget
from torpor.targets.decoder.generation.loading import load_pretrained
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.speculative.target import SpeculativeTarget
from torpor.targets.model_options import Options


def with_drafter(target: StepTarget, options: Options) -> SpeculativeTarget:
    """Return a language model that decodes with the drafter that its options name.

    Args:
        target: a saved model.
        options: of which one names a drafter.

    Raises:
        UsageError: if one of the two models only translates, sees or listens, or they do not fit.
    """
    small = None if options.assistant is None else load_pretrained(unquote(options.assistant))
    for part in (target, small):
        if part is not None and not isinstance(part, PromptTarget):
            raise UsageError(
                f"expected language models that continue texts for speculative decoding, got {part.name}; leave "
                "assistant and lookup out"
            )
    assert isinstance(target, PromptTarget)
    assert small is None or isinstance(small, PromptTarget)
    drafter = "look-up" if small is None else small.name
    guesses = options.guesses
    assert guesses is not None
    return SpeculativeTarget(target, small, drafts=guesses, name=f"{target.name} with {drafter}")
