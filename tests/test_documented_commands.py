"""The commands that README and the docs show have verbs and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from torpor.cli.app import app

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NO_TARGET = "or torpor.toml in this folder that names it, got neither"
UNFINISHED = ("MissingParameter", "BadOptionUsage")
"""What a sentence about an option may leave out: the target, or the option's value."""


def commands(page: str) -> list[list[str]]:
    """Return the words of each command of a page, of its blocks and of its sentences."""
    blocks = "\n".join(BLOCK.findall(page)).replace("\\\n", " ")
    found = re.findall(r"^(?:\$ )?torpor ([^\n|&>]+)", blocks, re.MULTILINE)
    found += re.findall(r"`torpor ([a-z-]+ [^`|\\]+)", page)
    return [shlex.split(each, comments=True) for each in found if each.count("'") % 2 == each.count('"') % 2 == 0]


def mistake(words: list[str]) -> str:
    """Parse the words as the command line does, without doing what they say, and return what is wrong with them."""
    command: Any = typer.main.get_command(app)
    name, rest = "torpor", list(words)
    try:
        while hasattr(command, "resolve_command"):
            name, command, rest = command.resolve_command(command.context_class(command), rest)
        command.make_context(name, rest)
    except Exception as error:
        return "" if type(error).__name__ in UNFINISHED or NO_TARGET in str(error) else f"{shlex.join(words)}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_the_docs_can_be_parsed(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = commands(page.read_text(encoding="utf-8"))
    assert [said for words in found if (said := mistake(words))] == []
    assert found or page.name not in ("README.md", "cli.md", "ci.md")


def test_a_command_that_is_none_is_found() -> None:
    (words,) = commands("Run `torpor audit sdn-digits --no-such-option 3`.\n")
    assert "No such option" in mistake(words)
    assert "No such command" in mistake(["audti", "sdn-digits"])
