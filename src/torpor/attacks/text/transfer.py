"""Transfer: prompts that were crafted on one model, which the attacker has, are sent to another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Self
from urllib.parse import quote, unquote

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.text.long_requests import REQUESTS
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.tally import Tally
from torpor.core.budget import GROWING
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True)
class Crafted:
    """What was crafted on the source.

    Attributes:
        texts: prompts, or what is appended to prompts, costliest first.
        forwards: passes that this took.
        backwards: the same, backward.
    """

    texts: tuple[str, ...]
    forwards: int
    backwards: int = 0


@dataclass(frozen=True, kw_only=True)
class TransferredPrompts(TextSearch):
    """Craft prompts, or suffixes, on a local model once, and send the costliest of them whatever the input.

    The attack ``by`` runs on the source, on texts of the validation split or, where there is none, on natural requests
    for long answers. What it found is kept in the folder of the audit. Each input is then sent with each of the
    costliest of them that the target's tokenizer finds within the budget, and the one that costs most counts: with
    ``keep=1`` nothing is learned from the target, with more the attacker sees which of them works.

    Attributes:
        source: name of the target on which prompts are crafted, with ``%3A`` for colons: see :func:`spec_from`.
        by: name of the attack that crafts them, written likewise; the source's standard ensemble by default.
        texts: from which it starts, at most.
        keep: prompts that are sent for each input, at most.
        crafted: None before :meth:`fit`.
    """

    id: ClassVar[str] = "transfer"
    paper: ClassVar[Paper | None] = None
    access: ClassVar[Access] = Access.TRANSFER
    sends_its_own: ClassVar[bool] = True
    stage: ClassVar[Stage] = Stage.UNIVERSAL
    learns: ClassVar[bool] = True
    norms: ClassVar[tuple[str, ...]] = GROWING

    norm: str = "prompt"
    eps: float = 32
    source: str = ""
    by: str = "standard"
    texts: int = 8
    keep: int = 4
    crafted: Crafted | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts < 1 or self.keep < 1:
            raise UsageError(f"expected 1 text and 1 prompt or more, got {self.texts} and {self.keep}")

    @property
    def queries(self) -> int:
        """Texts that are asked about at most, the clean one among them."""
        return 1 + self.keep

    @property
    @override
    def forwards_before(self) -> int:
        return 0 if self.crafted is None else self.crafted.forwards

    @override
    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        texts: Sequence[str] = REQUESTS
        if data.has("validation"):
            texts = target.read(data.load("validation", self.texts).inputs)
        return self.fit(target, texts, seed=seed)

    @override
    def fit(self, target: Any, inputs: Sequence[str], *, references: object = None, seed: int = 0) -> Self:
        """Craft prompts on the source; those that the target can be sent within the budget are kept.

        Raises:
            UsageError: if there is no such source or attack, or nothing that it found can be sent.
        """
        if not self.source:
            raise UsageError("expected a target to craft prompts on, got none; write transfer:source=NAME")
        wanted = tuple(str(text) for text in inputs)
        made = craft(
            *(unquote(self.source), self.by, self.norm, self.eps),
            wanted,
            most=self.texts,
            seed=seed,
            device=str(target.device),
        )
        fits = Sendable(target.space, self.budget)
        sendable = tuple(text for text in made.texts if len(fits.space.codec.encode(text)) <= self.eps)
        if not sendable:
            raise UsageError(
                f"expected prompts of {unquote(self.source)} that are within {self.eps:g} tokens of {target.name}, got "
                f"none of {len(made.texts)} that cost more there than what they were made of; raise --eps, or take "
                "another source"
            )
        return replace(self, crafted=Crafted(sendable, made.forwards, made.backwards))

    def state(self) -> Mapping[str, Tensor]:
        """See :meth:`~torpor.attacks.base.Attack.state`; empty before :meth:`fit`."""
        if self.crafted is None:
            return {}
        written = bytearray(json.dumps(self.crafted.texts).encode())
        return {
            "texts": torch.frombuffer(written, dtype=torch.uint8).clone(),
            "forwards": torch.tensor(self.crafted.forwards),
            "backwards": torch.tensor(self.crafted.backwards),
        }

    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        """See :meth:`~torpor.attacks.base.Attack.with_state`.

        Raises:
            KeyError: if ``state`` is of something else.
        """
        texts = tuple(json.loads(bytes(state["texts"].tolist())))
        return replace(self, crafted=Crafted(texts, int(state["forwards"]), int(state["backwards"])))

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        """See :meth:`TextSearch.begin`.

        Raises:
            UsageError: before :meth:`fit`.
        """
        if self.crafted is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it first")
        fits, texts = Sendable(target.space, self.budget), self.crafted.texts

        def send(row: int) -> Search:
            clean = inputs[row]
            sent = (text if self.norm == "prompt" else f"{clean}{text}" for text in texts)
            if tried := [text for text in dict.fromkeys(sent) if fits(clean, text)][: self.keep]:
                yield tried

        return send


@lru_cache(maxsize=4)
def craft(
    source: str, by: str, norm: str, eps: float, texts: tuple[str, ...], *, most: int, seed: int, device: str
) -> Crafted:
    """Attack a target, and return what the attacker wrote, costliest first; of the same arguments it runs once.

    Args:
        source: name of the target.
        by: name of the attack.
        norm: of its budget.
        eps: of its budget.
        texts: from which it starts; those that the source cannot read are left out.
        most: of them are taken.
        seed: of all randomness.
        device: where the source runs.

    Raises:
        UsageError: if there is no such target or attack, or they do not fit.
    """
    from torpor.attacks.registry import attack_for, load_attack
    from torpor.targets.resolve import load_target

    target: Any = load_target(source, device=device)
    if target.space.kind != "text":
        raise UsageError(f"expected a source that reads text, got {target.name}; take another one")
    crafter = load_attack(attack_for(unquote(by), target), norm=norm, eps=eps)
    if crafter.learns or crafter.is_control:
        raise UsageError(f"expected an attack on each text to craft prompts with, got {unquote(by)}; take another one")
    start = tuple(text for text in texts if target.space.problem(text) is None)[:most]
    if not start:
        raise UsageError(f"expected texts that {target.name} can read, got none; take another source")
    found = crafter(target, start, seed=seed)
    costs = target.attacker_cost(found.attacked).tolist()
    order = sorted(range(len(start)), key=lambda row: -costs[row])
    each = (_own(target, norm, found.clean_inputs[row], found.inputs[row]) for row in order)
    spent = (int(passes.sum()) for passes in (found.candidates.forwards, found.candidates.backwards))
    return Crafted(tuple(text for text in dict.fromkeys(each) if text), *spent)


def _own(source: TextTarget, norm: str, clean: str, text: str) -> str:
    """Return what of a text is the attacker's own; nothing where the attack found nothing."""
    if text == clean or norm == "prompt":
        return "" if text == clean else text
    codec = source.space.codec
    return codec.decode(codec.encode(text)[len(codec.encode(clean)) :])


def spec_from(source: str) -> str:
    """Return the specification of this attack with prompts from a target.

    >>> spec_from("lm-multi30k"), spec_from("hf:models/small")
    ('transfer:source=lm-multi30k', 'transfer:source=hf%3Amodels/small')
    """
    return f"{TransferredPrompts.id}:source={quote(source)}"
