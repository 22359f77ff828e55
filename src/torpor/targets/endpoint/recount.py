"""Count tokens anew, where the tokenizer of the model behind an endpoint is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torpor.core.errors import UsageError
from torpor.targets.endpoint.question import PER_MESSAGE, TEMPLATE, Question
from torpor.targets.endpoint.reply import Reply, Usage

SHARE, MARKS = 0.9, 8
"""Of two counts, how much less one may be, since a text that is read again may fall into other tokens; and tokens of an
answer that are no text, such as the one that ends it."""


@cache
def recount_of(name: str) -> Callable[[str], int]:
    """Return what counts the tokens of a text; nothing is downloaded.

    Args:
        name: folder of a tokenizer, or what transformers has in its cache.

    Raises:
        UsageError: if there is none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except Exception as error:  # whatever a broken folder makes of it
        raise UsageError(
            f"expected a folder with a tokenizer of transformers, or one in its cache, got {name!r}; nothing is "
            "downloaded: pass the folder of the model"
        ) from error
    return lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)


def recounted(question: Question, reply: Reply, usage: Usage) -> str:
    """Say how a bill differs from a recount; empty if it does not, or the tokenizer is not known.

    Reasoning that is billed and not shown cannot be counted, nor can calls of tools and their schemas.
    """
    if question.tokenizer is None:
        return ""
    count = recount_of(question.tokenizer)
    hidden = 0 if any(choice.reasoning for choice in reply.choices) else usage.reasoning
    seen = sum(count(each) for choice in reply.choices for each in (choice.text, choice.reasoning) if each)
    shown, marks = usage.output - hidden, MARKS * max(1, len(reply.choices))
    if not reply.tool_calls and (usage.output < SHARE * seen - 1 or shown > seen / SHARE + marks):
        return f"{usage.output:,} token{'s' * (usage.output != 1)} billed for an answer of {seen:,} by the tokenizer"
    read, messages = count(question.prompt), question.body.get("messages") or ()
    most = read / SHARE + (TEMPLATE + PER_MESSAGE * len(messages) if messages else MARKS)
    if "tools" not in question.body and not SHARE * read - 1 <= usage.prompt <= most:
        return f"{usage.prompt:,} tokens billed for a prompt of {read:,} by the tokenizer"
    return ""
