"""The costliest attacked inputs, for people to look at: pictures, sounds, texts, and what was generated from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.audits.conditions import RowKey
from torpor.core.budget_text import counted, edits_text, eps_text
from torpor.core.errors import DataError
from torpor.core.files import require_file
from torpor.reports.boxes import box_views
from torpor.reports.pictures import feature_views, picture_views
from torpor.reports.records import rows_of
from torpor.reports.texts import Shown, marked, shown, visible
from torpor.reports.waves import wave_views
from torpor.reports.words import Row, costliest, label, loops_text, percent, times

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup


VIEWS = {"image": picture_views, "wave": wave_views, "features": feature_views}
"""How inputs are drawn; texts are shown as they are."""


@dataclass(frozen=True)
class Side:
    """The clean or the attacked half of a sample whose output is text.

    Attributes:
        name: ``"clean"`` or ``"attacked"``.
        says: how many steps it ran, and what ended them.
        input: the input, if it is text, with changed characters marked.
        output: what was generated.
    """

    name: str
    says: str
    input: Markup | None
    output: Shown


@dataclass(frozen=True)
class Sample:
    """One sample as it was and as the attack left it.

    Attributes:
        title: which sample and attack.
        caption: cost, exit or steps, output, and distance, clean and attacked.
        views: (name, data URI) of the clean input, the attacked one and the difference; empty for texts.
        sides: clean and attacked texts; empty for classifiers.
        reference: the right output, where it is text and known.
    """

    title: str
    caption: str
    views: tuple[tuple[str, str], ...]
    sides: tuple[Side, ...] = ()
    reference: Shown | None = None


def worst_samples(
    folder: Path, audit: Row, records: dict[str, np.ndarray], *, per_attack: int = 4, attacks: int = 4
) -> list[Sample]:
    """Return the costliest saved samples of the costliest attacks at their costliest saved budgets.

    Args:
        folder: the audit's ``examples`` folder; it may be empty or missing.
        audit: content of ``audit.json``.
        records: columns of ``records.parquet``.
        per_attack: samples of each attack.
        attacks: how many attacks.

    Raises:
        DataError: if a file of examples cannot be read.
    """
    summary, inputs = audit["summary"], str(audit["target"].get("inputs") or "image")
    paths = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    bare = (row for row in summary if row["kind"] == "attack" and RowKey.of(row) == RowKey.of(row).undefended)
    known = {RowKey.of(row).slug: row for row in bare if row.get("slowdown_mean") is not None}
    files = {path: known[name] for name, path in paths.items() if name in known}
    tops = [_top(files, name) for name in dict.fromkeys(row["attack"] for row in files.values())]
    tops.sort(key=lambda top: -float(top[1]["slowdown_mean"]))
    return [sample for path, row in tops[:attacks] for sample in _samples(path, row, records, inputs, per_attack)]


def _top(files: dict[Path, Row], attack: str) -> tuple[Path, Row]:
    own = {path: row for path, row in files.items() if row["attack"] == attack}
    top = costliest(list(own.values()), "attack")
    return next((path, row) for path, row in own.items() if row is top)


def _samples(path: Path, row: Row, records: dict[str, np.ndarray], inputs: str, limit: int) -> Iterator[Sample]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    generates = "steps" in records
    try:
        saved = load_file(require_file(path))
        index, clean, attacked = saved["index"], saved["clean"], saved["attacked"]
        outputs = [saved[f"{side}_output"] for side in ("clean", "attacked")] if generates else []
    except (SafetensorError, KeyError, OSError) as error:
        raise DataError(f"expected index, clean and attacked in {path.name}, got {error}; audit again") from error
    found = {int(records["sample"][place]): int(place) for place in rows_of(records, row).nonzero()[0]}
    known = [place for place, sample in enumerate(index.tolist()) if sample in found]
    known.sort(key=lambda place: -float(records["slowdown"][found[int(index[place])]]))
    for place in known[:limit]:
        sample, at = int(index[place]), found[int(index[place])]
        pair, title = (clean[place], attacked[place]), f"sample {sample}: {label(row)}"
        if "found" in records:
            yield Sample(title, _found_caption(records, at), box_views(*pair, *_objects(records, at, sample)))
            continue
        views = VIEWS[inputs](*pair) if inputs in VIEWS else ()
        if not generates:
            yield Sample(title, _caption(records, at, sample), views)
            continue
        texts = [_unpacked(output[place]) for output in outputs]
        sides = _sides(records, at, texts, _inputs(pair, row) if inputs == "text" else (None, None))
        right = shown(_unpacked(saved["reference"][place])) if "reference" in saved else None
        yield Sample(title, _steps_caption(records, at, row, inputs), views, sides, right)


def _objects(records: dict[str, np.ndarray], at: int, sample: int) -> tuple[Any, Any, Any]:
    """Return what was found in the clean and in the attacked input, and what is really there, or None."""
    clean = _clean(records, sample)
    texts = records["found"][clean], records["found"][at], records["truth"][at]
    found, attacked, true = (None if text is None else json.loads(text) for text in texts)
    return found, attacked, true


def _clean(records: dict[str, np.ndarray], sample: int) -> int:
    """Return the place of the clean record of a sample.

    Raises:
        DataError: if there is none.
    """
    places = ((records["sample"] == sample) & (records["attack"] == "clean")).nonzero()[0]
    if len(places) == 0:
        raise DataError(f"expected a clean record of sample {sample}, got none; audit again")
    return int(places[0])


def _found_caption(records: dict[str, np.ndarray], at: int) -> str:
    clean = _clean(records, int(records["sample"][at]))
    recall = records["clean_recall"][at]
    said = [times(float(records["slowdown"][at]))]
    said += [f"{records['kept'][clean]} to {records['kept'][at]} objects"]
    said += [] if recall is None or recall != recall else [f"{percent(float(recall))} of the clean ones still found"]
    return ", ".join([*said, f"Linf {255 * records['linf'][at]:.0f}/255"])


def _unpacked(packed: np.ndarray) -> str:
    """Return the text that :func:`torpor.core.text.pack` stored."""
    return packed.tobytes().rstrip(b"\0").decode("utf-8", "replace")


def _inputs(pair: tuple[np.ndarray, np.ndarray], row: Row) -> tuple[Markup, Markup]:
    """Return two texts; a prompt of the attacker's own has nothing to be compared with."""
    clean, attacked = map(_unpacked, pair)
    return (visible(clean), visible(attacked)) if row["norm"] == "prompt" else marked(clean, attacked)


