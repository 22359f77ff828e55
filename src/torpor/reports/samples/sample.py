"""One attacked input for people to look at: what was saved of it, and how it is shown."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torpor.core.budget import PATCHES, budget_text, edits_text, eps_text
from torpor.reports.kit.words import Row, label, percent, times

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup

    from torpor.reports.samples.texts import Shown

VIEWS = {
    "image": "torpor.reports.samples.images:image_views",
    "wave": "torpor.reports.samples.waves:wave_views",
    "features": "torpor.reports.samples.images:feature_views",
}
"""What draws each kind of input; texts are shown as they are."""


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
