"""The cases: a table of problems, each with the reason why it is there and what a function has to take for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.check.interface import Interface
from verify.check.problems import (
    Build,
    Kit,
    added,
    cancelling_values,
    constant_values,
    far,
    far_needle,
    far_with_all,
    few_keys,
    grouped,
    large_logits,
    masked,
    masked_groups,
    peaked,
    sampled_layer,
    scaled_values,
    scenario_problem,
    shifted_keys,
    small_queries,
    values_around,
    with_lengths,
    with_sinks,
    without_queries,
)
from verify.errors import InvalidRequestError, unknown
from verify.inputs import SAMPLES
from verify.numbers.arithmetic import Arithmetic
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
    yield Case("one component", "size 1: no element hides among others", QUICK, _random(40, 40, 1))
    yield Case("size 40", "no power of two", FULL, _random(40, 40, 40))
    yield Case("size 256", "large heads", FULL, _random(24, 24, 256))
    yield Case("1,100 keys", "more than a thousand", FULL, _random(6, 1100, 32), ("full",))
    yield Case("three heads", "an odd number", FULL, _random(24, 24, 32, 3), ("heads",))
    yield Case("larger", "512 tokens, size 128", FULL, _random(512, 512, 128, 1), sampled=True)
    yield Case("larger, causal", "512 tokens", FULL, _random(512, 512, 64, 1, causal=True), ("causal",), sampled=True)
    yield Case("with gaps", "arrays that are not contiguous", QUICK, _random(40, 40, 32), strided=True)


def _sharp_cases() -> Iterator[Case]:
    every = ("quick", "full", "sharp")
    yield Case("logits to 50", "logits up to about 50", every, large_logits(14.0))
    yield Case("logits to 1000", "logits up to about 1000", every, large_logits(300.0))
    yield Case("logits of deviation 4", "sharp rows", SHARP, large_logits(4.0))
    yield Case("logits of deviation 8", "sharper rows", SHARP, large_logits(8.0))
    yield Case("needle", "one key is higher by 12", every, peaked(12.0))
    yield Case("low needle", "one key is higher by 6", SHARP, peaked(6.0))
    yield Case("high needle", "one key is higher by 25", SHARP, peaked(25.0))
    yield Case("needle of 60", "one key is higher by 60", SHARP, peaked(60.0))
    yield Case("needles", "eight keys are higher by 12", SHARP, peaked(12.0, matches=8))


def _value_cases() -> Iterator[Case]:
    yield Case("ties", "each key nine times or more", QUICK, few_keys)
    yield Case("equal logits", "q is zero: the mean of the values", QUICK, without_queries, trivial=False)
    yield Case("constant v", "weights add up to one", QUICK, constant_values, trivial=False)
    yield Case("values around 10", "a mean in which relative errors hide", QUICK, values_around(10.0))
    yield Case("cancelling v", "large values cancel", QUICK, cancelling_values)
    yield Case("huge v", "values near the largest number", QUICK, scaled_values(lambda a: a.output.largest / 64))
    near, below = "values near the smallest normal number", "values below the smallest normal number"
    yield Case("tiny v", near, QUICK, scaled_values(lambda a: 2.0 ** (a.output.min_exponent + 6)))
    yield Case("subnormal v", below, FULL, scaled_values(lambda a: 2.0 ** (a.output.min_exponent - 3)))
    yield Case("tiny q", "logits near zero", FULL, small_queries)
    yield Case("keys shifted", "all keys moved by one vector", QUICK, shifted_keys)
    for scenario in ("uniform", "heavy-tailed", "clustered", "duplicated", "growing", "sink"):
        yield Case(scenario, f"the scenario {scenario}", FULL, scenario_problem(scenario))


def _cases_with_more() -> Iterator[Case]:
    capped = "the mask comes after the cap"
    yield Case("given scale", "a scale that is no power of two", QUICK, _random(40, 40, 32, scale=0.3), ("scale",))
    yield Case("grouped heads", "three heads of queries read one of keys", QUICK, grouped(), ("grouped",))
    yield Case(
        "given scale, causal",
        "both",
        QUICK,
        _random(40, 40, 32, scale=0.4, causal=True),
        ("scale", "causal"),
    )
    yield Case("negative scale", "the keys that are least alike", FULL, _random(40, 40, 32, scale=-0.3), ("scale",))
    yield Case("scale above 1", "not divided by", FULL, _random(40, 40, 32, scale=1.7), ("scale",))
    yield Case("one head of keys", "six heads of queries read it", QUICK, grouped(1), ("grouped",))
    yield Case("mask, grouped heads", "both", QUICK, masked_groups, ("mask", "grouped", "full"))
    yield Case("mask, given scale", "both", FULL, masked(scale=0.4), ("mask", "scale", "full"))
    yield Case("grouped heads, causal", "both", QUICK, grouped(causal=True), ("grouped", "causal"))
    yield Case("mask", "True where a key is seen", QUICK, masked(), ("mask", "full"))
    yield Case("empty rows", "rows that see no key: 0, or NaN", QUICK, masked(empty=True), ("mask", "full"))
    yield Case("added mask", "minus infinity hides", QUICK, added(hidden=True), ("added", "full"))
    yield Case("bias", "numbers are added to logits", QUICK, added(), ("added", "full"))
    yield Case("soft cap", "logits are capped", QUICK, _random(40, 40, 32, softcap=1.5), ("softcap",))
    yield Case("soft cap and mask", capped, QUICK, masked(softcap=1.5), ("softcap", "mask", "full"))
    yield Case("soft cap, causal", capped, QUICK, _random(40, 40, 32, softcap=1.5, causal=True), ("softcap", "causal"))
    yield Case("window", "five keys before, two after", QUICK, _random(40, 40, 32, window=(5, 2)), ("window", "full"))
    yield Case(
        *("window, causal", "seven keys before, none after", QUICK),
        *(_random(40, 40, 32, window=(7, 0), causal=True), ("window", "causal")),
    )
    yield Case("sinks", "a weight without a value", QUICK, with_sinks(), ("sinks",))
    yield Case("sinks, causal", "few keys beside the sink", QUICK, with_sinks(causal=True), ("sinks", "causal"))
    yield Case("lengths", "keys after these are padding", QUICK, with_lengths(50, 33), ("lengths", "full"))
    yield Case("short lengths", "one key is left", QUICK, with_lengths(2, 1), ("lengths", "full"))


def _long_cases() -> Iterator[Case]:
    for keys in (4096, 65_536, 262_144):
        yield Case(f"{keys:,} keys", "8 queries", ("long",), far(keys), ("full",))
    why = "a dropped chunk or a short index loses it"
    yield Case("needle, the last of 262,147 keys", why, ("long",), far_needle, ("full",))
    yield Case("262,144 keys with all", "masks, caps, sinks, ... together", ("long",), far_with_all, ("full",))
    tokens = _random(4096, 4096, 32, 1, causal=True)
    yield Case("causal at 4,096 tokens", "sampled rows", ("long",), tokens, ("causal",), sampled=True)


def _cases() -> Iterator[Case]:
    yield from _plain_cases()
    yield from _sharp_cases()
    yield from _value_cases()
    yield from _cases_with_more()
    for name in SAMPLES:
        yield Case(f"sample:{name}", "real activations", ("real",), sampled_layer(name), sampled=True)
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