def _sides(
    records: dict[str, np.ndarray], at: int, outputs: Sequence[str], inputs: tuple[Markup | None, Markup | None]
) -> tuple[Side, ...]:
    names = (("clean", "steps_clean", "capped_clean"), ("attacked", "steps", "capped"))
    return tuple(
        Side(name, _length(records[steps][at], records[capped][at]), text, shown(output))
        for (name, steps, capped), output, text in zip(names, outputs, inputs, strict=True)
    )


def _length(steps: Any, capped: Any) -> str:  # noqa: ANN401 - scalars of numpy
    return counted(int(steps), "step") + (", ended by the cap" if capped else "")


def _caption(records: dict[str, np.ndarray], place: int, sample: int) -> str:
    taken = [records["exit"][at] for at in (_clean(records, sample), place)]
    exits = [int(number) for number in taken if number is not None and number == number]
    said = [times(float(records["slowdown"][place]))]
    said += [f"exit {' to '.join(map(str, exits))}"] if exits else []
    said += ["prediction unchanged" if records["agreement"][place] else "prediction changed"]
    return f"{', '.join(said)}, label {records['reference'][place]}, Linf {255 * records['linf'][place]:.0f}/255"


def _steps_caption(records: dict[str, np.ndarray], place: int, row: Row, inputs: str) -> str:
    said = [times(float(records["slowdown"][place]))]
    said += [f"I-Loops {loops_text(float(records['i_loops'][place]))} (cap {row.get('cap')})"]
    said += ["output unchanged" if records["agreement"][place] else "output changed"]
    if inputs == "text":
        said += [edits_text(str(row["norm"]), float(records["edits"][place]))]
        said += [f"similarity {percent(float(records['similarity'][place]))}"]
        return ", ".join(said)
    linf = float(records["linf"][place])
    distance = f"{255 * linf:.0f}/255" if inputs == "image" else eps_text("Linf", linf)
    return ", ".join([*said, f"Linf {distance}"])
