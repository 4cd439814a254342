from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import verify
from tests.cases import FORMS, ORDERS, PROBLEMS, named, run, variant
from verify.attention import emulated
from verify.errors import InvalidRequestError, TooLargeError
from verify.families.polynomial import features
from verify.families.polynomial import forms as taylor
from verify.families.polynomial import state as taylor_state
from verify.families.polynomial.basis import slices
from verify.measure.metrics import computed_error
from verify.mechanisms import known, named_variant
from verify.mechanisms.logexp import forms as logexp
from verify.mechanisms.softmax.mechanism import SOFTMAX
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.formats import Format
from verify.problem import Problem
from verify.truth import Reference, defined_attention, reference

every_arithmetic = pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS.keys())
every_form = pytest.mark.parametrize(("mechanism", "form"), FORMS)

HAVE_A_STATE = ("packed", "stream", "linear")


def orders_of(mechanism: str) -> tuple[int | None, ...]:
    return ORDERS if mechanism == "taylor" else (None,)


def cells() -> Iterator[Any]:
    for mechanism, form in FORMS:
        for problem in PROBLEMS:
            for order in orders_of(mechanism):
                yield pytest.param(mechanism, form, problem, order, id=f"{mechanism}-{form}-{order}-{problem.name}")


@cache
def exact_at(problem: Problem, inputs: Format, mechanism: str, order: int | None) -> tuple[Problem, Reference]:
    """Return the problem in a format of inputs with its exact values, which all forms and arithmetics share."""
    rounded = problem.rounded(inputs)
    return rounded, reference(rounded, 30, named(mechanism, order))


def bound_of(
    mechanism: str, form: str, problem: Problem, truth: Reference, arithmetic: Arithmetic, order: int | None
) -> Any:
    """Return the bound on the rounding error that is sure."""
    bound = variant(mechanism, form, order).rounding_bound(problem, truth.value, arithmetic)
    assert bound is not None
    return bound.sure


@every_arithmetic
@pytest.mark.parametrize(("mechanism", "form", "problem", "order"), list(cells()))
def test_every_form_is_as_accurate_as_its_arithmetic(
    mechanism: str, form: str, problem: Problem, order: int | None, arithmetic: Arithmetic
) -> None:
    problem, truth = exact_at(problem, arithmetic.inputs, mechanism, order)
    if form in HAVE_A_STATE and problem.prefixes is None:
        chosen = variant(mechanism, form, order)
        for call in (chosen.run, partial(chosen.how.compute, member=chosen.member)):
            with pytest.raises(InvalidRequestError, match="use the form"):
                call(problem, arithmetic)
        return
    output = run(mechanism, form, problem, arithmetic, order)
    assert output.value.dtype == arithmetic.output.dtype
    assert output.value.shape == problem.output_shape
    assert output.normaliser.shape == problem.output_shape[:-1]
    error = np.abs(computed_error(output.value, truth))
    bound = bound_of(mechanism, form, problem, truth, arithmetic, order)
    excess = ~(error <= bound) & np.isfinite(bound)
    assert not excess.any(), f"{error[excess].max():.3g} where {bound[excess].min():.3g} is allowed"
    assert np.isfinite(bound).all() or arithmetic.name != "float64"


@cache
def defined(head_size: int, order: int, causal: bool, tokens: int) -> tuple[Problem, NDArray[Any]]:
    """Return a problem of N(0, 1) inputs, and what mpmath gives by the definition."""
    q, k, v = np.random.default_rng(head_size).standard_normal((3, tokens, head_size))
    problem = Problem(q, k, v, causal=causal)
    return problem, defined_attention(problem, named("taylor", order), 30)


def agreement(form: str, head_size: int, order: int, causal: bool, tokens: int) -> float:
    """Return max |computed - defined| / max |defined| in float64 on N(0, 1) inputs."""
    problem, exact = defined(head_size, order, causal, tokens)
    computed = run("taylor", form, problem, ARITHMETICS["float64"], order).value
    error = [abs(float(a - b)) for a, b in zip(exact.flat, computed.flat, strict=True)]
    return max(error) / max(abs(float(x)) for x in exact.flat)


