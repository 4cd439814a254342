"""What a test of a kernel may demand: exact values in its format, and how far off each of its elements may be."""

from __future__ import annotations

from dataclasses import dataclass

from verify.attention.variant import Variant
from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import FORMATS, Format, named_format
from verify.truth.reference import Reference

# A product of two of its factors is a number of these sums: what kernels of narrow formats add in.
_SUMS = FORMATS["float32"]


@dataclass(frozen=True, eq=False)
class Demand:
    """Exact values in a format, and bounds on |computed - exact| for whoever computes them as usual.

    value: correctly rounded, as float64, which holds it.  form, arithmetic: what the bounds are of, the mechanism's
    first form with factors of the format and sums in float32, if those are wider.  sure, probable: [..., H, n_q, d_v],
    as in `verify.bounds.RoundingBound`; None where nothing computes in the format, or its inputs are not these.
    """

    format: str
    value: Float64Array
    form: str | None = None
    arithmetic: str | None = None
    sure: Float64Array | None = None
    probable: Float64Array | None = None


def demanded(truth: Reference, format_name: str | Format) -> Demand:
    """Return what a test may demand of a kernel whose output has a format.

    Raises InvalidRequestError for an unknown format, and as `Reference.rounded` does.

        demanded(reference(problem), "bfloat16").sure
    """
    format_ = named_format(format_name)
    value = truth.rounded(format_).astype("float64")
    arithmetic = _arithmetic(format_.name)
    if arithmetic is None or not _holds(truth, arithmetic):
        return Demand(format_.name, value)
    forms = (Variant(truth.member, form.name) for form in truth.member.mechanism.forms)
    for variant in forms:
        if variant.refusal(truth.problem) is None:
            bound = variant.rounding_bound(truth.problem, truth.value, arithmetic)
            if bound is not None:
                return Demand(format_.name, value, variant.form, arithmetic.name, bound.sure, bound.probable)
    return Demand(format_.name, value)


def _arithmetic(format_name: str) -> Arithmetic | None:
    """Return the arithmetic whose inputs and output have the format, and that adds in the widest."""
    fitting = [a for a in ARITHMETICS.values() if a.output.name == a.inputs.name == format_name]
    return max(fitting, key=lambda a: a.sums.precision, default=None)


def _holds(truth: Reference, arithmetic: Arithmetic) -> bool:
    """Return whether the inputs are numbers of the arithmetic."""
    try:
        return truth.problem.rounded(arithmetic.inputs) is truth.problem
    except InvalidRequestError:  # one of them is too large
        return False
