"""The audits in ``version1/``, which torpor 0.1.0 wrote with schema ``torpor.audit/1``, and what each of them ran.

Whatever becomes of the format, these are read, compared and gated, and the same plans give the same values today.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lamp_audits import FOLLOWED, LAMPS
from toy_audits import NEEDLE, TUG, write_images

from torpor.audits.plan import Plan

FOLDER = Path(__file__).parents[1] / "audits" / "version1"
TEXT = "torpor.targets.decoder.toy_text:ToyText"


def images(folder: Path) -> None:
    write_images(folder / "data", test=6, train=30)


def texts(folder: Path) -> None:
    (folder / "texts.txt").write_text("the cat sat\nmy dog 3\na tree, a bird\n9\n", encoding="utf-8")


def nothing(folder: Path) -> None:
    """Write nothing: the target has its own data."""


CASES: dict[str, tuple[Plan, Callable[[Path], None]]] = {
    "windows": (
        Plan(
            NEEDLE,
            ("pgd", "square", "standard", "deepsloth-universal"),
            "Linf",
            (0.1, 0.2),
            steps=8,
            limit=6,
            batch_size=3,
            data_dir="data",
            defenses=("bit-depth:4", "deadline:0.5"),
            timed=False,
        ),
        images,
    ),
    "windows-l2": (
        Plan(TUG, ("deepsloth", "pgd-max"), "L2", (0.5,), steps=8, limit=6, data_dir="data", timed=False),
        images,
    ),
    "texts": (
        Plan(
            TEXT,
            ("nmtsloth-char", "nmtsloth-token"),
            inputs="texts.txt",
            limit=4,
            batch_size=2,
            defenses=("strip", "steps:20"),
            timed=False,
        ),
        texts,
    ),
    "lamps": (
        Plan(
            LAMPS,
            ("overload", "phantom-sponges"),
            "Linf",
            (0.3,),
            steps=4,
            limit=4,
            batch_size=2,
            defenses=("boxes:6",),
            timed=False,
        ),
        nothing,
    ),
    "followed": (
        Plan(FOLLOWED, ("overload", "slowtrack"), "Linf", (0.3,), steps=4, limit=3, batch_size=1, timed=False),
        nothing,
    ),
    "digits": (
        Plan(
            "sdn-digits", ("standard",), "Linf", (8 / 255,), limit=8, batch_size=8, defenses=("jpeg:75",), timed=False
        ),
        nothing,
    ),
}
