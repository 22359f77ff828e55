"""A language model whose tokens leave after as many layers as it takes to be sure of them, as a target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.units import STEP, Unit
from torpor.core.work import Work
from torpor.meters.flops import counting
from torpor.targets.decoder.enclosing import EnclosingTarget
from torpor.targets.decoder.exiting.depths import LayerStack, Written, causal, follow, write
from torpor.targets.decoder.exiting.family import ExitStepFamily, ExitStepSignals
from torpor.targets.decoder.generation.forcing import padded_ids, step_mask
from torpor.targets.decoder.generation.library import empty_cache
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.weights import digest

NAMES = ("prompt_token", STEP, "key_value", "layer", "layer_key", "exit_check", "exit")


class ExitingTarget(EnclosingTarget[Written]):
    """A Llama-like model with an exit after each layer but the last: CALM's classifier exits.

    Each generated token but the first leaves at the first exit whose score says that the last layer would name the same
    token with probability ``sure`` or more. Keys and values of the layers above come from the state that it left with,
    so that later tokens can look at it. Rows are decoded one by one: their tokens leave at different layers.

    Units: ``key_value``, the projections of every token in every layer, which no exit saves; ``layer``, the rest of a
    layer; ``layer_key``, a key that a layer's token looks at; ``exit_check`` and ``exit``, the score and the way to the
    head. Searches over texts make the FLOPs as many as they can.

    Args:
        large: the model, as it decodes without exits; greedy, nothing done to its scores.
        exits: one after each layer but the last.
        sure: probability from which on a token leaves.
        name: shown in reports.

    Raises:
        UsageError: if the model is not built like Llama, or decoded otherwise than greedily.
    """

    family = ExitStepFamily()
    mechanism = "early exit of tokens"

    def __init__(self, large: PromptTarget, exits: Any, *, sure: float, name: str) -> None:  # noqa: ANN401
        if not 0 < sure < 1:
            raise UsageError(f"expected a probability between 0 and 1 to leave from, got {sure}")
        if large.model.config.model_type != "llama":
            raise UsageError(f"expected a Llama-like model for exits, got {large.model.config.model_type}")
        if large.decoder.beams > 1 or large.decoder.samples or large.decoder.processed or large.strings is not None:
            raise UsageError(f"expected greedy decoding of {large.name} for exits, got other settings")
        super().__init__(large, name)
        self.sure, self.exits = sure, exits.eval().requires_grad_(False)
        self.stack = LayerStack(large.model, self.exits)
        self.layers = len(self.stack.layers)
        if len(exits) != self.layers - 1:
            raise UsageError(f"expected {self.layers - 1} exits for {self.layers} layers, got {len(exits)}")
        self.units = self._priced()

    @torch.no_grad()
    def _priced(self) -> tuple[Unit, ...]:
        """Return the units with the FLOPs that the counter finds of each piece."""
        stack, found = self.stack, dict[str, int]()
        two = stack.embed(torch.tensor([[self.codec.ordinary] * 2], device=self.device))
        turns = stack.turns(two, torch.arange(2, device=self.device)[None])
        one, first = two[:, :1], (turns[0][:, :1], turns[1][:, :1])
        calls: dict[str, Callable[[], object]] = {
            "turn": lambda: stack.turns(one, torch.zeros(1, 1, dtype=torch.int64, device=self.device)),
            "one": lambda: stack.layer(0, one, first, None, None),
            "two": lambda: stack.layer(0, two, turns, causal(2, two), None),
            "copy": lambda: stack.copy(0, one, first, empty_cache(stack.model)),
            "check": lambda: stack.exits.sureness(0, one),
            "last": lambda: stack.head(one, self.layers),
            "left": lambda: stack.head(one, 1),
        }
        for name, call in calls.items():
            with counting() as counter:
                call()
            found[name] = counter.flops
        key = (found["two"] - 2 * found["one"]) // 2  # 4 keys instead of 1 for each of two tokens
        prices = (
            found["turn"],
            found["last"] + found["turn"],
            found["copy"],
            found["one"] - found["copy"] - key,
            key,
            found["check"],
            found["left"] - found["last"],
        )
        return tuple(Unit(name, price) for name, price in zip(NAMES, prices, strict=True))

    def _counted(self, length: int, depths: Sequence[int]) -> list[int]:
        """Return the count of each unit: the prompt goes through all layers and makes the first token."""
        later = depths[1:]
        keys = length * length * self.layers + sum(depth * (length + at) for at, depth in enumerate(later, 1))
        tokens = length + len(later)
        checks, early = sum(min(depth, self.layers - 1) for depth in later), sum(depth < self.layers for depth in later)
        layers = length * self.layers + sum(later)
        return [length - 1, len(depths), tokens * self.layers, layers, keys, checks, early]

    @property
    def _threshold(self) -> float:
        return float(torch.logit(torch.tensor(self.sure, dtype=torch.float64)))

    def _write(self, row: Sequence[int], cap: int, forced: int | None = None) -> Written:
        return write(self.stack, row, cap, self.eos, self._threshold, tick=self._tick, forced=forced)

    @override
    def _decode(self, row: Sequence[int], cap: int) -> Written:
        return self._write(row, cap)

    @override
    def _counts(self, length: int, output: Written) -> list[int]:
        return self._counted(length, output.depths)

    def layers_of(self, work: Work) -> Tensor:
        """Return the layers that ran for generated tokens but the first, int64 ``[B]``."""
        prompt = work.counts[:, NAMES.index("prompt_token")] + 1
        return work.counts[:, NAMES.index("layer")] - prompt * self.layers

    @override
    def _most(self, length: int) -> list[int]:
        """Return the most of each unit: all layers, all checks, and all exits, although no token has both."""
        cap = self.cap_of(length)
        found = self._counted(length, [self.layers] * cap)
        found[NAMES.index("exit")] = cap - 1
        return found

    @override
    def least_work(self) -> Work:
        return Work(torch.tensor([self._counted(self.large._shortest(), [self.layers])]))

    @override
    def signals(self, inputs: Sequence[str]) -> ExitStepSignals:
        rows = self.large.reader.rows(inputs)
        written, decoded = self._decoded_by_gradients(rows)
        ids, mask = (part.to(self.device) for part in self.large.reader.pad(rows))
        embeddings = self.stack.embed(ids).detach().requires_grad_()
        parts = [follow(self.stack, embeddings[at : at + 1, mask[at].bool()], one) for at, one in enumerate(written)]
        logits, hidden, odds = (pad_sequence(list(each), batch_first=True) for each in zip(*parts, strict=True))
        depths = pad_sequence([torch.tensor(one.depths) for one in written], batch_first=True)
        steps = torch.arange(depths.shape[1])
        checked = (torch.arange(self.layers - 1) < depths.unsqueeze(-1)) & (steps > 0)[None, :, None]
        return ExitStepSignals(
            logits=logits,
            ids=padded_ids(decoded, self.device),
            mask=step_mask(decoded, self.device),
            eos=self.eos,
            work=self._work(rows, written),
            hidden=hidden,
            embeddings=embeddings,
            input_ids=ids,
            input_mask=self.large.reader.own(inputs).to(self.device),
            margins=odds - self._threshold,
            checked=checked.to(self.device),
        )

    @override
    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Any]]:
        for prompt, steps in self._probed(inputs):
            for depth in range(1, self.layers + 1):
                counts = self._counted(len(prompt), [self.layers, *[depth] * (steps - 1)])
                yield (
                    Work(torch.tensor([counts])),
                    lambda prompt=prompt, steps=steps, depth=depth: self._write(prompt, steps, depth),
                )

    @override
    def to(self, device: torch.device) -> Self:
        self.exits.to(device)
        return super().to(device)

    @override
    def details(self) -> dict[str, Any]:
        return {**super().details(), "sure": self.sure}

    @override
    def fingerprint(self) -> str:
        return digest(f"{self.name} {self.units} {self.sure} {self.large.fingerprint()}", [self.exits])
