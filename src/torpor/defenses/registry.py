"""Defenses by the names that the command line and audits use."""

from __future__ import annotations

from dataclasses import replace

from torpor.core.errors import UsageError
from torpor.core.registry import MARK, Registry, Spec, typed
from torpor.defenses.base import JOINT, Defense

DEFENSES: Registry[Defense] = Registry(
    "torpor.defenses",
    Defense,  # type: ignore[type-abstract]
    {
        "jpeg": "torpor.defenses.transforms.jpeg:JPEG",
        "jpeg-random": "torpor.defenses.transforms.jpeg:RandomJPEG",
        "jpeg-blocks": "torpor.defenses.transforms.jpeg:BlockJPEG",
        "median": "torpor.defenses.transforms.smoothing:Median",
        "non-local-means": "torpor.defenses.transforms.smoothing:NonLocalMeans",
        "bit-depth": "torpor.defenses.transforms.bit_depth:BitDepth",
        "resize-pad": "torpor.defenses.transforms.resize:ResizePad",
        "normalize": "torpor.defenses.transforms.text_cleaning:Normalize",
        "strip": "torpor.defenses.transforms.text_cleaning:Strip",
        "spelling": "torpor.defenses.transforms.spelling:Spelling",
        "svm": "torpor.defenses.detectors.svm:SVM",
        "squeeze": "torpor.defenses.detectors.squeeze:Squeeze",
        "perplexity": "torpor.defenses.detectors.perplexity:Perplexity",
        "trace": "torpor.defenses.detectors.trace:Trace",
        "spectral": "torpor.defenses.detectors.spectral:Spectral",
        "deadline": "torpor.defenses.guards.deadline:Deadline",
        "steps": "torpor.defenses.guards.step_budget:StepBudget",
        "loop-stop": "torpor.defenses.guards.loop_stop:LoopStop",
        "draft-stop": "torpor.defenses.guards.draft_stop:DraftStop",
        "expert-capacity": "torpor.defenses.guards.expert_caps:ExpertCapacity",
        "rebalance": "torpor.defenses.guards.expert_caps:Rebalance",
        "expert-slack": "torpor.defenses.guards.expert_caps:ExpertSlack",
        "hazard": "torpor.defenses.guards.hazard:HazardMonitor",
        "boxes": "torpor.defenses.guards.box_caps:BoxCap",
        "tracks": "torpor.defenses.guards.box_caps:TrackCap",
        "density": "torpor.defenses.guards.density_cap:DensityCap",
        "tokens": "torpor.defenses.guards.token_cap:TokenCap",
        "quota": "torpor.serving.request_quota:RequestQuota",
        "calibrated": "torpor.defenses.hardening.calibrated:Calibrated",
        "hardened": "torpor.defenses.hardening.hardened:Hardened",
        "neo-kd": "torpor.defenses.hardening.neo_kd:NeoKD",
        "clean-fine-tuning": "torpor.defenses.hardening.retrained:CleanFineTuning",
        "fine-pruning": "torpor.defenses.hardening.fine_pruning:FinePruning",
    },
    "defense",
)
"""Every kind of defense; plug-ins add theirs as entry points of the group ``torpor.defenses``."""


def defense_ids() -> tuple[str, ...]:
    """Return the kinds of defenses, those of plug-ins last."""
    return DEFENSES.names()


def load_defense(name: str) -> Defense:
    """Build a defense by name: its kind, and its setting after a colon, as in ``"jpeg:75"`` or ``"jpeg:quality=75"``.

    Several that are joined by ``+`` are applied in series, the first one to the input first.

    Raises:
        UsageError: on an unknown kind or setting.

    >>> load_defense("jpeg:quality=50") == load_defense("jpeg:50")
    True
    """
    if JOINT in name:
        from torpor.defenses.chain import Chain

        return Chain(tuple(load_defense(part) for part in name.split(JOINT)))
    spec = DEFENSES.spec(name)
    kind = DEFENSES.find(spec.name)
    defense = _built(kind, spec)
    if kind.id in DEFENSES and DEFENSES.find(kind.id) is not kind:
        raise UsageError(f"expected an id of its own for {spec.name}, got {kind.id!r}, which torpor has; change its id")
    if _built(kind, Spec.of(*_halves(defense.name))) != defense:  # rows are told from each other by the name
        raise UsageError(
            f"expected a setting that is part of the defense's name, got {name!r}, which would be called "
            f"{defense.name}; see: torpor list defenses"
        )
    return defense


def _halves(name: str) -> tuple[str, str]:
    kind, _, setting = name.partition(MARK)
    return kind, setting


def _built(kind: type[Defense], spec: Spec) -> Defense:
    defense = kind.parse(spec.value)
    return replace(defense, **typed(kind, spec.options, spec.name)) if spec.options else defense
