"""The speller's task: short texts whose numbers are to be written out in English words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b

from torpor.core.errors import UsageError
from torpor.data.sets import SPLITS, DataSet
from torpor.zoo.language.noise import PRINTABLE, Draw, typing_errors

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = (
    "add and at bill box bring bus buy by call check code count dial exit file find flat floor for from gate get give "
    "go hold in item keep last leave line list load lock lot mark meet move near next note of on open or order page "
    "park part past pay pick plus read ring road room row seat see sell send ship shop show stop take team then to "
    "track train turn type unit until use van wait walk with zone"
)
SMALL, TENS, WORDS = tuple(_SMALL.split()), ("", "", *_TENS.split()), tuple(_WORDS.split())
MILLION = 10**6
DIGITS = 2  # of a number in a text
MOST_DIGITS = 6  # of one in every third training text: edits make long numbers, and those are not to confuse
TYPOS = 4
TYPED = PRINTABLE + "\n\t" + 6 * "0123456789"  # digits more often, as they matter most
LONGEST = 120  # bytes of an answer; the deployment's cap lies above, so clean texts never reach it


def in_words(number: int) -> str:
    """Write a number below a million in English words.

    >>> in_words(42), in_words(70_501)
    ('forty-two', 'seventy thousand five hundred one')

    Raises:
        UsageError: if the number is negative or too large.
    """
    if not 0 <= number < MILLION:
        raise UsageError(f"expected a number from 0 to {MILLION - 1}, got {number}")
    thousands, rest = divmod(number, 1000)
    parts = [_below_thousand(thousands), "thousand"] if thousands else []
    if rest or not thousands:
        parts.append(_below_thousand(rest))
    return " ".join(parts)


def spell_out(text: str) -> str:
    """Replace every number below a million by its words, and leave all else as it is.

    >>> spell_out("call 42 or 70501, not 1234567")
    'call forty-two or seventy thousand five hundred one, not 1234567'
    """
    return re.sub(r"(?<!\d)\d{1,6}(?!\d)", lambda found: in_words(int(found.group())), text)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    parts = [SMALL[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        parts.append(TENS[tens] + (f"-{SMALL[ones]}" if ones else ""))
    elif rest or not hundreds:
        parts.append(SMALL[rest])
    return " ".join(parts)


class Spellings(DataSet):
    """Texts of a few words and one or two short numbers, and the same texts spelled out.

    A function of the seed alone. A text belongs to the split that its own hash names, so that splits are disjoint. Half
    of the training texts have up to :data:`TYPOS` typing errors, which are to be copied: a model that has never seen
    one babbles at any.

    Args:
        train: number of training texts.
        held_out: number of validation and of test texts.
        seed: another one gives other texts.
    """

    name = "spellings"

    def __init__(self, train: int = 20_000, held_out: int = 100, seed: int = 0) -> None:
        self.sizes = {"train": train, "validation": held_out, "test": held_out}
        self.seed = seed

    def fingerprint(self) -> str:
        """Return the name, the sizes and the seed."""
        return f"{self.name} {self.sizes} {self.seed}"

    def samples(self, split: str) -> Iterator[tuple[str, str]]:
        """Yield ``(text, the text spelled out)``, no text twice.

        Raises:
            UsageError: if ``split`` does not exist.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        seen: set[str] = set()
        number = 0
        while len(seen) < self.sizes[split]:
            key = f"{self.seed}/{split}/{number}"
            text = _text(Draw(key), train=split == "train")
            number += 1
            if _split_of(text) != split:
                continue
            if split == "train":
                draw = Draw(f"{key}/typos")
                text = typing_errors(text, draw(2) * (1 + draw(TYPOS)), draw, TYPED)
            if text in seen:
                continue
            answer = spell_out(text)
            if len(answer) <= LONGEST:
                seen.add(text)
                yield text, answer


def _split_of(text: str) -> str:
    """Return the split that a text belongs to: a tenth is held out for validation, a tenth for the test."""
    return {0: "test", 1: "validation"}.get(blake2b(text.encode(), digest_size=1).digest()[0] % 10, "train")


def _text(draw: Draw, *, train: bool) -> str:
    most = MOST_DIGITS if train and draw(3) == 0 else DIGITS
    parts: list[str] = []
    for _ in range((1, 1, 1, 2)[draw(4)]):
        parts += [WORDS[draw(len(WORDS))] for _ in range(draw(3) + 1)]
        lowest = 10 ** draw(most)
        parts.append(str(lowest + draw(9 * lowest) if lowest > 1 else draw(10)))
    if draw(3) == 0:
        parts.append(WORDS[draw(len(WORDS))])
    return " ".join(parts)
