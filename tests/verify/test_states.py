"""States: the same answer as the whole context at once, whatever the chunks, and files that give them back."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import verify
from tests.cases import named
from verify.attention import state as states
from verify.errors import InvalidRequestError
from verify.families.polynomial import state as taylor_state
from verify.mechanisms.logexp import state as logexp_state
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.formats import FORMATS
from verify.problem import Problem
from verify.truth import reference

State = Any  # either of the two: merging takes two of one kind

# Float64 to 1e-11 of the largest output is what the project promises; a few hundred sums leave about 1e-15.
AGREEMENT = 1e-11


def tokens(seed: int, count: int, head_size: int = 4, value_size: int = 3, lead: tuple[int, ...] = ()) -> Any:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((*lead, count, size)) for size in (head_size, head_size, value_size))


def taylor(order: int = 3, head_size: int = 4, value_size: int = 3, **options: Any) -> verify.TaylorState:
    return verify.TaylorState(head_size, value_size, order, **options)


def logexp(head_size: int = 4, value_size: int = 3, **options: Any) -> verify.LogExpState:
    return verify.LogExpState(head_size, value_size, **options)


def member_of(state: State) -> str:
    return named(state.mechanism, state.settings.get("order"))


def exact(state: State, q: Any, k: Any, v: Any) -> Any:
    problem = Problem(q, k, v, scale=state.settings.get("scale"))
    return reference(problem, 30, member_of(state)).value


every_state = pytest.mark.parametrize("make", [taylor, logexp])


def gap(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    order=st.integers(0, 7),
    kind=st.sampled_from(["taylor", "logexp"]),
    chunk=st.sampled_from([1, 5, 16, 512]),
    data=st.data(),
)
def test_batch_chunked_streamed_and_merged_are_one(
    seed: int, cuts: list[int], order: int, kind: str, chunk: int, data: st.DataObject
) -> None:
    q, k, v = tokens(seed, 60)
    options: dict[str, Any] = {
        "compensated": data.draw(st.booleans()),
        "one_by_one": data.draw(st.booleans()),
        **({"side": data.draw(st.sampled_from(["query", "key", "both"]))} if kind == "taylor" else {}),
        **({"degrees": data.draw(st.sampled_from(["together", "apart"]))} if kind == "taylor" else {}),
    }

    def new() -> State:
        state = taylor(order, **options) if kind == "taylor" else logexp(**options)
        state._chunk = min(chunk, state._chunk)
        return state

    whole = new()
    expected = exact(whole, q, k, v)
    # even orders alone have no weights below zero: elsewhere a sum of weights near zero amplifies what is rounded
    calm = np.abs(whole_normaliser(q, k, order)) > 3 if kind == "taylor" else np.ones(60, dtype=bool)
    whole.update(k, v)
    ends = sorted({*cuts, 0, 60})
    pieces = [slice(a, b) for a, b in pairwise(ends)]
    streamed = new()
    parts = []
    for piece in pieces:
        streamed.update(k[piece], v[piece])
        parts.append(new())
        parts[-1].update(k[piece], v[piece])
    for part in data.draw(st.permutations(parts[1:])):
        parts[0].merge(part)
    for state in (whole, streamed, parts[0]):
        found = np.concatenate([state.read(q[piece]).value for piece in pieces])
        assert state.tokens == 60
        assert gap(found[calm], expected[calm]) <= AGREEMENT


def whole_normaliser(q: Any, k: Any, order: int) -> Any:
    logits = q @ k.T / 2
    weights = sum(logits**p / float(np.prod(np.arange(1.0, p + 1))) for p in range(order + 1))
    return np.asarray(weights).sum(axis=1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), order=st.sampled_from([0, 2, 3, 4]), kind=st.sampled_from(["taylor", "logexp"]))
def test_what_must_not_matter(seed: int, order: int, kind: str) -> None:
    q, k, v = tokens(seed, 20)

    def output(q: Any, k: Any, v: Any, **options: Any) -> Any:
        state: State = taylor(order, **options) if kind == "taylor" else logexp(**options)
        state.update(k, v)
        return state.read(q).value

    found = output(q, k, v)
    # powers of two pass through every step unchanged
    np.testing.assert_array_equal(output(q, k, 8 * v), 8 * found)
    if kind == "taylor":
        np.testing.assert_array_equal(output(4 * q, k, v, scale=0.125), found)
    # tokens in another order, and a constant v: only sums are rounded differently; Z near zero amplifies that
    calm = np.abs(whole_normaliser(q, k, order)) > 1 if kind == "taylor" else np.ones(20, dtype=bool)
    order_of = np.random.default_rng(seed).permutation(20)
    assert np.abs(output(q, k[order_of], v[order_of]) - found)[calm].max(initial=0) <= AGREEMENT * (1 + np.abs(v).max())
    assert np.abs(output(q, k, np.full_like(v, -1.25)) + 1.25)[calm].max(initial=0) <= AGREEMENT


@every_state
def test_leading_dimensions_and_grouped_queries(make: Any) -> None:
    q, k, v = tokens(211, 9, lead=(2, 6))
    state = make(lead=(2, 3))
    state.update(k[:, :3], v[:, :3])
    expected = exact(state, q, k[:, :3], v[:, :3])
    output = state.read(q)
    assert gap(output.value, expected) <= AGREEMENT
    assert output.normaliser.shape == (2, 6, 9)
    assert state.nbytes == make(lead=(2, 3)).nbytes


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("head_size", [3, 4])  # 1/sqrt(3) is rounded, 1/2 is not
@every_state
def test_states_are_the_forms_in_every_arithmetic(make: Any, head_size: int, arithmetic: str) -> None:
    # not causal, so that the form takes the same steps in the same order
    q, k, v = (x / 2 for x in tokens(212, 40, head_size))
    state = make(head_size=head_size, arithmetic=arithmetic)
    state._chunk = 40
    state.update(k, v)
    found = state.read(q).value
    if state.mechanism == "taylor":
        expected = verify.taylor_attention(q, k, v, order=3, arithmetic=arithmetic, chunk=40)
    else:
        expected = verify.logexp_attention(q, k, v, form="stream", arithmetic=arithmetic)
    np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))
    assert found.dtype == ARITHMETICS[arithmetic].output.dtype


@every_state
def test_no_tokens_change_nothing(make: Any) -> None:
    q, k, v = tokens(215, 5)
    state = make()
    state.update(k[:0], v[:0])
    assert state.tokens == 0
    state.update(k, v)
    before = state.read(q).value.tobytes()
    state.update(k[:0], v[:0])
    assert (state.tokens, state.read(q).value.tobytes()) == (5, before)


@pytest.mark.campaign
def test_more_than_two_to_the_24_tokens() -> None:
    count = 2**24 + 1000
    kept = {
        one_by_one: taylor(1, 2, 1, arithmetic="float32", one_by_one=one_by_one, compensated=True)
        for one_by_one in (False, True)
    }
    naive = taylor(1, 2, 1, arithmetic="float32", one_by_one=True)
    rng = np.random.default_rng(213)
    sums = np.zeros((3, 2))
    for first in range(0, count, 2**21):
        number = min(2**21, count - first)
        k = rng.standard_normal((number, 2)).astype(np.float32)
        v = rng.standard_normal((number, 1)).astype(np.float32) + np.float32(1)
        for state in (naive, *kept.values()):
            state.update(k, v)
        phi = np.concatenate([np.ones((number, 1)), k], axis=1).astype(np.float64)
        sums += phi.T @ np.concatenate([v, np.ones((number, 1))], axis=1)
    q = np.array([[0.5, -0.25], [0.0, 0.0]])
    weights = np.concatenate([np.ones((2, 1)), q / np.sqrt(2)], axis=1) @ sums
    expected = weights[:, :1] / weights[:, 1:]
    # a chunk's 512 tokens are added up in float32 at worst one after the other, each sum of those in a pair
    for one_by_one, state in kept.items():
        assert state.tokens == count
        assert state.hazards.lost_additions == 0
        assert np.abs(state.read(q).value - expected).max() <= (512 * 2.0**-24 if not one_by_one else 8 * 2.0**-24) * 4
        assert abs(state.read(q).normaliser[1] - count) <= 1  # float32 at 2**24: the nearest even number
    assert naive.read(q).normaliser[1] == 2**24
    assert naive.hazards.lost_additions > 1000
    assert naive.read(q).hazards == naive.hazards


@pytest.mark.parametrize("storage", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("compensated", [False, True])
@every_state
def test_storage(make: Any, storage: str, compensated: bool, tmp_path: Path) -> None:
    q, k, v = (x / 2 for x in tokens(214, 30))
    state = make(arithmetic="float32", storage=storage, compensated=compensated)
    for first in range(0, 30, 10):
        state.update(k[first : first + 10], v[first : first + 10])
    u = 2.0 ** -FORMATS[storage].precision
    u = max(u * u if compensated else u, 2.0**-24)
    # three additions to a sum, weights between 1/4 and 4 times their mean, a hundred roundings in float32
    assert np.abs(state.read(q).value - exact(state, q, k, v)).max() <= (3 * 16 * u + 100 * 2.0**-24) * np.abs(v).max()
    one = make(arithmetic="float32", storage=storage)
    assert {array.dtype for name, array in one._arrays().items() if name != "top"} == {FORMATS[storage].dtype}
    state.save(tmp_path / "a.npz")
    again = type(state).load(tmp_path / "a.npz", storage=storage, arithmetic="float32")
    np.testing.assert_array_equal(again.read(q).value, state.read(q).value)
    assert (again.tokens, again.settings, again.hazards) == (state.tokens, state.settings, state.hazards)
    again.update(k, v)
    assert again.tokens == 60


def test_bytes_of_a_state_are_those_of_the_formula() -> None:
    numbers = verify.state_size(8, 3)
    for storage, width in (("float64", 8), ("float32", 4), ("bfloat16", 2)):
        state = taylor(3, 8, 8, storage=storage)
        assert state.nbytes == width * numbers
        state.update(*tokens(215, 700, 8, 8)[1:])
        assert state.nbytes == width * numbers
    assert logexp(8, 5).nbytes == 8 * (8 * 6 + 8)


def test_long_slices_in_states() -> None:
    q, k, v = (x / 2 for x in tokens(217, 30, 24, 2))
    expected = reference(Problem(q, k, v), 30, "taylor:order=3").value
    for options in (
        {},
        {"side": "both", "degrees": "apart"},
        {"side": "key", "compensated": True},
        {"one_by_one": True},
    ):
        state = taylor(3, 24, 2, **options)
        state.update(k, v)
        assert gap(state.read(q).value, expected) <= AGREEMENT


def test_an_empty_update_is_nothing_and_an_unseen_state_cannot_be_read() -> None:
    makes: list[Any] = [taylor, logexp]
    for make in makes:
        state = make()
        state.update(np.empty((0, 4)), np.empty((0, 3)))
        with pytest.raises(InvalidRequestError, match="a state that has seen nothing; expected at least one token"):
            state.read(np.ones((2, 4)))
        state.merge(make())
        assert state.tokens == 0
        state.update(np.ones((1, 4)), np.ones((1, 3)))
        assert state.read(np.empty((0, 4))).value.shape == (0, 3)
        state.merge(make())
        assert state.read(np.ones((1, 4))).value.tolist() == [[1.0] * 3]


@every_state
def test_planted_errors_are_rejected(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # what the comparisons of this file would say of a wrong state
    q, k, v = tokens(220, 60)
    expected = exact(make(), q, k, v)
    right = {module: module.CHUNK for module in (taylor_state, logexp_state)}
    assert all(chunk >= 60 for chunk in right.values())

    def output() -> Any:
        parts = [make(), make()]
        for part, piece in zip(parts, (slice(0, 20), slice(20, 60)), strict=True):
            part.update(k[piece], v[piece])
        parts[0].merge(parts[1])
        return parts[0].read(q).value

    assert gap(output(), expected) <= AGREEMENT
    merge = states.AttentionState.merge

    def twice(one: Any, other: Any) -> None:
        merge(one, other)
        merge(one, other)

    for wrong in (lambda *_: None, twice):
        monkeypatch.setattr(states.AttentionState, "merge", wrong)
        assert not gap(output(), expected) <= AGREEMENT
    monkeypatch.setattr(states.AttentionState, "merge", merge)
    assert gap(output(), expected) <= AGREEMENT
    monkeypatch.setattr(states, "quotient", lambda *a: (np.full((60, 3), np.nan), None))
    assert not gap(output(), expected) <= AGREEMENT


def spread(kind: str, count: int) -> Any:
    """Return keys over +-700, in an order that suits no running maximum."""
    k = np.random.default_rng(221).uniform(-700, 700, (count, 3))
    return {"rising": np.sort(k, axis=0), "falling": -np.sort(-k, axis=0), "spiky": k}[kind]


@pytest.mark.parametrize("kind", ["rising", "falling", "spiky"])
@pytest.mark.parametrize("compensated", [False, True])
def test_logexp_states_over_any_range_of_keys(kind: str, compensated: bool) -> None:
    rng = np.random.default_rng(222)
    k, q = spread(kind, 40), rng.standard_normal((5, 3)) * 100
    v = rng.standard_normal((40, 2)) * rng.integers(0, 2, (40, 2))
    whole = logexp(3, 2, compensated=compensated)
    expected = exact(whole, q, k, v)
    merged = logexp(3, 2, compensated=compensated)  # begins empty: everything is merged into nothing
    for piece in (slice(25, 40), slice(0, 7), slice(7, 25)):
        part = logexp(3, 2, compensated=compensated)
        part.update(k[piece], v[piece])
        merged.merge(part)
        whole.update(k[piece], v[piece])
        assert part.tokens == len(k[piece])
    for state in (whole, merged):
        assert np.abs(state.read(q).value - expected).max() <= AGREEMENT * np.abs(v).max()


@pytest.mark.parametrize("around", [-3000.0, 3000.0])
def test_logexp_states_far_from_zero(around: float) -> None:
    # exp of these keys is 0 or infinite: only what they are apart counts
    rng = np.random.default_rng(223)
    k, q, v = around + rng.standard_normal((30, 3)), rng.standard_normal((4, 3)), rng.standard_normal((30, 2))
    state = logexp(3, 2)
    for piece in (slice(0, 1), slice(1, 9), slice(9, 30)):
        state.update(k[piece], v[piece])
    assert np.abs(state.read(q).value - exact(state, q, k, v)).max() <= AGREEMENT * np.abs(v).max()


@pytest.mark.parametrize("count", [511, 512, 513, 127, 128, 129, 1025])
def test_states_around_the_size_of_a_chunk(count: int) -> None:
    q, k, v = tokens(223, count, 3, 2)
    for make, form in ((taylor, "scores"), (logexp, "quadratic")):
        state = make(2, 3, 2) if make is taylor else logexp(3, 2)
        state.update(k, v)
        problem = Problem(q[:5], k, v)
        expected = reference(problem, 25, member_of(state)).value
        assert gap(state.read(q[:5]).value, expected) <= AGREEMENT, form
        assert state.read(q).value.shape == (count, 2)


def test_one_by_one_reaches_the_sums_of_both_states() -> None:
    for make in (taylor, logexp):
        k, v = np.zeros((300, 4)), np.ones((300, 3))
        state = make(arithmetic="float32", storage="bfloat16", one_by_one=True)
        state.update(k, v)
        assert state.hazards.lost_additions >= 4 * 44  # 256 + 1 = 256 for each value and the count
        together = make(arithmetic="float32", storage="bfloat16")
        together.update(k, v)
        assert together.hazards.lost_additions == 0


def test_an_interrupted_update_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for make, sums in ((taylor, taylor_state.PolynomialSums), (logexp, logexp_state.LogExpSums)):
        state: Any = make()
        other: Any = make()
        other.update(np.ones((1, 4)), np.ones((1, 3)))
        add, calls = sums.add, iter(range(9))

        def interrupted(self: Any, *arguments: Any, add: Any = add, calls: Any = calls) -> None:
            if next(calls):
                raise MemoryError
            add(self, *arguments)

        monkeypatch.setattr(sums, "add", interrupted)
        with pytest.raises(MemoryError):
            state.update(np.ones((1200, 4)), np.ones((1200, 3)))
        monkeypatch.setattr(sums, "add", add)
        calls_refused: list[Any] = [
            partial(state.read, np.ones((1, 4))),
            partial(state.update, np.ones((1, 4)), np.ones((1, 3))),
            partial(state.save, tmp_path / "a.npz"),
            partial(state.merge, other),
            partial(other.merge, state),
        ]
        for call in calls_refused:
            with pytest.raises(InvalidRequestError, match="update or merge was interrupted"):
                call()
        assert other.read(np.ones((1, 4))).value.tolist() == [[1.0] * 3]
