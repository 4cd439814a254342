"""Whether the accounts of a mechanism's exact values agree, and whether they are what the mechanism says they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.conformance.allowance import FLOAT64, LEEWAY
from verify.conformance.cases import Case
from verify.conformance.diagnosis import ALIKE, like_softmax
from verify.conformance.formula import BITS
from verify.conformance.subject import Subject, guarded
from verify.errors import CertificationError
from verify.measure.decomposition import exact_gap
from verify.mechanisms.registry import baseline
from verify.mechanisms.softmax.forms import shares
from verify.numbers.arrays import Float64Array
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.parallel.blocks import blocks_of
from verify.problem import Head
from verify.truth import Reference, defined_attention
from verify.truth.certificate import certified
from verify.truth.totals import weighted_sums

# Multiplications of q and k up to which rational arithmetic is asked.
RATIONAL_LIMIT = 50

# How far apart magnitudes may be, relatively: they say how much cancels, for which six digits are plenty.
MAGNITUDES = 1e-6


def disagreements(subject: Subject) -> Iterator[str]:
    """Yield cases on which balls, mpmath and rational numbers differ, or that too few have an exact value at all.

    A formula may be undefined somewhere, as where no weight is above zero, but not on half of the plain cases.
    """
    plain = [case for case in subject.cases if case.plain]
    for member in subject.members:
        missing = []
        for case in subject.cases:
            yield from guarded(f"{member.name} on {case.name!r}", _accounts, subject, member, case)
            if case.plain:
                missing += list(guarded(f"{member.name} on {case.name!r}", _missing, subject, member, case))
        if 2 * len(missing) > len(plain):
            yield f"no exact value on {len(missing)} of {len(plain)} plain cases; {missing[0]}"


def _missing(subject: Subject, member: Member, case: Case) -> Iterator[str]:
    if subject.truths(case.problem).of(member).undefined_rows.all():
        yield "the weights of every row add up to zero"


def _accounts(subject: Subject, member: Member, case: Case) -> Iterator[str]:
    truth = subject.exact(case.problem, member)
    if truth is None:
        return
    try:
        certified(truth, RATIONAL_LIMIT)
    except CertificationError as error:
        yield f"{_without_place(error, truth)}{_taken_for_softmax(subject, truth)}"
        return
    signs = _signs(subject, truth)
    if not np.array_equal(signs, truth.normaliser_sign):
        place = tuple(int(i) for i in np.argwhere(signs != truth.normaliser_sign)[0])
        yield (
            f"the sum of weights of row {list(place)} has the sign {int(truth.normaliser_sign[place])} by balls and"
            f" {int(signs[place])} by weights(); the factor that weights share has to be positive"
        )


def _without_place(error: CertificationError, truth: Reference) -> str:
    """Return the message of a certificate without what it begins with, the member and the problem."""
    return " ".join(str(error).removeprefix(f"{truth.member.name} on {truth.problem.name}: ").split())


def _taken_for_softmax(subject: Subject, truth: Reference) -> str:
    """Say which account is that of softmax."""
    softmax = subject.exact(truth.problem, baseline().member)
    if softmax is None or subject.mechanism.formula_error is None:
        return ""
    defined = defined_attention(truth.problem, truth.member).astype(np.float64)
    for account, values in (("balls()", truth.value), ("weights()", defined)):
        if like_softmax(values, softmax):
            return f"; {account} gives what softmax gives"
    return ""


def _signs(subject: Subject, truth: Reference) -> NDArray[np.int8]:
    """Return the sign of the sum of the weights of each row in mpmath; that by balls where it is close to zero."""
    signs = truth.normaliser_sign.copy()
    exact = subject.weights(truth.problem, truth.member)
    for head in truth.problem.each_head():
        attended = head.attended()
        for row, weights in enumerate(exact[head.index]):
            with mpmath_precision(BITS):
                total = mp.fsum(weights)
                if abs(total) > mp.fsum(map(abs, weights)) * mp.mpf(2) ** (-BITS // 2) and attended[row].any():
                    signs[(*head.index, row)] = int(mp.sign(total))
    return signs


def wrong_weights(subject: Subject) -> Iterator[str]:
    """Yield plain cases on which weights in float64 are not the exact ones up to a positive factor of each row."""
    for member in subject.members:
        for case in subject.cases:
            if case.plain and subject.exact(case.problem, member) is not None:
                yield from guarded(f"{member.name} on {case.name!r}", _float_weights, subject, member, case)
                yield from guarded(f"{member.name} on {case.name!r}", _magnitudes, member, case)


def _float_weights(subject: Subject, member: Member, case: Case) -> Iterator[str]:
    tracked = subject.tracked(case.problem, member, FLOAT64)
    for head in case.problem.each_head():
        rows, attended = slice(0, case.problem.queries), head.attended()
        with np.errstate(all="ignore"):
            found, sizes = member.mechanism.float_weights(head, rows, attended, member)
        for name, array in (("weights", found), ("magnitudes", sizes)):
            if array.shape != attended.shape or array.dtype != np.float64:
                yield f"{name} {list(array.shape)} of {array.dtype}; expected {list(attended.shape)} of float64"
                return
        _, off = tracked[head.index]
        for row, exact in enumerate(subject.weights(case.problem, member)[head.index]):
            seen = np.flatnonzero(attended[row])
            if seen.size:
                yield from _float_row(head, row, exact, (found[row, seen], sizes[row, seen], off[row, seen]))


def _float_row(
    head: Head, row: int, exact: list[mp.mpf], computed: tuple[Float64Array, Float64Array, Float64Array]
) -> Iterator[str]:
    """Compare W_t with c w_t, c = W_* / w_* for the largest |w_t|: off by LEEWAY times what the formula loses."""
    found, sizes, off = computed
    with mpmath_precision(BITS):
        top = max(range(len(exact)), key=lambda t: abs(exact[t]))
        largest = abs(float(exact[top]))
        ratios = np.array([float(w / exact[top]) if largest else 0.0 for w in exact])
    if not largest:
        return
    factor = found[top] * (1.0 if exact[top] > 0 else -1.0)
    if not 0 < factor < np.inf:
        yield (
            f"row {row}: the largest weight is {found[top]:.3g}, and {float(exact[top]):.3g} times a positive factor by"
            " the formula"
        )
        return
    allowed = LEEWAY * ((off + off[top] * np.abs(ratios)) / largest + 2.0**-53) + 2.0**-1000
    apart = np.abs(found / found[top] - ratios)
    wrong = np.flatnonzero(~(apart <= allowed))
    if wrong.size:
        t = int(wrong[0])
        shown = np.ones((1, len(found)), dtype=np.bool_)
        softmax = shares(head.logits(slice(row, row + 1))[:, head.attended()[row]], shown)[0]
        taken = "; they are softmax's" if _same(found, softmax) else ""
        yield (
            f"row {row}, key {t} of those it sees: {found[t] / found[top]:.6g} of the largest weight, exactly"
            f" {ratios[t]:.6g}, {apart[t]:.3g} off, allowed {allowed[t]:.3g}{taken}"
        )
    small = np.flatnonzero(~(sizes >= np.abs(found) * (1 - 2.0**-40)))
    if small.size:
        t = int(small[0])
        yield f"row {row}, key {t}: a weight of {found[t]:.3g} that is added up from terms of the size {sizes[t]:.3g}"


def _magnitudes(member: Member, case: Case) -> Iterator[str]:
    """Compare sum_t a_t / |Z| by balls with that in float64, a_t being the magnitudes that w_t is added up from."""
    heads = {head.index: head for head in case.problem.each_head()}
    for block in blocks_of(case.problem):
        attended = heads[block.index].attended(slice(0, len(block.rows)))
        with np.errstate(all="ignore"):
            given = member.mechanism.float_weights(heads[block.index], slice(0, len(block.rows)), attended, member)
            weights, sizes = (np.where(attended, x, 0.0).sum(axis=1) for x in given)
        with flint_precision(BITS):
            added, plain = (
                [row[-1] for row in weighted_sums(block, [member], magnitudes=each)[member].sums.tolist()]
                for each in (True, False)
            )
            # None where nothing is attended, or weights add up to nothing
            ratios = [float(a / abs(z)) if z > 0 or z < 0 else None for a, z in zip(added, plain, strict=True)]
        for row, by_balls in enumerate(ratios):
            by_floats = sizes[row] / abs(weights[row]) if by_balls is not None else 0.0
            if by_balls is not None and not abs(by_balls - by_floats) <= MAGNITUDES * by_balls:
                yield (
                    f"row {row}: magnitudes are {by_balls:.6g} times the sum of weights by balls(magnitudes=True),"
                    f" and {by_floats:.6g} times by float_weights()"
                )


def _same(weights: Float64Array, softmax: Float64Array) -> bool:
    with np.errstate(all="ignore"):
        return bool((np.abs(weights / weights.sum() - softmax) <= ALIKE).all())


def not_what_it_claims(subject: Subject) -> Iterator[str]:
    """Yield that exact values are softmax's though an error of the formula is named, or the other way round."""
    softmax, named = baseline().member, subject.mechanism.formula_error
    compared = 0
    for member in subject.members:
        for case in subject.cases:
            if subject.exact(case.problem, member) is None or subject.exact(case.problem, softmax) is None:
                continue
            truths = subject.truths(case.problem)
            gap, radius = exact_gap((truths, member), (truths, softmax))
            apart = np.argwhere(~(np.abs(gap) <= radius))
            compared += gap.size
            if apart.size and named is not None:
                return
            if apart.size:
                place = tuple(int(i) for i in apart[0])
                yield (
                    f"formula_error None of {member.name}, whose exact value on {case.name!r}, element {list(place)},"
                    f" is {gap[place]:.3g} away from softmax's; expected a name for that error"
                )
                return
    if named is not None:
        names = ", ".join(member.name for member in subject.members)
        yield f"formula_error {named!r}, but exact values of {names} are softmax's in all {compared} elements compared"
