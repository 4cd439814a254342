"""The cases: a table of problems, each with the reason why it is there and what a function has to take for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from verify.check.interface import Interface
from verify.errors import InvalidRequestError, unknown
from verify.inputs import SAMPLES, SyntheticInput, sample
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.problem.selection import of_rows

SUITES = {
    "quick": "every kind of case once, small",
    "full": "quick, and more sizes, masks and distributions",
    "real": "the activations shipped with the package",
    "sharp": "large logits and needles",
    "long": "up to 262,144 keys",
}

# Rows of a larger problem that are judged, the first and the last among them.
SAMPLED = 12


@dataclass(frozen=True)
class Kit:
    """What problems of a case are made with: numbers of the arithmetic's inputs, for one function."""

    interface: Interface
    arithmetic: Arithmetic
    seed: int

    @cached_property
    def rng(self) -> np.random.Generator:
        """Where the numbers of this case come from."""
        return np.random.default_rng((1501, self.seed))

    def normal(self, *shape: int) -> Float64Array:
        """Return N(0, 1) numbers."""
        return self.rng.standard_normal(shape)

    def problem(self, q: Any, k: Any, v: Any, **parts: Any) -> Problem:
        """Return a problem as the function takes it: rounded to inputs, one head if it takes one, causal if it is."""
        arrays = [self.held(x) for x in (q, k, v)]
        if self.interface.layout == "hsd":
            arrays = [x[0] for x in arrays]
        if self.interface.layout == "sd":
            arrays = [x[0, 0] for x in arrays]
        own: dict[str, Any] = {"scale": self.interface.scale, "causal": self.interface.causal}
        own |= {name: self._own(part) for name, part in parts.items()}
        if own["causal"]:
            own["alignment"] = "top-left"
        q, k, v = arrays
        return Problem(q, k, v, **own)

    def scale(self, size: int) -> float:
        """Return the scale that the function has for a head size."""
        return size**-0.5 if self.interface.scale is None else self.interface.scale

    def _own(self, part: Any) -> Any:
        """Return a part of the problem without axes that the layout lacks."""
        lost = {"hsd": 1, "sd": 2}.get(self.interface.layout, 0)
        if isinstance(part, np.ndarray) and part.ndim == 4:
            return part[(0,) * lost]
        return part

    def held(self, values: Any) -> Float64Array:
        """Return numbers rounded to the format of inputs."""
        return np.asarray(self.arithmetic.inputs.rounded(np.asarray(values, float)), dtype=np.float64)

    def random(self, queries: int, keys: int, size: int, heads: int = 2, **parts: Any) -> Problem:
        """Return N(0, 1) queries, keys and values in two sequences."""
        shapes = (2, heads, queries, size), (2, heads, keys, size), (2, heads, keys, size)
        q, k, v = (self.normal(*shape) for shape in shapes)
        return self.problem(q, k, v, **parts)


Build = Callable[[Kit], Problem]


@dataclass(frozen=True)
class Case:
    """One problem of a suite.

    needs: what a function has to take.  trivial: whether zeros and the mean of v must be wrong answers; where they are
    right ones, something else is shown.  strided: arrays have gaps.  sampled: only some rows are judged.
    """

    name: str
    reason: str
    suites: tuple[str, ...]
    build: Build = field(repr=False)
    needs: tuple[str, ...] = ()
    trivial: bool = True
    strided: bool = False
    sampled: bool = False

    def problem(self, interface: Interface, arithmetic: Arithmetic) -> Problem:
        """Return its problem for a function and an arithmetic; the same numbers every time."""
        kit = Kit(interface, arithmetic, sum(map(ord, self.name)))
        return self.build(kit).named(self.name)

    def rows(self, problem: Problem) -> tuple[int, ...]:
        """Return the queries that are judged: all, or the first, the last and some between, evenly."""
        if not self.sampled or problem.queries <= SAMPLED:
            return tuple(range(problem.queries))
        places = np.linspace(0, problem.queries - 1, SAMPLED)
        return tuple(sorted({int(place) for place in places}))


