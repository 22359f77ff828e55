"""Hostile texts do not hold up a pattern: with quadratic time these would take minutes."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

import pytest

from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.core.errors import UsageError
from torpor.defenses.transforms.spelling import WORD
from torpor.defenses.transforms.text_cleaning import PIECE, SPECIAL

N = 200_000
GATES = (
    *(" ", "\t\n", "a", "a ", "a:", ":", "@", "a@", "@a:", "(", "a(", "1", "1.", "<", "p95(", "é"),
    *("p95( ", "p95(slowdown ", "p95(slowdown) ", "p95(slowdown) < ", "p95(slowdown) < 1 ", "p95(slowdown) < 1"),
)
"""What a hostile gate may begin with; its last character is repeated."""
ENDS = ("", "!", ":", "x", "<", " 1", ".")
TEXTS = ("a", "a'", "'", " ", " \n", "<|", "<", "[", "ab", "abcdefgh", "a b ", "</s", "1", "a1")


@pytest.mark.parametrize("begin", GATES)
def test_long_gates_take_linear_time(begin: str) -> None:
    for end in ENDS:
        for text in (begin + begin[-1] * N + end, begin * (N // len(begin)) + end):
            with suppress(UsageError):  # blanks may stand before a number
                parse_gate(text)


def test_blanks_around_a_gate_do_not_matter() -> None:
    blank = " " * N
    text = blank.join(("", "pgd", "@jpeg:75", ":", "p95", "(", "slowdown", ")", "<", "150", "%", ""))
    assert str(parse_gate(text.replace("pgd" + blank, "pgd", 1))) == "pgd@jpeg:75: p95(slowdown) < 150%"


@pytest.mark.parametrize(
    "search", [WORD.findall, SPECIAL.split, lambda text: PIECE.sub("", text), lambda text: re.findall(r"\s*\S+", text)]
)
def test_cleaning_takes_linear_time(search: Callable[[str], object]) -> None:
    for text in TEXTS:
        search(text * (20_000 // len(text)) + "?")
