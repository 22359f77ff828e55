"""What ``torpor list`` lists, a row for each: whole for programs, and shortened to 80 columns for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

Row = dict[str, object]
"""Texts, numbers and lists by the name of the column."""

FOLLOWED = {
    "GateSignals": "exits or gates",
    "StepSignals": "decoders",
    "CandidateSignals": "detectors and trackers",
}
"""What kind of target has these signals."""
DATA = {
    "digits": ("image", ""),
    "cifar10": ("image", "CIFAR-10: --data-dir, or ~/.cache/torpor/data"),
    "scenes": ("image", ""),
    "object-scenes": ("image", ""),
    "multi30k": ("text", "Multi30k: --data-dir"),
    "spellings": ("text", ""),
    "digit-strings": ("text", ""),
    "spoken-digits": ("wave", "spoken digits: --data-dir"),
}
"""Of each data set that cards of the zoo name: the kind of its inputs, and what the user must have; empty: nothing."""
GIVEN = {"tracker-scenes": ("video", ""), "speech-digits-features": ("features", DATA["spoken-digits"][1])}
"""The same of targets whose card does not tell."""
OF = {"speech-digits-features": "speech-digits"}
"""Targets that another one's weights and card are of."""


def targets() -> list[Row]:
    """Return the registered targets."""
    from torpor.targets.resolve import GROUP

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [_target(found[name]) for name in sorted(found)]


def _target(entry: EntryPoint) -> Row:
    from torpor.core.errors import TorporError
    from torpor.zoo.registry import ZOO

    known = ZOO.get(OF.get(entry.name, entry.name))
    row: Row = {"name": entry.name, "does": _loads(entry), "weights": "plug-in", "inputs": "", "data": "", "costs": ""}
    if known is None:
        return row
    row["weights"] = "ships with torpor" if known.ships else "torpor zoo train " + entry.name
    try:
        card = known.card()
    except TorporError:  # not trained yet
        row["inputs"], row["data"] = DATA["cifar10" if "cifar10" in entry.name else "digits"]
        return row
    row["inputs"], row["data"] = GIVEN.get(entry.name) or DATA.get(str(card.get("data", "")).split(" ")[0], ("", ""))
    units = card.get("flops_per_unit")
    row["costs"] = _scaled(sum(units.values()), "FLOPs") if isinstance(units, Mapping) else ""
    row["costs"] = row["costs"] or _scaled(float(card["parameters"]), "weights")
    return row


def _loads(entry: EntryPoint) -> str:
    """Return what a factory says that it loads."""
    try:
        said = _does(entry.load())
    except Exception:  # whatever a plug-in raises: to list it is not to use it
        return ""
    for word in ("Load ", "Return ", "the ", "a "):
        said = said.removeprefix(word)
    return said[:1].upper() + said[1:]


def attacks() -> list[Row]:
    """Return the attacks and controls."""
    from torpor.attacks.registry import ATTACKS, load_attack
    from torpor.audits.run.estimate import passes
    from torpor.core.errors import UsageError

    rows: list[Row] = []
    for name in ATTACKS.names():
        attack = ATTACKS.find(name)
        reads = "" if attack.reads is None else attack.reads.__name__
        try:
            forward, backward = passes(load_attack(name))
        except UsageError:  # a control that audits make
            forward, backward = 0, 0
        row: Row = {
            "name": name,
            "stage": "control" if attack.is_control else attack.stage.value,
            "access": attack.access.value,
            "does": _does(attack),
            "inputs": list(attack.kinds),
            "targets": FOLLOWED.get(reads, reads) or "any",
            "norms": list(attack.norms),
            "forward_passes": forward or None,
            "backward_passes": backward or None,
            "needs_validation_data": attack.learns,
        }
        rows.append(row | {"paper": str(attack.paper or "")})
    return rows


def tamperings() -> list[Row]:
    """Return the tamperings."""
    from torpor.attacks.tamperings.registry import TAMPERINGS

    rows: list[Row] = []
    for name in TAMPERINGS.names():
        kind = TAMPERINGS.find(name)
        row: Row = {"tampering": name, "stage": kind.stage.value, "for": kind.for_targets, "trigger": kind.triggered}
        rows.append(row | {"what it does": _does(kind), "paper": str(kind.paper or "")})
    return rows


def defenses() -> list[Row]:
    """Return the defenses."""
    from torpor.defenses.registry import DEFENSES

    rows: list[Row] = []
    for name in DEFENSES.names():
        defense = DEFENSES.find(name)
        paper = f" ({defense.paper.authors}, {defense.paper.venue} {defense.paper.year})" if defense.paper else ""
        row: Row = {"defense": name, "by default": _by_default(name), "bounds": ", ".join(defense.caps)}
        row |= {"inputs": list(getattr(defense, "kinds", ())), "needs_training_data": defense.learns}
        rows.append(row | {"what it does": f"{_does(defense).rstrip('.')}{paper}."})
    return rows