# Forty tokens and a chunk of 32: a causal problem takes both the logits and the state.
TOKENS = 40
# The figure the project promises on N(0, 1) inputs. A bound derived element by element is what
# test_every_form_is_as_accurate_as_its_arithmetic asks for; here rounding alone leaves 1e-15 and a wrong multiplicity
# more than 1e-9, so that the figure tells the two apart with three orders of magnitude on either side.
AGREEMENT = 1e-12


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", range(8))
@pytest.mark.parametrize("head_size", [4, 8])
def test_packed_taylor_is_the_definition(head_size: int, order: int, causal: bool) -> None:
    assert agreement("packed", head_size, order, causal, TOKENS) <= AGREEMENT


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("mechanism", "order"), [("softmax", None), ("logexp", None), *[("taylor", p) for p in range(8)]]
)
def test_forms_of_one_mechanism_agree(mechanism: str, order: int | None, causal: bool) -> None:
    # the project promises 1e-11 of the largest output in float64; Z near zero, which odd orders have, amplifies
    q, k, v = np.random.default_rng(30).standard_normal((3, 3, TOKENS, 4))
    problem = Problem(q, k, v, causal=causal)
    outputs = {
        form: run(mechanism, form, problem, ARITHMETICS["float64"], order) for of, form in FORMS if of == mechanism
    }
    first, *others = outputs.values()
    calm = np.abs(first.normaliser) > 1 if mechanism == "taylor" else np.ones_like(first.normaliser, dtype=bool)
    assert calm.mean() > 0.8
    for other in others:
        assert np.abs(other.value - first.value)[calm].max() <= 1e-11 * np.abs(first.value[calm]).max()
    assert len(outputs) == {"softmax": 2, "logexp": 3, "taylor": 4}[mechanism]


@pytest.mark.parametrize("order", range(8))
def test_polynomial_of_the_logits_is_the_definition_at_64(order: int) -> None:
    assert agreement("scores", 64, order, True, 16) <= AGREEMENT


