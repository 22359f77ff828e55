"""What an audit is going to do: a target, attacks, budgets, data, and a seed."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from torpor import __version__
from torpor.attacks.base import Attack
from torpor.attacks.registry import control_ids, load_attack, takes_steps
from torpor.audits.conditions import ADAPTIVE, NON_ADAPTIVE, Condition, RowKey
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.measures import Measure
from torpor.core.records import CERTIFIED
from torpor.targets.base import Target

if TYPE_CHECKING:
    from torpor.bounds.base import Bound
    from torpor.data.sets import DataSet
    from torpor.defenses.base import Defense


@dataclass(frozen=True)
class Plan:
    """An audit before it runs; equal plans give equal records.

    Attributes:
        target: name of a target, or ``pkg.module:factory``.
        attacks: specifications of attacks, such as ``"square:queries=500"``; the controls come on top.
        norm: of every budget; each attack's own if None.
        eps: radii or numbers of edits, ascending; each attack's own if empty.
        steps: iterations, for attacks that take them; their own if None.
        limit: samples at most; all if None.
        seed: of all randomness.
        batch_size: samples per batch, and per shard on disk.
        device: where the target runs.
        data_dir: the user's folder of data, if the target needs one.
        inputs: the user's own inputs, in place of the target's data.
        rule: exit rule other than the target's own.
        shape: of one input, for attacks whose own radius grows with it; None for texts.
        by_chance: whether random search finds much on the target's family, so that it is a control; the target
            declares it once it is known, see :meth:`on`.
        constant: whether the target's work is constant, so that it is run and nothing is attacked; see :meth:`on`.
        tampering: what was done to the target before it was deployed; see :meth:`on`.
        given: which of ``"target"``, ``"inputs"``, ``"attacks"`` and ``"bounds"`` a program handed over, so that no
            command line names them; ``target`` and ``inputs`` describe them then.
        timed: whether latency, energy and memory are measured at the end.
        downstream: what each object that the target hands on costs, in its currency; None if not given.
        defenses: names of defenses, such as ``"jpeg:75"``; each faces every attack twice, non-adaptive and adaptive.
        bounds: specifications of bounds; the tightest of them certifies what no input within a budget exceeds.
        offset: test samples that are left out at the beginning.
        sample: how many of the others are drawn at random, by the seed; None for the first ones.

    >>> [key.attack for key in Plan("sdn-digits", ("deepsloth",)).keys]
    ['clean', 'deepsloth', 'control-noise', 'control-flat', 'control-shuffled']
    """

    target: str
    attacks: tuple[str, ...]
    norm: str | None = None
    eps: tuple[float, ...] = ()
    steps: int | None = None
    limit: int | None = None
    seed: int = 0
    batch_size: int = 128
    device: str = "cpu"
    data_dir: str | None = None
    inputs: str | None = None
    rule: str | None = None
    shape: tuple[int, ...] | None = None
    defenses: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    timed: bool = True
    by_chance: bool = False
    constant: bool = False
    tampering: str = "none"
    given: tuple[str, ...] = ()
    downstream: float | None = None
    offset: int = 0
    sample: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("batch size", self.batch_size), ("sample", self.sample)):
            if value is not None and value < 1:
                raise UsageError(f"expected a {name} of 1 or more, got {value}")
        if self.offset < 0:
            raise UsageError(f"expected an offset of 0 or more, got {self.offset}")
        if not self.attacks:
            raise UsageError("expected at least one attack, got none (controls come on top); see: torpor list attacks")
        check_seed(self.seed)
        check_device(self.device)
        for budget in self.budgets:
            self.attacks_at(budget)
        if "none" in self.defenses:
            raise UsageError(
                "expected names of defenses, got 'none'; leave it out: the undefended target always comes first"
            )
        for named, what in ((self.attacks, "attacks"), (self.defenses, "defenses"), (self.bounds, "bounds")):
            if twice := [name for name in named if named.count(name) > 1]:
                raise UsageError(f"expected different {what}, got {twice[0]} twice; leave one out")
        names = [key.slug for key in self.keys]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"expected different attacks, radii and defenses, got {twice[0]} twice; leave one out")

    def on(self, target: Target) -> Plan:
        """Return the plan for this target, which its name stands for."""
        return replace(
            self, by_chance=target.family.by_chance, constant=target.constant_work(), tampering=target.tampering
        )

    def chosen(self, data: DataSet) -> DataSet:
        """Return the samples of ``data`` that are attacked, before the limit."""
        if not self.offset and self.sample is None:
            return data
        from torpor.data.chosen import ChosenSamples

        return ChosenSamples(data, offset=self.offset, count=self.sample, seed=self.seed)

    def measures(self, target: Target) -> tuple[Measure, ...]:
        """Return what is recorded on top of the columns of every audit: of the target's family, and of bounds."""
        return (*target.family.measures, *(CERTIFIED if self.bounds else ()))

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Every budget, in the order of the attacks; none where there is nothing to attack."""
        if self.constant:
            return ()
        return tuple(dict.fromkeys(attack.budget for attack in self._attacks()))

    def loaded_defenses(self, *, parts: bool = False) -> list[Defense]:
        """Return the defenses, in the order of their names; of chains their parts, if ``parts``."""
        if not self.defenses:
            return []
        from torpor.defenses.base import JOINT
        from torpor.defenses.registry import load_defense

        return [load_defense(each) for name in self.defenses for each in (name.split(JOINT) if parts else [name])]

    def loaded_bounds(self) -> list[Bound]:
        """Return the bounds, in the order of their names."""
        if not self.bounds:
            return []
        from torpor.bounds.registry import load_bound

        return [load_bound(name) for name in self.bounds]

    def attacks_at(self, budget: Budget) -> list[Attack]:
        """Return the attacks with this budget, without controls."""
        return [attack for attack in self._attacks() if attack.budget == budget]

    @property
    def kinds(self) -> dict[str, type[Attack]]:
        """The class of each attack by the name of its rows, without controls."""
        return {attack.name: type(attack) for attack in self._attacks()}

    def _attacks(self) -> list[Attack]:
        """Return every attack at each of its budgets; ``steps`` goes to those that take them."""
        takers = [name for name in self.attacks if takes_steps(name)]
        return [
            load_attack(
                name,
                norm=self.norm,
                eps=eps,
                steps=self.steps if name in takers or not takers else None,
                shape=self.shape,
            )
            for eps in self.eps or (None,)
            for name in self.attacks
        ]

    @property
    def keys(self) -> tuple[RowKey, ...]:
        """The summary's rows: clean, attacks and their controls; then for each defense clean, and attacks twice."""
        here = self.tampering
        free = (
            RowKey(name, budget, Condition(tampering=here)) for budget in self.budgets for name in self._names(budget)
        )
        defended = (
            key
            for defense in self.defenses
            for key in (
                RowKey("clean", None, Condition(defense, here)),
                *(
                    RowKey(attack.name, budget, Condition(defense, here, attacker))
                    for budget in self.budgets
                    for attack in self.attacks_at(budget)
                    for attacker in (NON_ADAPTIVE, ADAPTIVE)
                ),
            )
        )
        return (RowKey("clean", None, Condition(tampering=here)), *free, *defended)

    def _names(self, budget: Budget) -> tuple[str, ...]:
        """Return the attacks with this budget, and their controls."""
        attacks = self.attacks_at(budget)
        return (*(attack.name for attack in attacks), *control_ids(budget, by_chance=self.by_chance))

    def to_json(self) -> dict[str, Any]:
        """Return what identifies the audit, for ``plan.json``."""
        own: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del own["by_chance"], own["constant"], own["tampering"]  # of the target, not of the plan
        del own["given"]  # what was handed over is identified by what it is
        for name, value in (("downstream", None), ("offset", 0), ("sample", None)):
            if own[name] == value:
                del own[name]  # few audits have it
        return {"torpor": __version__, **own}

    def command(self, out: str) -> str | None:
        """Return the command line that repeats this audit into the folder ``out``; None if there is none."""
        if self.given:
            return None
        words = ["torpor", "audit", self.target, "--attacks", ",".join(self.attacks)]
        for option, value in (
            ("--norm", self.norm),
            ("--eps", ",".join(_exactly(eps) for eps in self.eps) or None),
            ("--steps", self.steps),
            ("--limit", None if self.sample is not None else self.limit),
            ("--offset", self.offset or None),
            ("--sample", self.sample),
            ("--data-dir", self.data_dir),
            ("--inputs", self.inputs),
            ("--rule", self.rule),
            ("--downstream", None if self.downstream is None else repr(self.downstream)),
            ("--defenses", ",".join(self.defenses) or None),
            ("--bounds", ",".join(self.bounds) or None),
        ):
            words += [] if value is None else [option, str(value)]
        words += ["--seed", str(self.seed), "--batch-size", str(self.batch_size), "--device", self.device]
        return shlex.join([*words, "--out", out])


