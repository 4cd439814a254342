"""Whether a state is the form it belongs to: fed in pieces, read in between, merged, with settings, saved, loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import Value
from verify.attention.computed import AttentionOutput
from verify.attention.contract import Form, Member
from verify.attention.variant import Variant
from verify.conformance.allowance import FLOAT64, allowance
from verify.conformance.answers import MIXED, first_beyond, rounding_bound
from verify.conformance.normalisers import miscounted
from verify.conformance.subject import Subject, copied, guarded, option_values, require_unchanged, run_apart
from verify.errors import InvalidRequestError
from verify.measure.metrics import computed_error
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import Reference

# Where contexts of so many tokens are cut.  States take in 128 or 512 tokens at once: the pieces of the longer one are
# less, as many, and more than the first, and all of it is more than either.
PIECES = {
    7: (slice(0, 1), slice(1, 4), slice(4, 7)),
    530: (slice(0, 5), slice(5, 133), slice(133, 530)),
}

# Ways to feed a state that are tried with every setting; without one, all are.
OFTEN = (
    *("all tokens at once", "tokens in pieces, read after each"),
    *("two parts merged the other way round", "three parts merged"),
)

# So often are queries repeated to be more than a state reads at once.
REPEATED = 180

# Tokens taken in at once where it matters how often something is added, and queries then.
FEW, MANY = 10, 100

Values = NDArray[Any]

State = Any  # an AttentionState: merging takes two of one kind


@dataclass(frozen=True)
class Kept:
    """What is kept by a member's form, and how: in an arithmetic, with a setting that is an option of the form too."""

    subject: Subject
    member: Member
    form: Form
    arithmetic: Arithmetic
    setting: tuple[tuple[str, Value], ...] = ()

    @property
    def name(self) -> str:
        """Whose state it is, and in which arithmetic."""
        return f"{Variant(self.member, self.form.name, self.setting).name}, its state in {self.arithmetic.name}"

    def new(self, problem: Problem) -> State:
        """Return a state for a problem's sizes and scale that has seen nothing."""
        assert self.form.state is not None
        given: dict[str, Any] = {"lead": problem.k.shape[:-2], "arithmetic": self.arithmetic.name, **dict(self.setting)}
        sizes = self.member, problem.head_size, problem.value_size
        made = self.form.state(*sizes, **given)
        if problem.scale is None or "scale" not in made.known_settings:
            return made
        return self.form.state(*sizes, **given, scale=problem.scale)

    def fed(self, problem: Problem, *pieces: slice) -> State:
        """Return a state that has seen these tokens."""
        made = self.new(problem)
        for piece in pieces:
            _update(made, problem, piece)
        return made

    def bound(self, problem: Problem, exact: Float64Array) -> Float64Array:
        """Return the bound of the form, token by token if it can be told so: merged parts are as many chunks.

        Without a finite one it is what the formula itself may lose; nothing is known of that with a setting.
        """
        chunk = (("chunk", 1),) if "chunk" in self.form.options else ()
        variant = Variant(self.member, self.form.name, (*self.setting, *chunk))
        bound = rounding_bound(variant, problem, exact, self.arithmetic)
        if not self.setting and not np.isfinite(bound).all():
            tracked = self.subject.tracked(problem, self.member, self.arithmetic)
            bound = np.where(np.isfinite(bound), bound, allowance(problem, exact, self.arithmetic, tracked))
        return bound


