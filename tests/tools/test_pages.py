"""Pages of the site that are written elsewhere, or are generated."""

from __future__ import annotations

import json
import pkgutil
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
sys.path.insert(0, str(ROOT))


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_what_the_reference_names_exists(page: Path) -> None:
    """Whoever moves a module moves its entry."""
    names = re.findall(r"^::: (\S+)|\[`(torpor[\w.]+)`\]\[\]|^\| `(torpor[\w.]+)`", page.read_text(), re.MULTILINE)
    assert names
    for name in names:
        pkgutil.resolve_name("".join(name))


def test_links_of_root_files_lead_to_pages() -> None:
    """What has no page is left as text."""
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    from tools.root_pages import relinked

    text = "[a](docs/cli.md#audit) [b](CHANGELOG.md) [LICENSE](LICENSE) [c d](examples/x.py) [e](https://e) [f](#f)"
    assert relinked(text) == "[a](cli.md#audit) [b](changelog.md) `LICENSE` c d [e](https://e) [f](#f)"
    assert relinked("[t](docs/tutorial.ipynb)") == "[t](tutorial.md)"
    assert relinked('<img src="docs/images/p.png">') == '<img src="images/p.png">'
    assert relinked("![p](docs/images/p.png)") == "![p](images/p.png)"


def test_notebooks_become_pages(tmp_path: Path) -> None:
    """Code, text and images in their order; the title first."""
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    from tools.notebook_pages import markdown

    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["1\n", "2\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["x"], "image/png": "AAAA\n"}},
        {"output_type": "execute_result", "data": {"text/plain": ["x"], "text/html": ["<table>", "</table>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# T\n", "\n", "Words."]},
        {"cell_type": "code", "source": ["print(1)\n", "x"], "outputs": outputs},
    ]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert markdown(path).split("\n\n") == [
        "# T",
        "[Download this page as a notebook.](n.ipynb)",
        "Words.",
        "```python\nprint(1)\nx\n```",
        "```{.text .output}\n1\n2\n```",
        "![output](data:image/png;base64,AAAA)",
        "<table></table>",
    ]


def test_quoted_files_are_as_they_are() -> None:
    """Else: python -m tools.quoted_files."""
    from tools.quoted_files import PAGES, quoted, refreshed

    pages = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    for name, text in pages.items():
        assert refreshed(text) == text, name
    files = {Path(path).name for text in pages.values() for path in quoted(text) if path.startswith("tests/plugin/")}
    plugin = (ROOT / "tests" / "plugin" / "src" / "torpor_example").glob("[!_]*.py")
    assert files == {path.name for path in plugin}  # each shows what a plug-in looks like
