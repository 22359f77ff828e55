"""A hook of mkdocs: README, CONTRIBUTING and CHANGELOG at the repository's root are pages of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the root, and the pages that they are."""

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:  # noqa: ANN401 - what else mkdocs passes
    """Add the pages."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=relinked((ROOT / source).read_text(encoding="utf-8"))))
    return files


def relinked(text: str) -> str:
    """Return ``text`` with links as seen from ``docs/``; what is not on the site is left as text."""
    return LINK.sub(_link, text).replace(' src="docs/', ' src="')


def _link(found: re.Match[str]) -> str:
    target = found["target"]
    if re.match(r"[a-z]+:", target):
        return found[0]
    page = PAGES.get(target, target.removeprefix("docs/")).replace(".ipynb", ".md")
    if page == target:
        return f"`{target}`" if found["text"] == target else found["text"]
    return f"{found['image']}[{found['text']}]({page}{found['anchor'] or ''})"
