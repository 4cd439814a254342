"""Tables of finished text, and the pure functions that turn numbers into text."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True)
class Table:
    """A table of text cells, ready to be placed; escaping is left to whoever knows where it is placed.

    keys: how many columns, the first ones, say what a row is about; 0 of a table whose last column is text.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: int = 0

    def filled(self, keys: int) -> Table:
        """Return the table without the columns in which nothing but nothing and zeros stands, behind the first ones."""
        kept = [place for place in range(len(self.columns)) if place < keys or not self._nothing(place)]
        return Table([self.columns[place] for place in kept], [[row[place] for place in kept] for row in self.rows])

    def _nothing(self, place: int) -> bool:
        return all(row[place] in ("", "0", "0 %") or row[place].startswith("0 of ") for row in self.rows)

    def plain(self, width: int | None = None) -> str:
        """Return the table for a terminal: aligned columns, control characters written as escapes.

        width: columns of the terminal.  What does not fit goes on below: other columns beside the keys again, or the
        last column's text.  By default nothing does.
        """
        if width is not None and self.keys:
            whole = self.plain()
            return whole if max(map(len, whole.splitlines())) <= width else self._in_parts(width)
        # tabulate puts two spaces around a heading, and two between columns
        columns = list(zip((f"{name}  " for name in self.columns), *self.rows, strict=True))[:-1]
        widest = (max(map(len, map(printable, column))) + 2 for column in columns)
        last = None if width is None else max(20, width - sum(widest))
        return tabulate(
            [[printable(cell) for cell in row] for row in self.rows],
            [printable(column) for column in self.columns],
            tablefmt="simple",
            disable_numparse=True,
            colalign=self._alignment(),
            maxcolwidths=None if last is None else [*[None] * (len(self.columns) - 1), last],
        )

    def _in_parts(self, width: int) -> str:
        """Return as many columns as fit beside the keys, below them the next ones: headings on several lines."""
        columns = [self._column(place) for place in range(len(self.columns))]
        keys, others = columns[: self.keys], columns[self.keys :]
        parts: list[list[list[str]]] = [[]]
        for column in others:
            if parts[-1] and sum(len(one[0]) + 2 for one in (*keys, *parts[-1], column)) - 2 > width:
                parts.append([])
            parts[-1].append(column)
        return "\n\n".join(_side_by_side([*keys, *part]) for part in parts)

    def _column(self, place: int) -> list[str]:
        """Return heading, line and cells of a column, all as wide as its widest cell or word of the heading."""
        cells = [printable(row[place]) for row in self.rows]
        words = printable(self.columns[place]).split()
        widest = max(map(len, (*cells, *words)))
        lines = [*textwrap.wrap(" ".join(words), widest), "-" * widest, *cells]
        return [line.rjust(widest) if self.numeric(place) else line.ljust(widest) for line in lines]

    def markdown(self) -> str:
        """Return the table in Markdown, with everything that Markdown or HTML would interpret escaped."""
        return tabulate(
            [[escape_markdown(cell) for cell in row] for row in self.rows],
            [escape_markdown(column) for column in self.columns],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=self._alignment(),
        )

    def latex(self) -> str:
        """Return the table in LaTeX (booktabs), with everything that LaTeX would interpret escaped."""
        return tabulate(
            [[printable(cell) for cell in row] for row in self.rows],
            [printable(column) for column in self.columns],
            tablefmt="latex_booktabs",
            disable_numparse=True,
            colalign=self._alignment(),
        )

    def styled(self, style: str, records: Iterable[Mapping[str, Any]], width: int | None = None) -> str:
        """Return the table in one of STYLES, plain within a width; as CSV, the records behind it with raw values."""
        if style == "plain":
            return self.plain(width)
        return csv_text(records) if style == "csv" else str(getattr(self, style)())

    def numeric(self, column: int) -> bool:
        """Say whether every filled cell of the column starts like a number: such columns are right-aligned."""
        cells = [row[column] for row in self.rows if row[column]]
        return bool(cells) and all(cell[0].isdigit() or cell[0] in "+-<" or cell in WORDS_FOR_NUMBERS for cell in cells)

    def _alignment(self) -> list[str] | None:
        if not self.rows:
            return None  # tabulate takes no alignment for a table without rows
        return ["right" if self.numeric(column) else "left" for column in range(len(self.columns))]


