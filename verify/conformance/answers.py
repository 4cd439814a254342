"""Whether the forms of a mechanism compute its formula, with every option, and always the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, product
from typing import Any

import numpy as np

from verify.arguments import Value, value_text
from verify.attention.computed import AttentionOutput
from verify.attention.contract import Form, Member
from verify.attention.hazards import Hazards
from verify.attention.variant import Variant
from verify.conformance.allowance import FLOAT64, allowance
from verify.conformance.cases import Case
from verify.conformance.diagnosis import resemblance
from verify.conformance.normalisers import miscounted
from verify.conformance.subject import Subject, guarded, option_values, refused, run_apart
from verify.errors import TooLargeError
from verify.measure.metrics import computed_error
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# Cases on which every value of every option is tried, and all is computed twice: the first two that a form serves.
FEW = ("values of another size", "causal, grouped heads", "mask and causal")

# The longer context on which every value of every option is tried as well.
CHUNKS = "40 tokens, causal"

# Contexts of many tokens on which forms are tried in every arithmetic.
MANY = ("530 keys", "40 tokens, causal")

MIXED = ARITHMETICS["bfloat16+float32"]


def wrong_answers(subject: Subject) -> Iterator[str]:
    """Yield cases that a form serves and answers wrongly in float64; in longer ones, sums of weights by turns.

    A form that goes row by row also has to be right where every other row of a causal case is left out.
    """
    turns = dict(zip((case.name for case in subject.longer), cycle(subject.members), strict=False))
    for member, form in _forms(subject):
        served = [case for case in (*subject.cases, *subject.longer) if not refused(form, case.problem)]
        if not any(case.plain for case in served):
            yield f"{form.name} serves none of the plain cases"
        for case in served:
            variant = Variant(member, form.name)
            where = f"{variant.name} on {case.name!r}"
            how = {"plain": case.plain, "sums": case.plain and turns.get(case.name, member) is member}
            yield from guarded(where, differences, subject, case.problem, variant, FLOAT64, **how)
        causal = [case for case in served if case.plain and case.problem.causal and case.problem.queries > 1]
        for case in causal[:1] if form.by_row else ():
            variant, part = Variant(member, form.name), subject.every_other_row(case.problem)
            yield from guarded(
                f"{variant.name} on every other row of {case.name!r}",
                differences,
                *(subject, part, variant, FLOAT64),
                plain=True,
            )


def wrong_options(subject: Subject) -> Iterator[str]:
    """Yield values of options that a form does not take, or with which it gives another answer in float64.

    Members take turns.  All options are also set at once.
    """
    members = cycle(subject.members)
    for form in subject.mechanism.forms:
        values = {option: option_values(parameter) for option, parameter in form.options.items()}
        chosen: list[tuple[tuple[str, Value], ...]]
        chosen = [((option, value),) for option, given in values.items() for value in given]
        chosen += [tuple((option, given[-1]) for option, given in values.items())] if len(values) > 1 else []
        for options in chosen:
            variant = Variant(next(members), form.name, options)
            text = ",".join(f"{option}={value_text(value)}" for option, value in options)
            for case in [*_few(subject, form), *_chunks(subject, form)]:
                where = f"{variant.member.name}/{form.name}:{text} on {case.name!r}"
                unknown = form.rounding is None
                yield from guarded(where, differences, subject, case.problem, variant, FLOAT64, plain=unknown)


def idle(subject: Subject) -> Iterator[str]:
    """Yield options that change no bit in longer contexts, so that nothing was seen of what they do."""
    for form in subject.mechanism.forms:
        for option, parameter in form.options.items():
            if not _does_something(subject, form, option, option_values(parameter)):
                yield f"{option} of {form.name}, which changes nothing here,"


def _does_something(subject: Subject, form: Form, option: str, values: list[Value]) -> bool:
    served = [case.problem for case in subject.longer if not refused(form, case.problem)]
    for problem, member, arithmetic in product(served, subject.members, (FLOAT64, MIXED)):
        given = subject.rounded(problem, arithmetic.inputs)
        variants = [Variant(member, form.name, ((option, value),)) for value in values]
        if len({_bytes(run_apart(variant, given, arithmetic)) for variant in variants}) > 1:
            return True
    return False


def wrong_in_turn(subject: Subject, *, bounded: bool) -> Iterator[str]:
    """Yield contexts of many tokens that a form, with a bound or without one, answers wrongly in some arithmetic.

    Members take turns.
    """
    members = cycle(subject.members)
    for form in subject.mechanism.forms:
        for arithmetic in ARITHMETICS.values() if (form.rounding is not None) == bounded else ():
            variant = Variant(next(members), form.name)
            for case in subject.longer:
                if case.name in MANY and not refused(form, case.problem):
                    where = f"{variant.name} in {arithmetic.name} on {case.name!r}"
                    how = {"plain": not bounded, "sums": False}
                    yield from guarded(where, differences, subject, case.problem, variant, arithmetic, **how)


def changing_answers(subject: Subject) -> Iterator[str]:
    """Yield forms that give other bytes when they are asked again."""
    for member, form in _forms(subject):
        for case in _few(subject, form):
            for arithmetic in (FLOAT64, MIXED):
                variant = Variant(member, form.name)
                where = f"{variant.name} in {arithmetic.name} on {case.name!r}"
                yield from guarded(where, _again, subject, variant, case, arithmetic)


def _forms(subject: Subject) -> Iterator[tuple[Member, Form]]:
    for member in subject.members:
        for form in subject.mechanism.forms:
            yield member, form


def _few(subject: Subject, form: Form) -> list[Case]:
    """Return the first two of a few cases that a form serves."""
    return [case for case in subject.cases if case.name in FEW and not refused(form, case.problem)][:2]


def _chunks(subject: Subject, form: Form) -> list[Case]:
    """Return a longer causal context, if the form serves it: options cut it into chunks."""
    return [case for case in subject.longer if case.name == CHUNKS and not refused(form, case.problem)]


def _again(subject: Subject, variant: Variant, case: Case, arithmetic: Arithmetic) -> Iterator[str]:
    """Ask twice, then with one thing changed after the other, then again."""
    outputs = [run_apart(variant, case.problem, arithmetic) for _ in range(2)]
    for other in subject.others(case.problem):
        yield from (
            f"{other.name}, which has just been asked for as it was: {difference}"
            for difference in differences(subject, other, variant, arithmetic, plain=case.plain)
        )
    outputs.append(run_apart(variant, case.problem, arithmetic))
    for output, when in zip(outputs[1:], ("the second time", "once something else has been asked for"), strict=True):
        if _bytes(output) != _bytes(outputs[0]):
            yield f"the same call gives other bytes {when}"


def _bytes(output: AttentionOutput) -> tuple[bytes, bytes]:
    return output.value.tobytes(), np.asarray(output.normaliser).tobytes()


def differences(
    subject: Subject,
    problem: Problem,
    variant: Variant,
    arithmetic: Arithmetic,
    *,
    plain: bool,
    sums: bool | None = None,
) -> Iterator[str]:
    """Yield what is wrong with an output: its kind, rows that see nothing, elements beyond their bound, sums, hazards.

    plain: where no finite bound is declared, an output has to be within what the formula itself may lose.  sums:
    whether sums of weights are compared, by default where it is plain.
    """
    problem = subject.rounded(problem, arithmetic.inputs)
    exact = subject.exact(problem, variant.member)
    if exact is None:
        return
    try:
        output = run_apart(variant, problem, arithmetic)
    except TooLargeError:
        if problem.q.size > 1:  # large members may need more memory than is allowed, but not for one number
            return
        raise
    kind = list(malformed(output, problem, arithmetic))
    yield from kind
    if kind:
        return
    nothing = np.argwhere(~problem.attended_rows & (output.value != 0).any(axis=-1))
    if nothing.size:
        alike = resemblance(subject, problem, variant.member, output.value)
        yield f"row {nothing[0].tolist()} sees no key and is not zero{alike}"
    error = np.abs(computed_error(output.value, exact))
    bound, how = rounding_bound(variant, problem, exact.value, arithmetic), "its bound"
    if plain and not np.isfinite(bound).all():
        unbounded = allowance(problem, exact.value, arithmetic, subject.tracked(problem, variant.member, arithmetic))
        bound, how = np.where(np.isfinite(bound), bound, unbounded), f"what {arithmetic.name} may lose on its formula"
    place = first_beyond(error, bound, exact.undefined_rows)
    if place is not None:
        yield (
            f"element {list(place)} is {float(output.value[place]):.6g}, exactly {exact.value[place]:.6g}; that is"
            f" {error[place]:.3g} off, and {how} {bound[place]:.3g}"
            f"{resemblance(subject, problem, variant.member, output.value)}"
        )
    yield from miscounted(output, problem, arithmetic, plain=plain)
    if plain if sums is None else sums:
        yield from subject.wrong_sums(output, variant, problem, arithmetic)


def rounding_bound(variant: Variant, problem: Problem, exact: Float64Array, arithmetic: Arithmetic) -> Float64Array:
    """Return the bound that is sure; infinite where none is known."""
    found = variant.rounding_bound(problem, exact, arithmetic)
    return np.full(problem.output_shape, np.inf) if found is None else found.sure


def first_beyond(error: Float64Array, bound: Float64Array, undefined: Any) -> tuple[int, ...] | None:
    """Return the first element whose error, NaN included, exceeds a finite bound; rows without a value do not count."""
    beyond = np.argwhere(~(error <= bound) & np.isfinite(bound) & ~undefined[..., None])
    return tuple(int(i) for i in beyond[0]) if beyond.size else None


def malformed(output: Any, problem: Problem, arithmetic: Arithmetic) -> Iterator[str]:
    """Yield what is wrong with an output whatever its numbers are."""
    if output.value.dtype != arithmetic.output.dtype:
        yield f"an output of {output.value.dtype}; expected {arithmetic.output.dtype}"
    shape, expected = np.shape(output.normaliser), problem.output_shape[:-1]
    if shape != expected:
        yield f"sums of weights of shape {list(shape)}; expected {list(expected)}"
    z = np.asarray(output.normaliser).astype(np.float64)
    if not np.array_equal(arithmetic.sums.rounded(z).astype(np.float64), z, equal_nan=True):
        yield f"sums of weights that are no numbers of {arithmetic.sums.name}"
    if not isinstance(output.hazards, Hazards):
        yield f"hazards of type {type(output.hazards).__name__}; expected Hazards"
