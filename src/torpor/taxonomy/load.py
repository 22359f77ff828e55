"""Read the taxonomy's data file strictly, and select from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from torpor.core.errors import UsageError
from torpor.core.threat import Access, Stage
from torpor.core.units import Behavior
from torpor.taxonomy.model import Entry, Kind, Mechanism, Publication, Role, Tags
from torpor.taxonomy.tags import read_document

SCHEMA = "torpor.taxonomy/2"
VERSIONS = ("owasp-llm", "atlas", "cwe")
_TOP = ("schema", "versions", "mechanisms", "entries")
_MECHANISM = tuple(field.name for field in fields(Mechanism))
_ENTRY = tuple(field.name for field in fields(Entry))
_PAPER = tuple(field.name for field in fields(Publication))
_TAGS = tuple(field.name for field in fields(Tags))
_Word = TypeVar("_Word", bound=StrEnum)


@cache
def load_entries() -> tuple[Entry, ...]:
    """Read every entry of the taxonomy that ships with torpor, attacks first.

    Raises:
        UsageError: if the data file is not valid.

    >>> [entry.status for entry in load_entries() if entry.key == "deepsloth"]
    ['deepsloth, deepsloth-universal, deepsloth-class-universal']
    """
    return parse_entries(read_document())


@cache
def load_versions() -> Mapping[str, str | None]:
    """Read which version of each security taxonomy the tags are from; None where it is not known.

    >>> load_versions()["owasp-llm"]
    '2026'
    """
    return parse_versions(read_document())


@cache
def load_mechanisms() -> tuple[Mechanism, ...]:
    """Read which mechanisms have constant work, which no input can change, and which have not.

    >>> [mechanism.name for mechanism in load_mechanisms() if mechanism.constant_work]
    ['DynamicViT', 'EViT', 'ToMe', 'Mixture-of-Depths', 'top-k experts']
    """
    return parse_mechanisms(read_document())


def filter_entries(
    entries: Iterable[Entry],
    *,
    kind: str | None = None,
    behavior: str | None = None,
    mechanism: str | None = None,
    stage: str | None = None,
    access: str | None = None,
    implemented: bool | None = None,
) -> tuple[Entry, ...]:
    """Keep the entries that match every given filter.

    Args:
        entries: what to choose from.
        kind: ``"attack"`` or ``"defense"``.
        behavior: ``"D1"``, ``"D2"`` or ``"D3"``.
        mechanism: part of the mechanism, in any case.
        stage: one of the stages of :class:`torpor.core.threat.Stage`.
        access: one of the kinds of access of :class:`torpor.core.threat.Access`.
        implemented: whether torpor implements it.

    Raises:
        UsageError: on a word that the filter does not know.

    >>> [entry.key for entry in filter_entries(load_entries(), behavior="d1", stage="universal", access="transfer")]
    ['deepsloth', 'desparsify', 'r2a']
    """
    side = None if kind is None else _word(Kind, kind, "kind")
    moved = None if behavior is None else _word(Behavior, behavior, "behavior")
    when = None if stage is None else _word(Stage, stage, "stage")
    seen = None if access is None else _word(Access, access, "access")
    part = (mechanism or "").lower()
    return tuple(
        entry
        for entry in entries
        if (side is None or entry.kind is side)
        and (moved is None or moved in entry.behaviors)
        and part in entry.mechanism.lower()
        and (when is None or when in entry.stages)
        and (seen is None or seen in entry.access)
        and (implemented is None or entry.implemented is implemented)
    )


def parse_entries(document: object) -> tuple[Entry, ...]:
    """Turn a parsed data file into entries.

    Raises:
        UsageError: on a wrong schema, a missing, unknown or mistyped field, an unknown word, or a key used twice.
    """
    top = _fields(document, _TOP, "the taxonomy")
    if top["schema"] != SCHEMA:
        raise UsageError(f"expected schema {SCHEMA!r}, got {top['schema']!r}; update torpor")
    if not isinstance(top["entries"], list):
        raise UsageError(f"expected a list of entries, got {type(top['entries']).__name__}")
    entries = tuple(_entry(raw, place) for place, raw in enumerate(top["entries"], start=1))
    keys = [entry.key for entry in entries]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UsageError(f"expected every key once, got {', '.join(twice)} more than once")
    return entries


def parse_versions(document: object) -> dict[str, str | None]:
    """Return the versions of the security taxonomies that a parsed data file names.

    Raises:
        UsageError: if one is missing, unknown or not text.
    """
    top = _fields(document, _TOP, "the taxonomy")
    versions = _fields(top["versions"], VERSIONS, "versions")
    return {name: _text(versions, name, "versions", required=False) for name in VERSIONS}


def parse_mechanisms(document: object) -> tuple[Mechanism, ...]:
    """Return the mechanisms that a parsed data file names.

    Raises:
        UsageError: if there is no list of them, or one has a missing, unknown or mistyped field.
    """
    top = _fields(document, _TOP, "the taxonomy")
    if not isinstance(top["mechanisms"], list):
        raise UsageError(f"expected a list of mechanisms, got {type(top['mechanisms']).__name__}")
    return tuple(_mechanism(raw, f"mechanism {place}") for place, raw in enumerate(top["mechanisms"], start=1))


def _mechanism(raw: object, where: str) -> Mechanism:
    found = _fields(raw, _MECHANISM, where)
    if not isinstance(found["constant_work"], bool):
        raise UsageError(f"expected true or false as constant_work of {where}, got {found['constant_work']!r}")
    name, why = (_required(found, each, where) for each in ("name", "why"))
    return Mechanism(name, found["constant_work"], why, _paper(found["paper"], where))


def _paper(raw: object, where: str) -> Publication:
    paper = _fields(raw, _PAPER, f"paper of {where}")
    year = paper["year"]
    if isinstance(year, bool) or not (year is None or isinstance(year, int)):
        raise UsageError(f"expected a whole number or null as year of {where}, got {year!r}")
    words = {name: _text(paper, name, where, required=False) for name in ("title", "authors", "venue", "identifier")}
    return Publication(**words, year=year)


def _entry(raw: object, place: int) -> Entry:
    where = f"entry {place}"
    found = _fields(raw, _ENTRY, where)
    key = _required(found, "key", where)
    where = f"entry {key!r}"
    tags = _fields(found["tags"], _TAGS, f"tags of {where}")
    if not isinstance(found["verified"], bool):
        raise UsageError(f"expected true or false as verified of {where}, got {found['verified']!r}")
    return Entry(
        key=key,
        name=_required(found, "name", where),
        kind=_word(Kind, _required(found, "kind", where), f"kind of {where}"),
        role=_word(Role, _required(found, "role", where), f"role of {where}"),
        behaviors=tuple(_word(Behavior, word, f"behavior of {where}") for word in _list(found, "behaviors", where)),
        mechanism=_required(found, "mechanism", where),
        stages=tuple(_word(Stage, word, f"stage of {where}") for word in _list(found, "stages", where)),
        access=tuple(_word(Access, word, f"access of {where}") for word in _list(found, "access", where)),
        cost_metric=_text(found, "cost_metric", where, required=False),
        paper=_paper(found["paper"], where),
        tags=Tags(**{name: _list(tags, name, where) for name in _TAGS}),
        verified=found["verified"],
        note=_text(found, "note", where, required=False),
        torpor_ids=_list(found, "torpor_ids", where),
    )


def _fields(raw: object, names: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise UsageError(f"expected {where} as an object, got {type(raw).__name__}")
    if set(raw) != set(names):
        missing, unknown = sorted(set(names) - set(raw)), sorted(set(raw) - set(names))
        raise UsageError(f"expected the fields {', '.join(names)} in {where}, got {missing} missing, {unknown} unknown")
    return raw


def _text(found: Mapping[str, Any], name: str, where: str, *, required: bool = True) -> str | None:
    value = found[name]
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"expected text{'' if required else ' or null'} as {name} of {where}, got {value!r}")
    return value


def _required(found: Mapping[str, Any], name: str, where: str) -> str:
    return _text(found, name, where) or ""


def _list(found: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = found[name]
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise UsageError(f"expected a list of words as {name} of {where}, got {value!r}")
    if len(set(value)) < len(value):
        raise UsageError(f"expected every word once in {name} of {where}, got {value!r}")
    return tuple(value)


def _word(words: type[_Word], value: str, what: str) -> _Word:
    """Find an enumeration's member, in any case."""
    for word in words:
        if word.lower() == value.lower():
            return word
    raise UsageError(f"expected {what} among {', '.join(words)}, got {value!r}")
