"""Attacks by the names that the command line and audits use."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torpor.attacks.base import Attack
from torpor.attacks.controls import BestNoise, Flat, Noise, Shuffled
from torpor.attacks.daedalus import Daedalus
from torpor.attacks.deepsloth import DeepSloth
from torpor.attacks.engorgio import Engorgio
from torpor.attacks.llmeffichecker import LLMEffiCheckerChar, LLMEffiCheckerToken
from torpor.attacks.loopllm import LoopLLM
from torpor.attacks.nicg_slowdown import NICGSlowDown
from torpor.attacks.nmtsloth import NMTSlothChar, NMTSlothStructure, NMTSlothToken
from torpor.attacks.overload import Overload
from torpor.attacks.pgd import PGD, PGDAvg, PGDMax
from torpor.attacks.phantom_sponges import PhantomSponges
from torpor.attacks.slothspeech import SlothSpeech
from torpor.attacks.slowtrack import SlowTrack, UnboundedSlowTrack
from torpor.attacks.snal import SNAL
from torpor.attacks.sponge_genetic import SpongeGenetic
from torpor.attacks.square import Square
from torpor.attacks.standard import Standard
from torpor.attacks.text_controls import BestOfK, KeepWriting, RandomEdits
from torpor.attacks.uap import UAP
from torpor.attacks.universal import DeepSlothClassUniversal, DeepSlothUniversal
from torpor.attacks.verbose_images import VerboseImages
from torpor.core.errors import UsageError, did_you_mean
from torpor.targets.base import Target
from torpor.targets.candidates import CandidateTarget
from torpor.targets.gates import GateTarget

ATTACKS: dict[str, type[Attack]] = {
    attack.id: attack
    for attack in (
        DeepSloth,
        DeepSlothUniversal,
        DeepSlothClassUniversal,
        PGD,
        PGDAvg,
        PGDMax,
        UAP,
        Square,
        Standard,
        NICGSlowDown,
        VerboseImages,
        NMTSlothChar,
        NMTSlothToken,
        NMTSlothStructure,
        LLMEffiCheckerChar,
        LLMEffiCheckerToken,
        Engorgio,
        LoopLLM,
        SpongeGenetic,
        SlothSpeech,
        Overload,
        PhantomSponges,
        SlowTrack,
        UnboundedSlowTrack,
        Daedalus,
        SNAL,
        Noise,
        Flat,
        Shuffled,
        BestNoise,
        RandomEdits,
        BestOfK,
        KeepWriting,
    )
}


def attack_ids() -> tuple[str, ...]:
    """Return the names of all attacks, controls last.

    >>> attack_ids()[0]
    'deepsloth'
    """
    return tuple(ATTACKS)


def load_attack(
    name: str,
    *,
    norm: str | None = None,
    eps: float | str | None = None,
    steps: int | None = None,
    shape: tuple[int, ...] | None = None,
    **options: Any,  # noqa: ANN401 - each class has its own
) -> Attack:
    """Build an attack by name; controls that need another attack's result are made by the audit.

    Args:
        name: one of :func:`attack_ids`.
        norm: of the budget; the attack's own if None.
        eps: radius, a number or a fraction such as ``"8/255"``, or a number of edits; the attack's own if None.
        steps: iterations, for attacks that iterate; the attack's own if None.
        shape: of one input, for attacks whose own radius grows with it.
        **options: what else the attack's class takes, such as ``squared=True`` for ``nicg-slowdown``.

    Raises:
        UsageError: on an unknown name, or settings that the attack does not have.

    >>> load_attack("deepsloth", eps="8/255").budget.norm
    'Linf'
    """
    matched = (Shuffled.id, BestNoise.id, BestOfK.id)  # these need another attack's result
    if name not in ATTACKS or name in matched:
        known = [key for key in ATTACKS if key not in matched]
        guess = "" if name in matched else did_you_mean(name, known)
        raise UsageError(f"expected an attack among {', '.join(known)}, got {name!r}; {guess}see: torpor list attacks")
    kind = ATTACKS[name]
    budget = kind.default_budget(norm, eps, shape)
    if steps is not None and not takes_steps(kind):
        raise UsageError(f"expected no number of steps for {name}, got {steps}; leave it out")
    own = [field.name for field in fields(kind) if field.name not in ("norm", "eps", "steps")]
    if unknown := set(options) - set(own):
        raise UsageError(
            f"expected {' or '.join(own) or 'no option'} for {name}, got {', '.join(sorted(unknown))}; leave it out"
        )
    more = options if steps is None else {**options, "steps": steps}
    return kind(norm=budget.norm, eps=budget.eps, **more)


def takes_steps(kind: type[Attack] | None) -> bool:
    """Tell whether an attack can be given a number of iterations."""
    return kind is not None and any(field.name == "steps" for field in fields(kind))


def default_attacks(target: Target) -> tuple[str, ...]:
    """Return the names of the attacks that ``torpor audit`` runs on a target unless told otherwise.

    >>> from torpor.targets.toys import needle
    >>> default_attacks(needle())
    ('standard',)
    """
    if isinstance(target, GateTarget):
        return (Standard.id,)
    if isinstance(target, CandidateTarget):
        names = (Overload.id, PhantomSponges.id)
        return (*names, SlowTrack.id) if SlowTrack.applies_to(target) else names
    by_kind = {
        "image": (NICGSlowDown.id,),
        "text": (NMTSlothChar.id, NMTSlothToken.id),
        "wave": (SlothSpeech.id,),
        "features": (SlothSpeech.id,),
    }
    return by_kind[target.space.kind]
