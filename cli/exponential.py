"""What attnproof check --exp prints: a polynomial, a table or a function in place of exp, judged by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.text import asked, one_line, print_json, show
from verify.integers import how_many

if TYPE_CHECKING:
    from verify.ingredients import Judgement, Target
    from verify.ingredients.maximum import Extreme
    from verify.ingredients.measured import Measured
    from verify.isolated import isolation

# Significant digits of an error, if bounds agree in as many, and characters of a text that is said back.
_DIGITS = 7
_LONGEST = 160


def judged_exponential(
    text: str,
    range_: str,
    base: str,
    width: int,
    json_: bool,
    format_: str = "float32",
    how: isolation.Target | None = None,
) -> int:
    """Print what is known of something in place of the powers of a base, and return the exit code, 0.

    text: a polynomial of x or its coefficients, fa4:3, a table FILE.json or FILE.npz, or a function FILE.py:NAME or
    package.module:NAME.  range_, base: as in 0:1 and 2.  format_: of the numbers that a function is called with.
    how: where that function runs, and within which limits.  Raises InvalidRequestError for what cannot be read.
    """
    from verify.ingredients import judge, read_base, read_target
    from verify.numbers.formats import named_format

    named_format(format_)
    target = asked("--range", read_target, range_, asked("--base", read_base, base))
    found = asked("--exp", judge, text, target, format_, how)
    if json_:
        from verify.files.documents import plain

        print_json(plain(_document(text, found)))
        return 0
    from reports.text import Table, percent_text

    shown = one_line(text)
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
    for line in _lines(shown, found):
        show(line, width)
    print()
    show("outputs of attention in float64, root mean square errors relative to exact outputs:", width)
    rows = [
        [one_line(each.input), percent_text(each.relative), percent_text(each.bound), percent_text(each.rounding)]
        for each in found.effects
    ]
    print(Table(["input", "error", "bound", "exact weights"], rows, keys=1).plain(width))
    if found.measured is not None and found.measured.numbers < found.measured.of:
        show("the bounds hold if no number has a larger error than those that were tried", width)
    return 0


def _lines(text: str, found: Judgement) -> Iterator[str]:
    target, error = found.target, found.error
    yield f"{text}: {found.description} for {target.power} on {target.range}"
    yield f"largest relative error: {_size(error.largest)} {_place(error.largest, target)}, {_evidence(found.measured)}"
    ends = (f"{_signed(end)} {_place(end, target)}" for end in (error.least, error.most))
    yield f"errors from {' to '.join(ends)}"
    if found.measured is not None and found.measured.undefined:
        yield f"NaN or infinite on {how_many(found.measured.undefined, 'number')}: an infinite error"
    if error.nonpositive:
        yield f"zero or negative {_place(error.least, target)}: a relative error of 1 or more; outputs have no bound"
    elif not error.positive:
        yield f"as good as zero {_place(error.least, target)}: outputs have no bound"
    yield f"correct bits: {found.correct_bits:.1f}"
    suffices, others = found.suffices, found.falls_short
    if suffices:
        yield f"as good as rounding in {', '.join(suffices)}" + (f"; not in {', '.join(others)}" if others else "")
    else:
        yield f"not as good as rounding in any format: {', '.join(others)}"


def _evidence(measured: Measured | None) -> str:
    """Return how an error is known."""
    if measured is None:
        return "proven, in exact arithmetic"
    if measured.numbers == measured.of:
        return f"measured on all {measured.of:,} numbers of {measured.format} in the range"
    return f"measured on {measured.numbers:,} of the {measured.of:,} numbers of {measured.format} in the range"


def _size(extreme: Extreme) -> str:
    """Return a size with the digits in which its bounds agree."""
    texts = ((f"{extreme.lower:.{places}e}", f"{extreme.upper:.{places}e}") for places in range(_DIGITS - 1, 0, -1))
    return next((upper for lower, upper in texts if lower == upper), f"{extreme.upper:.0e}")


def _signed(extreme: Extreme) -> str:
    return f"{extreme.value:.2e}" if extreme.value else "0"


def _place(extreme: Extreme, target: Target) -> str:
    """Return where an extreme is attained or, at an end that is left out, approached."""
    return f"{'at' if target.has(extreme.at) else 'towards'} x = {extreme.float_at:.4g}"


def _document(text: str, found: Judgement) -> dict[str, Any]:
    """Return a judgement in plain values."""
    target, error, measured = found.target, found.error, found.measured
    return {
        "exp": text,
        "what": found.description,
        "base": target.base_text,
        "range": target.range,
        "evidence": "proven" if measured is None else "measured",
        "format": None if measured is None else measured.format,
        "numbers": None if measured is None else {"measured": measured.numbers, "of": measured.of},
        "undefined": None if measured is None else measured.undefined,
        "largest": _bounds(error.largest),
        "least": _bounds(error.least),
        "most": _bounds(error.most),
        "positive": error.positive,
        "correct_bits": found.correct_bits,
        "suffices": found.suffices,
        "falls_short": found.falls_short,
        "shared": found.shared,
        "effects": found.effects,
    }


def _bounds(extreme: Extreme) -> dict[str, float]:
    return {"lower": extreme.lower, "upper": extreme.upper, "at": extreme.float_at}
