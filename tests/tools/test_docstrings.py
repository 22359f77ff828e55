"""What the site makes of docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="the site needs the extra docs")

from tools.docstrings import MarkdownDocstrings  # noqa: E402

CODE = '''
class Base:
    """A base."""

    def run(self):
        """Run, unlike :meth:`stop`.

        >>> Base().run()
        1
        >>> 2
        2

        Then :class:`~package.Base`, :func:`nowhere`, and ``:code:``.
        """

    def stop(self):
        """Stop."""


class Child(Base):
    """A child; see :meth:`Base.stop`, :meth:`run`."""

    def run(self):
        pass
'''


def docstrings(tmp_path: Path) -> dict[str, str | None]:
    """Return the docstrings of CODE by name, as the extension leaves them."""
    (tmp_path / "package.py").write_text(CODE, encoding="utf-8")
    package = griffe.load(
        "package",
        search_paths=[tmp_path],
        extensions=griffe.load_extensions(MarkdownDocstrings),
        allow_inspection=False,
    )
    names = ("Base.run", "Child")
    return {name: each.value if (each := package[name].docstring) else None for name in names}


def link(path: str, shown: str) -> str:
    """Return a link that is text where the site has no such name."""
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'


def test_roles_become_links_to_what_they_mean_there(tmp_path: Path) -> None:
    """Names are looked up in the class, its bases, then the module; unknown ones stay as they are."""
    found = docstrings(tmp_path)
    run = found["Base.run"]
    assert run is not None
    assert run.startswith(f"Run, unlike {link('package.Base.stop', 'stop')}.")
    assert f"Then {link('package.Base', 'Base')}, {link('nowhere', 'nowhere')}, and ``:code:``." in run
    inherited = link("package.Child.run", "run")
    assert found["Child"] == f"A child; see {link('package.Base.stop', 'Base.stop')}, {inherited}."


def test_doctests_become_code(tmp_path: Path) -> None:
    """Markdown would read them as quotations."""
    assert "\n```pycon\n>>> Base().run()\n1\n>>> 2\n2\n```\n" in (docstrings(tmp_path)["Base.run"] or "")
