"""States that serve any member of a family: the exact values, whatever the pieces, and files that know their member."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verify
from verify.attention import Member
from verify.errors import InvalidRequestError, TooLargeError
from verify.families.feature.state import FeatureState
from verify.families.polynomial.state import PolynomialState
from verify.mechanisms import known, named_member
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem
from verify.truth import reference

# Members with a state that has no name of its own in `verify`, and the kind of state.
MEMBERS: dict[str, Any] = {
    "power:degree=2": PolynomialState,
    "power:degree=6": PolynomialState,
    "elu": FeatureState,
    "favor:features=16,seed=3": FeatureState,
}

# Of the largest output; none of these has weights below zero, so that nothing cancels.
AGREEMENT = 1e-11


def tokens(seed: int, count: int, lead: tuple[int, ...] = ()) -> Any:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((*lead, count, size)) for size in (4, 4, 3))


def made(name: str, **settings: Any) -> Any:
    """Return the state that a mechanism declares for its member, for keys of 4 components and values of 3."""
    member = named_member(name)
    make, *_ = (form.state for form in member.mechanism.forms if form.state is not None)
    return make(member, 4, 3, **settings)


def gap(found: Any, q: Any, k: Any, v: Any, name: str, **how: Any) -> float:
    exact = reference(Problem(q, k, v, **how), 30, name).value
    return float(np.abs(found - exact).max() / np.abs(exact).max())


every_member = pytest.mark.parametrize("name", MEMBERS)


@every_member
@pytest.mark.parametrize("options", [{}, {"compensated": True}, {"one_by_one": True}], ids=str)
def test_pieces_in_any_order_are_the_exact_value(name: str, options: dict[str, Any]) -> None:
    q, k, v = tokens(231, 700)
    whole, merged = made(name, **options), made(name, **options)
    assert type(whole) is MEMBERS[name]
    for piece in (slice(300, 700), slice(0, 5), slice(5, 300)):
        part = made(name, **options)
        part.update(k[piece], v[piece])
        merged.merge(part)
        whole.update(k[piece], v[piece])
    for state in (whole, merged):
        assert state.tokens == 700
        assert gap(state.read(q[:9]).value, q[:9], k, v, name) <= AGREEMENT


@every_member
def test_grouped_heads_and_a_given_scale(name: str) -> None:
    q, k, v = tokens(232, 9, (2, 6))
    state = made(name, lead=(2, 3), scale=0.3)
    state.update(k[:, :3], v[:, :3])
    output = state.read(q)
    assert output.normaliser.shape == (2, 6, 9)
    assert gap(output.value, q, k[:, :3], v[:, :3], name, scale=0.3) <= AGREEMENT


@every_member
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_states_are_the_forms_in_every_arithmetic(name: str, arithmetic: str) -> None:
    # not causal and of one chunk, so that the form takes the same steps in the same order
    q, k, v = (x / 2 for x in tokens(233, 16))
    state = made(name, arithmetic=arithmetic)
    state.update(k, v)
    found = state.read(q).value
    expected = known().variant(f"{name}/stream").run(Problem(q, k, v), ARITHMETICS[arithmetic]).value
    np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))
    assert found.dtype == expected.dtype


@every_member
def test_bytes_are_those_of_the_declared_cost(name: str) -> None:
    q, k, v = tokens(234, 8)
    state = made(name, storage="float32")
    cost = known().variant(f"{name}/stream").costs(Problem(q, k, v))
    assert state.nbytes == 4 * cost.state_elements
    state.update(k, v)
    assert state.nbytes == 4 * cost.state_elements


@every_member
def test_saved_states_come_back_to_their_member_alone(name: str, tmp_path: Path) -> None:
    q, k, v = tokens(235, 20)
    kind, member, path = MEMBERS[name], named_member(name), tmp_path / "a.npz"
    state = made(name, arithmetic="float32", storage="bfloat16", compensated=True)
    state.update(k, v)
    state.save(path)
    again: Any = kind.load(path, member=member, storage="bfloat16")
    np.testing.assert_array_equal(again.read(q).value, state.read(q).value)
    assert (again.tokens, again.settings, again.hazards) == (state.tokens, state.settings, state.hazards)
    again.merge(state)
    assert again.tokens == 40
    with pytest.raises(InvalidRequestError, match=f"no member; expected one for a {kind.__name__}; give member="):
        kind.load(path)
    with pytest.raises(InvalidRequestError, match="storage 'bfloat16'; expected storage None"):
        kind.load(path, member=member, storage=None)


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("power", {"degree": 4}),
    ("favor", {"features": 16, "seed": 4}),
    ("favor", {"features": 32, "seed": 3}),
]


@pytest.mark.parametrize(("of", "parameters"), OTHERS)
def test_states_of_other_members_are_refused(of: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    other = known().mechanism(of).member(**parameters)
    (name, *_) = (name for name in MEMBERS if name.startswith(of))
    state = made(name)
    with pytest.raises(InvalidRequestError, match=re.escape(f"member '{other.name}'; expected member '{name}'")):
        state.merge(made(other.name))
    state.save(tmp_path / "a.npz")
    with pytest.raises(InvalidRequestError, match=re.escape(f"member '{name}'; expected member '{other.name}'")):
        MEMBERS[name].load(tmp_path / "a.npz", member=other)


def test_states_of_other_mechanisms_are_refused(tmp_path: Path) -> None:
    made("elu").save(tmp_path / "a.npz")
    with pytest.raises(InvalidRequestError, match="mechanism 'elu'; expected mechanism 'favor'"):
        FeatureState.load(tmp_path / "a.npz", member=named_member("favor"))
    with pytest.raises(InvalidRequestError, match="mechanism 'elu'; expected mechanism 'taylor'"):
        verify.TaylorState.load(tmp_path / "a.npz")
    with pytest.raises(InvalidRequestError, match="member elu; expected none: TaylorState has its own mechanism"):
        verify.TaylorState.load(tmp_path / "a.npz", member=named_member("elu"))
    with pytest.raises(InvalidRequestError, match="FeatureState to merge into PolynomialState; expected two states of"):
        made("power:degree=2").merge(made("elu"))


def test_a_polynomial_state_of_taylor_is_a_taylor_state() -> None:
    q, k, v = tokens(236, 30)
    member: Member = named_member("taylor:order=3")
    one, other = PolynomialState(member, 4, 3), verify.TaylorState(4, 3, 3)
    for state in (one, other):
        state.update(k, v)
    np.testing.assert_array_equal(one.read(q).value, other.read(q).value)
    assert type(made("taylor:order=3")) is verify.TaylorState
    assert type(made("logexp")) is verify.LogExpState


@every_member
def test_memory_is_refused_before_it_is_taken(name: str) -> None:
    with pytest.raises(TooLargeError, match="at most 1 MiB"):
        made(name, memory_limit=100)
    with pytest.raises(InvalidRequestError, match="memory limit None"):
        made(name, memory_limit=None)
    with pytest.raises(InvalidRequestError, match="unknown format 'float7'"):
        made(name, storage="float7")


@every_member
def test_forms_with_a_state_refuse_windows_and_masks_of_their_own_for_rows_even_if_called_directly(name: str) -> None:
    q, k, v = tokens(237, 6)
    stream = known().variant(f"{name}/stream")
    for problem in (
        Problem(q, k, v, mask=np.tri(6, dtype=bool)),
        Problem(q, k, v, causal=True, window=(2, 0)),
        Problem(q, k, v, segments=[0, 0, 0, 1, 1, 1]),
    ):
        for call in (stream.run, partial(stream.how.compute, member=stream.member)):
            with pytest.raises(InvalidRequestError, match="for the form stream; expected keys that are hidden"):
                call(problem, ARITHMETICS["float64"])
    for part in ({"bias": np.eye(6)}, {"softcap": 2.0}, {"alibi_slopes": 0.5}, {"dropout_mask": np.tri(6, dtype=bool)}):
        with pytest.raises(InvalidRequestError, match="for the form stream; expected a problem without it"):
            stream.how.compute(Problem(q, k, v, **part), ARITHMETICS["float64"], stream.member)