def judged_part(problem: Problem, rows: Sequence[int]) -> Problem:
    """Return the problem of the rows that are judged."""
    return problem if len(rows) == problem.queries else of_rows(problem, rows)


def _peaked(height: float, matches: int = 1) -> Build:
    """One key, or some, stand out for every query: their logits are higher by `height`."""

    def build(kit: Kit) -> Problem:
        size, keys = 64, 96
        u = kit.normal(size)
        u /= np.linalg.norm(u)
        q = kit.normal(2, 2, 40, size) + height / (2.0 * kit.scale(size)) * u
        k = kit.normal(2, 2, keys, size)
        k[..., np.linspace(0, keys - 1, matches + 2).astype(int)[1:-1], :] += 2.0 * u
        return kit.problem(q, k, kit.normal(2, 2, keys, size))

    return build


def _logits(deviation: float, size: int = 16) -> Build:
    def build(kit: Kit) -> Problem:
        q, k, v = kit.normal(3, 2, 2, 40, size)
        each = np.sqrt(deviation / (abs(kit.scale(size)) * np.sqrt(size)))
        return kit.problem(each * q, each * k, v)

    return build


def _scaled(factor: Callable[[Arithmetic], float]) -> Build:
    def build(kit: Kit) -> Problem:
        q, k, v = kit.normal(3, 2, 2, 40, 32)
        return kit.problem(q, k, factor(kit.arithmetic) * v)

    return build


def _values_around(mean: float) -> Build:
    def build(kit: Kit) -> Problem:
        q, k, v = kit.normal(3, 2, 2, 40, 32)
        return kit.problem(q, k, mean + v)

    return build


def _few_keys(kit: Kit) -> Problem:
    q, k, v = kit.normal(3, 2, 2, 48, 32)
    return kit.problem(q, k[..., np.arange(48) % 5, :], v)


def _without_queries(kit: Kit) -> Problem:
    k, v = kit.normal(2, 2, 2, 40, 32)
    return kit.problem(np.zeros(k.shape), k, v)


def _small_queries(kit: Kit) -> Problem:
    q, k, v = kit.normal(3, 2, 2, 40, 32)
    return kit.problem(1e-3 * q, k, v)


def _constant_values(kit: Kit) -> Problem:
    q, k = kit.normal(2, 2, 2, 40, 32)
    return kit.problem(q, k, np.full(k.shape, 3.0))


def _cancelling(kit: Kit) -> Problem:
    q, k, v = kit.normal(3, 2, 2, 64, 32)
    sign = np.where(np.arange(64) < 32, 1.0, -1.0)[:, None]
    return kit.problem(q / 8, k, 30.0 * sign + v)


def _shifted(kit: Kit) -> Problem:
    q, k, v = kit.normal(3, 2, 2, 48, 32)
    return kit.problem(q, k + 2.0, v)


def _masked(*, empty: bool = False, **parts: Any) -> Build:
    def build(kit: Kit) -> Problem:
        mask = kit.rng.random((2, 2, 40, 56)) < 0.6
        mask[..., 0] = True
        if empty:
            mask[:, :, 3::7] = False
        return kit.random(40, 56, 32, mask=mask, **parts)

    return build


def _added(*, hidden: bool = False) -> Build:
    def build(kit: Kit) -> Problem:
        bias = kit.held(kit.normal(2, 2, 40, 56))
        if hidden:
            bias = np.where(kit.rng.random(bias.shape) < 0.3, -np.inf, bias)
            bias[..., 0] = 0.0
        return kit.random(40, 56, 32, bias=bias)

    return build


def _grouped(*, causal: bool = False) -> Build:
    def build(kit: Kit) -> Problem:
        q, (k, v) = kit.normal(2, 6, 40, 32), kit.normal(2, 2, 2, 40, 32)
        return kit.problem(q, k, v, **({"causal": True} if causal else {}))

    return build


