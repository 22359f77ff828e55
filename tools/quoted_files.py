"""Files that pages of the docs quote whole: ``python -m tools.quoted_files`` writes them into the pages anew.

A page names the file in a comment, ``<!-- file: PATH -->``, in front of a block of code.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
QUOTED = re.compile(r"(<!-- file: (?P<path>\S+) -->\n```python\n)(?P<code>.*?)(^```$)", re.MULTILINE | re.DOTALL)


def quoted(page: str) -> list[str]:
    """Return the paths of the files that a page quotes."""
    return [found["path"] for found in QUOTED.finditer(page)]


def refreshed(page: str) -> str:
    """Return the text of a page with every quoted file as it is now."""
    return QUOTED.sub(lambda found: found[1] + (ROOT / found["path"]).read_text(encoding="utf-8") + found[4], page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
