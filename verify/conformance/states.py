"""Whether a state is the form it belongs to: fed in pieces, merged, saved and loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from verify.attention.computed import AttentionOutput
from verify.attention.contract import Form, Member, Variant
from verify.conformance.allowance import FLOAT64, allowance
from verify.conformance.answers import MIXED, first_beyond, rounding_bound
from verify.conformance.formula import FEW_PAIRS
from verify.conformance.normalisers import miscounted, wrong_sums
from verify.conformance.subject import Subject, copied, guarded, require_unchanged
from verify.errors import InvalidRequestError
from verify.measure.metrics import computed_error
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# Where contexts of so many tokens are cut.  States take in 128 or 512 tokens at once: the pieces of the longer one are
# less, as many, and more than the first, and all of it is more than either.
PIECES = {
    7: (slice(0, 1), slice(1, 4), slice(4, 7)),
    530: (slice(0, 5), slice(5, 133), slice(133, 530)),
}

State = Any  # an AttentionState: merging takes two of one kind


def wrong_states(subject: Subject) -> Iterator[str]:
    """Yield ways to feed and merge states that do not give what the form gives, and states that should be refused."""
    # all members have the same problems, whose exact values are worked out once
    problems = {arithmetic: _problems(arithmetic) for arithmetic in (FLOAT64, MIXED)}
    for member, form, arithmetic in _with_states(subject):
        where = f"{member.name}/{form.name}, its state in {arithmetic.name}"
        for problem in problems[arithmetic]:
            yield from guarded(where, _fed, subject, member, form, problem, arithmetic)
        yield from guarded(where, _refusals, member, form, arithmetic)


def wrong_files(subject: Subject) -> Iterator[str]:
    """Yield what a state that was saved and loaded does otherwise than before."""
    for member, form, arithmetic in _with_states(subject):
        where = f"{member.name}/{form.name}, its state in {arithmetic.name}"
        with tempfile.TemporaryDirectory() as folder:
            yield from guarded(where, _saved, member, form, arithmetic, Path(folder) / "state.npz")


def _with_states(subject: Subject) -> Iterator[tuple[Member, Form, Arithmetic]]:
    """Yield forms with a state; those that share it, once."""
    own = {form.state: form for form in reversed(subject.mechanism.forms) if form.state is not None}
    for member in subject.members:
        for form in own.values():
            for arithmetic in (FLOAT64, MIXED):
                yield member, form, arithmetic


def _problems(arithmetic: Arithmetic) -> list[Problem]:
    """Return a context of one head, one of two key heads read by two queries each, and one of many tokens."""
    rng = np.random.default_rng(54)
    made = []
    for heads, groups, tokens, sizes in (((), (), 7, (3, 2)), ((4,), (2,), 7, (3, 2)), ((), (), 530, (2, 1))):
        q, k = rng.standard_normal((*heads, 3, sizes[0])), rng.standard_normal((*groups, tokens, sizes[0]))
        made.append(Problem(q, k, rng.standard_normal((*groups, tokens, sizes[1]))).rounded(arithmetic.inputs))
    return made


def _new(member: Member, form: Form, problem: Problem, arithmetic: Arithmetic) -> State:
    assert form.state is not None
    lead = problem.k.shape[:-2]
    return form.state(member, problem.head_size, problem.value_size, lead=lead, arithmetic=arithmetic.name)


def _fed(subject: Subject, member: Member, form: Form, problem: Problem, arithmetic: Arithmetic) -> Iterator[str]:
    exact = subject.exact(problem, member)
    if exact is None:
        return
    bound = _bound(subject, member, form, problem, exact.value, arithmetic)

    def state(*pieces: slice) -> State:
        made = _new(member, form, problem, arithmetic)
        for piece in pieces:
            made.update(problem.k[..., piece, :], problem.v[..., piece, :])
        return made

    def merged(*states: State) -> State:
        first, *others = states
        for other in others:
            before = other.read(problem.q).value.tobytes()
            first.merge(other)
            if other.read(problem.q).value.tobytes() != before:
                raise ValueError("merging changes the state that is merged")
        return first

    before, problem = problem, copied(problem)
    tokens, pieces = problem.keys, PIECES[problem.keys]
    whole, (a, b, c) = slice(0, tokens), pieces
    ways: dict[str, Callable[[], State]] = {
        "all tokens at once": lambda: state(whole),
        "tokens in pieces": lambda: state(*pieces),
        "two parts merged": lambda: merged(state(a, b), state(c)),
        "two parts merged the other way round": lambda: merged(state(c), state(a, b)),
        "three parts merged": lambda: merged(state(b), state(c), state(a)),
        "all tokens merged into an empty state": lambda: merged(state(), state(whole)),
    }
    for way, make in ways.items():
        found = make()
        if found.tokens != tokens:
            yield f"{way}: {found.tokens} tokens counted; expected {tokens}"
        output = found.read(problem.q)
        error = np.abs(computed_error(output.value, exact))
        place = first_beyond(error, bound, exact.undefined_rows)
        if output.value.shape != problem.output_shape or place is not None:
            shown = "of another shape" if place is None else f"element {list(place)} {error[place]:.3g} off"
            allowed = "" if place is None else f", and its bound {bound[place]:.3g}"
            yield f"{tokens} tokens, {way}: {shown}{allowed}"
        elif arithmetic is FLOAT64:
            yield from (f"{tokens} tokens, {way}: {says}" for says in _reported(subject, member, form, before, output))
        require_unchanged(problem, before)


def _reported(subject: Subject, member: Member, form: Form, problem: Problem, output: AttentionOutput) -> Iterator[str]:
    """Yield what is wrong with the sums of weights and the hazards of what was read in float64."""
    yield from miscounted(output, problem, FLOAT64, plain=True)
    if problem.queries * problem.keys <= FEW_PAIRS:
        sums = subject.sums(problem, member, FLOAT64)
        yield from wrong_sums(output, Variant(member, form.name), problem, FLOAT64, sums)


def _bound(
    subject: Subject, member: Member, form: Form, problem: Problem, exact: Float64Array, arithmetic: Arithmetic
) -> Float64Array:
    """Return the bound of the form, token by token if it can be told so: parts that are merged are as many chunks."""
    chunk = (("chunk", 1),) if "chunk" in form.options else ()
    bound = rounding_bound(Variant(member, form.name, chunk), problem, exact, arithmetic)
    if not np.isfinite(bound).all():
        unbounded = allowance(problem, exact, arithmetic, subject.tracked(problem, member, arithmetic))
        bound = np.where(np.isfinite(bound), bound, unbounded)
    return bound


def _refusals(member: Member, form: Form, arithmetic: Arithmetic) -> Iterator[str]:
    assert form.state is not None
    problem = _problems(arithmetic)[0]
    state = _new(member, form, problem, arithmetic)
    other_values = form.state(member, problem.head_size, problem.value_size + 1, arithmetic=arithmetic.name)
    other_arithmetic = form.state(member, problem.head_size, problem.value_size, arithmetic="float32")
    for what, request in {
        "a read before the first token": lambda: state.read(problem.q),
        "keys of another size": lambda: state.update(problem.v, problem.v),
        "merging a state with values of another size": lambda: state.merge(other_values),
        "merging a state of another arithmetic": lambda: state.merge(other_arithmetic),
    }.items():
        yield from _accepted(what, request)


def _saved(member: Member, form: Form, arithmetic: Arithmetic, path: Path) -> Iterator[str]:
    problem = _problems(arithmetic)[1]
    state = _new(member, form, problem, arithmetic)
    first, rest = slice(0, 4), slice(4, problem.keys)
    state.update(problem.k[..., first, :], problem.v[..., first, :])
    state.save(path)
    own = {"member": member} if "member" in state.known_settings else {}
    loaded = type(state).load(path, **own)
    if (loaded.tokens, loaded.settings, loaded.shapes) != (state.tokens, state.settings, state.shapes):
        yield f"saved: {state.tokens} tokens, {state.settings}; loaded: {loaded.tokens} tokens, {loaded.settings}"
    for what, tokens in (("at once", slice(0, 0)), ("after more tokens", rest)):
        for each in (state, loaded):
            each.update(problem.k[..., tokens, :], problem.v[..., tokens, :])
        before, after = (each.read(problem.q).value for each in (state, loaded))
        if before.tobytes() != after.tobytes():
            place = tuple(int(i) for i in np.argwhere(before != after)[0])
            one, other = float(before[place]), float(after[place])
            yield f"{what}, element {list(place)} is {one:.6g} and, saved and loaded, {other:.6g}"
    yield from _accepted("loading it as one of another head size", lambda: type(state).load(path, **own, head_size=99))


def _accepted(what: str, request: Callable[[], Any]) -> Iterator[str]:
    try:
        request()
    except InvalidRequestError:
        return
    yield f"{what} is accepted; expected InvalidRequestError"
