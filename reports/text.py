"""Tables of finished text, and the pure functions that turn numbers into text."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tabulate import tabulate

from reports.latex import latex_table
from reports.terminal import placed


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

        width: columns of the terminal, which no line exceeds.  What does not fit goes on below: other columns beside
        the keys again, or the last column's text; or every row becomes a block of lines.  By default nothing does.
        """
        return placed(*self._printable(), self.keys, width)

    def _printable(self) -> tuple[list[str], list[list[str]], list[bool]]:
        """Return headings and rows, control characters written as escapes, and which columns are right-aligned."""
        rows = [[printable(cell) for cell in row] for row in self.rows]
        return [*map(printable, self.columns)], rows, [*map(self.numeric, range(len(self.columns)))]

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
        """Return the table in LaTeX (booktabs), no wider than an article, what LaTeX would interpret escaped."""
        return latex_table(*self._printable(), self.keys)

    def styled(self, style: str, records: Iterable[Mapping[str, Any]], width: int | None = None) -> str:
        """Return the table in one of STYLES, plain within a width; as CSV, the records behind it with raw values."""
        if style == "plain":
            return self.plain(width)
        return csv_text(records) if style == "csv" else str(getattr(self, style)())

    def numeric(self, column: int) -> bool:
        """Say whether the filled cells of the column are numbers, or words that stand for one: these align right."""
        cells = [row[column] for row in self.rows if row[column]]
        numbers = sum(_NUMBERS.fullmatch(cell) is not None for cell in cells)
        return numbers > 0 and all(_NUMBERS.fullmatch(cell) or cell in WORDS_FOR_NUMBERS for cell in cells)

    def _alignment(self) -> list[str] | None:
        if not self.rows:
            return None  # tabulate takes no alignment for a table without rows
        return ["right" if self.numeric(column) else "left" for column in range(len(self.columns))]


STYLES = ("plain", "markdown", "csv", "latex")

# One number or several, with what stands between them or says what they are of: 1,024, 2e-3 / inf, 107 of 128, 12.5 MB.
_NUMBER = r"(?:[+-]|<\s?)?(?:\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan)"
_UNIT = r"(?:\s?(?:%|[kMGTPEZYRQ]?B|s|ms|x))?"
_NUMBERS = re.compile(rf"{_NUMBER}{_UNIT}(?:(?: / | of | to |/| )(?:{_NUMBER}|of){_UNIT})*")

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
            yield from ((f"{name}_{member}", inner) for member, inner in _flat(value))
            continue
        text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        yield name, csv_cell(text) if isinstance(text, str) else text


# With these a formula starts, in some languages in full width; tab and carriage return are escaped anyway.
_COMPUTED = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_cell(text: str) -> str:
    """Return text as a cell of a CSV file: printable, with a quote in front where a spreadsheet would compute it."""
    shown = printable(text)
    if shown[:1] not in _COMPUTED:
        return shown
    try:
        float(shown)
    except ValueError:
        return f"'{shown}"
    return shown


def printable(text: str) -> str:
    """Return the text with control characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]|~$#"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escape_markdown(text: str) -> str:
    """Return text that shows as itself in a Markdown table cell."""
    return printable(text).translate(_MARKDOWN)


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
    exact = Decimal(value) * 100
    for digits in range(2, 18):
        shown = _rounded(exact, digits)
        if band(float(shown / 100)) == band(value):
            break
    if exact >= 10**6 or 0 < exact < Decimal("0.001"):
        mantissa, _, exponent = f"{shown:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)} %"
    return f"{shown.normalize():,f} %"


def tolerance_text(value: float) -> str:
    """Return a tolerance in percent with every digit it was given with, 87.5 %."""
    exact = (Decimal(repr(value)) * 100).normalize()
    return f"{exact:,f} %" if -4 <= exact.adjusted() <= 6 else f"{exact:e} %"


def _rounded(exact: Decimal, digits: int) -> Decimal:
    """Return a number with so many digits, from 100 on with all those before the point."""
    return round(exact, digits - 2) if 100 <= exact < 10**6 else Decimal(f"{exact:.{digits - 1}e}")


def context_text(tokens: int | None) -> str:
    """Return a number of tokens in three digits, 515 or 1.42 M; empty for None."""
    if tokens is None:
        return ""
    for limit, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if tokens >= limit:
            return f"{tokens / limit:.3g}{unit}" if tokens < 1000 * limit else f"{tokens:.1e}"
    return str(tokens)


def measured_text(measured: int, rows: int) -> str:
    """Return how many of some rows were measured: "256 of 4,096", or how many there are if all were."""
    return count_text(rows) if measured == rows else f"{count_text(measured)} of {count_text(rows)}"


def count_text(value: int | None) -> str:
    """Return an integer with separators; empty for None."""
    return "" if value is None else f"{value:,}"


_THOUSANDS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB", "RB", "QB")


def bytes_text(count: int) -> str:
    """Return a number of bytes with three digits and the unit that suits it, 12.5 MB; a kB is 1000 B."""
    if count < 1000:
        return f"{count} B"
    digits, exponent = f"{Decimal(count):.2e}".split("e")
    place = int(exponent) // 3
    if place >= len(_THOUSANDS):
        return f"{digits}e{exponent} B"
    return f"{Decimal(digits).scaleb(int(exponent) % 3).normalize():f} {_THOUSANDS[place]}"


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
