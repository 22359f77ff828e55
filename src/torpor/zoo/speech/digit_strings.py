"""Texts of one to four digits' names: what the synthesizer reads aloud, and nothing that has to be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from torpor.core.errors import UsageError
from torpor.data.scenes import NUMBERS
from torpor.data.sets import SPLITS, DataSet
from torpor.zoo.language.noise import Draw

MOST_DIGITS = 4


class DigitStrings(DataSet):
    """Names of one to four digits, and the same again as the reference of what is to be heard.

    A function of the seed alone. A text belongs to the split that its own hash names, so that splits are disjoint: a
    tenth each for validation and test.

    Args:
        train: number of training texts, which may come twice.
        held_out: number of validation and of test texts, none of them twice.
        seed: another one gives other texts.

    >>> next(DigitStrings().samples("test"))
    ('one', 'one')
    """

    name = "digit-strings"

    def __init__(self, train: int = 1280, held_out: int = 200, seed: int = 0) -> None:
        self.sizes = {"train": train, "validation": held_out, "test": held_out}
        self.seed = seed

    def fingerprint(self) -> str:
        """Return the name, the sizes and the seed."""
        return f"{self.name} {self.sizes} {self.seed}"

    def samples(self, split: str) -> Iterator[tuple[str, str]]:
        """Yield ``(text, text)``.

        Raises:
            UsageError: if ``split`` does not exist.
        """
        for digits in self.digits(split):
            text = " ".join(NUMBERS[digit] for digit in digits)
            yield text, text

    def digits(self, split: str, epoch: int = 0) -> Iterator[tuple[int, ...]]:
        """Yield the texts as numbers; every epoch has others.

        Raises:
            UsageError: if ``split`` does not exist.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        seen: set[tuple[int, ...]] = set()
        found = number = 0
        while found < self.sizes[split]:
            draw = Draw(f"{self.seed}/{split}/{epoch}/{number}")
            digits = tuple(draw(10) for _ in range(1 + draw(MOST_DIGITS)))
            number += 1
            if _split_of(digits) == split and (split == "train" or digits not in seen):
                seen.add(digits)
                found += 1
                yield digits


def _split_of(digits: tuple[int, ...]) -> str:
    return {0: "test", 1: "validation"}.get(blake2b(bytes(digits), digest_size=1).digest()[0] % 10, "train")