def _sinks(*, causal: bool = False) -> Build:
    def build(kit: Kit) -> Problem:
        given = {"causal": True} if causal else {}
        return kit.random(40, 40, 32, sinks=kit.held(2.0 * kit.normal(2)), **given)

    return build


def _lengths(first: int, second: int) -> Build:
    def build(kit: Kit) -> Problem:
        return kit.random(40, 64, 32, lengths=first if kit.interface.layout in ("hsd", "sd") else [first, second])

    return build


def _synthetic(scenario: str, std: float = 1.0, tokens: int = 128, size: int = 32) -> Build:
    def build(kit: Kit) -> Problem:
        drawn = [
            SyntheticInput(scenario, size, tokens, logit_std=std, seed=kit.seed % 1000 + place).load()
            for place in range(2)
        ]
        arrays = [np.stack([getattr(p, label) for p in drawn]).reshape(1, 2, tokens, size) for label in "qkv"]
        return kit.problem(*(np.repeat(x, 2, axis=0) for x in arrays))

    return build


def _sampled_layer(name: str) -> Build:
    def build(kit: Kit) -> Problem:
        own = sample(name)
        q, k, v = (x.reshape((1, *x.shape[-3:]))[..., :96, :] for x in (own.q, own.k, own.v))
        if k.shape[1] != q.shape[1] and not kit.interface.grouped:
            k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
        causal = own.causal and kit.interface.takes("causal")
        return kit.problem(q, k, v, **({"causal": True} if causal else {}))

    return build


def _far_with_all(kit: Kit) -> Problem:
    """Return a problem that has, at 262,144 keys, everything that the function takes."""
    takes, keys, size = kit.interface.takes, 262_144, 16
    q, k, v = (kit.normal(1, 2, tokens, size) for tokens in (8, keys, keys))
    parts: dict[str, Any] = {}
    if takes("grouped"):
        q = kit.normal(1, 4, 8, size)
    if takes("mask"):
        mask = kit.rng.random((1, q.shape[1], 8, keys)) < 0.7
        mask[..., :2] = True
        parts["mask"] = mask
    if takes("scale"):
        parts["scale"] = 0.2
    if takes("softcap"):
        parts["softcap"] = 2.0
    if takes("sinks"):  # as heavy as a quarter of all keys
        parts["sinks"] = kit.held(np.full(q.shape[1], np.log(keys / 4)))
    if takes("lengths"):
        parts["lengths"] = keys - 60_000 if kit.interface.layout in ("hsd", "sd") else [keys - 60_000]
    return kit.problem(q, k, v, **parts)


