"""One attacked input for people to look at: what was saved of it, and how it is shown."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torpor.core.budget import PATCHES, budget_text, edits_text, eps_text
from torpor.reports.kit.words import Row, label, percent, quantity, times

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup

    from torpor.audits.curves import SampleCurve
    from torpor.reports.samples.texts import Shown

VIEWS = {
    "image": "torpor.reports.samples.images:image_views",
    "wave": "torpor.reports.samples.waves:wave_views",
    "features": "torpor.reports.samples.images:feature_views",
}
"""What draws each kind of input; texts are shown as they are."""
SLACK = 1e-9
"""Share of a cost by which rounding may move it."""
WIDTH, HEIGHT, EDGE = 240, 56, 4
"""Of the curve of one sample, and the space around it."""


@dataclass(frozen=True)
class Half:
    """The clean or the attacked half of a sample whose input or output is text.

    Attributes:
        name: ``"clean"`` or ``"attacked"``.
        says: how many steps it ran, and what ended them; empty where there is nothing to tell.
        input: the input, if it is text, with changed characters marked.
        output: what was generated; None for targets that generate no text.
    """

    name: str
    says: str
    input: Markup | None
    output: Shown | None


@dataclass(frozen=True)
class Sample:
    """One sample as it was and as the attack left it.

    Attributes:
        title: which sample and attack.
        caption: cost, output, and distance, clean and attacked.
        views: (name, data URI) of the clean input, the attacked one and the difference; empty for texts.
        sides: clean and attacked texts; empty where there are none.
        reference: the right output, where it is text and known.
        effort: what the search on it spent, and when it found what; empty where that is not recorded.
        curve: SVG of the best so far against passes, which is trusted; empty likewise.
    """

    title: str
    caption: str
    views: tuple[tuple[str, str], ...]
    sides: tuple[Half, ...] = ()
    reference: Shown | None = None
    effort: str = ""
    curve: str = ""


@dataclass(frozen=True, eq=False)
class Saved:
    """What an audit saved of one attacked input.

    Attributes:
        row: of the summary.
        records: columns of the records.
        at: place of its record.
        clean: place of the record of the clean input.
        kind: of inputs, such as ``"image"``.
        tensors: what the files of examples hold of this sample, texts among it.
    """

    row: Row
    records: Mapping[str, np.ndarray]
    at: int
    clean: int
    kind: str
    tensors: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Which sample and attack."""
        return f"sample {int(self.records['sample'][self.at])}: {label(self.row)}"

    @property
    def slowdown(self) -> str:
        """How much costlier it is than the clean input."""
        return times(float(self.records["slowdown"][self.at]))

    @property
    def agrees(self) -> bool:
        """Whether the output agrees with the clean one."""
        return bool(self.records["agreement"][self.at])

    @property
    def pair(self) -> tuple[Any, Any]:
        """The clean and the attacked input as stored."""
        return self.tensors["clean"], self.tensors["attacked"]

    @property
    def views(self) -> tuple[tuple[str, str], ...]:
        """Drawings of the clean input, the attacked one and the difference; none of texts."""
        if self.kind not in VIEWS:
            return ()
        drawn: tuple[tuple[str, str], ...] = pkgutil.resolve_name(VIEWS[self.kind])(*self.pair)
        return drawn

    @property
    def distance(self) -> str:
        """How far it is from the clean input."""
        if self.kind == "text":
            return ", ".join(self.edits())
        linf = float(self.records["linf"][self.at])
        if self.row.get("norm") in PATCHES:
            return budget_text(self.row)
        return f"Linf {255 * linf:.0f}/255" if self.kind in ("image", "video") else f"Linf {eps_text('Linf', linf)}"

    def changes(self) -> list[str]:
        """Say whether the output changed."""
        return ["output unchanged" if self.agrees else "output changed"]

    def edits(self) -> list[str]:
        """Say how many edits a text has, and how similar it is; nothing of other inputs."""
        if self.kind != "text":
            return []
        number, alike = (float(self.records[name][self.at]) for name in ("edits", "similarity"))
        return [edits_text(str(self.row["norm"]), number), f"similarity {percent(alike)}"]

    def texts(self) -> tuple[Markup, Markup] | None:
        """Return the clean and the attacked text, changes marked; None of other inputs.

        A prompt of the attacker's own has nothing to be compared with.
        """
        if self.kind != "text":
            return None
        from torpor.core.conversation import shown_turn
        from torpor.reports.samples.texts import marked, visible

        clean, attacked = (shown_turn(unpacked(each)) for each in self.pair)
        return (visible(clean), visible(attacked)) if self.row["norm"] == "prompt" else marked(clean, attacked)

    def input_sides(self) -> tuple[Half, ...]:
        """Return both texts without any output; nothing of other inputs."""
        return tuple(
            Half(name, "", text, None) for name, text in zip(("clean", "attacked"), self.texts() or (), strict=False)
        )


