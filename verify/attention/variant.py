"""A member in one of its forms, with options: what is run, what it costs, and how far rounding can move it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.arguments import Value, checked_values, value_text
from verify.attention.computed import AttentionOutput
from verify.attention.contract import Form, Member
from verify.attention.cost import Cost
from verify.attention.hazards import Hazards
from verify.bounds.outputs import RoundingBound, rounding_bound
from verify.bounds.pairs import Pairs, Rows, WeightBound
from verify.errors import InvalidRequestError, MechanismError
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem, require_problem


@dataclass(frozen=True)
class Variant:
    """A member, the form that computes it, and the options of the form that are not its own choice.

    variant = named_variant("taylor:order=3/packed:side=both")
    variant.run(problem, "float32").value
    """

    member: Member
    form: str
    options: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        """Check the form and its options, and leave out options that say what is done without them, or are None."""
        how = self.how
        free = {name for name, option in how.options.items() if option.default is None}
        asked: Sequence[tuple[str, Any]] = self.options
        options = [(name, value) for name, value in asked if value is not None or name not in free]
        given = checked_values(how.options, options, "option", f"of the form {how.name}")
        chosen = tuple((name, value) for name, value in given.items() if value != how.options[name].default)
        object.__setattr__(self, "options", chosen)

    @property
    def how(self) -> Form:
        """The form."""
        return self.member.mechanism.form(self.form)

    @property
    def form_name(self) -> str:
        """The form with its options."""
        given = ",".join(f"{name}={value_text(value)}" for name, value in self.options)
        return f"{self.form}:{given}" if given else self.form

    @property
    def name(self) -> str:
        """Member, form and options, as the command line takes them."""
        return f"{self.member.name}/{self.form_name}"

    def run(self, problem: Problem, arithmetic: str | Arithmetic, **limits: Any) -> AttentionOutput:
        """Compute the problem in the arithmetic, which may be given by its name.

        limits: memory_limit and watch, where the form has them.  Raises InvalidRequestError for a limit that it has not
        or a problem that it does not serve, TooLargeError where it would need more memory than allowed, MechanismError
        for an output of another kind or shape.
        """
        how, policy = self.how, named_arithmetic(arithmetic)
        require_problem(problem)
        for name in limits:
            if name not in how.limits:
                expected = "one of " + ", ".join(how.limits) if how.limits else "none"
                raise InvalidRequestError(f"{name!r} for the form {self.form}", expected, "leave it out")
        refusal = self.refusal(problem)
        if refusal is not None:
            raise refusal
        output = how.compute(problem, policy, self.member, **dict(self.options), **limits)
        whole: Any = output
        if not isinstance(whole, AttentionOutput) or not isinstance(output.hazards, Hazards):
            raise MechanismError(
                f"{type(whole).__name__} from {self.name}", "an AttentionOutput with its hazards", "mend the form"
            )
        if np.shape(output.normaliser) != problem.output_shape[:-1]:
            raise MechanismError(
                f"sums of weights of shape {list(np.shape(output.normaliser))} from {self.name}",
                f"{list(problem.output_shape[:-1])}",
                "mend the form",
            )
        if output.value.shape != problem.output_shape:
            raise MechanismError(
                f"output of shape {list(output.value.shape)} from {self.name}",
                f"{list(problem.output_shape)}",
                "mend the form",
            )
        return output

    def refusal(self, problem: Problem) -> InvalidRequestError | None:
        """Return what is to be raised for a problem that the mechanism does not have, or the form; else None."""
        return self.member.mechanism.refusal(problem) or self.how.refusal(problem, self.name)

    def costs(self, problem: Problem) -> Cost:
        """Return what the form costs on the problem; MechanismError for anything but a Cost."""
        found: Any = self.how.cost(problem, self.member)
        if not isinstance(found, Cost):
            raise MechanismError(f"{found!r} from cost() of {self.name}", "a Cost", "mend the form")
        return found

    def rounding_bound(
        self, problem: Problem, exact: Float64Array, arithmetic: str | Arithmetic, rows: Rows | None = None
    ) -> RoundingBound | None:
        """Return bounds on the rounding error on inputs that the arithmetic holds exactly; None if nothing is known.

        exact: the exact output of the member on these inputs, as float64.  rows: the queries that it holds, by default
        all.  Raises MechanismError if the form bounds its weights by anything but a WeightBound.
        """
        rounding = self.how.rounding
        if rounding is None:
            return None
        options = dict(self.options)

        def weigh(pairs: Pairs) -> WeightBound:
            found: Any = rounding(pairs, self.member, **options)
            if not isinstance(found, WeightBound):
                raise MechanismError(f"{found!r} from rounding() of {self.name}", "a WeightBound", "mend the form")
            return found

        return rounding_bound(problem, exact, named_arithmetic(arithmetic), weigh, rows)
