"""Whether costs and operations that are declared are those of a run on numbers that count, and of the state kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verify.attention.contract import Form, Member
from verify.conformance.subject import Subject, guarded
from verify.numbers.counted import CountingArithmetic, Operations
from verify.problem import Problem

# n, d_k, d_v
SIZES = ((3, 2, 2), (4, 3, 1))


def wrong_costs(subject: Subject) -> Iterator[str]:
    """Yield costs that are not what a run takes or a state holds."""
    for member in subject.members:
        for form in subject.mechanism.forms:
            for sizes in SIZES:
                where = f"{member.name}/{form.name} at n, d_k, d_v = {', '.join(map(str, sizes))}"
                yield from guarded(where, _costs, member, form, _problem(*sizes))


def _problem(tokens: int, head_size: int, value_size: int) -> Problem:
    rng = np.random.default_rng(53)
    q, k, v = (rng.uniform(0.5, 1.0, (tokens, size)) for size in (head_size, head_size, value_size))
    return Problem(q, k, v)


def _costs(member: Member, form: Form, problem: Problem) -> Iterator[str]:
    cost = form.cost(problem, member)
    for name in ("features", "state_elements", "flops_per_token"):
        number = getattr(cost, name)
        unknown = number is None and name != "state_elements"
        if not unknown and (type(number) is not int or number < 0):
            yield f"{name} {number!r} of {type(number).__name__}; expected a Python integer{' or None' * unknown}"
            return
    if form.state is not None:
        shape = form.state(member, problem.head_size, problem.value_size).shapes["sums"]
        held = int(np.prod(shape))
        if cost.state_elements != held:
            yield f"the cost says {cost.state_elements} state elements, and the state holds {held}"
        if cost.features is not None and cost.features != shape[1]:
            yield f"the cost says {cost.features} features, and the state has sums of {shape[1]}"
    if form.operations is not None:
        declared, counted = form.operations(problem, member), _counted(member, form, problem)
        if declared != counted:
            yield f"operations() says {_text(declared)}, and a run takes {_text(counted)}"
        if cost.flops_per_token not in (None, declared.flops) and not form.published:
            yield f"the cost says {cost.flops_per_token} FLOPs per token, and operations() {declared.flops}"


def _counted(member: Member, form: Form, problem: Problem) -> Operations:
    """Return what one query takes, or, with a state, what one token does."""
    arithmetic = CountingArithmetic()
    asked = problem if form.state is not None else Problem(problem.q[:1], problem.k, problem.v)
    form.compute(asked, arithmetic, member)
    taken = arithmetic.tally.taken()
    return taken.shared_by(problem.keys) if form.state is not None else taken


def _text(operations: Operations) -> str:
    return ", ".join(f"{getattr(operations, kind)} {kind}" for kind in Operations.kinds() if getattr(operations, kind))
