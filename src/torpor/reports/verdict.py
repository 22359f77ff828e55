"""What an audit found, in sentences: its headlines, the one that moved most first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torpor.core.measures import COST, LATENCY, Headline
from torpor.core.units import symbol
from torpor.reports.kit.flags import NOT_LOW
from torpor.reports.kit.words import (
    Row,
    at_most,
    beside,
    confidence,
    costliest,
    label,
    missing,
    natural_factor,
    over_clean,
    percent,
    quantity,
    reason_for,
    static_factor,
    steps_text,
    times,
    titled,
    undefended,
    value_text,
)
from torpor.reports.sections import section_of


@dataclass(frozen=True)
class HeadlineChange:
    """How far attacks moved one headline of an undefended target.

    Attributes:
        headline: what is counted.
        row: of the attack that moved it most.
        clean: the row of the clean inputs.
        control: the row of the control of the same budget that moved it most; None if none was measured.
        controls: how many of the same budget ran.
    """

    headline: Headline
    row: Row
    clean: Row
    control: Row | None
    controls: int = 0

    @property
    def factor(self) -> float | None:
        """Attacked over clean; None where either is unknown."""
        return self.headline.moved(self.row, self.clean)

    @property
    def figures(self) -> str:
        """Clean and attacked mean."""
        return " to ".join(self._text(row) for row in (self.clean, self.row))

    @property
    def typical(self) -> str:
        """Which mean the figures are."""
        return "in the median" if self.headline.key.endswith("_p50") else "on average"

    @property
    def sentence(self) -> str:
        """Say how far, by what, and what a control does."""
        factor = self.factor
        by = "" if factor is None or factor == float("inf") else f" ({times(factor)})"
        against = f"no control was {'measured' if self.controls else 'run'}"
        if self.control is not None:
            against = f"strongest control {self._text(self.control)}"
        start = titled(self.headline.title)
        return f"{start} per input {self.figures} {self.typical}{by} by {label(self.row)}; {against}."

    def _text(self, row: Row) -> str:
        figure = self.headline.value(row) or 0.0
        return quantity(figure, self.headline.unit) if self.headline.unit else steps_text(figure)


def moved(audit: Row) -> list[HeadlineChange]:
    """Return the headlines of an audit, the one that attacks moved most first; those that nobody measured are left out.

    >>> clean = {"attack": "clean", "kind": "clean", "cost_mean": 2.0, "steps_mean": 3.0}
    >>> attack = {"attack": "long", "kind": "attack", "slowdown_mean": 1.5, "cost_mean": 3.0, "steps_mean": 9.0}
    >>> audit = {"summary": [clean, attack], "headlines": (COST, Headline("steps_mean", "decoder steps"))}
    >>> [each.headline.title for each in moved(audit)]
    ['decoder steps', 'cost']
    """
    rows = undefended(audit["summary"])
    clean = next((row for row in rows if row["kind"] == "clean"), {})
    found = []
    for headline in audit.get("headlines") or (COST,):
        row = _most(rows, headline, "attack")
        if row is not None and (headline == COST or headline.moved(row, clean) is not None):
            alike = [other for other in beside(rows, row) if other["kind"] == "control"]
            found.append(HeadlineChange(headline, row, clean, _most(alike, headline, "control"), len(alike)))
    return sorted(found, key=lambda each: -(each.factor or 0.0))


def calibrated(audit: Row) -> list[str]:
    """Say by what seconds per unit a headline models latency, and how far they are from the clock.

    >>> clock = {"price_list": "seconds on cpu, WallClock", "error": 0.031, "valid": True}
    >>> row = {"attack": "clean", "kind": "clean", "latency_modeled_s": 0.25}
    >>> calibrated({"summary": [row, row | {"attack": "long", "kind": "attack"}], "clock": clock, "headlines": LATENCY})
    ['Modeled latency is counts times seconds per unit (seconds on cpu, WallClock), which differ from the time of a \
call by up to 3.1 %.']
    """
    clock, keys = audit.get("clock") or {}, [each.headline.key for each in moved(audit)]
    if LATENCY[0].key not in keys or clock.get("error") is None:
        return []
    return [
        f"Modeled latency is counts times seconds per unit ({clock['price_list']}), which differ from the time of a "
        f"call by up to {percent(clock['error'])}."
    ]


def _most(rows: list[Row], headline: Headline, kind: str) -> Row | None:
    """Return the row of a kind with the largest figure; that of cost is the costliest, sample by sample."""
    if headline == COST:
        return costliest(rows, kind)
    known = [row for row in rows if row["kind"] == kind and headline.value(row) is not None]
    return max(known, key=lambda row: headline.value(row) or 0.0, default=None)


def verdict(audit: Row) -> list[str]:
    """Say what an audit found, one sentence per point: headlines, reference costs, utility, caveats; each defense."""
    rows = undefended(audit["summary"])
    sentences = list[str]()
    if len(rows) < len(audit["summary"]):
        from torpor.reports import defended

        sentences = defended.sentences(audit["summary"])
    worst, ranked = costliest(rows, "attack"), moved(audit)
    if worst is None and (audit.get("target") or {}).get("constant_work"):
        return [_constant_sentence(audit), *sentences]
    if worst is None:
        return [f"Worst slowdown {missing('no attack was run')}.", *sentences]
    clean = next((row for row in rows if row["kind"] == "clean"), None)
    control = costliest(beside(rows, worst), "control")
    cost = [*_bill_sentences(rows, audit), _cost_sentence(worst, control, " without a defense" if sentences else "")]
    said = [line for each in ranked for line in (cost if each.headline == COST else [each.sentence])]
    said += [
        *([] if cost[-1] in said else cost),
        *_attack_question(worst, control, natural_factor(audit)),
        *calibrated(audit),
        _reference_sentence(
            worst, [row for row in rows if row in beside(rows, worst) or row.get("eps") is None], audit
        ),
        *_certified_sentences(worst, audit),
        *_open_sentences(worst),
    ]
    top = ranked[0].row if ranked else worst
    said += section_of(audit).sentences(top, clean)
    for row in [worst] if top is worst else [worst, top]:
        if low := [flag for flag in row["flags"] if flag not in NOT_LOW]:
            name = "this row" if top is worst else label(row)
            said.append(f"Lower limit, not the worst case: {name} is flagged {', '.join(low)}.")
    if cut := next((row["cut_n"] for row in rows if row.get("cut_n")), None):
        said.append(f"{cut} of {worst['n']} inputs are longer than the target reads; the rest of each was cut.")
    return [*said, *sentences]


def _constant_sentence(audit: Row) -> str:
    """Say that there was nothing to attack."""
    target = audit["target"]
    cost = quantity(target["static_cost"], symbol(str(audit.get("currency") or "flops")))
    return (
        f"The work of {target['name']} is constant by construction, {cost} for every input: there is nothing to attack."
    )


def _bill_sentences(rows: Sequence[Row], audit: Row) -> list[str]:
    """Say what whoever pays for all inputs together pays more: the ratio of the means, which expensive inputs rule.

    >>> clean, attack = ({"kind": kind, "attack": kind, "slowdown_mean": 3.0} for kind in ("clean", "attack"))
    >>> rows = [clean, {**attack, "cost_clean_mean": 2e6, "cost_mean": 3e6}]
    >>> _bill_sentences(rows, {"currency": "flops"})
    ['The bill for all inputs together: 1.50x (ratio of means, 2 MFLOPs to 3 MFLOPs per input) by attack; no control \
was run.']
    """
    priced = {kind: [row for row in rows if row["kind"] == kind and over_clean(row)] for kind in ("attack", "control")}
    worst = max(priced["attack"], key=lambda row: over_clean(row) or 0.0, default=None)
    if worst is None or worst["slowdown_mean"] <= 1:
        return []
    unit = symbol(str(audit.get("currency") or "flops"))
    alike = [over_clean(row) or 0.0 for row in beside(priced["control"], worst)]
    against = f"strongest control {times(max(alike))}" if alike else "no control was run"
    means = " to ".join(quantity(worst[key], unit) for key in ("cost_clean_mean", "cost_mean"))
    return [
        f"The bill for all inputs together: {times(over_clean(worst) or 0.0)} (ratio of means, {means} per input) by "
        f"{label(worst)}; {against}."
    ]


def _attack_question(worst: Row, control: Row | None, natural: float | None) -> list[str]:
    """Say whether it takes an attacker to cost so much, or natural inputs and random changes do it as well.

    >>> worst = {"slowdown_mean": 3.0, "slowdown_ci95": [2.5, 3.5], "cost_mean": 6.0, "cost_clean_mean": 2.0}
    >>> _attack_question(worst, {"slowdown_mean": 1.0}, 2.0)[0].partition(":")[0]
    'Is this an attack? Yes'
    """
    attacked, mean = over_clean(worst), worst["slowdown_mean"]
    if attacked is None or mean <= 1:
        return []
    beaten = control is not None and mean <= control["slowdown_mean"]
    low, high = (row.get("slowdown_ci95") for row in (worst, control or {}))
    close = not beaten and bool(low and high and low[0] <= high[1])
    alone = worst.get("n") == 1
    said, versus = [], "no control was run"
    if natural is not None:
        said.append(f"the mean attacked input costs {times(attacked)}, one in a thousand natural ones {times(natural)}")
    if control is not None:
        versus = f"the mean slowdown is {times(mean)}, that of the strongest control {times(control['slowdown_mean'])}"
    said += (
        [versus + ", with intervals that overlap" * close + ", of one sample" * alone]
        if said or control is not None
        else []
    )
    if not said:
        return ["Is this an attack? Unknown: there are neither natural inputs nor controls to compare with."]
    answer = "No" if beaten else "Not shown" if close or alone or control is None else "Yes"
    too = answer == "Yes" and natural is not None and attacked <= natural
    return [f"Is this an attack? {answer}{', but natural inputs get there too' * too}: {'; '.join(said)}."]


def _cost_sentence(worst: Row, control: Row | None, where: str) -> str:
    figures = [f"p95 {value_text(worst, 'slowdown_p95', times)}", f"mean of ratios {times(worst['slowdown_mean'])}"]
    figures += [ci95] if (ci95 := confidence(worst)) else []
    against = "no control was run"
    if control is not None:
        against = f"strongest control {times(control['slowdown_mean'])} on average"
    tops = value_text(worst, "slowdown_max", times)
    start = "No attack raised the mean cost. " if worst["slowdown_mean"] <= 1 else ""
    return f"{start}Worst slowdown{where} {tops} ({', '.join(figures)}) by {label(worst)}; {against}."


def _reference_sentence(worst: Row, rows: Sequence[Row], audit: Row) -> str:
    """Name the reference costs; the static bound is that of the costliest of all rows of this budget."""
    unprofiled = str((audit.get("natural") or {}).get("slowdown_reason") or "no benign inputs were profiled")
    costs = (
        ("attacked", over_clean(worst), "no mean cost was recorded"),
        *((("certified bound", over_clean(worst, "certified_cost_mean"), ""),) if at_most(worst) else ()),
        ("costliest natural input (99.9th percentile)", natural_factor(audit), unprofiled),
    )
    said = [f"{name} {missing(reason) if value is None else times(value)}" for name, value, reason in costs]
    return f"In units of the mean clean cost: {', '.join([*said, _static(worst, static_factor(rows), audit)])}."


def _certified_sentences(worst: Row, audit: Row) -> list[str]:
    """Say what bounds allow beside what was found, or why they allow nothing; nothing if no bound was asked for."""
    if not (audit.get("config") or {}).get("bounds"):
        return []
    if at_most(worst) is None:
        return [f"Certified bound {missing(reason_for(worst, 'certified_slowdown_mean'))}."]
    names = " and ".join(f"{name} on {count}" for name, count in worst["certified_by"].items())
    return [
        f"Mean slowdown found {times(worst['slowdown_mean'])}, certified bound "
        f"{times(worst['certified_slowdown_mean'])} (by {names} of {worst['n']} samples): no attack of this budget "
        f"can cost more than {value_text(worst, 'certified_gap', times)} what was found."
    ]


def _static(worst: Row, bound: float | None, audit: Row) -> str:
    """Say what the static bound is, and of which inputs; texts of other lengths than those that were sent have another.

    Args:
        worst: the row of the verdict.
        bound: that of its budget, in units of the mean clean cost.
        audit: its parts.
    """
    target, clean = audit.get("target") or {}, worst.get("cost_clean_mean")
    accepts, most = target.get("accepts"), target.get("static_cost")
    if bound is None:
        return f"static bound {missing('no static bound was recorded')}"
    if not (accepts and most and clean):
        return f"static bound {times(bound)}"
    if most / clean <= bound * (1 + 1e-9):
        return f"static bound {times(bound)}, which no {accepts} exceeds"
    return f"static bound of the inputs that were sent {times(bound)}, of any {accepts} {times(most / clean)}"


def _open_sentences(worst: Row) -> list[str]:
    """Say on how many samples there was nothing to measure, where the cost came from, and what random changes did."""
    said, share = [], worst.get("no_headroom_rate")
    if share == 1:
        said.append("Nothing to measure: every clean input is at the cap or the static bound from the start.")
    elif share:
        said.append(f"{percent(share)} of the clean inputs are at the cap or the static bound from the start.")
    if through := worst.get("found_through"):
        named = " and ".join(f"{count} through {name}" for name, count in through.items())
        said.append(f"Of these inputs the attack found {named}; sent to the target without it, they cost more.")
    if "cap-reached-by-chance" in worst["flags"]:
        said.append(
            "A control takes nine in ten samples to the cap or the static bound, too: that takes no optimization."
        )
    return said
