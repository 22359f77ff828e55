"""What does a defense of a vision mechanism leave of ``standard``? ``python -m benchmarks.adaptive``: no timing.

Each defense learns from validation data. ``standard`` then attacks test images without the defense, and again, knowing
it, with the defense; what it found without is also sent to the defended target, and counts where it costs more. Costs
are means over these images, as shares of the static bound without the defense; accuracy is that of all clean test
images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import load_attack
from torpor.attacks.result import costlier, transfer
from torpor.core.work import Work
from torpor.defenses.base import Defense
from torpor.defenses.registry import load_defense
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

CASES = (
    ("avit-digits", "16/255", ("tokens",)),
    ("adavit-digits", "16/255", ("tokens",)),
    ("ats-digits", "16/255", ("tokens",)),
    ("sparse-digits", "8/255", ("density", "density:45")),
    ("odenet-digits", "16/255", ("quota:50",)),
    ("act-digits", "16/255", ("quota:50", "hardened")),
    ("cascade-digits", "4/255", ("deadline",)),
    ("snn-digits", "8/255", ("quota:50",)),
)
"""Target, radius in Linf, which is that of its row in the table of strength, and defenses."""
COUNT = 16
FIRST = 200
"""Test image from which on they are attacked."""
HEADS = (
    "target",
    "defense",
    "Linf",
    "clean",
    "clean, defended",
    "attacked",
    "the same, sent to the defended",
    "attacked, defense known",
    "bound, defended",
    "accuracy",
    "accuracy, defended",
)


@dataclass(frozen=True)
class Found:
    """What a defense costs and leaves.

    Attributes:
        clean: mean cost of the clean images, without the defense and with it, as shares of the static bound without.
        attacked: the same of images that were attacked without the defense.
        sent: of these images on the defended target.
        adaptive: of images that were attacked with the defense.
        bound: static bound with the defense.
        accuracy: on clean images, without the defense and with it.
    """

    clean: tuple[float, float]
    attacked: float
    sent: float
    adaptive: float
    bound: float
    accuracy: tuple[float, float]

    @property
    def shares(self) -> tuple[float, ...]:
        """All figures in the order of the table."""
        return (*self.clean, self.attacked, self.sent, self.adaptive, self.bound, *self.accuracy)


def judge(
    bare: Target,
    defenses: Iterable[Defense],
    attack: Attack,
    inputs: Tensor,
    labels: Tensor,
    attacked: slice,
) -> Iterator[Found]:
    """Attack a target without a defense, then with each.

    Args:
        bare: the target.
        defenses: what they know of the data, they have learned.
        attack: what is run.
        inputs: clean ones, all of which tell the accuracy.
        labels: of these.
        attacked: which of them are attacked.
    """
    whole = bare.prices.cost(bare.static_work()).item()

    def share(target: Target, work: Work) -> float:
        return target.prices.cost(work).mean().item() / whole

    def run(target: Target) -> AttackResult:
        return attack(target, inputs[attacked], references=labels[attacked], seed=0)

    def accuracy(target: Target) -> float:
        return target.utility(target.run(inputs).outputs, labels).mean().item()

    free, right = run(bare), accuracy(bare)
    for defense in defenses:
        defended = defense.defend(bare)
        known, sent = run(defended), transfer(free, defended)
        yield Found(
            (share(bare, free.clean.work), share(defended, known.clean.work)),
            share(bare, free.attacked.work),
            share(defended, sent.attacked.work),
            share(defended, costlier(defended, known, sent).attacked.work),
            share(defended, defended.static_work()),
            (right, accuracy(defended)),
        )


def rows(name: str, eps: str, specs: Sequence[str], count: int) -> Iterator[str]:
    """Yield rows of the table, in Markdown."""
    bare = load_target(name)
    data = bare.data(None)
    defenses, batch = [load_defense(spec).prepared(bare, data, [], 0) for spec in specs], data.load("test")
    inputs, attack = bare.read(batch.inputs), load_attack("standard", norm="Linf", eps=eps)
    found = judge(bare, defenses, attack, inputs, batch.references, slice(FIRST, FIRST + count))
    for defense, each in zip(defenses, found, strict=True):
        yield f"| {name} | {defense.name} | {eps} | {' | '.join(f'{100 * one:.1f} %' for one in each.shares)} |"


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="of the table; all if none")
    parser.add_argument("--count", type=int, default=COUNT, help="test images that are attacked")
    options = parser.parse_args(words)
    names = [name for name, _, _ in CASES]
    if unknown := sorted(set(options.targets) - set(names)):
        parser.error(f"expected targets among {', '.join(names)}, got {', '.join(unknown)}")
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for name, eps, specs in CASES:
        if not options.targets or name in options.targets:
            for row in rows(name, eps, specs, options.count):
                print(row, flush=True)


if __name__ == "__main__":
    main()
