"""Tables in LaTeX (booktabs) that are no wider than the text of an article."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# The text of an article in pt, and twice \tabcolsep, which stands between two columns.
TEXT_WIDTH = 345.0
_GAP = 12.0

# \footnotesize of a 10 pt article is Computer Modern Roman at 8 pt: widths in its units of 10 pt, from above.
_SCALE = 0.852  # cmr8 is a little wider than cmr10 scaled
_NARROW, _LETTER, _CAPITAL, _WIDE = 3.95, 5.6, 7.9, 10.4

_SPECIAL = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "-": "{-}",  # no ligatures: two hyphens are two
}


def latex_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], keys: int) -> str:
    r"""Return a table of printable cells for an article that uses booktabs, in \footnotesize.

    What does not fit beside the first `keys` columns goes on below, beside them again; what is wider than its share of
    the text is broken into lines.
    """
    natural = [
        max(map(_width, [*(row[place] for row in rows), *heading.split()]), default=0.0)
        for place, heading in enumerate(columns)
    ]
    share = TEXT_WIDTH / max(1, keys + 1 if keys else len(columns)) - _GAP
    widths = [min(width, share) for width in natural]
    if not keys and columns:  # the last column has what the others leave
        widths[-1] = min(natural[-1], max(share, TEXT_WIDTH - _total(widths[:-1]) - _GAP))
    drawn = [_cells(columns[i], [row[i] for row in rows], widths[i], natural[i]) for i in range(len(columns))]
    kinds = [
        f"p{{{widths[i]:.1f}pt}}" if natural[i] > widths[i] else "r" if numeric[i] else "l" for i in range(len(columns))
    ]
    parts = [_tabular([*map(kinds.__getitem__, part)], [drawn[i] for i in part]) for part in _parts(widths, keys)]
    return "\n\n".join(["{\\footnotesize", *(f"\\noindent\n{part}" for part in parts)]) + "\n\n}"


def _parts(widths: Sequence[float], keys: int) -> Iterator[list[int]]:
    """Yield the columns of each part: the keys, and as many others as fit."""
    part = list(range(keys))
    for place in range(keys, len(widths)):
        if keys and len(part) > keys and _total([widths[i] for i in (*part, place)]) > TEXT_WIDTH:
            yield part
            part = list(range(keys))
        part.append(place)
    yield part


def _total(widths: Sequence[float]) -> float:
    return sum(widths) + _GAP * max(0, len(widths) - 1)


def _cells(heading: str, cells: Sequence[str], width: float, natural: float) -> list[str]:
    """Return heading and cells of a column; in one that is broken into lines, long words may break anywhere."""
    if natural > width:
        return [" ".join(_breakable(word, width) for word in cell.split()) for cell in (heading, *cells)]
    lines: list[str] = []
    for word in heading.split():
        if lines and _width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    escaped = [_escaped(line) for line in lines]
    head = escaped[0] if len(escaped) == 1 else "\\shortstack{" + "\\\\".join(escaped) + "}" if escaped else ""
    return [head, *map(_escaped, cells)]


def _breakable(word: str, width: float) -> str:
    """Return a word that breaks after any character if it is wider than a line."""
    return _escaped(word) if _width(word) <= width else "\\hspace{0pt}".join(map(_escaped, word))


def _tabular(kinds: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    head, *rows = (" & ".join(line) + r" \\" for line in zip(*columns, strict=True))
    lines = [f"\\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}", r"\toprule", head, r"\midrule", *rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(c, c) for c in text)


def _width(text: str) -> float:
    """Return an upper estimate of the width of text in pt, in the font of the table."""
    return _SCALE * sum(map(_size, text))


def _size(character: str) -> float:
    if character in "ijlI.,:;'!|()[]/ frt-":
        return _NARROW
    if character in "mwMW@%" or ord(character) > 0x2FF:
        return _WIDE
    return _CAPITAL if character.isupper() or character in '<>+=~&#\\^"' else _LETTER
