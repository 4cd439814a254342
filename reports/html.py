"""Tables of a page as HTML, everything in them escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from reports.text import Table, printable

# Cells of more text than this are broken into lines.
LONG = 48


def breakable(text: str) -> Markup:
    """Return text, escaped, that may be broken behind every comma and colon: names of forms with options are long."""
    return Markup("<wbr>").join(re.split(r"(?<=[,:])", printable(text)))


def html_table(table: Table, caption: str) -> Markup:
    """Return a table with its caption, in a part of the page that scrolls by itself."""
    title = escape(printable(caption))
    numeric = [table.numeric(place) for place in range(len(table.columns))]
    marks = [' class="n"' if one else "" for one in numeric]
    heads = "".join(
        f'<th scope="col"{mark}>{breakable(name)}</th>' for name, mark in zip(table.columns, marks, strict=True)
    )
    rows = "\n".join(_row(row, marks) for row in table.rows)
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table><caption>{title}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(row: Sequence[str], marks: Sequence[str]) -> str:
    first, *others = row
    cells = "".join(
        f"<td{mark or _long(cell)}>{escape(printable(cell))}</td>" for cell, mark in zip(others, marks[1:], strict=True)
    )
    return f'<tr><th scope="row">{breakable(first)}</th>{cells}</tr>'


def _long(cell: str) -> str:
    return ' class="long"' if len(cell) > LONG else ""
