"""What an audit found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.reports.defended import ATTACKERS, defense_rows, undefended
from torpor.reports.words import (
    NOT_LOW,
    Row,
    beside,
    bracket,
    costliest,
    finds,
    is_missing,
    iterates,
    label,
    loops_text,
    missing,
    natural_factor,
    over_clean,
    percent,
    reason_for,
    static_factor,
    steps_text,
    times,
    titled,
    value_text,
)


def verdict(audit: Row) -> list[str]:
    """Say what an audit found, one sentence per point: cost, reference costs, utility, caveats; then each defense."""
    sentences = [_defense_sentence(row) for row in defense_rows(audit["summary"]) if row["defense"] != "none"]
    rows = undefended(audit["summary"])
    worst = costliest(rows, "attack")
    if worst is None:
        return [f"Worst slowdown {missing('no attack was run')}.", *sentences]
    clean = next((row for row in rows if row["kind"] == "clean"), None)
    control = costliest(beside(rows, worst), "control")
    said = [
        _cost_sentence(worst, control, " without a defense" if sentences else ""),
        _reference_sentence(worst, [*([clean] if clean else []), *beside(rows, worst)], audit),
        *_open_sentences(worst),
    ]
    said += [_steps_sentence(worst), _text_sentence(worst, clean)] if iterates([worst]) else []
    said += [_objects_sentence(worst, clean)] if finds([worst]) else []
    said += [] if iterates([worst]) or finds([worst]) else [_utility_sentence(worst, clean)]
    if low := [flag for flag in worst["flags"] if flag not in NOT_LOW]:
        said.append(f"Lower limit, not the worst case: this row is flagged {', '.join(low)}.")
    if cut := next((row["cut_n"] for row in rows if row.get("cut_n")), None):
        said.append(f"{cut} of {worst['n']} inputs are longer than the target reads; their rest was not read.")
    return [*said, *sentences]


def _defense_sentence(row: Row) -> str:
    """Say what both attackers get behind a defense, and what it costs clean inputs."""
    name = str(row.get("utility_name") or "utility")
    found = [f"{who} {value_text(row, f'{who}_slowdown_mean', times)}" for who in ATTACKERS]
    return (
        f"Behind {row['defense']}, mean slowdown {', '.join(found)}, of clean inputs "
        f"{value_text(row, 'overhead', times)}; their {name} {value_text(row, 'utility', percent)}."
    )


def _cost_sentence(worst: Row, control: Row | None, where: str) -> str:
    figures = [f"p95 {value_text(worst, 'slowdown_p95', times)}", f"mean {times(worst['slowdown_mean'])}"]
    figures += [f"95 % CI {ci95.strip('[]')}"] if (ci95 := bracket(worst)) else []
    against = "no control was run"
    if control is not None:
        against = f"strongest control {times(control['slowdown_mean'])} in the mean"
    tops = value_text(worst, "slowdown_max", times)
    start = "No attack raised the mean cost. " if worst["slowdown_mean"] <= 1 else ""
    return f"{start}Worst slowdown{where} {tops} ({', '.join(figures)}) by {label(worst)}; {against}."


def _reference_sentence(worst: Row, rows: Sequence[Row], audit: Row) -> str:
    """Name the reference costs; the static bound is that of the costliest of all rows of this budget."""
    costs = (
        ("attacked", over_clean(worst), "no mean cost was recorded"),
        ("costliest natural input (99.9th percentile)", natural_factor(audit), "no benign inputs were profiled"),
        ("static bound", static_factor(rows), "no static bound was recorded"),
    )
    said = [f"{name} {missing(reason) if value is None else times(value)}" for name, value, reason in costs]
    return f"In units of the mean clean cost: {', '.join(said)}{_limit(worst, static_factor(rows), audit)}."


def _limit(worst: Row, bound: float | None, audit: Row) -> str:
    """Say of which inputs the static bound is one; texts of other lengths than those that were sent have another."""
    target, clean = audit.get("target") or {}, worst.get("flops_clean_mean")
    accepts, most = target.get("accepts"), target.get("static_flops")
    if bound is None or not (accepts and most and clean):
        return ""
    if most / clean <= bound * (1 + 1e-9):
        return f", which no {accepts} exceeds"
    return f" (of the inputs that were sent), {times(most / clean)} (which no {accepts} exceeds)"


def _open_sentences(worst: Row) -> list[str]:
    """Say on how many samples there was nothing to measure, where the cost came from, and what chance did."""
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
            "A control of the same budget takes nine in ten samples there too: nothing need be optimized for it."
        )
    return said


def _steps_sentence(worst: Row) -> str:
    """Say what became of the decoder steps, under which cap, and what the cap holds back."""
    steps = [value_text(worst, key, steps_text) for key in ("steps_clean_mean", "steps_mean")]
    said = (
        f"Decoder steps {' to '.join(steps)} in the mean: I-Loops {value_text(worst, 'i_loops_mean', loops_text)} "
        f"under the cap of {worst.get('cap')} steps, which allows {value_text(worst, 'i_loops_limit', loops_text)}; "
        f"the cap ended {value_text(worst, 'cap_hit_rate', percent)} of the outputs "
        f"(clean {value_text(worst, 'cap_hit_rate_clean', percent)})"
    )
    if is_missing(worst.get("cap4_i_loops_mean")):
        return f"{said}; with a higher cap {missing(reason_for(worst, 'cap4_i_loops_mean'))}."
    return (
        f"{said}; with a cap of {worst['cap4']} steps, the {worst['cap4_n']} saved inputs, the costliest "
        f"among them, reach I-Loops of {loops_text(worst['cap4_i_loops_mean'])}, and "
        f"{value_text(worst, 'cap4_hit_rate', percent)} of them are still ended by it."
    )


def _objects_sentence(worst: Row, clean: Row | None) -> str:
    """Say what became of the number of objects, of those that the clean input has, and of what is really there."""
    kept = " to ".join(value_text(worst, key, steps_text) for key in ("kept_clean_mean", "kept_mean"))
    recall = worst.get("clean_recall_mean")
    left = "the clean inputs have none"
    if recall is not None and not is_missing(recall):
        left = f"{percent(recall)} of the clean ones are still found"
    said = f"Objects handed downstream per sample: {kept} in the mean; {left}"
    scores = (("mAP@.5", "map50"), ("MOTA", "mota"), ("IDF1", "idf1"))
    known = [(name, key) for name, key in scores if not is_missing(worst.get(key))]
    if not known:
        return f"{said}; what is really there: {missing(reason_for(worst, 'map50'))}."
    before = {key: "not measured" if clean is None else value_text(clean, key, "{:.3f}".format) for _, key in known}
    scored = ", ".join(f"{name} {worst[key]:.3f} (clean {before[key]})" for name, key in known)
    return f"{said}. Against what is really there: {scored}."


def _utility_sentence(worst: Row, clean: Row | None) -> str:
    name = titled(str(worst.get("utility_name") or "utility"))
    before = "not measured" if clean is None else value_text(clean, "utility", percent)
    agreement = value_text(worst, "agreement", percent)
    return f"{name} {value_text(worst, 'utility', percent)} (clean {before}); predictions unchanged: {agreement}."


def _text_sentence(worst: Row, clean: Row | None) -> str:
    """Say what the attack did to the generated texts; one reason for all scores where there is none."""
    measures = [(titled(str(worst.get("utility_name") or "utility")), "utility", percent), ("BLEU", "bleu", _score)]
    said, unknown = [], dict[str, list[str]]()
    for name, key, form in measures:
        if is_missing(worst.get(key)):
            unknown.setdefault(missing(reason_for(worst, key)), []).append(name)
            continue
        before = "not measured" if clean is None else value_text(clean, key, form)
        said.append(f"{name} {form(worst[key])} (clean {before})")
    said += [f"{' and '.join(names)} {reason}" for reason, names in unknown.items()]
    return f"{', '.join(said)}; outputs unchanged: {value_text(worst, 'agreement', percent)}."


def _score(value: float) -> str:
    return f"{value:.1f}"
