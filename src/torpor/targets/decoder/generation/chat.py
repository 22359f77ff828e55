"""Chat templates: what a server makes of a conversation before the model reads it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any, Self

from typing_extensions import override

from torpor.core.conversation import Conversation, conversation_of
from torpor.core.errors import DataError, UsageError
from torpor.core.turns import TurnSpace
from torpor.targets.decoder.generation.codec import HuggingFaceCodec, Remembered
from torpor.targets.decoder.generation.foreign import first_line

STAND_IN = "\ue0f0turn\ue0f1"
"""What the user's turn is while a template is asked where it goes: letters that mean nothing."""
SHOWN = 60
"""Characters of a template's first line that are told."""
Asked = tuple[str, Conversation | None]


@dataclass(frozen=True)
class Frame:
    """What a template puts around the user's turn of one conversation.

    Attributes:
        before: text.
        after: text, the header of the answer included.
        special: ids of the special tokens in it, in their order.
        overhead: tokens.
    """

    before: str
    after: str
    special: tuple[int, ...] = ()
    overhead: int = 0


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    Attributes:
        ids: all tokens.
        first: place of the first token of the user's turn.
        last: place behind its last one.
    """

    ids: tuple[int, ...]
    first: int
    last: int


class ChatCodec(HuggingFaceCodec):
    """Texts as turns of conversations, wrapped by the tokenizer's chat template, with the header of the answer.

    What :meth:`wrapped` returns is what ``apply_chat_template(messages, tools, add_generation_prompt=True)`` does, to
    the last token. A text is refused if the template does not pass it on as one piece, white space around it aside,
    or if with it the prompt would have other special tokens than the template's own.

    Args:
        tokenizer: one with a chat template, and with offsets, as all fast ones have.
        conversation: of texts that bring none of their own; None for the user's turn alone.

    Raises:
        UsageError: if the template cannot be followed.
    """

    def __init__(self, tokenizer: Any, conversation: Conversation | None = None) -> None:  # noqa: ANN401
        super().__init__(tokenizer)
        self.conversation = conversation
        self._frames = Remembered(self._find_frame, _characters)
        self._prompts = Remembered(self._prompt, _characters)
        if not tokenizer.is_fast:
            raise UsageError(
                f"expected a fast tokenizer, which says where tokens are from, got {type(tokenizer).__name__}; leave "
                "its chat template out with --raw"
            )
        try:
            self.frame(None)
        except DataError as error:
            raise UsageError(f"{error}; leave the chat template out with --raw") from error

    def within(self, conversation: Conversation | None) -> Self:
        """Return the codec of texts in another conversation."""
        other = copy.copy(self)
        other.conversation = conversation
        return other

    def of(self, text: str) -> Conversation | None:
        """Return the conversation of a text: its own, or else that of this codec."""
        return conversation_of(text) or self.conversation

    def frame(self, conversation: Conversation | None) -> Frame:
        """Return what stands around the user's turn of a conversation.

        Raises:
            DataError: if the template refuses the conversation, or does not show the turn exactly once.
        """
        return self._frames(("", conversation))

    def prompt(self, text: str) -> Prompt:
        """Return what the model reads for a text.

        Raises:
            DataError: if it is refused.
        """
        return self._prompts((str(text), self.of(text)))

    @override
    def wrapped(self, text: str) -> tuple[list[int], list[bool]]:
        prompt = self.prompt(text)
        return list(prompt.ids), [prompt.first <= place < prompt.last for place in range(len(prompt.ids))]

    @property
    @override
    def overhead(self) -> int:
        return self.frame(self.conversation).overhead

    @property
    @override
    def least(self) -> int:
        return 0

    @override
    def space(self, longest: int) -> ChatSpace:
        return ChatSpace(self, longest - self.overhead, longest)

    @property
    @override
    def template(self) -> str:
        return named_template(self.tokenizer.get_chat_template())

    @override
    def fingerprint(self) -> str:
        held = self.tokenizer.chat_template
        alone = self.frame(None)  # a template may also show the date, or settings of the tokenizer
        return f"{super().fingerprint()} {_digest(repr(held))} {_digest(alone.before + STAND_IN + alone.after)}"

    def _rendered(self, text: str, conversation: Conversation | None) -> str:
        alone = [{"role": "user", "content": text}]
        messages, tools = (alone, None) if conversation is None else (conversation.filled(text), conversation.schemas)
        try:
            found: str = self.tokenizer.apply_chat_template(
                messages, tools=tools, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # whatever the template, which is a program, makes of it
            raise DataError(f"expected messages that the chat template takes, got {first_line(error)}") from error
        return found

    def _find_frame(self, asked: Asked) -> Frame:
        parts = self._rendered(STAND_IN, asked[1]).split(STAND_IN)
        if len(parts) != 2:
            raise DataError(f"expected a chat template that shows the user's turn once, got it {len(parts) - 1} times")
        bare = Frame(parts[0], parts[1])
        shown = self._placed(f"{parts[0]}a{parts[1]}", bare, "a")
        special = tuple(number for number in shown.ids if number in self.special)
        return Frame(bare.before, bare.after, special, len(shown.ids) - (shown.last - shown.first))

    def _prompt(self, asked: Asked) -> Prompt:
        text, conversation = asked
        frame, rendered = self.frame(conversation), self._rendered(text, conversation)
        ways = (text, text.strip(), text.lstrip(), text.rstrip())
        passed_on = next((way for way in ways if f"{frame.before}{way}{frame.after}" == rendered), None)
        if passed_on is None:
            raise DataError(f"expected a text that the chat template passes on as it is, got {text!r:.40}")
        found = self._placed(rendered, frame, passed_on)
        if tuple(number for number in found.ids if number in self.special) != frame.special:
            raise DataError(f"expected a text that makes no special tokens in its chat template, got {text!r:.40}")
        return found

    def _placed(self, rendered: str, frame: Frame, text: str) -> Prompt:
        """Tokenize as ``apply_chat_template`` does, and find the tokens of the user's turn."""
        found = self.tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        begin, end = len(frame.before), len(frame.before) + len(text)
        offsets = found.offset_mapping
        first = next((place for place, (_, stop) in enumerate(offsets) if stop > begin), len(offsets))
        last = next((place for place in range(len(offsets), 0, -1) if offsets[place - 1][0] < end), 0)
        return Prompt(tuple(found.input_ids), first, max(first, last))


