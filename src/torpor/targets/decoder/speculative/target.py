"""Speculative decoding as a target: a large language model, and what guesses for it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import MeterError, UsageError
from torpor.core.units import STEP
from torpor.core.work import Work
from torpor.targets.decoder.enclosing import EnclosingTarget
from torpor.targets.decoder.generation.fed import Decoded
from torpor.targets.decoder.generation.forcing import padded_ids, step_mask
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.speculative.counts import ACCEPTED, DRAFTED, NAMES, PASS, PROMPT, Most, counts, units
from torpor.targets.decoder.speculative.drafters import Drafter, LookupDrafter, ModelDrafter
from torpor.targets.decoder.speculative.family import DraftFamily, DraftSignals
from torpor.targets.decoder.speculative.rounds import Rules, Spoken, replayed, speculate

PLAIN = ("prompt_token", STEP, "attended_key")
"""Units of the language models whose passes over several tokens can be priced."""
MOST_DRAFTS = 64
AT_ONCE = 32
"""Texts that the drafter follows together."""


class SpeculativeTarget(EnclosingTarget[Spoken]):
    """A language model that checks the guesses of a drafter, several tokens in one pass.

    The output is what greedy decoding of the large model writes, up to rounding; only how many passes that takes
    depends on the drafter. Each round guesses ``drafts`` tokens, fewer near the cap (what transformers calls a constant
    schedule). Rows are decoded one by one, as transformers' assisted generation takes them, so that a batch equals
    batches of one. Guesses that are rejected are work for nothing, so this can cost more than plain decoding.

    Searches over texts make the FLOPs of both models as many as they can, not the decoder steps.

    Args:
        large: the model whose output is deployed; greedy, nothing done to its scores.
        small: the drafter, with the same tokenizer; None to look guesses up in the prompt and the output so far.
        drafts: tokens that are guessed per round.
        name: shown in reports.

    Raises:
        UsageError: if the large model cannot be decoded so, or the drafter is of another tokenizer.
        MeterError: if a pass over several tokens costs other FLOPs than as many passes.
    """

    family = DraftFamily()
    mechanism = "speculative decoding"
    allowance: int | None = None

    def __init__(self, large: PromptTarget, small: PromptTarget | None, *, drafts: int, name: str) -> None:
        if not 1 <= drafts <= MOST_DRAFTS:
            raise UsageError(f"expected 1 to {MOST_DRAFTS} drafted tokens per round, got {drafts}")
        for part in (large, *(() if small is None else (small,))):
            _check_plain(part)
        if small is not None and small.codec.tokenizer.get_vocab() != large.codec.tokenizer.get_vocab():
            raise UsageError(
                f"expected a drafter with the tokenizer of {large.name}, got {small.name} with another one; choose a "
                "model of the same family"
            )
        if small is not None and small.positions is not None and small.positions < (large.positions or 2**31):
            raise UsageError(
                f"expected a drafter with the {large.positions} positions of {large.name}, got {small.positions}; "
                "choose another"
            )
        super().__init__(large, name)
        self.small, self.drafts = small, drafts
        self.units = units(large.units, None if small is None else small.units)
        self._bounds = dict[tuple[int, int | None], Work]()
        self._check_prices()

    def _check_prices(self) -> None:
        """Compare the FLOPs of a few rounds with those that the counts say."""
        from torpor.targets.decoder.generation.pricing import forwards_counted

        prompt = [self.codec.ordinary] * min(3, self.space.max_tokens)
        parts = [part for part in (self.large, self.small) if part is not None]
        models = {id(part.model): part.model for part in parts}.values()  # a model may guess for itself
        found, cap = 0, min(self.cap, 7)
        for model in models:
            with forwards_counted(model) as total:
                self._speak(prompt, cap, forced=1)
            found += sum(total)
        spoken = self._speak(prompt, cap, forced=1)
        work = Work(torch.tensor([self._counts(len(prompt), spoken)]))
        if (expected := int(self.prices.cost(work))) != found:
            raise MeterError(
                f"expected {expected:,} FLOPs of {len(spoken.rounds)} passes over several tokens, got "
                f"{found:,}; {self.name} needs a target of its own"
            )

    def _drafter(self) -> Drafter:
        return LookupDrafter(self.eos) if self.small is None else ModelDrafter(self.small.model)

    def _speak(
        self, prompt: Sequence[int], cap: int, *, forced: int | None = None, drafts: int | None = None
    ) -> Spoken:
        rules = Rules(self.drafts if drafts is None else drafts, cap, self.eos, self.allowance)
        return speculate(self.large.model, self._drafter(), prompt, rules, tick=self._tick, forced=forced)

    @override
    def _decode(self, row: Sequence[int], cap: int) -> Spoken:
        return self._speak(row, cap)

    @override
    def _counts(self, length: int, output: Spoken) -> list[int]:
        return counts(length, len(output.ids), output.rounds)

    def rounds(self, work: Work) -> dict[str, Tensor]:
        """Return the passes of the large model, the guesses and the accepted ones of each sample, int64 ``[B]``."""
        names = {"passes": PASS, "drafted": DRAFTED, "accepted": ACCEPTED}
        return {name: work.counts[:, NAMES.index(unit)] for name, unit in names.items()}

    def over_plain(self, work: Work) -> Tensor:
        """Return the FLOPs of each sample over those of decoding the same output without a drafter, float64 ``[B]``."""
        lengths = (work.counts[:, NAMES.index(PROMPT)] + 1).tolist()
        pairs = zip(lengths, self.iterations(work).tolist(), strict=True)
        plain = Work(torch.tensor([self.large.layout.counts(*pair) for pair in pairs], dtype=torch.int64))
        return self.prices.cost(work) / self.large.prices.cost(plain)

    @override
    def _foreseen(self, texts: tuple[str, ...]) -> Work:
        if self.small is None:
            return super()._foreseen(texts)
        parts = [self._followed(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)]
        return Work(torch.cat([part.counts for part in parts]))

    def _followed(self, texts: Sequence[str]) -> Work:
        """Return the work of a few texts, and tell the stopwatch."""
        self._tick()
        work = self._replayed(texts)
        if self.stopwatch is not None:
            for text, goal in zip(texts, self.goal(work).tolist(), strict=True):
                self.stopwatch.saw(text, goal)
        return work

    @torch.no_grad()
    def _replayed(self, texts: Sequence[str]) -> Work:
        """Return the work of many texts at once: what the large model writes, and where the drafter would guess it.

        What the drafter guesses after the accepted tokens is what it says to the output itself. Up to rounding of
        batches this is what :meth:`run` does; attacks are verified by that.
        """
        assert self.small is not None
        rows = self.large.reader.rows(self.space.check(tuple(texts)))
        written = [one.ids for one in self.large.run(tuple(texts)).outputs]
        decoded = [Decoded(tuple(row), ids, len(ids)) for row, ids in zip(rows, written, strict=True)]
        given, mask = (part.to(self.device) for part in self.small.reader.pad(rows))
        scores = self.small._forced(given, self.small.embedding(given), mask, decoded)[0]
        right = (scores.argmax(-1) == padded_ids(decoded, self.device)).tolist()
        spoken = list[Spoken]()
        for row, ids, known in zip(rows, written, right, strict=True):
            rules = Rules(self.drafts, self.cap_of(len(row)), self.eos, self.allowance)
            spoken.append(Spoken(ids, tuple(replayed(len(row), ids, known[: len(ids)], rules))))
        return self._work(rows, spoken)

    @override
    def _most(self, length: int) -> list[int]:
        return Most(self.drafts, self.small is not None, self.allowance).counts(length, self.cap_of(length))

    @override
    def static_work(self) -> Work:
        key = self.cap, self.allowance
        if key not in self._bounds:
            self._bounds[key] = super().static_work()
        return self._bounds[key]

    @override
    def least_work(self) -> Work:
        shortest = self.large._shortest()
        most = Most(1, reads=False).counts(shortest, 1)
        return Work(torch.tensor([most]))

    def with_allowance(self, allowance: int) -> Self:
        """Return the same target, which stops guessing for good once rejected guesses outnumber accepted ones by more.

        Args:
            allowance: by how many tokens.

        Raises:
            UsageError: if it is below 0.
        """
        if allowance < 0:
            raise UsageError(f"expected an allowance of 0 rejected guesses or more, got {allowance}")
        other = copy.copy(self)
        other.allowance = allowance if self.allowance is None else min(allowance, self.allowance)
        return other

    def most_wasted(self, inputs: Sequence[str]) -> list[int]:
        """Return the least allowance that leaves the guesses for each text as they are."""
        return [self._decode(row, self.cap_of(len(row))).most_wasted for row in self.large.reader.rows(inputs)]

    @override
    def embedding_matrix(self) -> Tensor:
        """Return both models' embeddings side by side, so that one gradient has both; the large model's without one."""
        parts = [part.embedding_matrix() for part in (self.large, self.small) if part is not None]
        return torch.cat([part[: min(map(len, parts))] for part in parts], 1)

    def _split(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        width = self.large.embedding.weight.shape[1]
        return embeddings[..., :width], embeddings[..., width:]

    @override
    def signals(self, inputs: Sequence[str]) -> DraftSignals:
        rows = self.large.reader.rows(inputs)
        spoken, decoded = self._decoded_by_gradients(rows)
        ids, mask = (part.to(self.device) for part in self.large.reader.pad(rows))
        embeddings = self.embedding_matrix()[ids].detach().requires_grad_()
        own, drafting = self._split(embeddings)
        logits, hidden = self.large._forced(ids, own, mask, decoded)
        draft = None if self.small is None else self.small._forced(ids, drafting, mask, decoded)[0]
        return DraftSignals(
            logits=logits,
            ids=padded_ids(decoded, self.device),
            mask=step_mask(decoded, self.device),
            eos=self.eos,
            work=self._work(rows, spoken),
            hidden=hidden,
            embeddings=embeddings,
            input_ids=ids,
            input_mask=self.large.reader.own(inputs).to(self.device),
            draft_logits=draft,
        )

    @override
    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        return self.large.soft_continuation(self._split(embeddings)[0], self._split(continuation)[0])

    @override
    def soft_logits(self, embeddings: Tensor) -> Tensor:
        return self.large.soft_logits(self._split(embeddings)[0])

    @override
    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Callable[[], object]]]:
        for prompt, steps in self._probed(inputs):
            for drafts, forced in ((0, 0), (1, 0), (self.drafts, 0), (self.drafts, self.drafts)):

                def call(
                    prompt: list[int] = prompt, steps: int = steps, drafts: int = drafts, forced: int = forced
                ) -> Spoken:
                    return self._speak(prompt, steps, forced=forced, drafts=drafts)

                yield Work(torch.tensor([self._counts(len(prompt), call())])), call

    @override
    def to(self, device: torch.device) -> Self:
        if self.small is not None:
            self.small.to(device)
        return super().to(device)

    @override
    def details(self) -> dict[str, Any]:
        drafter = "prompt look-up" if self.small is None else self.small.name
        return {**super().details(), "drafter": drafter, "drafts": self.drafts, "allowance": self.allowance}

    @override
    def fingerprint(self) -> str:
        parts = [part.fingerprint() for part in (self.large, self.small) if part is not None]
        return " ".join((self.name, str(self.units), str(self.drafts), str(self.allowance), *parts))


def _check_plain(part: PromptTarget) -> None:
    """Refuse models whose decoding is more than greedy search with a cache of all keys."""
    names = tuple(unit.name for unit in part.units)
    if names != PLAIN:
        raise UsageError(
            f"expected a model whose units are {', '.join(PLAIN)} to check or make guesses, got {part.name} with "
            f"{', '.join(names)}; decode it without a drafter"
        )
    if part.decoder.beams > 1 or part.decoder.samples or part.decoder.processed or part.strings is not None:
        raise UsageError(
            f"expected greedy decoding of {part.name}, with nothing done to its scores and no stop strings, for "
            "speculative decoding, got beams, sampling, processors or stop strings; decode it without a drafter"
        )
