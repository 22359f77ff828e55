"""A hook of mkdocs: a notebook in ``docs/`` is a page with its stored outputs, and can be downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:  # noqa: ANN401 - what else mkdocs passes
    """Add a page for each notebook."""
    for path in sorted(Path(config.docs_dir).glob("*.ipynb")):
        files.append(File.generated(config, f"{path.stem}.md", content=markdown(path)))
    return files


def markdown(path: Path) -> str:
    """Return a notebook as Markdown, with a link to itself under its title."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, *others = (part for cell in cells for part in _parts(cell))
    heading, _, rest = title.partition("\n")
    return "\n\n".join([heading, f"[Download this page as a notebook.]({path.name})", rest.strip(), *others])


def _parts(cell: Mapping[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        yield _output(output)


def _output(output: Mapping[str, Any]) -> str:
    """Return an output as Markdown: an image or a table where it is one, else its text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
    if "text/html" in data:
        return "".join(data["text/html"])
    text = "".join(output.get("text") or data["text/plain"]).rstrip()
    return f"```{{.text .output}}\n{text}\n```"
