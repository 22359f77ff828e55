"""Attacks by the names that the command line and audits use, and which controls run beside those of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.search.incumbent import Incumbent
from torpor.core.budget import COUNTS, GROWING, Budget
from torpor.core.errors import UsageError
from torpor.core.registry import MARK, Registry, typed
from torpor.targets.base import Target

ATTACKS: Registry[Attack] = Registry(
    "torpor.attacks",
    Attack,  # type: ignore[type-abstract]
    {
        "deepsloth": "torpor.attacks.early_exit.deepsloth:DeepSloth",
        "deepsloth-universal": "torpor.attacks.early_exit.deepsloth_universal:DeepSlothUniversal",
        "deepsloth-class-universal": "torpor.attacks.early_exit.deepsloth_universal:DeepSlothClassUniversal",
        "pgd": "torpor.attacks.early_exit.pgd:PGD",
        "pgd-avg": "torpor.attacks.early_exit.pgd:PGDAvg",
        "pgd-max": "torpor.attacks.early_exit.pgd:PGDMax",
        "uap": "torpor.attacks.early_exit.uap:UAP",
        "square": "torpor.attacks.early_exit.square:Square",
        "standard": "torpor.attacks.early_exit.standard:Standard",
        "antinode": "torpor.attacks.solver.antinode:AntiNODE",
        "quantattack": "torpor.attacks.gates.quantattack:QuantAttack",
        "nicg-slowdown": "torpor.attacks.decoder.nicg_slowdown:NICGSlowDown",
        "verbose-images": "torpor.attacks.decoder.verbose_images:VerboseImages",
        "lingoloop": "torpor.attacks.decoder.lingoloop:LingoLoop",
        "vlminferslow": "torpor.attacks.decoder.vlminferslow:VLMInferSlow",
        "nmtsloth-char": "torpor.attacks.text.nmtsloth:NMTSlothChar",
        "nmtsloth-token": "torpor.attacks.text.nmtsloth:NMTSlothToken",
        "nmtsloth-structure": "torpor.attacks.text.nmtsloth:NMTSlothStructure",
        "llmeffichecker-char": "torpor.attacks.text.llmeffichecker:LLMEffiCheckerChar",
        "llmeffichecker-token": "torpor.attacks.text.llmeffichecker:LLMEffiCheckerToken",
        "llmeffichecker-structure": "torpor.attacks.text.llmeffichecker:LLMEffiCheckerStructure",
        "engorgio": "torpor.attacks.text.engorgio:Engorgio",
        "loopllm": "torpor.attacks.text.loopllm:LoopLLM",
        "coercing-llms": "torpor.attacks.text.coercing_llms:CoercingLLMs",
        "excessive-reasoning": "torpor.attacks.text.excessive_reasoning:ExcessiveReasoning",
        "dgslow": "torpor.attacks.text.dgslow:DGSlow",
        "ttslow": "torpor.attacks.text.ttslow:TTSlow",
        "evolution": "torpor.attacks.text.evolution.evolution:Evolution",
        "eogen": "torpor.attacks.text.eogen:EOGen",
        "autodos": "torpor.attacks.text.autodos:AutoDoS",
        "extendattack": "torpor.attacks.text.extendattack:ExtendAttack",
        "overthink": "torpor.attacks.text.overthink:OverThink",
        "repetition": "torpor.attacks.text.repetition:RepeatedRequests",
        "same": "torpor.attacks.text.exits.same:SAME",
        "waffle": "torpor.attacks.text.exits.waffle:WAFFLE",
        "waffle-universal": "torpor.attacks.text.exits.waffle_universal:UniversalWords",
        "slowbert": "torpor.attacks.text.exits.slowbert:SlowBERT",
        "slowbert-black": "torpor.attacks.text.exits.slowbert:SlowBERTBlack",
        "no-skim": "torpor.attacks.text.exits.no_skim:NoSkim",
        "transfer": "torpor.attacks.text.transfer:TransferredPrompts",
        "mistletoe": "torpor.attacks.drafts.mistletoe:Mistletoe",
        "adsd": "torpor.attacks.drafts.adsd:ADSD",
        "speedbumps-p": "torpor.attacks.drafts.speedbumps:SpeedbumpsP",
        "speedbumps-d": "torpor.attacks.drafts.speedbumps:SpeedbumpsD",
        "repetitioncurse": "torpor.attacks.text.experts.repetitioncurse:RepetitionCurse",
        "moe-buffer-overflow": "torpor.attacks.text.experts.buffer_overflow:BufferOverflow",
        "rerouting": "torpor.attacks.text.routing.rerouting:Rerouting",
        "rerouting-black": "torpor.attacks.text.routing.black:ReroutingBlack",
        "r2a": "torpor.attacks.text.routing.r2a:R2A",
        "late-exits": "torpor.attacks.text.late_exits:LateExits",
        "standard-text": "torpor.attacks.text.standard:StandardText",
        "standard-queries": "torpor.attacks.text.standard_queries:StandardQueries",
        "sponge-genetic": "torpor.attacks.text.sponge_genetic:SpongeGenetic",
        "standard-decoder": "torpor.attacks.decoder.standard:StandardDecoder",
        "slothspeech": "torpor.attacks.decoder.slothspeech:SlothSpeech",
        "standard-detector": "torpor.attacks.detector.standard:StandardObjects",
        "overload": "torpor.attacks.detector.overload:Overload",
        "phantom-sponges": "torpor.attacks.detector.phantom_sponges:PhantomSponges",
        "slowtrack": "torpor.attacks.detector.slowtrack:SlowTrack",
        "slowtrack-unbounded": "torpor.attacks.detector.slowtrack:UnboundedSlowTrack",
        "daedalus": "torpor.attacks.detector.daedalus:Daedalus",
        "snal": "torpor.attacks.detector.snal:SNAL",
        "sponge-vision": "torpor.attacks.activity.sponge:SpongeVision",
        "sponge-ga": "torpor.attacks.activity.genetic:SpongeImages",
        "uniform-inputs": "torpor.attacks.activity.uniform:UniformInputs",
        "spikeattack": "torpor.attacks.activity.spikeattack:SpikeAttack",
        "slowformer": "torpor.attacks.tokens.slowformer:SlowFormer",
        "desparsify": "torpor.attacks.tokens.desparsify:DeSparsify",
        "desparsify-universal": "torpor.attacks.tokens.desparsify:DeSparsifyUniversal",
        "desparsify-class-universal": "torpor.attacks.tokens.desparsify:DeSparsifyClassUniversal",
        "ilfo": "torpor.attacks.gates.ilfo:ILFO",
        "gradauto": "torpor.attacks.gates.gradauto:GradAuto",
        "gradmdm": "torpor.attacks.gates.gradmdm:GradMDM",
        "deepperform": "torpor.attacks.gates.deepperform:DeepPerform",
        "ereba": "torpor.attacks.gates.ereba:EREBA",
        "control-noise": "torpor.attacks.controls.dense:Noise",
        "control-flat": "torpor.attacks.controls.dense:Flat",
        "control-shuffled": "torpor.attacks.controls.dense:Shuffled",
        "control-best-noise": "torpor.attacks.controls.dense:BestNoise",
        "control-random-edits": "torpor.attacks.controls.text:RandomEdits",
        "control-best-of-k": "torpor.attacks.controls.text:BestOfK",
        "control-keep-writing": "torpor.attacks.controls.text:KeepWriting",
        "control-long-requests": "torpor.attacks.text.long_requests:LongRequests",
    },
    "attack",
)
"""Every attack, controls last; plug-ins add theirs as entry points of the group ``torpor.attacks``."""

STANDARD = "standard"
"""What users call the standard ensemble of any target; its family knows which one that is."""


def attack_ids() -> tuple[str, ...]:
    """Return the names of all attacks, controls last, and those of plug-ins after them.

    >>> attack_ids()[0]
    'deepsloth'
    """
    return ATTACKS.names()


def attack_class(spec: str) -> type[Attack]:
    """Return the class that a specification such as ``"square:queries=500"`` means.

    Raises:
        UsageError: if there is none.

    >>> attack_class("square:queries=500").id
    'square'
    """
    return ATTACKS.find(ATTACKS.spec(spec).name)


def load_attack(
    spec: str,
    *,
    norm: str | None = None,
    eps: float | str | None = None,
    steps: int | None = None,
    shape: tuple[int, ...] | None = None,
    **options: Any,  # noqa: ANN401 - each class has its own
) -> Attack:
    """Build an attack by its specification; controls that need another attack's result are made by the audit.

    Args:
        spec: one of :func:`attack_ids` or ``pkg.module:Class``, with options if needed: ``"square:queries=500"``. The
            options that are typed here are part of the attack's name.
        norm: of the budget; the attack's own if None.
        eps: radius, a number or a fraction such as ``"8/255"``, or a number of edits; the attack's own if None.
        steps: iterations, for attacks that iterate; the attack's own if None.
        shape: of one input, for attacks whose own radius grows with it.
        **options: what else the attack's class takes, such as ``terms="end"`` for ``nicg-slowdown``.

    Raises:
        UsageError: on an unknown name, or settings that the attack does not have.

    >>> load_attack("deepsloth", eps="8/255").budget.norm
    'Linf'
    >>> attack = load_attack("square:queries=50:share=0.1")
    >>> attack.queries, attack.share, attack.name
    (50, 0.1, 'square:queries=50:share=0.1')
    """
    said = ATTACKS.spec(spec)
    kind = ATTACKS.find(said.name)
    if said.value:
        raise UsageError(f"expected {said.name}:KEY=VALUE, got {spec!r}; name the option")
    if of_budget := [key for key in ("norm", "eps") if key in said.options]:
        raise UsageError(
            f"expected options of {said.name} without its budget, got {of_budget[0]} in {spec!r}; pass norm and eps "
            "on their own, in audits by --norm and --eps"
        )
    budget = kind.default_budget(norm, eps, shape)
    if steps is not None and not takes_steps(spec):
        raise UsageError(f"expected no number of steps for {spec}, got {steps}; leave it out")
    own = [each for each in fields(kind) if each.init and each.name not in ("norm", "eps", "steps", "options")]
    if unknown := set(options) - {each.name for each in own}:
        raise UsageError(
            f"expected {' or '.join(each.name for each in own) or 'no option'} for {spec}, got "
            f"{', '.join(sorted(unknown))}; leave it out"
        )
    given = typed(kind, said.options, said.name) | options | ({} if steps is None else {"steps": steps})
    needed = [each.name for each in own if each.default is MISSING and each.default_factory is MISSING]
    if missing := [name for name in needed if name not in given]:
        whose = "audits add this control themselves" if kind.is_control else f"write {said.name}:{missing[0]}=VALUE"
        raise UsageError(f"expected {', '.join(missing)} for {said.name}, got none; {whose}; see: torpor list attacks")
    words = tuple(f"{key}={value}" for key, value in said.options.items())
    return kind(norm=budget.norm, eps=budget.eps, options=words, **given)


def takes_steps(spec: str) -> bool:
    """Tell whether an attack can be given a number of iterations, which its specification does not set already.

    >>> takes_steps("deepsloth"), takes_steps("deepsloth:steps=60"), takes_steps("square")
    (True, False, False)
    """
    said = ATTACKS.spec(spec)
    return "steps" not in said.options and any(each.name == "steps" for each in fields(ATTACKS.find(said.name)))


def attack_for(spec: str, target: Target) -> str:
    """Return a specification in which ``standard`` is the ensemble of the target's own family.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> attack_for("standard", ToyText()), attack_for("nmtsloth-char", ToyText())
    ('standard-text', 'nmtsloth-char')
    """
    name, *options = spec.split(MARK)
    return MARK.join((target.family.standard_on(target), *options)) if name == STANDARD else spec


def default_attacks(target: Target) -> tuple[str, ...]:
    """Return the names of the attacks that ``torpor audit`` runs on a target by default.

    Raises:
        UsageError: if its family names none.

    >>> from torpor.targets.early_exit.toys import needle
    >>> default_attacks(needle())
    ('standard',)
    """
    names: tuple[str, ...] = target.family.attacks_on(target)
    if not names:
        raise UsageError(
            f"expected attacks for {target.name}, got none: {target.family.id} targets have no default; pass --attacks "
            "NAME, see: torpor list attacks"
        )
    return names


def free_controls(budget: Budget) -> list[Attack]:
    """Return the controls that need no other attack's result.

    >>> [control.id for control in free_controls(Budget("tokens", 3))]
    ['control-random-edits']
    """
    return [ATTACKS.find(name)(norm=budget.norm, eps=budget.eps) for name in _free(budget)]


def _free(budget: Budget) -> tuple[str, ...]:
    if budget.norm not in COUNTS:
        return ("control-noise", "control-flat")
    asks = ("control-keep-writing", "control-long-requests") if budget.norm in GROWING else ()
    return ("control-random-edits", *asks)


def matched_controls(
    budget: Budget, target: Target, attacks: Sequence[Attack], results: Sequence[AttackResult]
) -> list[Attack]:
    """Return the controls that are matched to what ``attacks`` of this budget did to the same batch, and spent.

    What a text was learned with is spent on it. A perturbation of pixels that is learned once, for any number of
    inputs, spends nothing on one of them; random search is given one query then.
    """
    spent = torch.stack([result.candidates.forwards.cpu() for result in results])
    given: dict[str, dict[str, Any]] = {}
    for name in _matched(budget, by_chance=target.family.by_chance):
        if name == "control-shuffled":
            given[name] = {"perturbation": costliest(target, results)}
        elif name == "control-best-of-k":
            before = torch.tensor([attack.forwards_before for attack in attacks])
            given[name] = {"queries": (spent + before.unsqueeze(1)).amax(0)}
        else:
            given[name] = {"queries": spent.amax(0).clamp_min(1)}
    return [ATTACKS.find(name)(norm=budget.norm, eps=budget.eps, **more) for name, more in given.items()]


def _matched(budget: Budget, *, by_chance: bool) -> tuple[str, ...]:
    if budget.norm in COUNTS:
        return ("control-best-of-k",)
    return ("control-shuffled", "control-best-noise") if by_chance else ("control-shuffled",)


def control_ids(budget: Budget, *, by_chance: bool) -> tuple[str, ...]:
    """Return the names of all controls of a budget.

    Args:
        budget: of the attacks that they run with.
        by_chance: whether any change may change how many outputs the target has, so that random search may do so.

    >>> control_ids(Budget("Linf", 0.1), by_chance=False)
    ('control-noise', 'control-flat', 'control-shuffled')
    """
    return (*_free(budget), *_matched(budget, by_chance=by_chance))


def costliest(target: Target, results: Sequence[AttackResult]) -> Tensor:
    """Return, per sample, the perturbation ``[B, ...]`` of the costliest of several results."""
    held = Incumbent.begin(results[0].inputs - results[0].clean_inputs)
    rows = torch.arange(len(held.cost))
    for result in results:
        held.offer(rows, result.inputs - result.clean_inputs, target.attacker_cost(result.attacked))
    best: Tensor = held.inputs
    return best
