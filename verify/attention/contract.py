"""What a mechanism declares about itself, and what is assumed where it says nothing: unknown, never softmax."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from flint import arb

from verify.arguments import Parameter, Value, Whole, checked_values, value_text
from verify.attention.computed import AttentionOutput
from verify.attention.hazards import Hazards
from verify.bounds.outputs import RoundingBound, rounding_bound
from verify.bounds.pairs import Pairs, WeightBound
from verify.errors import InvalidRequestError, MechanismError
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.counted import Operations
from verify.numbers.fields import Field, Number
from verify.parallel.blocks import Block
from verify.problem import Head, Problem

Attended = list[bool] | None  # pair by pair; None where all are


@dataclass(frozen=True)
class Member:
    """A mechanism with its parameters, all of them, in the order in which it declares them.

    Two members are the same if they are of the same mechanism, whatever it is called, with the same values.

        member = named_member("taylor:order=3")
        member["order"]                    # 3
        member.name                        # "taylor:order=3"
    """

    mechanism: Mechanism
    parameters: tuple[tuple[str, Value], ...] = ()

    @property
    def of(self) -> str:
        """The mechanism's name."""
        return self.mechanism.name

    @property
    def name(self) -> str:
        """The mechanism and its parameters, as the command line takes them."""
        given = ",".join(f"{name}={value_text(value)}" for name, value in self.parameters)
        return f"{self.of}:{given}" if given else self.of

    def __getitem__(self, parameter: str) -> Any:
        """Return the value of a parameter."""
        return dict(self.parameters)[parameter]

    @property
    def labels(self) -> dict[str, Value]:
        """What tables show of it, by column; MechanismError if the mechanism gives anything but plain values."""
        found: Any = self.mechanism.labels(self)
        plain = isinstance(found, dict) and all(
            isinstance(name, str) and type(value) in (int, float, str, bool) and value == value
            for name, value in found.items()
        )
        if not plain:
            raise MechanismError(
                f"labels {found!r} of {self.name}", "names with whole numbers, numbers, text or yes and no", "mend them"
            )
        return dict(found)

    @property
    def along(self) -> Value | None:
        """The value of the parameter along which curves are drawn; None if there is none."""
        axis = self.mechanism.axis
        return None if axis is None else self[axis]


@dataclass(frozen=True)
class Cost:
    """What a form holds and executes for one head, by formulas; None where nothing is published or derived.

    features: per key.  state_elements: numbers kept from token to token.  flops_per_token: at the problem's n_k.
    """

    features: int | None
    state_elements: int
    flops_per_token: int | None


def everything(problem: Problem) -> InvalidRequestError | None:
    """Refuse nothing: what a form serves that works pair by pair."""
    return None


def require_served(refusal: Any, whose: str) -> None:
    """Raise the refusal of a problem, unless it is None; MechanismError for anything else.

    whose: what gave it, as in "unservable() of mine".
    """
    if isinstance(refusal, InvalidRequestError):
        raise refusal
    if refusal is not None:
        raise MechanismError(f"{refusal!r} from {whose}", "an InvalidRequestError, or None", "mend it")


@dataclass(frozen=True)
class Form:
    """One way to compute a mechanism, and what is known about it before it runs.

    compute: (problem, arithmetic, member, **options) -> AttentionOutput.  cost: (problem, member) -> Cost.  rounding:
    (pairs, member, **options) -> WeightBound, or None if nothing is known: errors are then unbounded.  operations:
    (problem, member) -> Operations that a run on numbers that count takes, or None: without a state those of one query
    over the problem's keys, with one those of one token that is taken in and read, not causal.  published: whether the
    FLOPs of `cost` are a paper's count, which need not be what runs.  state: (member, head_size, value_size,
    **settings) -> AttentionState, or None if nothing is kept from token to token.  serves: the refusal of a problem, or
    None.  options: what `compute` can be told that may change its numbers.  limits: what else it can be told:
    memory_limit, and watch, to count features that overflow or underflow.  own_factor: whether the sums of weights of a
    row have a positive factor of the form's own; without, they are those of the formula, or its largest weight is 1.

        Form("pairs", "every pair of tokens", compute=pairs, cost=cache_cost)
    """

    name: str
    description: str
    compute: Callable[..., AttentionOutput]
    cost: Callable[[Problem, Member], Cost]
    rounding: Callable[..., WeightBound] | None = None
    operations: Callable[[Problem, Member], Operations] | None = None
    published: bool = False
    state: Callable[..., Any] | None = None
    serves: Callable[[Problem], InvalidRequestError | None] = everything
    options: Mapping[str, Parameter] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    own_factor: bool = False