def _far(keys: int, *, needle: bool = False) -> Build:
    def build(kit: Kit) -> Problem:
        size = 32 if needle else 64
        q, k, v = (kit.normal(1, 1, tokens, size) for tokens in (8, keys, keys))
        if needle:
            u = kit.normal(size)
            u /= np.linalg.norm(u)
            q += 4.0 * u
            k[..., keys - 1 - keys // 200, :] = np.log(keys) / (4.0 * kit.scale(size)) * u
        return kit.problem(q, k, v)

    return build


QUICK, FULL, SHARP = ("quick", "full"), ("full",), ("full", "sharp")


def _random(queries: int, keys: int, size: int, heads: int = 2, **parts: Any) -> Build:
    return lambda kit: kit.random(queries, keys, size, heads, **parts)


def _plain_cases() -> Iterator[Case]:
    yield Case("random", "N(0, 1): the plain case", QUICK, _random(48, 48, 64))
    yield Case("causal", "no key after the query", QUICK, _random(48, 48, 64, causal=True), ("causal",))
    yield Case("no chunk fits", "131 tokens, size 24", QUICK, _random(131, 131, 24), sampled=True)
    yield Case("few queries", "n_q < n_k", QUICK, _random(5, 77, 64), ("full",))
    yield Case("many queries", "n_q > n_k", QUICK, _random(77, 9, 64), ("full",))
    own = "queries at their own index"
    yield Case("causal, few queries", f"n_q < n_k, {own}", QUICK, _random(9, 40, 32, causal=True), ("is_causal",))
    yield Case("causal, many queries", f"n_q > n_k, {own}", QUICK, _random(40, 9, 32, causal=True), ("is_causal",))
    yield Case("one key", "n_k = 1: the value itself", QUICK, _random(7, 1, 32), ("full",), trivial=False)
    yield Case("one token", "n = 1", QUICK, _random(1, 1, 32), trivial=False)
    yield Case("two keys", "n_k = 2", FULL, _random(9, 2, 32), ("full",))
    yield Case("one query", "n_q = 1, as in decoding", QUICK, _random(1, 300, 64), ("full",))
    yield Case("one component", "size 1", FULL, _random(40, 40, 1))
    yield Case("larger", "512 tokens, size 128", FULL, _random(512, 512, 128, 1), sampled=True)
    yield Case("larger, causal", "512 tokens", FULL, _random(512, 512, 64, 1, causal=True), ("causal",), sampled=True)
    yield Case("with gaps", "arrays that are not contiguous", QUICK, _random(40, 40, 32), strided=True)


def _sharp_cases() -> Iterator[Case]:
    every = ("quick", "full", "sharp")
    yield Case("logits to 50", "logits up to about 50", every, _logits(14.0))
    yield Case("logits to 1000", "logits up to about 1000", every, _logits(300.0))
    yield Case("logits of deviation 4", "sharp rows", SHARP, _logits(4.0))
    yield Case("logits of deviation 8", "sharper rows", SHARP, _logits(8.0))
    yield Case("needle", "one key is higher by 12", every, _peaked(12.0))
    yield Case("low needle", "one key is higher by 6", SHARP, _peaked(6.0))
    yield Case("high needle", "one key is higher by 25", SHARP, _peaked(25.0))
    yield Case("needle of 60", "one key is higher by 60", SHARP, _peaked(60.0))
    yield Case("needles", "eight keys are higher by 12", SHARP, _peaked(12.0, matches=8))


def _value_cases() -> Iterator[Case]:
    yield Case("ties", "each key nine times or more", QUICK, _few_keys)
    yield Case("equal logits", "q is zero: the mean of the values", QUICK, _without_queries, trivial=False)
    yield Case("constant v", "weights add up to one", QUICK, _constant_values, trivial=False)
    yield Case("values around 10", "a mean in which relative errors hide", QUICK, _values_around(10.0))
    yield Case("cancelling v", "large values cancel", QUICK, _cancelling)
    yield Case("huge v", "values near the largest number", QUICK, _scaled(lambda a: a.output.largest / 64))
    near, below = "values near the smallest normal number", "values below the smallest normal number"
    yield Case("tiny v", near, QUICK, _scaled(lambda a: 2.0 ** (a.output.min_exponent + 6)))
    yield Case("subnormal v", below, FULL, _scaled(lambda a: 2.0 ** (a.output.min_exponent - 3)))
    yield Case("tiny q", "logits near zero", FULL, _small_queries)
    yield Case("keys shifted", "all keys moved by one vector", QUICK, _shifted)
    for scenario in ("uniform", "heavy-tailed", "clustered", "duplicated", "growing", "sink"):
        yield Case(scenario, f"the scenario {scenario}", FULL, _synthetic(scenario))


def _cases_with_more() -> Iterator[Case]:
    capped = "the mask comes after the cap"
    yield Case("given scale", "a scale that is no power of two", QUICK, _random(40, 40, 32, scale=0.3), ("scale",))
    yield Case("grouped heads", "three heads of queries read one of keys", QUICK, _grouped(), ("grouped",))
    yield Case(
        "given scale, causal",
        "one below zero",
        QUICK,
        _random(40, 40, 32, scale=-0.4, causal=True),
        ("scale", "causal"),
    )
    yield Case("grouped heads, causal", "both", QUICK, _grouped(causal=True), ("grouped", "causal"))
    yield Case("mask", "True where a key is seen", QUICK, _masked(), ("mask", "full"))
    yield Case("empty rows", "rows that see no key: 0, or NaN", QUICK, _masked(empty=True), ("mask", "full"))
    yield Case("added mask", "minus infinity hides", QUICK, _added(hidden=True), ("added", "full"))
    yield Case("bias", "numbers are added to logits", QUICK, _added(), ("added", "full"))
    yield Case("soft cap", "logits are capped", QUICK, _random(40, 40, 32, softcap=1.5), ("softcap",))
    yield Case("soft cap and mask", capped, QUICK, _masked(softcap=1.5), ("softcap", "mask", "full"))
    yield Case("soft cap, causal", capped, QUICK, _random(40, 40, 32, softcap=1.5, causal=True), ("softcap", "causal"))
    yield Case("window", "five keys before, two after", QUICK, _random(40, 40, 32, window=(5, 2)), ("window", "full"))
    yield Case(
        *("window, causal", "seven keys before, none after", QUICK),
        *(_random(40, 40, 32, window=(7, 0), causal=True), ("window", "causal")),
    )
    yield Case("sinks", "a weight without a value", QUICK, _sinks(), ("sinks",))
    yield Case("sinks, causal", "few keys beside the sink", QUICK, _sinks(causal=True), ("sinks", "causal"))
    yield Case("lengths", "keys after these are padding", QUICK, _lengths(50, 33), ("lengths", "full"))
    yield Case("short lengths", "one key is left", QUICK, _lengths(2, 1), ("lengths", "full"))


def _long_cases() -> Iterator[Case]:
    for keys in (4096, 65_536, 262_144):
        yield Case(f"{keys:,} keys", "8 queries", ("long",), _far(keys), ("full",))
    name, why = "needle at 262,144 keys", "in the last hundredth, which a dropped chunk or a short index loses"
    yield Case(name, why, ("long",), _far(262_144, needle=True), ("full",))
    yield Case("262,144 keys with all", "masks, caps, sinks, ... together", ("long",), _far_with_all, ("full",))
    tokens = _random(4096, 4096, 32, 1, causal=True)
    yield Case("causal at 4,096 tokens", "sampled rows", ("long",), tokens, ("causal",), sampled=True)


def _cases() -> Iterator[Case]:
    yield from _plain_cases()
    yield from _sharp_cases()
    yield from _value_cases()
    yield from _cases_with_more()
    for name in SAMPLES:
        yield Case(f"sample:{name}", "real activations", ("real",), _sampled_layer(name), sampled=True)
    yield from _long_cases()


CASES = tuple(_cases())


def cases_of(suite: str, left_out: Sequence[str] = ()) -> list[Case]:
    """Return the cases of a suite; InvalidRequestError for a suite or a case that does not exist."""
    for given, name, known in (("suite", suite, SUITES), *(("case", c, [x.name for x in CASES]) for c in left_out)):
        if name not in known:
            raise unknown(f"{given} {name!r}", name, known)
    return [case for case in CASES if suite in case.suites and case.name not in left_out]


def missing(case: Case, interface: Interface) -> str:
    """Return what a function does not take that a case needs, in words; empty if it can be called."""
    words = {"full": "every key seen by every query", "grouped": "grouped heads", "added": "an additive mask"}
    lacking = [need for need in case.needs if not interface.takes(need)]
    return ", ".join(words.get(need, need) for need in lacking)


def require_some(cases: Sequence[Case], interface: Interface) -> None:
    """Raise InvalidRequestError where a function can be given none of the cases."""
    if all(missing(case, interface) for case in cases):
        raise InvalidRequestError("a suite without a case for this function", "at least one", "choose another --suite")
