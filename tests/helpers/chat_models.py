"""Tiny random chat models: a tokenizer with a chat template, saved and loaded as users do."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from generation_models import BOS, EOS, PAD, Part, hub, tokenizer

from torpor.core.conversation import Conversation
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.resolve import load_target

TEMPLATE = """{# of the tests #}
{%- if messages[0].role != 'system' %}{{ '<s>system: be kind</s>' }}{% endif %}
{%- if tools %}{{ '<s>tools ' + (tools | tojson) + '</s>' }}{% endif %}
{%- for message in messages %}{{ '<s>' + message.role + '\\n' + (message.content | trim) + '</s>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}"""
CONTEXT = 400
TOOLS = [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object", "b": 1, "a": 2}}}]
TALKS: dict[str, dict[str, Any]] = {
    "alone": {"messages": [{"role": "user", "content": "the cat sat"}]},
    "system": {"messages": [{"role": "system", "content": "mat"}, {"role": "user", "content": "the cat sat"}]},
    "earlier turns": {
        "messages": [
            {"role": "user", "content": "the cat sat"},
            {"role": "assistant", "content": "it </s> rained"},  # what a server would take for an end token
            {"role": "user", "content": 'the dog "sat" on\nthe mat'},
        ]
    },
    "tools": {"messages": [{"role": "user", "content": "did it rain?"}], "tools": TOOLS},
    "called": {
        "messages": [
            {"role": "user", "content": "did it rain?"},
            {"role": "assistant", "content": "rain()"},
            {"role": "tool", "content": "yes"},
        ],
        "tools": TOOLS,
    },
}
"""Conversations of every shape; in the last one, the turn that is edited is not the last message."""
_FOLDER = tempfile.TemporaryDirectory()


def chat_tokenizer(template: str | None = TEMPLATE) -> Part:
    """Return a tokenizer with a chat template."""
    found = copy.deepcopy(tokenizer(ends=False))
    found.chat_template, found.model_max_length = template, CONTEXT
    return found


def chat_network(seed: int = 0, **settings: Any) -> Part:  # noqa: ANN401 - of a generation config
    """Build a random model that ends its answers at varied lengths."""
    hf = hub()
    torch.manual_seed(seed)
    config = hf.LlamaConfig(
        vocab_size=len(tokenizer(ends=False)), max_position_embeddings=CONTEXT, hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.4, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS, tie_word_embeddings=False,
    )  # fmt: skip
    model = hf.LlamaForCausalLM(config)
    ends = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    model.generation_config = hf.GenerationConfig(**{"max_new_tokens": 24, **ends, **settings})
    with torch.no_grad():
        model.get_output_embeddings().weight[EOS] *= 4
    return model


@functools.cache
def chat_folder() -> Path:
    """Save a chat model."""
    path = Path(_FOLDER.name) / "chat"
    chat_network().save_pretrained(path)
    chat_tokenizer().save_pretrained(path)
    return path


@functools.cache
def chat(options: str = "") -> PromptTarget:
    """Return the target as users load it."""
    target = load_target(f"hf:{chat_folder()}{options}")
    assert isinstance(target, PromptTarget)
    return target


def turn(name: str) -> str:
    """Return the user's turn of one of the conversations."""
    return Conversation.of(TALKS[name]["messages"], TALKS[name].get("tools"))


def sent(text: str, name: str) -> list[int]:
    """Return what transformers itself makes of a conversation with ``text`` as the turn."""
    messages = copy.deepcopy(TALKS[name]["messages"])
    place = max(place for place, each in enumerate(messages) if each["role"] == "user")
    messages[place]["content"] = text
    found = chat_tokenizer().apply_chat_template(messages, tools=TALKS[name].get("tools"), add_generation_prompt=True)
    ids: list[int] = found["input_ids"]
    return ids


def write_prompts(path: Path) -> Path:
    """Write prompts of every form that a line of JSON may have."""
    lines = ["the dog sat", {"prompt": "it rained on the cat"}, *TALKS.values()]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path
