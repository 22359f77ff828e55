"""Texts of hostile origin as HTML: everything escaped, what cannot be seen written out, what was changed marked."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

FOLD = 320
"""Characters of an output that are shown at once; longer ones are folded."""
HEAD = 120
"""Characters that a folded output shows."""
MANY = 100_000
"""Pairs of equal characters above which two texts are compared word by word, and of equal words above which all between
their common beginning and end counts as changed: texts of hostile origin must not hold up a report."""

LATIN_END = "\u0250"
"""The first letter behind those of Latin alphabets."""
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


@dataclass(frozen=True)
class Shown:
    """A text ready for the page.

    Attributes:
        markup: all of it.
        folded: its beginning, if it is too long to be shown at once; else empty.
        says: how long it is.
    """

    markup: Markup
    folded: str = ""
    says: str = ""


def shown(text: str) -> Shown:
    """Return a text, folded where it is long.

    >>> shown("<b>").markup, shown("").markup
    (Markup('&lt;b&gt;'), Markup('<span class="ctl">nothing</span>'))
    >>> shown("la " * 500).says
    '1,500 characters'
    """
    if not text:
        return Shown(_symbol("nothing"))
    if len(text) <= FOLD:
        return Shown(visible(text))
    return Shown(visible(text), visible(f"{text[:HEAD].rstrip()} …"), f"{len(text):,} characters")


def visible(text: str) -> Markup:
    r"""Return text as HTML in which every character can be seen: control characters as symbols, others by number.

    >>> print(visible("a<b\u202e\0"))
    a&lt;b<span class="ctl">[U+202E]</span><span class="ctl">␀</span>
    """
    return Markup("").join(_character(character) for character in text)


def marked(clean: str, attacked: str) -> tuple[Markup, Markup]:
    """Return both texts as HTML, the characters in which they differ inside ``<mark>``.

    Behind a letter of another script in place of a Latin one, which may look the same, stands its number.

    >>> print(*marked("one sea", "one tea!"), sep=" | ")
    one <mark>s</mark>ea | one <mark>t</mark>ea<mark>!</mark>
    """
    sides = [Markup(""), Markup("")]
    for same, before, after in _pieces(clean, attacked):
        shown_after = visible(after)
        if not same and before and before < LATIN_END:
            shown_after = Markup("").join(map(_numbered, after))
        for place, part in enumerate((visible(before), shown_after)):
            sides[place] += part if same or not part else Markup("<mark>{}</mark>").format(part)
    return sides[0], sides[1]


def _pieces(clean: str, attacked: str) -> Iterator[tuple[bool, str, str]]:
    """Yield (whether they are the same, piece of the clean text, piece of the attacked text)."""
    before: Sequence[str] = clean
    after: Sequence[str] = attacked
    if _pairs(before, after) > MANY:
        before, after = (re.findall(r"\s+|\S+\s*", text) for text in (clean, attacked))
    start = _alike(before, after)
    yield True, "".join(before[:start]), "".join(after[:start])
    before, after = before[start:], after[start:]
    if _pairs(before, after) > MANY:
        end = _alike(before[::-1], after[::-1])
        yield False, "".join(before[: len(before) - end]), "".join(after[: len(after) - end])
        yield True, "".join(before[len(before) - end :]), "".join(after[len(after) - end :])
        return
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        yield kind == "equal", "".join(before[a:b]), "".join(after[c:d])


def _alike(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many characters or words two texts have in common at their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


def _pairs(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many pairs of equal characters or words there are, what a comparison takes time for."""
    counts = Counter(second)
    return sum(count * counts[part] for part, count in Counter(first).items())


def _character(character: str) -> Markup:
    if character == "\n":
        return _symbol("⏎") + "\n"
    if character < " ":
        return _symbol("⇥" if character == "\t" else chr(0x2400 + ord(character)))
    if character != " " and (unicodedata.category(character) in _HIDDEN or _BLANK.match(character)):
        return _symbol(f"[U+{ord(character):04X}]")
    return Markup.escape(character)


def _numbered(character: str) -> Markup:
    number = _symbol(f"[U+{ord(character):04X}]") if character >= LATIN_END and character.isalpha() else Markup("")
    return _character(character) + number


def _symbol(name: str) -> Markup:
    return Markup('<span class="ctl">{}</span>').format(name)
