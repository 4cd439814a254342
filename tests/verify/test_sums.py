"""Running sums: what they hold, what they have lost, and what compensation gives back."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.attention.sums import EVERYTHING, Sums
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.formats import FORMATS
from verify.numbers.rounding import correctly_rounded

STORAGES = ["float64", "float32", "float16", "bfloat16"]


def fractions(array: Any) -> list[Fraction]:
    return [Fraction(float(x)) for x in np.asarray(array, dtype=np.float64).ravel()]


def added(arithmetic: str, rows: Any, **options: Any) -> Sums:
    """Return one-element sums to which the rows [n] have been added as products with 1."""
    policy = ARITHMETICS[arithmetic]
    sums = Sums(policy, (1, 1, 1), **options)
    left = policy.as_input(np.asarray(rows, dtype=np.float64))[None, None, :]
    sums.add_product(EVERYTHING, left, np.ones((1, left.shape[-1], 1), dtype=policy.dtype))
    return sums


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_tokens_added_one_by_one_are_rounded_one_by_one(name: str) -> None:
    format_ = FORMATS[name]
    rows = format_.rounded(np.random.default_rng(201).standard_normal(300)).astype(np.float64)
    expected, lost = 0.0, 0
    for x in rows.tolist():
        found = correctly_rounded(Fraction(expected) + Fraction(x), format_)
        lost += found == expected and x != 0
        expected = found
    sums = added(name, rows, one_by_one=True)
    assert float(sums.values[0, 0, 0]) == expected
    assert sums.lost == lost


@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("step", [1, 7])
def test_blocks_of_terms_are_those_of_single_tokens(
    compensated: bool, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(202).standard_normal(200) * 10.0 ** np.random.default_rng(203).integers(-9, 9, 200)
    monkeypatch.setattr("verify.attention.sums.TERMS", step)
    sums = added("float32", rows, one_by_one=True, compensated=compensated)
    single = Sums(ARITHMETICS["float32"], (1, 1, 1), compensated=compensated)
    for x in rows.astype(np.float32):
        single.add(EVERYTHING, np.full((1, 1, 1), x))
    if not compensated:
        assert sums.values == single.values
        assert sums.lost == single.lost > 0
    total = sum(fractions(rows.astype(np.float32)), Fraction(0))
    magnitude = sum((abs(x) for x in fractions(rows.astype(np.float32))), Fraction(0))
    u = Fraction(1, 2**24)
    # n sums each rounded by u of what there is; compensated ones by u^2, and the pair itself by u^2
    allowed = 200 * magnitude * (u if not compensated else 2 * u * u)
    for pair in (sums, single):
        assert abs(sum(fractions(np.stack(pair.arrays)), Fraction(0)) - total) <= allowed


def test_a_count_stops_where_its_format_ends() -> None:
    # 2**8 ones in bfloat16, 2**11 in float16, whatever comes after
    for name, last in (("bfloat16", 256), ("float16", 2048)):
        sums = added(name, np.ones(3000))
        assert (float(sums.values[0, 0, 0]), sums.lost) == (last, 3000 - last)
        kept = added(name, np.ones(3000), compensated=True)
        assert kept.lost == 0
        assert sum(fractions(np.stack(kept.arrays))) == 3000


def test_additions_of_zero_are_not_lost() -> None:
    assert added("float32", [1.0, 0.0, 0.0], one_by_one=True).lost == 0
    assert added("float32", [1.0, 2.0**-30, 0.0], one_by_one=True).lost == 1
    assert added("float32", [1.0, 2.0**-30], one_by_one=True, compensated=True).lost == 0
    # below what even the pair holds
    assert added("float32", [1.0, 2.0**-24, 2.0**-60], one_by_one=True, compensated=True).arrays[1] == 2.0**-24
    pair = added("float32", [1.0, 2.0**-24], one_by_one=True, compensated=True)
    pair.add(EVERYTHING, np.full((1, 1, 1), 2.0**-60, dtype=np.float32))
    assert pair.lost == 1


@pytest.mark.parametrize("arithmetic", ["float64", "float32", "float16", "bfloat16", "bfloat16+float32"])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("compensated", [False, True])
def test_storage_holds_what_its_format_can(arithmetic: str, storage: str, compensated: bool) -> None:
    policy, format_ = ARITHMETICS[arithmetic], FORMATS[storage]
    rng = np.random.default_rng(204)
    sums = Sums(policy, (2, 3, 2), storage=format_, compensated=compensated)
    exact = [Fraction(0)] * 12
    addends = [policy.as_sum(policy.as_input(rng.standard_normal((2, 3, 2)))) for _ in range(40)]
    for addend in addends:
        sums.add(EVERYTHING, addend)
        exact = [a + b for a, b in zip(exact, fractions(addend), strict=True)]
    assert all(array.dtype == format_.dtype for array in sums.arrays)
    found = [sum(parts) for parts in zip(*map(fractions, sums.arrays), strict=True)]
    s = Fraction(1, 2 ** min(policy.sums.precision, format_.precision))
    magnitude = float(sum(np.abs(np.asarray(addend, dtype=np.float64)).max() for addend in addends))
    # 40 additions, rounded to the sums' format or wider and to the storage; a pair keeps what its second number can
    # hold of that: the square of the storage's roundoff, and what the wider format had no digits for
    each = 2 * s if not compensated else 2 * s * s + 4 * Fraction(1, 2 ** (2 * format_.precision))
    wide = Fraction(1, 2 ** max(policy.sums.precision, format_.precision))
    each += wide if compensated and policy.sums.precision != format_.precision else 0
    assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) <= 40 * Fraction(magnitude) * each


def test_reading_and_scaling_take_the_compensation_along() -> None:
    sums = added("float32", [1.0, 2.0**-30], one_by_one=True, compensated=True)
    sums.add(EVERYTHING, np.full((1, 1, 1), -1.0, dtype=np.float32))
    total = np.zeros((1, 1, 1), dtype=np.float32)
    sums.add_to(total, np.full((1, 1, 1), 3.0, dtype=np.float32), EVERYTHING)
    assert total == 3 * 2.0**-30
    sums.scale(np.full((1, 1, 1), 0.5, dtype=np.float32))
    other = added("float32", [2.0**20, 2.0**-20], one_by_one=True, compensated=True)
    other.merge(sums)
    assert sum(fractions(np.stack(other.arrays))) == Fraction(2**20) + Fraction(1, 2**20) + Fraction(1, 2**31)


def test_infinite_sums_are_counted() -> None:
    sums = added("float16", [60000.0, 60000.0])
    assert sums.hazards.nonfinite_state == 1
    assert added("float16", [60000.0]).hazards.nonfinite_state == 0


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
def test_a_compensated_addition_is_that_of_a_pair(name: str) -> None:
    # one addition to a pair loses at most a few units of the pair's own last place
    format_ = FORMATS[name]
    policy = ARITHMETICS[name]
    rng = np.random.default_rng(205)
    for _ in range(200):
        values = [correctly_rounded(float(x), format_) for x in rng.standard_normal(3) * 2.0 ** rng.integers(-6, 6, 3)]
        sums = Sums(policy, (1, 1, 1), compensated=True)
        exact = Fraction(0)
        for value in values:
            sums.add(EVERYTHING, np.full((1, 1, 1), value, dtype=policy.dtype))
            exact += Fraction(value)
        found = sum(fractions(np.stack(sums.arrays)))
        size = sum(abs(Fraction(value)) for value in values)
        assert abs(found - exact) <= 4 * size * Fraction(1, 4**format_.precision)


def joined(name: str, total: float, carried: float, added: float) -> tuple[float, float]:
    """Return the pair after one compensated addition, with every operation rounded to the format."""

    def settled(x: Fraction) -> Fraction:
        return Fraction(correctly_rounded(x, FORMATS[name]))

    s, c, x = Fraction(total), Fraction(carried), Fraction(added)
    high = settled(s + x)
    rest = settled(c + (s + x - high))  # what is left of a sum is a number of the format
    pair = settled(high + rest)
    return float(pair), float(settled(rest - settled(pair - high)))


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_every_step_of_a_compensated_addition_is_rounded(name: str) -> None:
    policy = ARITHMETICS[name]
    rng = np.random.default_rng(206)
    sums = Sums(policy, (1, 1, 1), compensated=True)
    expected = (0.0, 0.0)
    for _ in range(200):
        x = correctly_rounded(float(rng.standard_normal() * 2.0 ** rng.integers(-8, 2)), FORMATS[name])
        sums.add(EVERYTHING, np.full((1, 1, 1), x, dtype=policy.dtype))
        expected = joined(name, *expected, x)
        assert tuple(float(array[0, 0, 0]) for array in sums.arrays) == expected


def test_pairs_are_scaled_and_merged_whole() -> None:
    def pair(*terms: float) -> Sums:
        return added("float32", terms, one_by_one=True, compensated=True)

    one = pair(1.0, 2.0**-30)
    assert one.arrays[1] == 2.0**-30
    one.scale(np.full((1, 1, 1), 0.5, dtype=np.float32))
    assert [float(array[0, 0, 0]) for array in one.arrays] == [0.5, 2.0**-31]
    other = pair(2.0**10, 2.0**-20)
    other.merge(one)
    expected = Fraction(2**10) + Fraction(1, 2**20) + Fraction(1, 2) + Fraction(1, 2**31)
    assert sum(fractions(np.stack(other.arrays))) == expected
    lost = added("float32", [1.0, 2.0**-30, 2.0**-30], one_by_one=True)
    into = added("float32", [1.0, 2.0**-30], one_by_one=True)
    into.merge(lost)
    assert into.lost == 3
    third = Sums(ARITHMETICS["float16"], (1, 1, 1))
    third.merge(added("float16", [1.0]), np.full((1, 1, 1), np.float32(np.float16(1 / 3))))
    assert float(third.values[0, 0, 0]) == float(np.float16(1 / 3))
    # a factor that is no number of the format gives a product that is rounded before it is added
    fourth = added("float16", [2048.0])
    fourth.merge(added("float16", [3.0]), np.full((1, 1, 1), 0.3333333, dtype=np.float32))
    assert float(fourth.values[0, 0, 0]) == float(np.float16(np.float32(2048.0) + np.float32(np.float16(0.9999999))))


def test_what_underflows_in_the_storage_is_lost() -> None:
    sums = Sums(ARITHMETICS["bfloat16"], (1, 1, 1), storage=FORMATS["float16"], compensated=True)
    sums.add(EVERYTHING, np.full((1, 1, 1), 1.0, dtype=np.float32))
    for _ in range(10):
        sums.add(EVERYTHING, np.full((1, 1, 1), 1e-9, dtype=np.float32))
    assert sums.lost == 10


def test_tokens_are_not_multiplied_out_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # what is held is what one token gives, however many there are
    from verify.attention import sums as module

    largest = []
    outer = module._outer

    def watched(*arrays: Any) -> Any:
        largest.append(len(outer(*arrays)))
        return outer(*arrays)

    monkeypatch.setattr(module, "_outer", watched)
    added("bfloat16", np.ones(64))
    assert set(largest) == {1}


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16+float32", "float16", "bfloat16"])
@pytest.mark.parametrize("compensated", [False, True])
def test_zeros_added_in_one_step_are_not_lost(name: str, compensated: bool) -> None:
    # a chunk's product that is zero leaves the sum as it was, and takes nothing from it; a quarter step is lost
    policy = ARITHMETICS[name]
    sums = Sums(policy, (1, 2, 1), compensated=compensated)
    for rows in ([1.0, 0.0], [0.0, 0.0], [2.0 ** -(policy.sums.precision + 1), 0.0]):
        sums.add_product(EVERYTHING, np.array(rows, policy.dtype)[None, :, None], np.ones((1, 1, 1), policy.dtype))
    assert sums.values.astype(np.float64).ravel().tolist() == [1.0, 0.0]
    assert sums.lost == (0 if compensated else 1)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_even_a_compensated_sum_loses_is_counted_whatever_its_sign(sign: float) -> None:
    """2^24 and 1 are kept as a pair of float32; a part 2^-40 of 1 changes neither."""
    rows = [2.0**24, 1.0, sign * 2.0**-40]
    assert added("float32", rows[:2], one_by_one=True, compensated=True).lost == 0
    sums = Sums(ARITHMETICS["float32"], (1, 1, 1), one_by_one=True, compensated=True)
    for x in rows:
        left = np.full((1, 1, 1), x, dtype=np.float32)
        sums.add_product(EVERYTHING, left, np.ones((1, 1, 1), dtype=np.float32))
    assert sums.lost == 1
    several = Sums(ARITHMETICS["float32"], (1, 1, 1), one_by_one=True, compensated=True)
    several.add_product(EVERYTHING, np.array([[rows[:2]]], dtype=np.float32), np.ones((1, 2, 1), dtype=np.float32))
    tiny = np.full((1, 1, 2), sign * 2.0**-40, dtype=np.float32)
    several.add_product(EVERYTHING, tiny, np.ones((1, 2, 1), dtype=np.float32))
    assert several.lost == 1  # a block of tokens counts as one addition