def wrong_states(subject: Subject) -> Iterator[str]:
    """Yield ways to feed and merge states that do not give what the form gives, and states that should be refused.

    All members keep a state in two arithmetics; in the others, and with settings, they take turns.
    """
    # all members have the same problems, whose exact values are worked out once
    problems = {arithmetic.name: _problems(arithmetic) for arithmetic in ARITHMETICS.values()}
    for kept in _with_states(subject):
        for problem in problems[kept.arithmetic.name]:
            yield from guarded(kept.name, _fed, kept, problem)
        for problem in problems[kept.arithmetic.name]:
            yield from guarded(kept.name, _padded, kept, problem)
        yield from guarded(kept.name, _refusals, kept)
    for kept in _in_other_arithmetics(subject):
        for problem in problems[kept.arithmetic.name][:2]:
            yield from guarded(kept.name, _fed, kept, problem)
        yield from guarded(kept.name, _refusals, kept)
    without: dict[tuple[Member, str, str], tuple[Values, Values]] = {}
    for kept in _with_settings(subject):
        one, _, many = problems[kept.arithmetic.name]
        yield from guarded(kept.name, _fed, kept, one)
        yield from guarded(kept.name, _overlooked, kept, many, without)


def wrong_files(subject: Subject) -> Iterator[str]:
    """Yield what a state that was saved and loaded does otherwise than before."""
    for kept in _with_states(subject):
        with tempfile.TemporaryDirectory() as folder:
            yield from guarded(kept.name, _saved, kept, Path(folder) / "state.npz")


def _forms(subject: Subject) -> list[Form]:
    """Return forms with a state; those that share it, once."""
    return list({form.state: form for form in reversed(subject.mechanism.forms) if form.state is not None}.values())


def _with_states(subject: Subject) -> Iterator[Kept]:
    for member in subject.members:
        for form in _forms(subject):
            for arithmetic in (FLOAT64, MIXED):
                yield Kept(subject, member, form, arithmetic)


def _in_other_arithmetics(subject: Subject) -> Iterator[Kept]:
    members = cycle(subject.members)
    for form in _forms(subject):
        for arithmetic in ARITHMETICS.values():
            if arithmetic not in (FLOAT64, MIXED):
                yield Kept(subject, next(members), form, arithmetic)


def _with_settings(subject: Subject) -> Iterator[Kept]:
    """Yield states with a setting that is an option of their form and not the default; members take turns."""
    members = cycle(subject.members)
    sizes = subject.all_cases[0].problem
    for form in _forms(subject):
        for name, parameter in form.options.items():
            for value in option_values(parameter):
                kept = Kept(subject, next(members), form, FLOAT64)
                if value != parameter.default and name in kept.new(sizes).known_settings:
                    for arithmetic in (FLOAT64, MIXED):
                        yield replace(kept, arithmetic=arithmetic, setting=((name, value),))


def _problems(arithmetic: Arithmetic) -> list[Problem]:
    """Return a context of one head, one of two key heads read by two queries each, and one of many tokens."""
    rng = np.random.default_rng(54)
    made = []
    for heads, groups, tokens, sizes, scale in (
        ((), (), 7, (3, 2), None),
        ((4,), (2,), 7, (3, 2), 0.4),
        ((), (), 530, (2, 1), None),
    ):
        q, k = rng.standard_normal((*heads, 3, sizes[0])), rng.standard_normal((*groups, tokens, sizes[0]))
        v = rng.standard_normal((*groups, tokens, sizes[1]))
        made.append(Problem(q, k, v, scale=scale).rounded(arithmetic.inputs))
    return made


def _update(state: State, problem: Problem, piece: slice) -> None:
    state.update(problem.k[..., piece, :], problem.v[..., piece, :])


def _read_after_each(state: State, problem: Problem, *pieces: slice) -> State:
    """Take in tokens; ValueError if reading twice gives two answers."""
    for piece in pieces:
        _update(state, problem, piece)
        first, again = (state.read(problem.q).value.tobytes() for _ in range(2))
        if first != again:
            raise ValueError("reading changes the state")
    return state


def _merged(problem: Problem, first: State, *others: State) -> State:
    """Merge states into the first; ValueError if one of them changes."""
    for other in others:
        before = other.tokens and other.read(problem.q).value.tobytes()
        first.merge(other)
        if before != (other.tokens and other.read(problem.q).value.tobytes()):
            raise ValueError("merging changes the state that is merged")
    return first


