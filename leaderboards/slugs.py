"""File names made of titles that others wrote."""

from __future__ import annotations

import re


def slugged(title: str, taken: set[str]) -> str:
    """Return a file name for a title, of letters, digits and dashes only, unlike those taken (it is added)."""
    stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-") or "dataset"
    slug, number = stem, 2
    while slug in taken:
        slug, number = f"{stem}-{number}", number + 1
    taken.add(slug)
    return slug