def unpacked(stored: str | np.ndarray) -> str:
    """Return a stored text; older audits hold what :func:`torpor.core.text.pack` made of it."""
    return stored if isinstance(stored, str) else stored.tobytes().rstrip(b"\0").decode("utf-8", "replace")


def sketched(curve: SampleCurve) -> str:
    """Return the curve of one sample as SVG, passes on a logarithmic scale; trusted, since it is made of numbers.

    >>> from torpor.attacks.search.incumbent import Improvement
    >>> from torpor.audits.curves import SampleCurve
    >>> sketched(SampleCurve(0, 1.0, 1.0, 100, 0, (Improvement(10, 2.0),))).count("<path")
    1
    """
    from math import log

    last, top = max(2, curve.passes), max(curve.slowdown(curve.passes), 1.0)
    low = min(curve.own / curve.clean, 1.0)

    def x(passes: int) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * min(1.0, log(max(1, passes)) / log(last))

    def y(slowdown: float) -> float:
        share = (slowdown - low) / (top - low) if top > low else 0.0
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share

    path = f"M{x(1):.1f} {y(curve.own / curve.clean):.1f}"
    for point in curve.points:
        path += f"H{x(point.passes):.1f}V{y(point.cost / curve.clean):.1f}"
    said = f"best so far, from {times(curve.own / curve.clean)} to {times(top)}, against passes, 1 to {last:,}"
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>'
        f'<path d="{path}H{x(last):.1f}"/></svg>'
    )


def effort(curve: SampleCurve, seconds: str = "", unit: str = "") -> str:
    """Say what the search on one sample spent, and when it found what.

    Args:
        curve: of the sample.
        seconds: what it took, in words; empty if that is not recorded.
        unit: of costs.

    >>> from torpor.attacks.search.incumbent import Improvement
    >>> from torpor.audits.curves import SampleCurve
    >>> effort(SampleCurve(0, 1.0, 1.0, 60, 40, (Improvement(3, 2.0), Improvement(50, 5.0, "square"))))
    '100 passes (60 forward, 40 backward), 2.00x after 3, 5.00x after 50 by square'
    >>> effort(SampleCurve(0, 1.0, 1.0, 60, 40, (), 3.0))
    '100 passes (60 forward, 40 backward), nothing found; the input shown, 3.00x, is from another search'
    >>> effort(SampleCurve(0, 10.0, 10.0, 9, 0, (Improvement(3, 20.0, spent=42.0),), spent=99.0), unit="tokens")
    '9 passes (9 forward, 0 backward) for 99 tokens, 2.00x after 3 (42 tokens)'
    """
    spent = f"{curve.passes:,} passes ({curve.forwards:,} forward, {curve.backwards:,} backward)"
    spent += f" for {quantity(curve.spent, unit)}" if curve.spent is not None else ""
    spent += f" in {seconds}" if seconds else ""
    elsewhere = curve.cost is not None and curve.cost > curve.best(curve.passes) * (1 + SLACK)
    other = f"; the input shown, {times((curve.cost or 0.0) / curve.clean)}, is from another search" * elsewhere
    if not curve.points:
        return f"{spent}, nothing found{other}"
    ends = dict.fromkeys((curve.points[0], curve.points[-1]))
    paid = [f" ({quantity(point.spent, unit)})" if point.spent is not None else "" for point in ends]
    found = [
        f"{times(point.cost / curve.clean)} after {point.passes:,}{own}{' by ' * bool(point.member)}{point.member}"
        for point, own in zip(ends, paid, strict=True)
    ]
    return f"{spent}, {', '.join(found)}{other}"
