"""The specification by which an attack that a program built can be built again."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

from torpor.attacks.base import Attack
from torpor.attacks.registry import ATTACKS, load_attack
from torpor.core.errors import UsageError
from torpor.core.registry import MARK

_ASIDE = ("norm", "eps", "options")


def spec_of(attack: Attack) -> str:
    """Return the specification from which :func:`load_attack`, with the same norm and radius, builds ``attack``.

    Args:
        attack: of a registered class, or of one that lies in a module under its own name.

    Raises:
        UsageError: if no specification describes it in full: a class inside of a function, a setting that is no
            number or text, something that was learned.

    >>> spec_of(load_attack("square", queries=50)), spec_of(load_attack("deepsloth", eps=0.1))
    ('square:queries=50', 'deepsloth')
    """
    kind = type(attack)
    registered = kind.id in ATTACKS and ATTACKS.find(kind.id) is kind
    name = kind.id if registered else f"{kind.__module__}{MARK}{kind.__qualname__}"
    typed = {word.partition("=")[0] for word in attack.options}
    own = [each for each in fields(kind) if each.init and each.name not in (*_ASIDE, *typed)]
    changed = {each.name: value for each in own if (value := getattr(attack, each.name)) != _default(each)}
    if odd := [key for key, value in changed.items() if not isinstance(value, bool | int | float | str | None)]:
        raise UsageError(
            f"expected an attack that a specification can name, got {kind.__qualname__}, whose {odd[0]} is a "
            f"{type(changed[odd[0]]).__name__}; set what a number or text can hold, and let the audit fit what learns"
        )
    spec = MARK.join((name, *attack.options, *(f"{key}={_text(value)}" for key, value in changed.items())))
    try:
        if "," in spec:
            raise UsageError("a comma stands between attacks")
        found = load_attack(spec, norm=attack.norm, eps=attack.eps)
    except UsageError as error:
        raise UsageError(
            f"expected an attack that a specification can name, got {kind.__qualname__}, which {spec!r} does not: "
            f"{error}; define it in a module, with settings that are numbers or texts"
        ) from error
    if found != attack:
        raise UsageError(
            f"expected an attack that a specification can name, got {kind.__qualname__}, of which {spec!r} is another; "
            "define it once, in a module"
        )
    return spec


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _text(value: object) -> str:
    """Return a value as options of specifications are written."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
