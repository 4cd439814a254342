"""What columns of a run file mean: what the docstrings of the dataclasses say of their members."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache

from verify.sweep.columns import Column


def meaning(column: Column) -> str:
    """Return what a column means; empty where the docstring does not say."""
    inside = ".".join(column.path[:-1])
    text = meanings(column.owner).get(column.path[-1], "")
    return f"{inside}: {text}" if inside and text else text


@cache
def meanings(kind: type) -> dict[str, str]:
    """Return what the docstring of a dataclass says of its members, which stand there as in "one, other: meaning."."""
    found: dict[str, str] = {}
    names = [field.name for field in fields(kind)]
    for name, text in _told(inspect.getdoc(kind) or "", names):
        found[name] = f"{found[name]}; {text}" if name in found else text
    return found


def _told(doc: str, names: list[str]) -> Iterator[tuple[str, str]]:
    one = "|".join(names)
    entry = re.compile(rf"(?<!\w)((?:{one})(?:(?:, and |, | and | \.\. )(?:{one}))*): ")
    for paragraph in doc.split("\n\n"):
        parts = entry.split(" ".join(paragraph.split()))
        for members, text in zip(parts[1::2], parts[2::2], strict=True):
            for group in re.split(r", and |, | and ", members):
                first, _, last = group.partition(" .. ")
                for name in names[names.index(first) : names.index(last or first) + 1]:
                    yield name, text.strip().rstrip(".;")