@pytest.mark.parametrize("degree", range(1, 8))
def test_a_wrong_multiplicity_is_noticed(degree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = slices

    def wrong(head_size: int, order: int, *, by_exponent: bool) -> Iterator[Any]:
        found = list(right(head_size, order, by_exponent=by_exponent))
        if by_exponent and order == degree:
            rows, source, j, exponent = found[len(found) // 2]
            found[len(found) // 2] = rows, source, j, exponent + 1
        yield from found

    monkeypatch.setattr(features, "slices", wrong)
    assert agreement("packed", 4, 7, False, TOKENS) > 1000 * AGREEMENT


def test_an_answer_of_nan_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TAYLOR, "evaluate", lambda logits, *_: np.full_like(logits, np.nan))
    assert not agreement("scores", 4, 3, False, TOKENS) <= AGREEMENT


@pytest.mark.parametrize("chunk", [1, 3, 7, 40, 100])
@pytest.mark.parametrize("causal", [False, True])
def test_chunks_change_nothing(chunk: int, causal: bool) -> None:
    q, k, v = np.random.default_rng(10).standard_normal((3, 2, TOKENS, 4))
    problem = Problem(q, k, v, causal=causal)
    expected = reference(problem, 30, "taylor:order=4").value
    found = taylor.packed(problem, ARITHMETICS["float64"], TAYLOR.member(order=4), chunk=chunk).value
    assert np.abs(found - expected).max() <= AGREEMENT * np.abs(expected).max()


@pytest.mark.parametrize("side", taylor_state.SIDES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("numbers", [1, 300, 1 << 18])
def test_sides_of_the_coefficients_and_sizes_of_blocks_change_nothing(
    side: str, causal: bool, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # blocks of one row, of a few with heads in groups that do not come out even, and of everything
    for module in (features, taylor_state):
        monkeypatch.setattr(module, "BLOCK_NUMBERS", numbers)
    q, k, v = np.random.default_rng(93).standard_normal((3, 5, TOKENS, 3))
    problem = Problem(q, k, v, causal=causal)
    expected = reference(problem, 30, "taylor:order=3").value
    found = taylor.packed(problem, ARITHMETICS["float64"], TAYLOR.member(order=3), chunk=7, side=side).value
    assert np.abs(found - expected).max() <= AGREEMENT * np.abs(expected).max()


def test_an_unknown_side_is_refused() -> None:
    problem = Problem(*np.ones((3, 2, 2)))
    with pytest.raises(InvalidRequestError, match="one of query, key, both"):
        taylor.packed(problem, ARITHMETICS["float64"], TAYLOR.member(order=1), side="left")


@every_form
def test_no_keys_give_zero_and_no_queries_give_nothing(mechanism: str, form: str) -> None:
    order = orders_of(mechanism)[-1]
    no_keys = Problem(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 4)))
    assert run(mechanism, form, no_keys, ARITHMETICS["float32"], order).value.tolist() == [[0.0] * 4] * 2
    no_queries = Problem(np.ones((0, 3)), np.ones((2, 3)), np.ones((2, 4)))
    assert run(mechanism, form, no_queries, ARITHMETICS["float32"], order).value.shape == (0, 4)


@pytest.mark.parametrize("form", ["scores", "packed"])
def test_a_zero_denominator_is_shown(form: str) -> None:
    problem = Problem([[1.0]], [[-1.0]], [[3.0]], scale=1.0)  # 1 + s = 0
    output = run("taylor", form, problem, ARITHMETICS["float64"], 1)
    assert output.normaliser.tolist() == [0.0]
    assert not np.isfinite(output.value).any()


def test_packed_refuses_what_does_not_fit_before_allocating() -> None:
    tokens = np.zeros((1, 64))
    with pytest.raises(
        TooLargeError, match=re.escape("1,329,890,705 features of order 7 at head size 64 in float64 need")
    ):
        verify.taylor_attention(tokens, tokens, tokens, order=7)
    with pytest.raises(TooLargeError, match="6,435 features of order 7 at head size 8"):  # the values count too
        verify.taylor_attention(tokens[:, :8], tokens[:, :8], np.zeros((1, 20_000)), order=7)


def test_functions_of_arrays_pass_everything_on() -> None:
    rng = np.random.default_rng(12)
    q, k, v = rng.standard_normal((2, 3, 4)), rng.standard_normal((1, 5, 4)), rng.standard_normal((1, 5, 2))
    mask = rng.random((2, 3, 5)) < 0.8
    how: dict[str, Any] = {"causal": True, "alignment": "bottom-right", "mask": mask}
    scaled = Problem(q, k, v, scale=0.3, **how)
    calls: dict[tuple[str, str, int | None], Any] = {
        ("softmax", "softmax", None): verify.softmax_attention(q, k, v, scale=0.3, **how),
        ("logexp", "quadratic", None): verify.logexp_attention(q, k, v, form="quadratic", **how),
        ("taylor", "scores", 3): verify.taylor_attention(q, k, v, order=3, form="scores", scale=0.3, **how),
    }
    for (mechanism, form, order), found in calls.items():
        truth = reference(scaled, 30, named(mechanism, order))
        error = np.abs(computed_error(found, truth))
        assert (error <= bound_of(mechanism, form, scaled, truth, ARITHMETICS["float64"], order)).all()
    plain = Problem(q[:, :1], k, v, scale=0.3)
    found = verify.taylor_attention(plain.q, k, v, order=3, scale=0.3, arithmetic="float32")
    assert found.dtype == np.float32
    assert np.abs(found - reference(plain, 30, "taylor:order=3").value).max() < 1e-3


@pytest.mark.parametrize("form", ["packed", "stream"])
def test_options_of_a_form(form: str) -> None:
    # where the coefficients stand and what is added up first changes the last bits, not more: 210 features, 60 tokens
    q, k, v = np.random.default_rng(31).standard_normal((3, 60, 4))
    choices: list[dict[str, Any]] = [{}, {"side": "key"}, {"side": "both"}, {"degrees": "apart"}]
    outputs = [
        verify.taylor_attention(q, k, v, order=6, causal=True, form=form, arithmetic="float32", **options)
        for options in choices
    ]
    for output in outputs[1:]:
        assert 0 < np.abs(output.astype(float) - outputs[0]).max() < (210 + 60) * 2.0**-24 * np.abs(v).max()


def test_options_that_are_none_are_the_forms_own_choice() -> None:
    q, k, v = np.random.default_rng(31).standard_normal((3, 60, 4))
    found = verify.taylor_attention(q, k, v, order=3, causal=True, chunk=None, storage=None)
    np.testing.assert_array_equal(found, verify.taylor_attention(q, k, v, order=3, causal=True))
    assert variant("taylor", "packed", 3, chunk=None, storage=None).name == "taylor:order=3/packed"
    with pytest.raises(InvalidRequestError, match="side None; expected one of query, key, both"):
        variant("taylor", "packed", 3, side=None)


def test_functions_of_arrays_refuse_what_does_not_exist() -> None:
    q, k, v = np.random.default_rng(12).standard_normal((3, 5, 4))
    for call in (
        lambda: verify.taylor_attention(q, k, v, order=3, form="scores", side="key"),
        lambda: verify.taylor_attention(q, k, v, order=3, form="packed", sides="key"),
        lambda: verify.taylor_attention(q, k, v, order=3, form="packed", sides=None),
        lambda: verify.taylor_attention(q, k, v, order=3, form="scores", watch=True),
        lambda: verify.taylor_attention(q, k, v, order=3, form="dense", watch=True),
        lambda: verify.taylor_attention(q, k, v, order=3, form="packed", degrees="none"),
        lambda: verify.taylor_attention(q, k, v, order=3, form="fast"),
        lambda: verify.logexp_attention(q, k, v, form="fast"),
        lambda: verify.taylor_attention(q, k, v, order=-1),
        lambda: verify.softmax_attention(q, k, v, arithmetic="float7"),
        lambda: named_variant("relu/scores"),
        lambda: known().mechanism([]),  # type: ignore[arg-type]
        lambda: named_variant("softmax/scores"),
        lambda: SOFTMAX.form([]),  # type: ignore[arg-type]
        lambda: verify.taylor_attention(q, k, v, order=3, chunk=0),
        lambda: verify.taylor_attention(q, k, v, order=3, chunk=2.5),
        lambda: run("logexp", "stream", Problem(q, k, v), ARITHMETICS["float64"], chunk=-1),
        lambda: run("softmax", "online", Problem(q, k, v), ARITHMETICS["float64"], keys=0),
        lambda: verify.softmax_attention(q, k, v, causal="no"),  # type: ignore[arg-type]
        lambda: verify.softmax_attention([[1.0], [1.0, 2.0]], k, v),
        lambda: verify.softmax_attention(np.ma.masked_array(q), k, v),
        lambda: verify.softmax_attention(q, k, v, mask=[[True], [True, False]]),
    ):
        with pytest.raises(InvalidRequestError, match="expected"):
            call()


def test_logexp_in_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = np.random.default_rng(23).standard_normal((3, 2, 7, 3))
    problem = Problem(q, k, v, causal=True)
    whole = run("logexp", "quadratic", problem, ARITHMETICS["float64"]).value
    monkeypatch.setattr(logexp, "_ELEMENTS_PER_BLOCK", 2 * 7 * 3 * 2)
    np.testing.assert_array_equal(run("logexp", "quadratic", problem, ARITHMETICS["float64"]).value, whole)


def test_large_heads_and_many_tokens() -> None:
    # beyond the small cases of the table: last indices up to 39, and more keys than any of them
    q, k, v = np.random.default_rng(24).standard_normal((3, 100, 40))
    problem = Problem(q, k, v)
    truth = reference(problem, 30, "taylor:order=2")
    defined = defined_attention(Problem(q[:1], k, v), "taylor:order=2", 30)
    assert max(abs(float(a - b)) for a, b in zip(truth.to_mpf()[0], defined[0], strict=True)) < 1e-29
    for form in ("scores", "packed"):
        output = run("taylor", form, problem, ARITHMETICS["float64"], 2)
        bound = bound_of("taylor", form, problem, truth, ARITHMETICS["float64"], 2)
        assert (np.abs(computed_error(output.value, truth)) <= bound).all()


@pytest.mark.parametrize("form", ["quadratic", "linear", "stream"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("spread", [1.0, 50.0, 700.0])
def test_logexp_over_a_wide_range_of_keys(form: str, causal: bool, spread: float) -> None:
    # exp(-700) underflows float32, exp(k_1 - k_2) float64, and later tokens of a chunk dwarf the earlier ones
    rng = np.random.default_rng(78)
    q, k = rng.standard_normal((40, 3)), rng.uniform(-spread, spread, (40, 3))
    v = rng.standard_normal((40, 2)) * rng.integers(0, 2, (40, 2))  # both signs, and zeros
    problem = Problem(q, k, v, causal=causal)
    truth = reference(problem, member="logexp")
    for arithmetic in (ARITHMETICS["float64"], ARITHMETICS["float32"]):
        output = run("logexp", form, problem.rounded(arithmetic.inputs), arithmetic)
        u = 2.0**-arithmetic.sums.precision
        # exponents up to spread + |q| are rounded when q and k are added, and shifted twice; inputs by as much; weights
        # move by as much relatively, so outputs by twice that times max |v|; linear does so once for every token
        steps = 40 if form == "linear" else 1
        allowed = 2 * np.abs(v).max() * ((4 * (spread + 5) + 4) * steps + 45) * u
        assert np.abs(computed_error(output.value, truth)).max() <= allowed


def test_orders_beyond_the_largest_factorial_of_float64() -> None:
    one = [[1.0]]
    for form in ("dense", "packed", "scores"):
        found = verify.taylor_attention(one, one, [[2.0]], order=171, form=form)
        assert found.tolist() == [[2.0]]


def test_chunks_are_no_longer_than_there_are_tokens() -> None:
    q, k, v = np.random.default_rng(32).standard_normal((3, 6, 2))
    found = verify.taylor_attention(q, k, v, order=2, causal=True, chunk=10**9)
    expected = verify.taylor_attention(q, k, v, order=2, causal=True, form="scores")
    assert np.abs(found - expected).max() <= AGREEMENT * np.abs(expected).max()


def test_own_pairs_of_many_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taylor, "PAIRS", 2 * 16 * 16 * 2)  # two key heads with two members each at once
    q, k, v = (np.random.default_rng(33).standard_normal((heads, TOKENS, 3)) for heads in (10, 5, 5))
    problem = Problem(q, k, v, causal=True)
    found = taylor.packed(problem, ARITHMETICS["float64"], TAYLOR.member(order=3), chunk=16).value
    expected = reference(problem, 30, "taylor:order=3").value
    assert np.abs(found - expected).max() <= AGREEMENT * np.abs(expected).max()


def test_dense_sums_that_would_be_emulated_for_minutes_are_refused() -> None:
    problem = Problem(*np.ones((3, 128, 32)))
    with pytest.raises(
        TooLargeError,
        match=r"additions to round one by one in float16, in .* steps: about \d+ seconds; expected what takes at most",
    ):
        run("taylor", "dense", problem, ARITHMETICS["float16"], 4, limits={"memory_limit": 2**33})


def test_dense_features_are_refused_before_they_are_formed() -> None:
    """Those of 3 keys, and of 64 queries at once: 1 + 2 + 4 features each, of 8 bytes in float64, of 4 in float32."""
    problem = Problem(*np.random.default_rng(61).standard_normal((3, 3, 2)))
    for arithmetic, size in (("float64", 8), ("float32", 4)):
        needed = (1 + 2 + 4) * (3 + 64) * size
        run("taylor", "dense", problem, ARITHMETICS[arithmetic], 2, limits={"memory_limit": needed})
        with pytest.raises(TooLargeError, match="7 features"):
            run("taylor", "dense", problem, ARITHMETICS[arithmetic], 2, limits={"memory_limit": needed - 1})


def test_dense_sums_that_would_be_emulated_are_counted_over_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 + 2 + 4 features for each of 3 queries, 4 keys and 2 heads, which read one key head, and a step for each."""
    rng = np.random.default_rng(63)
    problem = Problem(rng.standard_normal((2, 3, 2)), *rng.standard_normal((2, 1, 4, 2)))
    work = (1 + 2 + 4) * (3 * 4 * 2 + 2 * emulated.PER_STEP)
    for limit, fits in ((work, True), (work - 1, False)):
        monkeypatch.setattr(emulated, "EMULATED_ADDITIONS", limit)
        run("taylor", "dense", problem, ARITHMETICS["float32"], 2)  # whose sums are the machine's own
        if fits:
            run("taylor", "dense", problem, ARITHMETICS["float16"], 2)
        else:
            with pytest.raises(
                TooLargeError, match="168 additions to round one by one in float16, in 14 steps: about 1 second;"
            ):
                run("taylor", "dense", problem, ARITHMETICS["float16"], 2)