def _fed(kept: Kept, problem: Problem) -> Iterator[str]:
    exact = kept.subject.exact(problem, kept.member)
    if exact is None:
        return
    bound = kept.bound(problem, exact.value)
    own = copied(problem)
    whole, (a, b, c) = slice(0, problem.keys), PIECES[problem.keys]

    def state(*pieces: slice) -> State:
        return kept.fed(own, *pieces)

    def merged(*states: State) -> State:
        return _merged(own, *states)

    ways: dict[str, Callable[[], State]] = {
        "all tokens at once": lambda: state(whole),
        "tokens in pieces": lambda: state(a, b, c),
        "tokens in pieces, read after each": lambda: _read_after_each(state(), own, a, b, c),
        "two parts merged": lambda: merged(state(a, b), state(c)),
        "two parts merged the other way round": lambda: merged(state(c), state(a, b)),
        "three parts merged": lambda: merged(state(b), state(c), state(a)),
        "all tokens merged into an empty state": lambda: merged(state(), state(whole)),
        "three parts merged into an empty state": lambda: merged(state(), state(c), state(a), state(b)),
        "an empty state merged into all tokens": lambda: merged(state(whole), state()),
        "two parts merged, then the rest": lambda: _read_after_each(merged(state(a), state(b)), own, c),
    }
    for way, make in ways.items():
        if kept.setting and way not in OFTEN:
            continue
        found = make()
        yield from _counted(way, found, problem)
        output = found.read(own.q)
        yield from _wrong(f"{problem.keys} tokens, {way}", kept, problem, output, exact, bound)
        require_unchanged(own, problem)
    yield from _wrong_one(kept, problem, state(whole), exact, bound)
    if problem.keys == min(PIECES):
        itself, twice = state(whole), kept.subject.twice(problem)
        itself.merge(itself)
        way = "all tokens merged with themselves"
        yield from _counted(way, itself, twice)
        yield from _wrong(way, kept, twice, itself.read(own.q), exact, kept.bound(twice, exact.value))


def _padded(kept: Kept, problem: Problem) -> Iterator[str]:
    """Yield that padding between the tokens, NaN and in every head somewhere else, counts for something."""
    exact = kept.subject.exact(problem, kept.member)
    if exact is None:
        return
    rng, padded = np.random.default_rng(57), problem.keys + 3
    made, lead = kept.new(problem), problem.k.shape[:-2]
    mask = np.zeros((*lead, padded), dtype=np.bool_)
    k, v = (np.full((*lead, padded, x.shape[-1]), np.nan) for x in (problem.k, problem.v))
    for index in np.ndindex(*lead):
        places = np.sort(rng.permutation(padded)[: problem.keys])
        mask[index][places] = True
        k[index][places], v[index][places] = problem.k[index], problem.v[index]
    made.update(k, v, mask)
    bound = kept.bound(problem, exact.value)
    yield from _wrong("tokens among padding", kept, problem, made.read(problem.q), exact, bound)


def _counted(way: str, state: State, problem: Problem) -> Iterator[str]:
    if state.tokens != problem.keys:
        yield f"{way}: {state.tokens} tokens counted; expected {problem.keys}"


def _wrong(
    where: str, kept: Kept, problem: Problem, output: AttentionOutput, exact: Reference, bound: Float64Array
) -> Iterator[str]:
    """Yield what is wrong with what was read: its shape, an element, hazards, sums of weights.

    Sums of the longest context are compared for the last member: that takes longer than all the rest.
    """
    if output.value.shape != problem.output_shape:
        yield f"{where}: shape {list(output.value.shape)}; expected {list(problem.output_shape)}"
        return
    error = np.abs(computed_error(output.value, exact))
    place = first_beyond(error, bound, exact.undefined_rows)
    if place is not None:
        yield f"{where}: element {list(place)} {error[place]:.3g} off, and its bound {bound[place]:.3g}"
        return
    variant = Variant(kept.member, kept.form.name, kept.setting)
    hazards = miscounted(output, problem, kept.arithmetic, plain=not kept.setting)
    yield from (f"{where}: {says}" for says in hazards)
    if not kept.setting and (problem.keys < max(PIECES) or kept.member is kept.subject.members[-1]):
        sums = kept.subject.wrong_sums(output, variant, problem, kept.arithmetic)
        yield from (f"{where}: {says}" for says in sums)


