"""Pages beside the report of one audit: the templates that they share, and one step that writes them."""

from __future__ import annotations

from pathlib import Path


def write_page(path: Path, template: str, **values: object) -> Path:
    """Write a page from a template, with every string escaped, and return its path.

    Args:
        path: of the file; its folder must exist.
        template: name of a file in ``reports/templates``.
        **values: what the template is given.

    Raises:
        UsageError: if the file cannot be written.

    >>> write_page(Path("nowhere") / "x.html", "compare.html.j2")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    torpor.core.errors.UsageError: expected a folder that exists for nowhere/x.html, got none; make it first
    """
    from torpor.core.errors import UsageError
    from torpor.core.files import write_atomically
    from torpor.reports.html import templates

    if not path.parent.is_dir():
        raise UsageError(f"expected a folder that exists for {path}, got none; make it first")
    write_atomically(path, templates().get_template(template).render(**values))
    return path
