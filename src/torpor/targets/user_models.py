"""Saved models of the user's: what ``hf:NAME`` loads."""

from __future__ import annotations

from typing import Any

from torpor.core.errors import UsageError
from torpor.targets.base import Target
from torpor.targets.decoder.generation.loading import load_pretrained
from torpor.targets.model_options import Options

AUDIT_S = 540.0
"""Seconds that attacks on a saved model, which may be a large one, take by default: 10 minutes with all else."""


def load_large(name: str) -> Target:
    """Load a saved model of the user's, which may be large: audits of it end after :data:`AUDIT_S` by default.

    Args:
        name: see :func:`load_pretrained`; with ``assistant`` or ``lookup`` it decodes speculatively, with ``devices``
            its experts lie on several.
    """
    loaded, options = load_pretrained(name), Options.split(name)[1]
    target: Target = loaded
    if options.guesses is not None:
        from torpor.targets.decoder.speculative.loading import with_drafter

        target = with_drafter(loaded, options)
    if options.devices is not None:
        target = _on_devices(loaded, options)
    target.max_seconds = AUDIT_S
    return target


def _on_devices(loaded: Any, options: Options) -> Target:  # noqa: ANN401 - a saved model of any kind
    """Return a mixture of experts that reads prompts.

    Raises:
        UsageError: if it is none, its experts cannot be shared out, or a chat template would be left out unsaid.
    """
    from torpor.targets.experts.adapter import expert_parallel

    if getattr(loaded.codec.tokenizer, "chat_template", None) and not options.raw:
        raise UsageError(
            f"expected raw=true beside devices={options.devices} for {loaded.name}, which has a chat template, got "
            "none; its prompts are read as they are"
        )
    assert options.devices is not None
    return expert_parallel(loaded.model, loaded.codec.tokenizer, devices=options.devices, name=loaded.name)
