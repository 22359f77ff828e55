"""A transformers tokenizer as torpor's :class:`~torpor.core.text.Codec`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from torpor.core.errors import UsageError
from torpor.core.text import TextSpace

KNOWN = 2**18
"""Characters of texts whose ids are remembered: a search asks about each of its candidates several times, one soon
after the other. Of short texts a character takes some 20 bytes, so one such memory takes some 5 MiB."""
Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class Remembered(Generic[Key, Found]):
    """A function of texts that remembers what it found for the last of them, so many characters in all.

    Args:
        function: to be remembered.
        size: gives the characters of what it was asked.
        most: characters.

    >>> asked = []
    >>> half = Remembered(lambda text: asked.append(text) or text[: len(text) // 2], len, most=4)
    >>> [half(text) for text in ("abcd", "abcd", "efgh", "abcd")], asked
    (['ab', 'ab', 'ef', 'ab'], ['abcd', 'efgh', 'abcd'])
    """

    def __init__(self, function: Callable[[Key], Found], size: Callable[[Key], int], most: int = KNOWN) -> None:
        self.function, self.size, self.most = function, size, most
        self._held, self._known = 0, dict[Key, Found]()

    def __call__(self, key: Key) -> Found:
        """Return what the function gives."""
        if key not in self._known:
            found = self.function(key)
            self._held += self.size(key)
            while self._known and self._held > self.most:
                oldest = next(iter(self._known))
                self._held -= self.size(oldest)
                del self._known[oldest]
            self._known[key] = found
        return self._known[key]


class HuggingFaceCodec:
    """Turn texts into ids and back, without special tokens, and wrap them as the tokenizer does; no chat template.

    Args:
        tokenizer: any of transformers' tokenizers.

    Attributes:
        special: ids of padding, begin, end, unknown and all further special tokens.
        special_texts: how these are spelled.
        size: number of ids.
        is_tokenizer: that its tokens are those that the target reads.

    Raises:
        UsageError: if it knows hardly anything but special tokens.
    """

    is_tokenizer = True

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - one of many classes without a common public base
        self.tokenizer = tokenizer
        found = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        added = getattr(tokenizer, "added_tokens_decoder", {})
        found |= {number: token.content for number, token in added.items() if token.special}
        self.special = frozenset(found)
        self.special_texts = tuple(text for _, text in sorted(found.items()))
        self.size = len(tokenizer)
        self._encoded, self._wrapped = Remembered(self._encode, len), Remembered(self._wrap, len)
        if self.size <= len(self.special) + 1:  # what transformers makes up where there is no tokenizer
            raise UsageError("expected a tokenizer with a vocabulary, got none; save the model's own beside it")

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of ``text`` alone."""
        return self._encoded(str(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, special tokens left out, white space as it is."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def wrapped(self, text: str) -> tuple[list[int], list[bool]]:
        """Return the ids that the model reads, and which of them are the text's own, not special."""
        ids, own = self._wrapped(str(text))
        return list(ids), list(own)

    def _wrap(self, text: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        found = self.tokenizer(text, return_special_tokens_mask=True, verbose=False)
        return tuple(found.input_ids), tuple(not special for special in found.special_tokens_mask)

    @property
    def pad(self) -> int:
        """An id to fill rows with; what it says does not matter, since attention masks hide it."""
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(int(number) for number in candidates if number is not None)

    @property
    def ordinary(self) -> int:
        """An id that is not special."""
        return next(number for number in range(self.size) if number not in self.special)

    @property
    def overhead(self) -> int:
        """How many special tokens the model reads with a text."""
        return int(self.tokenizer.num_special_tokens_to_add(pair=False))

    @property
    def least(self) -> int:
        """How many it reads with every text at least."""
        return self.overhead

    def space(self, longest: int) -> TextSpace:
        """Return the texts of a target that reads up to ``longest`` tokens."""
        return TextSpace(self, longest - self.overhead)

    @property
    def template(self) -> str | None:
        """Which chat template texts go through, in words; None for none."""
        return None

    def fingerprint(self) -> str:
        """Return what changes when texts would become other ids."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            backend.no_padding()  # what the last call left set, which each call sets anew
            backend.no_truncation()
            return str(backend.to_str())
        return repr(sorted(self.tokenizer.get_vocab().items(), key=lambda entry: entry[1]))