class TileWeights(Protocol):
    """Weights of a block's queries in balls, for some members that share work; keys come tile by tile."""

    def terms(self, k: Float64Array, attended: Attended) -> Iterator[tuple[Member | None, int, list[arb]]]:
        """Yield (member, factor, balls), a ball for each pair, zero where not attended.

        Terms times their factors add up; a member named has all of its own with that term.
        """


class Mechanism(ABC):
    """One way to weigh keys: y = sum_t w_t v_t / sum_t w_t.

    name, description, source: what it is, and paper and equations.  parameters: typed, by name.  axis: the parameter
    along which curves are drawn and searches go, a whole number, or None.  proposed: its value that the authors
    propose, if any.  formula_error: what its exact difference from exact softmax
    is called, "truncation" of an approximation, "deviation" of another function; None of softmax itself.  forms: the
    ways to compute it.

    A family (`verify.families`) supplies all but name, formula and parameters.  What is left out is unknown, and said
    to be.
    """

    name: str
    description: str
    source: str
    parameters: Mapping[str, Parameter] = {}
    axis: str | None = None
    proposed: int | None = None
    formula_error: str | None = "deviation"
    forms: tuple[Form, ...] = ()
    # how to find it again, and with what: for other processes
    origin: tuple[Callable[..., Mechanism], tuple[Any, ...]] | None = None

    def member(self, **values: Any) -> Member:
        """Return the member with these parameters, the others at their defaults.

        Raises InvalidRequestError for a parameter that does not exist, is out of bounds, or has no default, and where
        the mechanism does not say what it is.
        """
        for required in ("name", "description", "source"):
            if not isinstance(getattr(self, required, None), str):
                raise InvalidRequestError(
                    f"{type(self).__name__}, a mechanism without {required}", "text", f"declare its {required}"
                )
        given = checked_values(self.parameters, values.items(), "parameter", f"of {self.name}")
        for name, parameter in self.parameters.items():
            if name not in given:
                if parameter.default is None:
                    raise InvalidRequestError(
                        f"{self.name} without {name}", f"{self.name}:{name}=...", f"choose its {name}"
                    )
                given[name] = parameter.default
        return Member(self, tuple((name, given[name]) for name in self.parameters))

    def form(self, name: str) -> Form:
        """Return one of the forms; InvalidRequestError lists those there are."""
        for form in self.forms:
            if form.name == name:
                return form
        known = ", ".join(form.name for form in self.forms)
        expected = f"one of {known}" if known else "a mechanism that has forms"
        raise InvalidRequestError(f"form {name!r} of mechanism {self.name!r}", expected, "choose one of these")

    @abstractmethod
    def weights(
        self, f: Field, q: Sequence[Number], keys: Sequence[Sequence[Number]], scale: Number, member: Member
    ) -> list[Number]:
        """Return the weights of the keys of one query, up to a factor that they share: the formula, in any field."""

    @abstractmethod
    def balls(self, block: Block, members: Sequence[Member], *, magnitudes: bool) -> Iterable[TileWeights]:
        """Return the weights of a block in balls, one object for members that share work.

        magnitudes: what a weight is added up from enters with its absolute value.
        """

    @abstractmethod
    def float_weights(
        self, head: Head, rows: slice, attended: BoolArray, member: Member
    ) -> tuple[Float64Array, Float64Array]:
        """Return weights in float64, up to a factor of each row, and the sums of magnitudes each is added up from.

        Shapes [rows, n_k]; what is not attended does not count.
        """

    def work(self, member: Member) -> int:
        """Return how many times the balls of a pair are gone through for the exact value."""
        return 1

    def unservable(self, problem: Problem) -> InvalidRequestError | None:
        """Return what is to be raised for a problem for which the formula has no meaning; else None."""
        return None

    def counts(self, head_size: int, value_size: int | None, member: Member) -> Any:
        """Return what its features cost, a `verify.families.costs.FeatureCost`; None if it has none."""
        return None

    def formula_bound(self, problem: Problem, member: Member) -> Float64Array | None:
        """Return a bound on |exact - exact softmax| for every output element, [..., H, n_q, d_v]; None if unknown.

        Infinite where nothing is known of an element.
        """
        return None

    def searched(self, largest: int | None) -> Sequence[int]:
        """Return the values of the axis that a search goes through, up to a largest one; by default the first 32.

        Raises InvalidRequestError for a largest value that the axis does not reach.
        """
        assert self.axis is not None, "a search needs an axis"
        parameter = self.parameters[self.axis]
        assert isinstance(parameter, Whole), "an axis is a whole number"
        last = parameter.least + 31 * parameter.step if largest is None else parameter.checked(self.axis, largest)
        if parameter.most is not None:
            last = min(last, parameter.most)
        return range(parameter.least, last + 1, parameter.step)

    def hopeless(self, problem: Problem, members: Sequence[Member]) -> str:
        """Say why no member meets a tolerance on a problem, the best last; empty if nothing is known."""
        return ""

    def labels(self, member: Member) -> dict[str, Value]:
        """Return what tables show of a member, by column: its parameters, and what follows from them."""
        return dict(member.parameters)

    def descriptor(self) -> dict[str, Any]:
        """Return what a report has to know, so that it needs no mechanism."""
        return {
            "name": self.name,
            "description": self.description,
            "source": self.source,
            "parameters": list(self.parameters),
            "axis": self.axis,
            "proposed": self.proposed,
            "formula_error": self.formula_error,
            "forms": [form.name for form in self.forms],
        }

    def __eq__(self, other: object) -> bool:
        """Whether it is this very mechanism, or was found at the same place: the name alone says nothing."""
        found = self.origin is not None and isinstance(other, Mechanism) and self.origin == other.origin
        return self is other or found

    def __hash__(self) -> int:
        return id(self) if self.origin is None else hash(self.origin)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Send other processes the place where it was found, if it was found somewhere, instead of itself."""
        return super().__reduce_ex__(protocol) if self.origin is None else self.origin


@dataclass(frozen=True)
class Variant:
    """A member, the form that computes it, and the options of the form that are not its own choice.

    variant = named_variant("taylor:order=3/packed:side=both")
    variant.run(problem, named_arithmetic("float32")).value
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

    def run(self, problem: Problem, arithmetic: Arithmetic, **limits: Any) -> AttentionOutput:
        """Compute the problem in the arithmetic.

        limits: memory_limit and watch, where the form has them.  Raises InvalidRequestError for a limit that it has not
        or a problem that it does not serve, TooLargeError where it would need more memory than allowed, MechanismError
        for an output of another kind or shape.
        """
        how = self.how
        for name in limits:
            if name not in how.limits:
                expected = "one of " + ", ".join(how.limits) if how.limits else "none"
                raise InvalidRequestError(f"{name!r} for the form {self.form}", expected, "leave it out")
        require_served(self.member.mechanism.unservable(problem), f"unservable() of {self.member.of}")
        require_served(how.serves(problem), f"serves() of {self.name}")
        output = how.compute(problem, arithmetic, self.member, **dict(self.options), **limits)
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

    def costs(self, problem: Problem) -> Cost:
        """Return what the form costs on the problem; MechanismError for anything but a Cost."""
        found: Any = self.how.cost(problem, self.member)
        if not isinstance(found, Cost):
            raise MechanismError(f"{found!r} from cost() of {self.name}", "a Cost", "mend the form")
        return found

    def rounding_bound(self, problem: Problem, exact: Float64Array, arithmetic: Arithmetic) -> RoundingBound | None:
        """Return bounds on the rounding error on inputs that the arithmetic holds exactly; None if nothing is known.

        exact: the exact output of the member on these inputs, as float64.  Raises MechanismError if the form bounds its
        weights by anything but a WeightBound.
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

        return rounding_bound(problem, exact, arithmetic, weigh)
