"""What identifies a row of an audit: the attack, its budget, and the condition under which it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torpor.core.budget import Budget, budget_text
from torpor.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow.compute as pc

NON_ADAPTIVE, ADAPTIVE = "non-adaptive", "adaptive"
"""Attackers who do not know of the defense, and who attack through it."""
COLUMNS = ("attack", "defense", "attacker", "norm", "eps")
"""Columns of the records that tell their row."""
TAMPERING = "tampering"
"""Another such column, which records of old audits lack."""
EPS_TOLERANCE = 1e-6
"""Relative difference below which two radii are the same budget (a radius may have been stored as float32)."""


@dataclass(frozen=True)
class Condition:
    """Under which condition a row was measured.

    Attributes:
        defense: name of the defense, or ``"none"``.
        tampering: name of what was done to the target before it was deployed, or ``"none"``.
        attacker: :data:`NON_ADAPTIVE` or :data:`ADAPTIVE`; None where there is no defense or no attack.
    """

    defense: str = "none"
    tampering: str = "none"
    attacker: str | None = None


@dataclass(frozen=True)
class RowKey:
    """The one key of a row of the summary: what was done to every sample, and under which condition.

    Attributes:
        attack: its name; ``"clean"`` for none.
        budget: of the attack; None for none.
        condition: under which it was measured.

    >>> RowKey("pgd", Budget("L2", 0.5)) == RowKey.of({"attack": "pgd", "norm": "L2", "eps": 0.5})
    True
    """

    attack: str
    budget: Budget | None = None
    condition: Condition = Condition()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RowKey:
        """Return the key of a row of ``audit.json``, or of a record.

        Raises:
            DataError: if its budget is none.

        >>> RowKey.of({"attack": "clean", "defense": "jpeg"}).condition
        Condition(defense='jpeg', tampering='none', attacker=None)
        """
        norm, eps = row.get("norm"), row.get("eps")
        condition = Condition(row.get("defense") or "none", row.get("tampering") or "none", row.get("attacker"))
        try:
            budget = None if norm is None or eps is None else Budget(norm, eps)
        except UsageError as error:
            raise DataError(f"{error}, in a row of {row['attack']}; run the audit again") from error
        return cls(row["attack"], budget, condition)

    def to_json(self) -> dict[str, Any]:
        """Return the entries of a summary row that identify it; the tampering only where there is one.

        >>> RowKey("pgd", Budget("L2", 0.5)).to_json()
        {'attack': 'pgd', 'defense': 'none', 'attacker': None, 'norm': 'L2', 'eps': 0.5}
        """
        where, budget = self.condition, self.budget
        tampered = {} if where.tampering == "none" else {"tampering": where.tampering}
        found = {"attack": self.attack, "defense": where.defense, **tampered, "attacker": where.attacker}
        return found | {"norm": budget.norm if budget else None, "eps": budget.eps if budget else None}

    @property
    def clean(self) -> RowKey:
        """The row of clean inputs under the same condition.

        >>> RowKey("pgd", Budget("L2", 0.5), Condition("jpeg", attacker="non-adaptive")).clean.slug
        'clean-jpeg'
        """
        return RowKey("clean", None, Condition(self.condition.defense, self.condition.tampering))

    @property
    def undefended(self) -> RowKey:
        """The row of the same attack on the target without any defense.

        >>> RowKey("pgd", Budget("L2", 0.5), Condition("jpeg", attacker="non-adaptive")).undefended.slug
        'pgd-L2-0.5'
        """
        return RowKey(self.attack, self.budget, Condition(tampering=self.condition.tampering))

    @property
    def slug(self) -> str:
        """A name that files can have.

        >>> pgd = RowKey("pgd", Budget("L2", 0.5), Condition("jpeg:75", attacker="non-adaptive"))
        >>> pgd.undefended.slug, pgd.slug
        ('pgd-L2-0.5', 'pgd-L2-0.5-jpeg.75-non-adaptive')
        """
        where, budget = self.condition, self.budget
        words = [_filed(self.attack), *([budget.norm, f"{budget.eps:.5g}"] if budget else [])]
        words += [_filed(name) for name in (where.tampering, where.defense) if name != "none"]
        return "-".join([*words, *([where.attacker] if where.attacker else [])])

    def __str__(self) -> str:
        """Return the row in words, for messages.

        >>> print(RowKey("pgd", Budget("L2", 0.5), Condition("jpeg:75", attacker="non-adaptive")))
        pgd L2 0.5 non-adaptive defended by jpeg:75
        """
        where, budget = self.condition, self.budget
        words = [self.attack, *([f"{budget.norm} {budget.eps:.4g}"] if budget else [])]
        words += [where.attacker] if where.attacker else []
        words += [] if where.defense == "none" else [f"defended by {where.defense}"]
        return " ".join([*words, *([] if where.tampering == "none" else [f"after {where.tampering}"])])

    def matches(self) -> pc.Expression:
        """Return what picks the records of this row: a filter for a table or a Parquet file.

        >>> import pyarrow as pa
        >>> rows = {"attack": ["pgd", "clean"], "defense": ["none"] * 2, "norm": ["L2", None], "eps": [0.5, None]}
        >>> pa.table(rows).filter(RowKey("pgd", Budget("L2", 0.5)).matches()).num_rows
        1
        """
        import pyarrow.compute as pc

        where = self.condition
        chosen = (pc.field("attack") == self.attack) & (pc.field("defense") == where.defense)
        for name, value in (
            ("attacker", where.attacker),
            ("tampering", None if where.tampering == "none" else where.tampering),
        ):
            if value is not None:  # else the column may be missing
                chosen &= pc.field(name) == value
        if self.budget is None:
            return chosen & pc.field("norm").is_null() & pc.field("eps").is_null()
        slack = self.budget.eps * EPS_TOLERANCE
        chosen &= pc.field("norm") == self.budget.norm
        return chosen & (pc.field("eps") >= self.budget.eps - slack) & (pc.field("eps") <= self.budget.eps + slack)


def _filed(name: str) -> str:
    """Return a name as a part of a file's."""
    return name.replace(":", ".").replace("/", ".")


def describe_row(row: Mapping[str, Any]) -> str:
    """Name a summary row: attack, budget, and the defense if there was one.

    >>> describe_row({"attack": "deepsloth", "defense": "none", "norm": "Linf", "eps": 8 / 255})
    'deepsloth, Linf 8/255'
    """
    parts = [str(row["attack"])]
    if row.get("eps") is not None:
        parts.append(budget_text(row))
    if row.get("defense") not in (None, "none"):
        parts.append(f"against {row['defense']}")
    if row.get("attacker"):
        parts.append(str(row["attacker"]))
    if row.get("tampering") not in (None, "none"):
        parts.append(f"after {row['tampering']}")
    return ", ".join(parts)