@dataclass(frozen=True, eq=False)
class ChatSpace(TurnSpace):
    """User's turns: texts, or texts in a conversation of their own.

    Attributes:
        codec: the target's tokenizer, with its template.
        max_tokens: of a turn that comes alone.
        longest: tokens of a whole prompt.
    """

    codec: ChatCodec
    longest: int

    @property
    @override
    def accepts(self) -> str:
        return f"prompt of up to {self.longest:,} tokens, those of its chat template included"

    @override
    def _misfit(self, text: str) -> str | None:
        if not self.codec.encode(text):
            return f"texts of 1 token or more, got none in {text!r:.40}"
        count = len(self.codec.prompt(text).ids)
        return None if count <= self.longest else f"prompts of up to {self.longest} tokens, got {count}"

    @override
    def fits(self, text: str) -> bool:
        try:
            return len(self.codec.prompt(text).ids) <= self.longest
        except DataError:
            return True  # for something else than its length it is refused


def _characters(asked: Asked) -> int:
    text, conversation = asked
    return len(text) + (0 if conversation is None else len(conversation.messages) + len(conversation.tools))


def named_template(text: str) -> str:
    """Return a few words that tell a chat template from others: its digest, and its first line."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    cut = f"{line[:SHOWN]}..." if len(line) > SHOWN else line
    return f"{_digest(text)} ({cut})"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
