"""What a mechanism declares about itself, and what is assumed where it says nothing: unknown, never softmax."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flint import arb, arb_mat
from numpy.typing import NDArray

from verify.arguments import Parameter, Value, Whole, checked_values, value_text
from verify.attention.computed import AttentionOutput
from verify.attention.cost import Cost
from verify.bounds.pairs import WeightBound
from verify.errors import InvalidRequestError, MechanismError, unknown
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


def everything(problem: Problem) -> InvalidRequestError | None:
    """Refuse nothing: what a form serves that works pair by pair."""
    return None


def checked_refusal(refusal: Any, whose: str) -> InvalidRequestError | None:
    """Return the refusal of a problem, or None; MechanismError for anything else.

    whose: what gave it, as in "unservable() of mine".
    """
    if refusal is None or isinstance(refusal, InvalidRequestError):
        return refusal
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
    adjusts: whether `compute` takes soft cap, bias, slopes, sinks and dropout, as `logits_of` and `normalised` do.
    by_row: whether the row of a query depends on no other query, so that a few rows may be run at a time; without, a
    form is always run on all of them.

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
    adjusts: bool = False
    by_row: bool = False

    def refusal(self, problem: Problem, whose: str = "") -> InvalidRequestError | None:
        """Return what is to be raised for a problem that this form does not serve; else None.

        Raises MechanismError for anything else that `serves` gives; whose: the member and form, for messages.
        """
        if problem.adjustments and not self.adjusts:
            return InvalidRequestError(
                f"{problem.name} with {problem.adjustments} for the form {self.name}",
                "a problem without it",
                "leave it out, or take a form that goes pair by pair",
            )
        return checked_refusal(self.serves(problem), f"serves() of {whose or self.name}")


# (member, factor, balls): balls times their factors add up; a member named has all of its own with that term.
Terms = Iterator[tuple[Member | None, int, list[arb]]]


class TileWeights(ABC):
    """Weights of a block's queries in balls, for some members that share work; keys come tile by tile."""

    @abstractmethod
    def terms(self, keys: slice, attended: Attended) -> Terms:
        """Yield terms of some keys of the block, a ball for each pair, zero where not attended."""

    def sink(self) -> Terms:
        """Yield terms of the sink, a ball for each query; of functions of the logits alone."""
        raise NotImplementedError("a sink is a logit, and these weights are no function of logits")

    def factor(self) -> tuple[int, list[arb]] | None:
        """Return (n, l): weights times exp(l) / n, with an l for each row, are those of the formula.

        None where that is unknown: sums of weights then have no logarithm of their own.
        """
        return None


@dataclass(frozen=True)
class Pulled:
    """What changes of the weights of a tile do: to q [r, d_k], k [n, d_k], and to logits, by pair, if there are."""

    q: arb_mat
    k: arb_mat
    logits: list[arb] | None


class Pullback(ABC):
    """Weights of a block's queries in balls, and their derivatives, a tile of keys at a time.

    Weights have a factor of each row that is the same in all tiles.
    """

    @abstractmethod
    def weights(self, keys: slice, attended: Attended) -> list[arb]:
        """Return the weights of some keys, zero where not attended."""

    @abstractmethod
    def pulled(self, keys: slice, attended: Attended, changes: list[arb]) -> Pulled:
        """Return sum_t c_t dw_t for changes c_t of the weights, pair by pair, that are zero where not attended."""

    def sink(self) -> tuple[list[arb], list[arb]]:
        """Return the weight of the sink by row, and its derivative."""
        raise NotImplementedError("a sink is a logit, and these weights are no function of logits")


class Mechanism(ABC):
    """One way to weigh keys: y = sum_t w_t v_t / sum_t w_t.

    name, description, source: what it is, and paper and equations.  parameters: typed, by name.  axis: the parameter
    along which curves are drawn and searches go, a whole number, or None.  proposed: its value that the authors
    propose, if any.  formula_error: what its exact difference from exact softmax is called, "truncation" of an
    approximation, "deviation" of another function; None of softmax itself.  of_logits: whether weights are a function
    of the logits alone (`row`), so that a bias, a soft cap and sinks mean something.  forms: the ways to compute it.

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
    of_logits: bool = False
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
        given = f"form {name!r} of mechanism {self.name!r}"
        if not self.forms:
            raise InvalidRequestError(given, "a mechanism that has forms", "choose another one")
        raise unknown(given, name, [form.name for form in self.forms])

    @abstractmethod
    def weights(
        self, f: Field, q: Sequence[Number], keys: Sequence[Sequence[Number]], scale: Number, member: Member
    ) -> list[Number]:
        """Return the weights of the keys of one query, up to a factor that they share: the formula, in any field."""

    def row(self, f: Field, logits: Sequence[Number], member: Member) -> list[Number]:
        """Return the weights of one query from its logits, up to a factor that they share; if they are `of_logits`."""
        raise NotImplementedError(f"{self.name} is no function of logits")

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

    def pullback(self, block: Block, member: Member) -> Pullback | None:
        """Return the weights of a block and what changes of them do to its q and k; None if that is unknown."""
        return None

    def slopes(
        self, logits: NDArray[Any], attended: BoolArray, member: Member, arithmetic: Arithmetic
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return weights of logits in an arithmetic's sums, and their derivatives, up to a factor of each row.

        None where weights are no function of logits.
        """
        return None

    def mistaken_weights(self, head: Head, rows: slice, member: Member) -> Iterable[tuple[str, Float64Array]]:
        """Return weights in float64, [rows, n_k], that mistakes of an implementation give, each with what it is."""
        return ()

    def work(self, member: Member) -> int:
        """Return how many times the balls of a pair are gone through for the exact value."""
        return 1

    def unservable(self, problem: Problem) -> InvalidRequestError | None:
        """Return what is to be raised for a problem for which the formula has no meaning; else None."""
        return None

    def refusal(self, problem: Problem) -> InvalidRequestError | None:
        """Return what is to be raised for a problem that this mechanism does not have; else None.

        Raises MechanismError for anything else that `unservable` gives.
        """
        if problem.logit_changes and not self.of_logits:
            return InvalidRequestError(
                f"{problem.name} with {problem.logit_changes} for {self.name}, whose weights are no function of logits",
                "a problem without it",
                "leave it out, or take a mechanism whose weights are",
            )
        return checked_refusal(self.unservable(problem), f"unservable() of {self.name}")

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


def require_member(member: Any) -> None:
    """Raise InvalidRequestError for anything but a Member."""
    if not isinstance(member, Member):
        raise InvalidRequestError(f"{member!r} as a member", "a Member", "use named_member")