def _exactly(eps: float) -> str:
    """Return text that :func:`parse_eps` reads as the same number."""
    levels = round(eps * 255)
    return f"{eps:g}" if eps == int(eps) else f"{levels}/255" if levels / 255 == eps else repr(eps)


def parse_eps(norm: str | None, eps: str | float | Sequence[str | float] | None) -> tuple[float, ...]:
    """Read radii such as ``"4/255,8/255"``, ``0.1`` or ``["4/255", 0.1]``; none if None.

    Raises:
        UsageError: if one is no positive number.

    >>> parse_eps("Linf", "0.1,0.05"), parse_eps("chars", 2), parse_eps("L2", ["1/2", 0.25])
    ((0.05, 0.1), (2.0,), (0.25, 0.5))
    """
    if eps is None:
        return ()
    parts = eps.split(",") if isinstance(eps, str) else [eps] if isinstance(eps, float | int) else eps
    stripped = (part.strip() if isinstance(part, str) else part for part in parts)
    return tuple(sorted({Budget.parse(norm or "L2", part).eps for part in stripped}))


def check_seed(seed: int) -> None:
    """Refuse seeds that random generators cannot take.

    Raises:
        UsageError: unless ``seed`` is from 0 to 2^63 - 1.
    """
    if not 0 <= seed < 2**63:
        raise UsageError(f"expected a seed from 0 to 2^63 - 1, got {seed}")


def check_device(name: str) -> torch.device:
    """Return the device.

    Raises:
        UsageError: if it does not exist here.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of names that it is about to drop
            device = torch.device(name)
        torch.zeros(1, device=device, dtype=torch.float64)  # costs are float64; not every device has it
    except (RuntimeError, TypeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UsageError(
            f"expected a device that exists here, such as cpu, got {name!r}{_absent(name)}; see: torpor env"
        ) from error
    if device.type == "meta":
        raise UsageError(f"expected a device that computes, such as cpu, got {name!r}")
    return device


def _absent(name: str) -> str:
    """Say why a CUDA device is not there; nothing about others."""
    if not name.startswith("cuda"):
        return ""
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return f" with torch {torch.__version__}, which was built without CUDA"
    count = torch.cuda.device_count()
    return f" where torch sees {count or 'no'} CUDA device{'s' * (count != 1)}"
