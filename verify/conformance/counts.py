"""Whether costs and operations that are declared are those of a run on numbers that count, and of the state kept.

What tables of features say is what one of the forms costs.

Where neither can be compared, costs still have to be whole numbers above zero that grow with the number of tokens if
keys and values are kept, and stay as they are if features are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verify.attention.contract import Form, Member
from verify.attention.cost import Cost
from verify.conformance.subject import Subject, guarded
from verify.families.costs import counts_of
from verify.integers import how_many
from verify.numbers.counted import CountingArithmetic, Operations
from verify.problem import Problem

# n, d_k, d_v
SIZES = ((3, 2, 2), (4, 3, 1), (3, 2, 5))

# The same where costs alone are asked for, and nothing runs: sizes in use, and twice as many tokens.
LARGE = ((512, 64, 48), (1024, 64, 48))


def wrong_costs(subject: Subject) -> Iterator[str]:
    """Yield costs that are not what a run takes or a state holds."""
    for member in subject.members:
        for form in subject.mechanism.forms:
            for sizes in SIZES:
                yield from guarded(_where(member, form, sizes), _costs, member, form, _problem(*sizes))
            yield from guarded(_where(member, form, LARGE[1]), _growth, member, form)
        for sizes in SIZES:
            yield from guarded(f"{member.name} at d_k, d_v = {sizes[1]}, {sizes[2]}", _tabled, member, _problem(*sizes))


def uncompared(subject: Subject) -> Iterator[str]:
    """Yield what of the costs of each form is compared with nothing, so that its being right is not known."""
    member = subject.members[0]
    for form in subject.mechanism.forms:
        problem = _problem(*SIZES[0])
        cost = form.cost(problem, member)
        kept = ["state elements"] if cost.features is None else ["features and state elements"]
        left_out = [] if form.state is not None else kept
        if cost.flops_per_token is not None and form.published:
            left_out.append("FLOPs, which are published,")
        elif cost.flops_per_token is not None and _counted_if_it_runs(member, form, problem) is None:
            left_out.append("FLOPs, as it does not run on numbers that count,")
        if left_out:
            yield f"{' and '.join(left_out)} of {form.name}"


def _where(member: Member, form: Form, sizes: tuple[int, int, int]) -> str:
    return f"{member.name}/{form.name} at n, d_k, d_v = {', '.join(map(str, sizes))}"


def _problem(tokens: int, head_size: int, value_size: int) -> Problem:
    rng = np.random.default_rng(53)
    q, k, v = (rng.uniform(0.5, 1.0, (tokens, size)) for size in (head_size, head_size, value_size))
    return Problem(q, k, v)


def _costs(member: Member, form: Form, problem: Problem) -> Iterator[str]:
    cost = form.cost(problem, member)
    absurd = list(_absurd(cost))
    yield from absurd
    if absurd:
        return
    if form.state is not None:
        shape = form.state(member, problem.head_size, problem.value_size).shapes["sums"]
        held = int(np.prod(shape))
        if cost.state_elements != held:
            yield f"the cost says {how_many(cost.state_elements, 'state element')}, and the state holds {held}"
        if cost.features is not None and cost.features != shape[1]:
            yield f"the cost says {how_many(cost.features, 'feature')}, and the state has sums of {shape[1]}"
    if form.operations is not None:
        declared, counted = form.operations(problem, member), _counted(member, form, problem)
        if declared != counted:
            yield f"operations() says {_text(declared)}, and a run takes {_text(counted)}"
        if cost.flops_per_token not in (None, declared.flops) and not form.published:
            yield f"the cost says {cost.flops_per_token} FLOPs per token, and operations() {declared.flops}"
    elif cost.flops_per_token is not None and not form.published:
        taken = _counted_if_it_runs(member, form, problem)
        if taken is not None and cost.flops_per_token != taken.flops:
            yield f"the cost says {cost.flops_per_token} FLOPs per token, and a run takes {taken.flops}: {_text(taken)}"


def _tabled(member: Member, problem: Problem) -> Iterator[str]:
    """Yield that no form costs what tables of features say."""
    counts = counts_of(member, problem.head_size, problem.value_size)
    if counts is None:
        return
    open_, same = (counts_of(member, problem.head_size, size) for size in (None, problem.head_size))
    if open_ != same:
        yield f"counts() with value_size None is not that with {problem.head_size}, the head size: {open_} and {same}"
    found = []
    for form in member.mechanism.forms:
        cost = form.cost(problem, member)
        if cost.features is None:
            continue
        flops = {cost.flops_per_token, counts.flops_per_token} - {None}
        if (cost.features, cost.state_elements) == (counts.features, counts.state_elements) and len(flops) < 2:
            return
        found.append(f"{form.name} {cost.features}, {cost.state_elements} and {cost.flops_per_token}")
    said = f"{counts.features} features, {counts.state_elements} state elements and {counts.flops_per_token} FLOPs"
    if found:
        yield f"counts() says {said}; no form costs that: {'; '.join(found)}"


def _absurd(cost: Cost) -> Iterator[str]:
    for name in ("features", "state_elements", "flops_per_token"):
        number = getattr(cost, name)
        unknown = number is None and name != "state_elements"
        if not unknown and (type(number) is not int or number < 1):
            also = "" if name == "state_elements" else ", or None"
            yield f"{name} {number!r} of {type(number).__name__}; expected a Python integer above 0{also}"


def _growth(member: Member, form: Form) -> Iterator[str]:
    """Compare costs of twice as many tokens: those of keys and values that are kept grow, those of features do not."""
    few, many = (form.cost(_problem(*sizes), member) for sizes in LARGE)
    absurd = [*_absurd(few), *_absurd(many)]
    yield from absurd
    if absurd:
        return
    tokens = f"{LARGE[0][0]} and {LARGE[1][0]} tokens"
    if few.features is None and form.state is None:
        for name in ("state_elements", "flops_per_token"):
            one, other = getattr(few, name), getattr(many, name)
            if one is not None and other is not None and one >= other:
                yield f"{name} {one} and {other} for {tokens}; expected more for more, as it has no features"
        return
    for name in ("features", "state_elements"):
        one, other = getattr(few, name), getattr(many, name)
        if one != other:
            yield f"{name} {one} and {other} for {tokens}; expected the same, as it has features"


def _counted(member: Member, form: Form, problem: Problem) -> Operations:
    """Return what one query takes, or, with a state, what one token does."""
    arithmetic = CountingArithmetic()
    asked = problem if form.state is not None else Problem(problem.q[:1], problem.k, problem.v)
    form.compute(asked, arithmetic, member)
    taken = arithmetic.tally.taken()
    return taken.shared_by(problem.keys) if form.state is not None else taken


def _counted_if_it_runs(member: Member, form: Form, problem: Problem) -> Operations | None:
    """Return what a run takes; None if the form does not run on numbers that count: what runs takes something."""
    try:
        taken = _counted(member, form, problem)
        return taken if taken.flops else None
    except Exception:  # whatever somebody else's form does with numbers that are objects
        return None


def _text(operations: Operations) -> str:
    counts = ((getattr(operations, kind), kind.removesuffix("s")) for kind in Operations.kinds())
    return ", ".join(how_many(count, kind) for count, kind in counts if count)
