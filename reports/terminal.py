"""Text and tables for a terminal: no line is wider than it, and what does not fit beside goes on below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

# A column of text is not squeezed below that: its table becomes a block for each row instead.
LEAST_TEXT = 20

HEADING_LINES = 3


def wrapped(text: str, width: int, first: str = "", later: str = "") -> str:
    """Return text on lines of at most so many columns; words break only if they fit on no line of their own.

    first, later: what the first line starts with, and the others.
    """
    lines = textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    return "\n".join(lines)


def placed(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], keys: int, width: int | None
) -> str:
    """Return a table of printable cells, within a width if there is one.

    As it is if it fits; otherwise other columns below, beside the first `keys` ones again, or without keys the last
    column's text on several lines; where that does not fit either, a block of lines "name  value" for each row.
    """
    whole = _aligned(columns, rows, numeric)
    if width is None or _fits(whole, width):
        return whole
    if keys:
        parts = _in_parts(columns, rows, numeric, keys, width)
        # parts of one column each are a list again, and a worse one
        if len(parts) <= max(2, (len(columns) - keys) / 2) and all(_fits(part, width) for part in parts):
            return "\n\n".join(parts)
        return _in_blocks(columns, rows, width)
    narrow = _with_text(columns, rows, numeric, width)
    return narrow if narrow is not None and _fits(narrow, width) else _in_blocks(columns, rows, width)


def _fits(text: str, width: int) -> bool:
    return max(map(len, text.splitlines())) <= width


def _aligned(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], last: int | None = None
) -> str:
    """Return columns beside each other; last: the width of the last one."""
    return tabulate(
        rows,
        columns,
        tablefmt="simple",
        disable_numparse=True,
        colalign=["right" if each else "left" for each in numeric] if rows else None,
        maxcolwidths=None if last is None else [*[None] * (len(columns) - 1), last],
    )


def _with_text(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], width: int
) -> str | None:
    """Return the table with the last column's text on several lines; None if there is no room for it."""
    # tabulate puts two spaces around a heading, and two between columns
    others = list(zip((f"{name}  " for name in columns), *rows, strict=True))[:-1]
    last = width - sum(max(map(len, column)) + 2 for column in others)
    return _aligned(columns, rows, numeric, last) if last >= LEAST_TEXT else None


def _in_parts(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], keys: int, width: int
) -> list[str]:
    """Return as many columns as fit beside the keys, then the next ones, and so on: headings on several lines."""
    drawn = [
        _column(name, [row[place] for row in rows], right)
        for place, (name, right) in enumerate(zip(columns, numeric, strict=True))
    ]
    parts: list[list[list[str]]] = [[]]
    for column in drawn[keys:]:
        if parts[-1] and sum(len(one[0]) + 2 for one in (*drawn[:keys], *parts[-1], column)) - 2 > width:
            parts.append([])
        parts[-1].append(column)
    return [_side_by_side([*drawn[:keys], *part]) for part in parts]


def _column(heading: str, cells: Sequence[str], right: bool) -> list[str]:
    """Return heading, line and cells of a column, as wide as its widest cell or word of the heading.

    Or as wide as it takes for the heading to have HEADING_LINES.
    """
    words = heading.split()
    widest = max(map(len, (*cells, *words)), default=0)
    while words and len(textwrap.wrap(" ".join(words), widest)) > HEADING_LINES:
        widest += 1
    lines = [*(textwrap.wrap(" ".join(words), widest) if words else []), "-" * widest, *cells]
    return [line.rjust(widest) if right else line.ljust(widest) for line in lines]


def _side_by_side(columns: Sequence[Sequence[str]]) -> str:
    """Return columns of lines, the last ones beside each other."""
    tallest = max(map(len, columns))
    padded = [[" " * len(column[0])] * (tallest - len(column)) + [*column] for column in columns]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _in_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return for each row a block of lines "name  value"; what is empty is left out."""
    if not rows:
        return wrapped(", ".join(filter(None, columns)), width)
    return "\n\n".join("\n".join(_block(zip(columns, row, strict=True), width)) for row in rows)


def _block(row: Iterable[tuple[str, str]], width: int) -> list[str]:
    named = [(name, cell) for name, cell in row if cell]
    room = min(max((len(name) for name, _ in named), default=0), width // 2 - 2)
    lines = []
    for name, cell in named:
        beside = " " * (room + 2)
        if len(name) > room:  # a long name stands above its value
            lines += [wrapped(name, width), wrapped(cell, width, beside, beside)]
        else:
            lines.append(wrapped(cell, width, f"{name:{room}}  ", beside))
    return lines