def _by_default(name: str) -> str:
    """Return the defense and the setting that it has if none is given; the mere name if it wants one."""
    from torpor.core.errors import UsageError
    from torpor.defenses.registry import load_defense

    try:
        return load_defense(name).name
    except UsageError:
        return name


def bounds() -> list[Row]:
    """Return the bounds."""
    from torpor.bounds.registry import BOUNDS

    return [{"bound": name, "what it does": _does(BOUNDS.find(name))} for name in BOUNDS.names()]


def executors() -> list[Row]:
    """Return where batches can be attacked."""
    from torpor.audits.run.executors import EXECUTORS

    return [{"name": name, "what it does": _does(EXECUTORS.find(name))} for name in EXECUTORS.names()]


def prices() -> list[Row]:
    """Return the prices that have a name."""
    from torpor.audits.pricing.prices import PRICES

    return [{"name": name, "what it does": _does(PRICES.find(name))} for name in PRICES.names()]


def measures() -> list[Row]:
    """Return what can be gated: of each sample inside of an aggregate, and of a row by itself."""
    from torpor.audits.verdict.gate_grammar import known

    rows: list[Row] = []
    for level in ("row", "sample"):
        for name, each in known().at("sample" if level == "sample" else "row").items():
            if each.numeric:
                gate = f"mean({name})" if level == "sample" else name
                row: Row = {"measure": name, "in a gate": gate, "of each": level, "is": each.dimension}
                rows.append(row | {"better": each.better or "", "what it is": each.help})
    return rows


ROWS: Mapping[str, Callable[[], list[Row]]] = {
    "targets": targets,
    "attacks": attacks,
    "tamperings": tamperings,
    "defenses": defenses,
    "bounds": bounds,
    "measures": measures,
    "executors": executors,
    "prices": prices,
}
"""What makes the rows of each list."""


def shortened(what: str, row: Row) -> Row:
    """Return a row as people read it: names in columns of their own, all else in sentences.

    Args:
        what: that is listed.
        row: all of it.
    """
    if what == "targets":
        data = f"Needs {row['data']}." if row["data"] else "" if row["weights"] == "plug-in" else "Needs no data."
        runs = f"{row['inputs']}, {row['costs']}".strip(", ")
        got = {"ships with torpor": "", "plug-in": "A plug-in."}.get(str(row["weights"]), f"First: {row['weights']}")
        said = [str(row["does"]).rstrip(".") + ".", f"({runs})" * bool(runs), data, got]
        return {"target": row["name"], "what it does": " ".join(filter(None, said))}
    if what == "attacks":
        return _short_attack(row)
    if what == "defenses":
        kinds = _list(row["inputs"])
        said = [
            str(row["what it does"]),
            f"For {kinds} inputs." * bool(kinds),
            f"Bounds: {row['bounds']}." * bool(row["bounds"]),
            f"By default {row['by default']}." * (row["by default"] != row["defense"]),
        ]
        said.append("Learns from train and validation data." * bool(row["needs_training_data"]))
        return {"defense": row["defense"], "what it does": " ".join(filter(None, said))}
    if what == "tamperings":
        said = [str(row["what it does"]), f"For {row['for']}.", "Takes a trigger." * bool(row["trigger"])]
        return {"tampering": row["tampering"], "stage": row["stage"], "what it does": " ".join(filter(None, said))}
    if what == "measures":
        return {"in a gate": row["in a gate"], "is": row["is"], "what it does": row["what it is"]}
    return row


def _short_attack(row: Row) -> Row:
    paper = _cited(str(row["name"]))
    passes = " and ".join(
        f"{row[key]:,} {word}"
        for key, word in (("forward_passes", "forward"), ("backward_passes", "backward"))
        if row[key]
    )
    said = [
        f"{str(row['does']).rstrip('.')}{paper}.",
        f"For {row['targets']} with {_list(row['inputs'])} inputs; {_list(row['norms'])}.",
        f"Up to {passes} passes a sample." * bool(passes),
        "Needs validation data." * bool(row["needs_validation_data"]),
    ]
    columns = {"attack": row["name"], "stage": row["stage"], "access": row["access"]}
    return columns | {"what it does": " ".join(filter(None, said))}


def _cited(name: str) -> str:
    from torpor.attacks.registry import ATTACKS

    paper = ATTACKS.find(name).paper
    return f" ({paper.authors}, {paper.venue} {paper.year})" if paper else ""


def _list(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else str(values)


def _does(kind: object) -> str:
    """Return the first line of the documentation of a class or a function."""
    lines = (getattr(kind, "__doc__", None) or "").strip().splitlines()
    return lines[0].replace("``", "") if lines else ""


def _scaled(value: float, unit: str) -> str:
    """Return an amount in thousands, millions or billions.

    >>> _scaled(1_840_000, "FLOPs"), _scaled(448_288, "weights")
    ('1.84 MFLOPs', '448 k weights')
    """
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            joint = f"{prefix}{unit}" if unit == "FLOPs" else f"{prefix} {unit}"
            return f"{value / scale:.3g} {joint}"
    return f"{value:.3g} {unit}"
