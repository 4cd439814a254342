"""Saved states, and everything that is refused: settings, shapes, files of something else or of nothing whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verify
from tests.verify.test_states import logexp, taylor, tokens
from verify.errors import InvalidRequestError, TooLargeError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_size": 5}, "head_size 5; expected head_size 4"),
        ({"value_size": 2}, "value_size 2; expected value_size 3"),
        ({"order": 2}, "order 2; expected order 3"),
        ({"arithmetic": "float32"}, "arithmetic 'float32'; expected arithmetic 'float64'"),
        ({"storage": "float16"}, "storage 'float16'; expected storage None"),
        ({"lead": (2,)}, "lead (2,); expected lead ()"),
        ({"scale": 0.5}, "scale 0.5; expected scale None"),
        ({"side": "both"}, "side 'both'; expected side 'query'"),
        ({"compensated": True}, "compensated True; expected compensated False"),
        ({"one_by_one": True}, "one_by_one True; expected one_by_one False"),
        ({"degrees": "apart"}, "degrees 'apart'; expected degrees 'together'"),
    ],
)
def test_states_of_other_settings_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    one = taylor()
    other = verify.TaylorState(**({"head_size": 4, "value_size": 3, "order": 3} | change))
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        one.merge(other)
    other.save(tmp_path / "a.npz")
    name = next(iter(change))
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        verify.TaylorState.load(tmp_path / "a.npz", **{name: one.settings[name]})
    assert verify.TaylorState.load(tmp_path / "a.npz").settings == other.settings


def test_states_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="LogExpState to merge into TaylorState; expected two states of one"):
        taylor().merge(logexp())  # type: ignore[arg-type]
    logexp().save(tmp_path / "a.npz")
    with pytest.raises(InvalidRequestError, match="mechanism 'logexp'; expected mechanism 'taylor'"):
        verify.TaylorState.load(tmp_path / "a.npz")
    with pytest.raises(InvalidRequestError, match=r"expected 'orders' of a state; expected one of head_size"):
        verify.LogExpState.load(tmp_path / "a.npz", orders=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: taylor(-1), "order -1; expected an integer of at least 0"),
        (lambda: taylor(3.0), "order 3.0; expected an integer"),  # type: ignore[arg-type]
        (lambda: taylor(3, 0), "head size 0"),
        (lambda: logexp(True), "head size True"),
        (lambda: taylor(3, 4, -2), "value size -2"),
        (lambda: logexp(lead=3), "lead 3; expected a tuple"),
        (lambda: taylor(lead=(0,)), "leading dimension 0"),
        (lambda: taylor(arithmetic="float7"), "unknown arithmetic 'float7'"),
        (lambda: logexp(storage="float7"), "unknown format 'float7'"),
        (lambda: taylor(side="left"), "side 'left'; expected one of query, key, both"),
        (lambda: taylor(degrees="never"), "degrees 'never'; expected one of together, apart"),
        (lambda: taylor(scale=float("nan")), "scale nan"),
        (lambda: taylor(7, 64, 64), "1,329,890,705 features of order 7 at head size 64"),
        (lambda: logexp(10**6, 10**6), "a state of head size 1000000"),
        (lambda: taylor(10**7, 10**7, 1), "more than 2^64 features of order 10000000"),
        (lambda: taylor(1, 200_000, 1), "200,001 features of order 1 at head size 200000 in float64 need"),
        (lambda: taylor(0, 10**9, 1), "1 features of order 0 at head size 1000000000"),
        (lambda: taylor(5, 1, 10**6, degrees="apart"), "6 features of order 5"),
        (lambda: taylor(compensated="no"), "compensated 'no'; expected True or False"),
        (lambda: logexp(one_by_one="False"), "one_by_one 'False'; expected True or False"),
        (lambda: taylor(scale="half"), "scale half; expected a finite number"),
        (lambda: taylor(scale=10**400), "scale 1000"),
        (lambda: taylor(arithmetic=["float32"]), "unknown arithmetic ['float32']"),
        (lambda: taylor(storage={}), "unknown format {}"),
        (lambda: taylor(memory_limit=None), "memory limit None"),
        (lambda: logexp(memory_limit=float("nan")), "memory limit nan"),
    ],
)
def test_settings_of_no_state_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        make()


def test_narrow_integers_are_integers() -> None:
    sizes: list[Any] = [np.int8(2), np.int8(120), np.uint8(200)]
    one = taylor(sizes[0], sizes[1], 1, memory_limit=2**31)
    assert one.nbytes == 8 * 2 * 7381
    assert logexp(sizes[2], sizes[2]).nbytes == 8 * 200 * 202
    assert taylor(1, 2, 1, lead=(np.uint8(16),) * 2).nbytes == 8 * 256 * 6
    q, k, v = tokens(224, 3, 126, 1)
    assert verify.taylor_attention(q, k, v, order=np.int8(2)).shape == (3, 1)  # type: ignore[arg-type]


def test_states_beyond_the_usual_memory_come_back(tmp_path: Path) -> None:
    one = taylor(3, 16, 16, memory_limit=2**30, lead=(500,))
    one.save(tmp_path / "a.npz")
    with pytest.raises(TooLargeError, match="at most 1 MiB"):
        verify.TaylorState.load(tmp_path / "a.npz", memory_limit=2**20)
    assert verify.TaylorState.load(tmp_path / "a.npz", memory_limit=2**30, order=3).settings == one.settings


def test_what_was_lost_and_byte_orders_are_kept(tmp_path: Path) -> None:
    state = taylor(1, 4, 3, arithmetic="bfloat16")
    state.update(np.zeros((300, 4)), np.ones((300, 3)))
    state.save(tmp_path / "a.npz")
    assert verify.TaylorState.load(tmp_path / "a.npz").hazards == state.hazards
    assert state.hazards.lost_additions > 0

    def swapped(members: Any, about: Any) -> None:
        members["sums"] = members["sums"].astype(members["sums"].dtype.newbyteorder(">"))

    again = verify.TaylorState.load(changed(tmp_path / "a.npz", swapped))
    np.testing.assert_array_equal(again.read(np.ones((2, 4))).value, state.read(np.ones((2, 4))).value)
    deep = tmp_path / "deep.npz"
    np.savez(deep, about=np.array("[" * 200_000))
    with pytest.raises(InvalidRequestError, match="holds no state"):
        verify.TaylorState.load(deep)
    for expected in ({"lead": 3}, {"lead": None}, {"scale": np.array([1.0, 2.0])}):
        with pytest.raises(InvalidRequestError, match=next(iter(expected))):
            verify.TaylorState.load(tmp_path / "a.npz", **expected)
    for path in (None, 5, b"a.npz"):
        with pytest.raises(InvalidRequestError, match="expected text or a Path"):
            state.save(path)  # type: ignore[arg-type]
    states_top = logexp()
    states_top.update(np.ones((1, 4)), np.ones((1, 3)))
    states_top._sums.top[0, 0] = np.nan
    assert states_top.hazards.nonfinite_state == 1


def test_arrays_of_other_shapes_are_refused() -> None:
    state = taylor(lead=(2,))
    k, v = np.ones((2, 5, 4)), np.ones((2, 5, 3))
    for arrays, message in (
        ((k[0], v), "k of shape [5, 4]; expected [2, n, 4]"),
        ((k[..., :3], v), "k of shape [2, 5, 3]"),
        ((k, v[:1]), "v of shape [1, 5, 3]; expected [2, n, 3]"),
        ((k, v[:, :4]), "5 keys and 4 values"),
        ((np.full_like(k, np.nan), v), "k holds 40 values that are NaN"),
        ((k.astype(object), v), "k of type object"),
    ):
        with pytest.raises(InvalidRequestError, match=re.escape(message)):
            state.update(*arrays)
    assert state.tokens == 0
    state.update(k, v)
    for q in (np.ones((3, 5, 4)), np.ones((2, 5, 3)), np.ones((5, 4)), np.ones((1, 2, 5, 4)), np.ones((0, 5, 4))):
        if q.shape[0] == 0:
            assert state.read(q).value.shape == (0, 5, 3)
        else:
            with pytest.raises(InvalidRequestError, match=r"q of shape .* for a state of \[2, n, 4\]"):
                state.read(q)


def test_memory_is_refused_before_it_is_taken() -> None:
    with pytest.raises(TooLargeError, match="at most 1 MiB"):
        taylor(3, 16, 16, memory_limit=2**20)
    with pytest.raises(TooLargeError, match="need 3,"):
        taylor(3, 16, 16, lead=(24, 1000), memory_limit=2**20)


def changed(path: Path, change: Any) -> Path:
    """Write a copy of a saved state with other members."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    about = json.loads(str(members["about"]))
    change(members, about)
    if "about" in members:
        members["about"] = np.array(json.dumps(about))
    np.savez(path.with_name("changed.npz"), **members)
    return path.with_name("changed.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, a: a.update(version=1), "version 1; expected version 2"),
        (lambda m, a: a.update(tokens=-3), "damaged state"),
        (lambda m, a: a.update(tokens="many"), "damaged state"),
        (lambda m, a: a.pop("settings"), "damaged state"),
        (lambda m, a: a["settings"].pop("order"), "damaged state (ValueError: settings arithmetic"),
        (lambda m, a: a["settings"].update(memory_limit=10**20), "damaged state (ValueError: settings arithmetic"),
        (lambda m, a: a["settings"].update(arithmetic="float7"), "settings of no state"),
        (lambda m, a: a["settings"].update(scale=10**400), "settings of no state (scale 1000"),
        (lambda m, a: a["settings"].update(order=7, head_size=64), "1,329,890,705 features of order 7"),
        (lambda m, a: a["settings"].update(order=10**7, head_size=10**7), "more than 2^64 features"),
        (lambda m, a: a["settings"].update(order=0, head_size=10**9), "1 features of order 0 at head size 1000000000"),
        (lambda m, a: a.update(version=True), "version True; expected version 2"),
        (lambda m, a: m.update(sums=m["sums"].astype(np.float64)), "damaged state"),
        (lambda m, a: a["settings"].update(order=2), "with arrays sums [1, 35, 4] of float64"),
        (lambda m, a: a["formats"].update(sums="float8_e5m2"), "an array of uint64 for float8_e5m2"),
        (lambda m, a: a["formats"].update(sums="float7"), "damaged state"),
        (lambda m, a: m.pop("sums"), "damaged state"),
        (lambda m, a: m.update(more=np.zeros(3)), "damaged state"),
        (lambda m, a: m.pop("about"), "holds no state"),
    ],
)
def test_files_of_no_state_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    state = taylor()
    state.update(*tokens(218, 5)[1:])
    state.save(tmp_path / "a.npz")
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        verify.TaylorState.load(changed(tmp_path / "a.npz", change))


def test_damaged_and_wrong_files_are_refused(tmp_path: Path) -> None:
    state = taylor()
    state.update(*tokens(219, 5)[1:])
    path = tmp_path / "a.npz"
    state.save(path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidRequestError, match="check that the file is whole"):
            verify.TaylorState.load(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(InvalidRequestError, match=r"a\.npz"):
        verify.TaylorState.load(path)
    with pytest.raises(InvalidRequestError, match=r"no file .*b\.npz"):
        verify.TaylorState.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", q=np.ones(3))
    with pytest.raises(InvalidRequestError, match="holds no state"):
        verify.TaylorState.load(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", about=np.array([{"version": 2}], dtype=object))
    with pytest.raises(InvalidRequestError, match="without pickled objects"):
        verify.TaylorState.load(tmp_path / "d.npz")
    with pytest.raises(InvalidRequestError, match="which exists"):
        state.save(path)
    with pytest.raises(InvalidRequestError, match=r"an ending \.npz"):
        state.save(tmp_path / "a.pkl")
    state.save(path, overwrite=True)
    assert verify.TaylorState.load(path).tokens == 5