def _wrong_one(kept: Kept, problem: Problem, state: State, exact: Reference, bound: Float64Array) -> Iterator[str]:
    """Yield the first of many queries, the problem's own again and again, that is answered wrongly."""
    many = np.tile(problem.q, (REPEATED, 1))
    value = state.read(many).value
    for first in range(0, many.shape[-2], problem.queries):
        some = value[..., first : first + problem.queries, :]
        place = first_beyond(np.abs(computed_error(some, exact)), bound, exact.undefined_rows)
        if place is not None:
            at = [*place[:-2], first + place[-2], place[-1]]
            right = f"exactly {exact.value[place]:.6g}"
            yield f"{many.shape[-2]} queries at once: element {at} is {some[place]:.6g}, {right}"
            return


def _overlooked(
    kept: Kept, problem: Problem, without: dict[tuple[Member, str, str], tuple[Values, Values]]
) -> Iterator[str]:
    """Yield that a setting changes no bit of what is read, although as an option it changes what the form gives.

    without: what is given and read without a setting, to be worked out once.
    """
    asked = Problem(problem.k[..., :MANY, :], problem.k, problem.v, problem.scale)
    key = kept.member, kept.form.name, kept.arithmetic.name
    if key not in without:
        without[key] = _given_and_read(replace(kept, setting=()), asked)
    (given, read), (given_without, read_without) = _given_and_read(kept, asked), without[key]
    if (given != given_without).any() and (read == read_without).all():
        yield f"{problem.keys} tokens: nothing changes with it, and what the form gives does"


def _given_and_read(kept: Kept, asked: Problem) -> tuple[Values, Values]:
    """Return what the form gives with the setting as an option, and what is read after tokens came FEW at a time."""
    variant = Variant(kept.member, kept.form.name, kept.setting)
    pieces = [slice(first, first + FEW) for first in range(0, asked.keys, FEW)]
    return run_apart(variant, asked, kept.arithmetic).value, kept.fed(asked, *pieces).read(asked.q).value


def _refusals(kept: Kept) -> Iterator[str]:
    assert kept.form.state is not None
    problem = _problems(kept.arithmetic)[0]
    state = kept.new(problem)
    another = "float32" if kept.arithmetic.name != "float32" else "float64"
    other_values = kept.form.state(
        kept.member, problem.head_size, problem.value_size + 1, arithmetic=kept.arithmetic.name
    )
    other_arithmetic = kept.form.state(kept.member, problem.head_size, problem.value_size, arithmetic=another)
    for what, request in {
        "a read before the first token": lambda: state.read(problem.q),
        "keys of another size": lambda: state.update(problem.v, problem.v),
        "merging a state with values of another size": lambda: state.merge(other_values),
        "merging a state of another arithmetic": lambda: state.merge(other_arithmetic),
    }.items():
        yield from _accepted(what, request)


def _saved(kept: Kept, path: Path) -> Iterator[str]:
    problem = _problems(kept.arithmetic)[1]
    first, some, rest = slice(0, 4), slice(4, 6), slice(6, problem.keys)
    state = kept.fed(problem, first)
    state.save(path)
    own = {"member": kept.member} if "member" in state.known_settings else {}
    loaded = type(state).load(path, **own)
    if (loaded.tokens, loaded.settings, loaded.shapes) != (state.tokens, state.settings, state.shapes):
        yield f"saved: {state.tokens} tokens, {state.settings}; loaded: {loaded.tokens} tokens, {loaded.settings}"
    steps: dict[str, Callable[[State], None]] = {
        "at once": lambda each: None,
        "after more tokens": lambda each: _update(each, problem, some),
        "after another is merged": lambda each: each.merge(kept.fed(problem, rest)),
        "after it is merged with itself": lambda each: each.merge(each),
    }
    for what, step in steps.items():
        for each in (state, loaded):
            step(each)
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