def _side_by_side(columns: Sequence[Sequence[str]]) -> str:
    """Return columns of lines, the last ones beside each other."""
    tallest = max(map(len, columns))
    padded = [[" " * len(column[0])] * (tallest - len(column)) + [*column] for column in columns]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


STYLES = ("plain", "markdown", "csv", "latex")

WORDS_FOR_NUMBERS = ("inf", "nan", "none", "exact", "undefined", "refused", "failed", "crashed")


def csv_text(records: Iterable[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return records as CSV: a mapping becomes a column for each of its members, a sequence is joined by spaces."""
    rows = [dict(_flat(record)) for record in records]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]) if rows else [], lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().removesuffix("\n")


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{member}", inner) for member, inner in value.items())
        elif isinstance(value, (list, tuple)):
            yield name, " ".join(map(str, value))
        else:
            yield name, csv_cell(value) if isinstance(value, str) else value


def csv_cell(text: str) -> str:
    """Return text as a cell of a CSV file: printable, with a quote in front where a spreadsheet would compute it."""
    shown = printable(text)
    if shown[:1] not in ("=", "+", "-", "@"):
        return shown
    try:
        float(shown)
    except ValueError:
        return f"'{shown}"
    return shown


def printable(text: str) -> str:
    """Return the text with control characters written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_markdown(text: str) -> str:
    """Return text that shows as itself in a Markdown table cell."""
    escaped = "".join(f"\\{c}" if c in "\\`*_[]|~$#" else c for c in printable(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def error_text(value: float | None) -> str:
    """Return an error with two digits, 1.2e-07; empty for None, inf for anything not finite."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "inf"
    return "0" if value == 0 else f"{value:.1e}"


# Where one colour of a table ends and the next begins: relative errors
BANDS = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def band(error: float) -> int:
    """Return how many of BANDS an error exceeds: 0 is best; what is not finite exceeds all."""
    return sum(not error <= limit for limit in BANDS)


def percent_text(value: float | None) -> str:
    """Return a relative error in percent, 83 % or 0.02 % or 3e-05 %, never rounded from one band into another."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "inf"
    for digits in range(2, 17):
        text = _percent(value, digits)
        if band(float(text.replace(",", "")) / 100) == band(value):
            break
    return f"{text} %"


def _percent(value: float, digits: int) -> str:
    """Return a value in percent with so many digits, from 100 on with all those before the point."""
    percent = 100 * value
    if percent >= 1e6 or 0 < percent < 1e-3:
        mantissa, _, exponent = f"{percent:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    rounded = round(percent, digits - 2) if percent >= 100 else float(f"{percent:.{digits - 1}e}")
    return f"{rounded:,.15g}"


def context_text(tokens: int | None) -> str:
    """Return a number of tokens in three digits, 515 or 1.42 M; empty for None."""
    if tokens is None:
        return ""
    for limit, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if tokens >= limit:
            return f"{tokens / limit:.3g}{unit}" if tokens < 1000 * limit else f"{tokens:.1e}"
    return str(tokens)


def count_text(value: int | None) -> str:
    """Return an integer with separators; empty for None."""
    return "" if value is None else f"{value:,}"


def ratio_text(numerator: int, denominator: int) -> str:
    """Return the quotient of two integers of any size with three digits."""
    return f"{Decimal(numerator) / Decimal(denominator):.3g}"


def number_text(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits; empty for None."""
    return "" if value is None else f"{value:.{digits}g}"


def skill_text(value: float | None) -> str:
    """Return a skill with three decimals, as a word where it says nothing more."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    # adding zero turns a rounded -0.0 into 0.0
    return f"{round(value, 3) + 0.0:.3f}" if value > -1000 else f"{value:.1e}"
