"""A toy language model whose worst case is known in closed form: ground truth for attacks on texts.

Nothing in it is trained. Each character has a weight: a digit its value, ``z`` 1, ``Z`` 3, ``~`` -1, any other 0. The
model keeps a balance, the sum of the weights of all that it read and wrote, writes ``~`` while the balance is positive,
and then ends: a text of weight ``w`` takes ``max(1, 1 + w)`` steps. Scores are linear in the embeddings, so gradients
are honest.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.text import TextSpace
from torpor.core.units import Unit
from torpor.core.work import Generation, Outcome, Work
from torpor.targets.decoder.contract import STEP, TextTarget
from torpor.targets.decoder.stops import Watch

PAD, BOS, EOS, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " "
WORDS = (" cat", " dog", " tree", " bird", " zip", " fuzz", " jazz", " pizzazz")
PIECES = ("99", *WORDS)
WEIGHTS = {**{digit: int(digit) for digit in string.digits}, "z": 1, "Z": 3, "~": -1}
FILLER = "~"
SHARPNESS = 4.0  # how fast the end token's score falls with the balance
ECHO = 0.5  # how much the model likes to write what it read; less than its liking of the filler


def weight(text: str) -> int:
    """Return the weight of a text: what it adds to the number of steps.

    >>> weight("a 9 or pizzazz")
    13
    """
    return sum(WEIGHTS.get(character, 0) for character in text)


class ToyCodec:
    """Tokens are printable characters and a few longer pieces, the longest match first.

    So a text may have other tokens than those that it was put together from, and special tokens written as text are
    read as special tokens, as in many tokenizers.

    >>> codec = ToyCodec()
    >>> [codec.decode([token]) for token in codec.encode("a cat 999")]
    ['a', ' cat', ' ', '99', '9']
    """

    special: frozenset[int] = frozenset({PAD, BOS, EOS, UNKNOWN})
    special_texts: tuple[str, ...] = SPECIAL
    is_tokenizer = True

    def __init__(self) -> None:
        self.tokens = (*SPECIAL, *CHARACTERS, *PIECES)
        self.size = len(self.tokens)
        self._ids = {token: place for place, token in enumerate(self.tokens)}
        longest_first = sorted(self.tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) + "|.", re.DOTALL)

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text."""
        return tuple(self._ids.get(piece, UNKNOWN) for piece in self._pattern.findall(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return "".join(self.tokens[token] for token in ids if token not in self.special)


class ToyText(TextTarget):
    """A language model that counts down from the sum of the digits in its prompt.

    Embeddings hold a token's weight and its one-hot code; the start token's is zero.

    Args:
        cap: tokens that it generates at most.
        max_tokens: that a prompt may have.

    >>> ToyText().score(["a cat", "12 cats", "Zip 99"]).tolist()
    [1, 4, 22]
    """

    mechanism = "text generation"
    stoppable = True
    decoder_only = True

    def __init__(self, cap: int = 200, max_tokens: int = 128) -> None:
        self.name, self.device = "toy-text", torch.device("cpu")
        self.cap, self.eos = cap, (EOS,)
        self.codec = ToyCodec()
        self.space = TextSpace(self.codec, max_tokens)
        self.units = (Unit("prompt_token", flops=10), Unit(STEP, flops=1000))
        weights = torch.tensor([weight(self.codec.decode([token])) for token in range(self.codec.size)])
        known = (torch.arange(self.codec.size) >= len(SPECIAL)).to(torch.float32)
        self._matrix = torch.cat([weights.to(torch.float32).unsqueeze(1), known.diag()], 1)
        self._filler = self.codec.encode(FILLER)[0]

    @override
    def embedding_matrix(self) -> Tensor:
        return self._matrix

    def _head(self, state: Tensor, count: Tensor) -> Tensor:
        """Return scores ``[..., V]`` after ``count`` tokens whose embeddings add up to ``state`` ``[..., D]``."""
        scores = ECHO * state[..., 1:] / (1 + count.unsqueeze(-1))
        place = torch.arange(self.codec.size)
        scores = scores + (place == self._filler).to(scores)
        return torch.where(place == EOS, SHARPNESS * (0.5 - state[..., :1]), scores)

    @override
    def soft_logits(self, embeddings: Tensor) -> Tensor:
        count = torch.arange(1, embeddings.shape[1] + 1).expand(embeddings.shape[:2])
        return self._head(embeddings.cumsum(1), count)

    @torch.no_grad()
    def _generate(self, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """Decode greedily; rows that are done leave the batch."""
        states = torch.stack([self._matrix[list(prompt)].sum(0) for prompt in prompts])
        counts = torch.tensor([len(prompt) for prompt in prompts])
        rows = torch.arange(len(prompts))
        written: list[list[int]] = [[] for _ in prompts]
        watch = Watch(self.stop, self.eos)
        for _ in range(self.cap):
            scores = self._head(states, counts)
            token = scores.argmax(-1)
            for row, one in zip(rows.tolist(), token.tolist(), strict=True):
                written[row].append(one)
            goes_on = (token != EOS) & (watch(token, scores) < 0)
            if not goes_on.any():
                break
            watch.keep(goes_on)
            rows, token = rows[goes_on], token[goes_on]
            states, counts = states[goes_on] + self._matrix[token], counts[goes_on] + 1
        return written

    def _outcome(self, prompts: Sequence[tuple[int, ...]], written: Sequence[Sequence[int]]) -> Outcome:
        outputs = tuple(Generation(tuple(ids), self.codec.decode(ids), ids[-1] != EOS) for ids in written)
        counts = [[len(prompt), len(ids)] for prompt, ids in zip(prompts, written, strict=True)]
        return Outcome(outputs, Work(torch.tensor(counts)))

    @override
    def run(self, inputs: Sequence[str]) -> Outcome:
        prompts = [self.codec.encode(text) for text in self.space.check(tuple(inputs))]
        return self._outcome(prompts, self._generate(prompts))

    def known_work(self, inputs: Sequence[str], steps: Sequence[int]) -> Work | None:
        """See :class:`~torpor.targets.capabilities.Foretold`."""
        pairs = zip(map(self.codec.encode, inputs), steps, strict=True)
        return Work(torch.tensor([[len(prompt), count] for prompt, count in pairs]))

    def max_work(self, inputs: Sequence[str]) -> Work:
        """Return a full prompt and the cap."""
        return Work(torch.tensor([[self.space.max_tokens, self.cap]]).expand(len(inputs), -1).contiguous())

    @override
    def static_work(self) -> Work:
        return self.max_work(("",))

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        """See :meth:`StepTarget.signals`; the prompt starts with a start token."""
        prompts = [self.codec.encode(text) for text in inputs]
        written = self._generate(prompts)
        own = _pad([[BOS, *prompt] for prompt in prompts])
        ids = _pad(written)
        embeddings = self._matrix[own].requires_grad_()
        before = torch.cat([torch.zeros(len(ids), 1, self._matrix.shape[1]), self._matrix[ids][:, :-1]], 1)
        states = embeddings.sum(1, keepdim=True) + before.cumsum(1)
        counts = torch.tensor([len(prompt) for prompt in prompts]).unsqueeze(1) + torch.arange(ids.shape[1])
        return StepSignals(
            logits=self._head(states, counts),
            ids=ids,
            mask=ids != PAD,
            eos=self.eos,
            work=self._outcome(prompts, written).work,
            embeddings=embeddings,
            input_ids=own,
            input_mask=own >= len(SPECIAL),
        )

    def worst_steps(self, text: str, norm: str, edits: int) -> int:
        """Return how many steps the costliest text within a budget takes, where ``max_tokens`` leaves room for it.

        No valid text takes more. It is reached by putting in the heaviest part ``edits`` times, or in the place of
        characters of negative weight, unless the new parts merge with their neighbors into other tokens. For ``words``
        it is the worst by words that are single tokens.
        """
        ids = self.codec.encode(text)
        tokens = [weight(self.codec.decode([token])) for token in ids]
        heaviest = max(map(weight, PIECES))
        if norm == "prompt":
            return self._steps(max(weight(text), heaviest * edits))
        if norm == "suffix":
            return self._steps(weight(text) + heaviest * edits)
        parts, most = {
            "chars": ([weight(character) for character in text], max(WEIGHTS.values())),
            "tokens": (tokens, heaviest),
            "words": ([weight(word) for word in text.split()], max(map(weight, WORDS))),
        }[norm]
        worst_first = sorted(parts)[:edits]
        return self._steps(weight(text) + most * edits + sum(max(0, -value) for value in worst_first))

    def _steps(self, balance: int) -> int:
        return min(self.cap, max(1, 1 + balance))

    @override
    def with_cap(self, cap: int) -> Self:
        if cap < 1:
            raise UsageError(f"expected a cap of 1 or more, got {cap}")
        other = copy(self)
        other.cap = cap
        return other

    def utility(self, outputs: Sequence[Generation], references: Sequence[str]) -> Tensor:
        """Score 1 where exactly the reference was generated; NaN without references."""
        if not len(references):
            return torch.full((len(outputs),), torch.nan, dtype=torch.float64)
        pairs = zip(outputs, references, strict=True)
        return torch.tensor([one.text == reference for one, reference in pairs], dtype=torch.float64)

    @override
    def probes(self, inputs: Sequence[str]) -> Iterator[tuple[Work, Callable[[], object]]]:
        for cap in (1, self.cap):
            target = self.with_cap(cap)
            yield target.run(inputs).work, partial(target.run, inputs)

    def to(self, device: torch.device) -> Self:
        """Stay where it is: it is tiny."""
        return self


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
