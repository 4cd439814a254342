"""Reference vectors: what stands in the file bounds the exact value, which rationals confirm."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from fractions import Fraction
from math import ceil, log2
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from flint import arb

from tests.cases import EXTREME, PROBLEMS, every_mechanism, named
from verify.arguments import Choice, Parameter, Whole
from verify.attention import Member
from verify.errors import InvalidRequestError
from verify.families.logit import LogitKernel
from verify.files.placing import place, require_placeable
from verify.inputs import FileInput
from verify.numbers.balls import Balls
from verify.numbers.fields import Field, Number
from verify.numbers.precision import flint_precision
from verify.problem import Problem, described
from verify.truth import reference, write_vectors
from verify.truth.decimals import MORE_DIGITS, decimals
from verify.truth.rational import rational_attention

# rationals do not reach exp(-10^200)
SMALL = [p for p in (*PROBLEMS, *EXTREME[1:]) if p.heads * p.queries * p.keys * p.head_size <= 400]


def outside(text: Any, radius: Any, low: Fraction, high: Fraction) -> bool:
    """Say whether no number in [low, high] lies within radius of the decimal."""
    if not radius >= 0:
        return True
    centre = Fraction(str(text))
    return high < centre - Fraction(float(radius)) or low > centre + Fraction(float(radius))


@every_mechanism
@pytest.mark.parametrize("problem", SMALL, ids=lambda problem: problem.name)
def test_decimals_hold_the_exact_value(problem: Problem, mechanism: str, order: int | None) -> None:
    truth = reference(problem, 50, named(mechanism, order))
    text, radius = decimals(truth.balls, 50)
    count = 0
    for index, interval in rational_attention(problem, named(mechanism, order), 300):
        assert not outside(text[index], radius[index], interval.low, interval.high)
        count += 1
        if not truth.absolute[index] and truth.value[index]:
            # as many digits as are certified; a radius, half a unit and their sum are rounded up in float64
            assert radius[index] <= 10.0**-50 * abs(truth.value[index]) + 3 * 5e-324
            # a planted error of one part in 10**45, and no number at all
            moved = Fraction(str(text[index])) * (1 + Fraction(1, 10**45))
            if abs(truth.value[index]) > 1e-270:
                assert outside(moved, radius[index], interval.low, interval.high)
                assert outside(text[index], np.nan, interval.low, interval.high)
    assert count > 0 or not problem.attended_rows.any() or truth.undefined_rows.any()


@pytest.mark.parametrize(
    ("centre", "radius", "expected"),
    [
        ("0", "0", "0"),
        ("1", "0", "1e0"),
        ("-0.375", "0", "-3.75e-1"),
        ("1024", "0", "1.024e3"),
        ("3", "0.01", "3e0"),
        ("12345678", "1000", "1.2345678e7"),
        ("12345678", "1e8", "1.23e7"),
        ("12345678", "1e12", "0"),
        ("2e-2000", "1e-2030", "2e-2000"),
    ],
)
def test_decimals_are_as_long_as_the_ball_is_narrow(centre: str, radius: str, expected: str) -> None:
    with flint_precision(8000):
        ball = arb(arb(centre).mid(), arb(radius).mid())
    (text,), (bound,) = decimals(Balls.of(np.array([ball], dtype=object)), 30)
    assert text == expected
    with flint_precision(8000):
        distance = abs(arb(expected) - ball).upper()
        assert distance <= float(bound)
        assert float(bound) <= distance * 1.01 + float(radius) * 0.01 + 3 * 5e-324


def test_exact_values_too_long_for_the_file_are_cut_and_say_so() -> None:
    balls = Balls.of(np.array([arb(2.0**-1070), arb(2.0**-30)], dtype=object))
    (long, short), (cut, whole) = decimals(balls, 10)
    assert 10 + MORE_DIGITS - 1 <= len(long.split("e")[0].replace(".", "")) <= 10 + MORE_DIGITS
    assert abs(Fraction(str(long)) - Fraction(2.0**-1070)) <= Fraction(float(cut))
    assert Fraction(str(short)) == Fraction(2.0**-30)
    assert whole == 0


def test_both_files_hold_the_same_and_are_inputs_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(41)
    mask = rng.random((3, 5)) < 0.7
    q, k, v = (rng.standard_normal((2, n, 4)) for n in (3, 5, 5))
    problem = Problem(q, k, v, causal=True, alignment="bottom-right", scale=0.3, mask=mask, name="<script>")
    truth = reference(problem, 50, "taylor:order=3")
    write_vectors(truth, tmp_path / "vectors.npz")
    write_vectors(truth, tmp_path / "vectors.json")
    document = json.loads((tmp_path / "vectors.json").read_text())
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {name for name, member in document.items() if member is not None}
        assert json.loads(str(archive["problem"])) == document["problem"] == described(problem)
        for name in set(archive.files) - {"problem"}:
            np.testing.assert_array_equal(archive[name], np.array(document[name]), err_msg=name)
        np.testing.assert_array_equal(archive["value"], truth.value)
    assert (document["mechanism"], document["order"], document["digits"]) == ("taylor", 3, truth.digits)
    assert document["member"] == "taylor:order=3"
    assert document["input"] == "<script>"
    again = FileInput((str(tmp_path / "vectors.npz"),)).load()
    assert again.digest == problem.digest == document["digest"]


class Crowded(LogitKernel):
    """The identity, with parameters that are called as what a file holds anyway, and one that is not."""

    name = "crowded"
    description = "the logit itself"
    source = "here"
    parameters: Mapping[str, Parameter] = {
        **{name: Whole(7, least=0) for name in ("q", "scale", "value", "mask", "mechanism", "digits", "file")},
        "loops": Whole(2, least=0),
        "kind": Choice("plain", ("plain", "fancy")),
    }

    def function(self, f: Field, s: Number, member: Member) -> Number:
        return s


def test_parameters_do_not_overwrite_what_a_file_holds(tmp_path: Path) -> None:
    problem = Problem([[1.0, 2.0]], [[1.0, 0.5], [0.25, 1.0]], [[1.0], [3.0]])  # neither scale nor mask
    truth = reference(problem, 30, Crowded().member(scale=5))
    write_vectors(truth, tmp_path / "vectors.npz")
    write_vectors(truth, tmp_path / "vectors.json")
    text = (tmp_path / "vectors.json").read_text()
    assert len(text.splitlines()) == 2 + len(json.loads(text))  # each name once
    document = json.loads(text)
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {name for name, member in document.items() if member is not None}
        for found in (document, archive):
            np.testing.assert_array_equal(found["q"], problem.q)
            np.testing.assert_array_equal(found["value"], truth.value)
            assert (found["mechanism"], found["digits"], found["loops"], found["kind"]) == (
                *("crowded", truth.digits, 2, "plain"),
            )
            assert found["member"] == truth.member.name
    assert (document["scale"], document["mask"]) == (None, None)
    assert "scale=5" in document["member"]
    assert FileInput((str(tmp_path / "vectors.npz"),)).load().digest == problem.digest


def test_a_row_without_a_value_is_nowhere_a_number(tmp_path: Path) -> None:
    truth = reference(Problem([[1.0], [0.0]], [[-1.0], [-2.0]], [[1.0], [2.0]], scale=1.0), 30, "taylor:order=3")
    write_vectors(truth, tmp_path / "vectors.json")
    document = json.loads((tmp_path / "vectors.json").read_text())
    assert document["decimal"] == [["nan"], ["1.5e0"]]
    assert document["value"] == [[None], [1.5]]
    assert document["radius"][0] == [None]
    assert document["normaliser_sign"] == [0, 1]


@pytest.mark.parametrize("name", ["vectors.npz", "vectors.json"])
def test_the_same_truth_makes_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_vectors(reference(PROBLEMS[0], 50), tmp_path / folder / name)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_nothing_is_lost_and_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InvalidRequestError, match=r"cannot be written \(No space left"):
        place(path, fail, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    place(path, lambda file: file.write(b"first"), overwrite=False)
    with pytest.raises(InvalidRequestError, match="which exists"):
        place(path, lambda file: file.write(b"second"), overwrite=False)
    with pytest.raises(InvalidRequestError, match="which exists"):
        require_placeable(path, overwrite=False)
    with pytest.raises(InvalidRequestError, match="No space left"):
        place(path, fail, overwrite=True)
    assert path.read_bytes() == b"first"
    place(path, lambda file: file.write(b"second"), overwrite=True)
    assert path.read_bytes() == b"second"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "file"
    place(path, lambda file: file.write(b"first"), overwrite=False)
    with pytest.raises(InvalidRequestError, match="which exists"):
        place(path, lambda file: file.write(b"second"), overwrite=False)
    assert path.read_bytes() == b"first"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_long_names_are_written_or_refused_before_the_work(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * 251 + ".npz")
    require_placeable(longest, overwrite=False)
    write_vectors(reference(PROBLEMS[0], 20), longest)
    with pytest.raises(InvalidRequestError, match="File name too long"):
        require_placeable(tmp_path / ("x" * 300 + ".npz"), overwrite=False)


def test_tiny_outputs_are_written_at_once(tmp_path: Path) -> None:
    problem = Problem([[1e9], [1e4], [1e300]], [[0.0], [-1.0]], [[0.0], [1.0]], scale=1.0)
    write_vectors(reference(problem, 50), tmp_path / "tiny.json")
    document = json.loads((tmp_path / "tiny.json").read_text())
    assert document["essentially_zero"] == [[True], [False], [True]]
    assert [text for (text,) in document["decimal"]][::2] == ["0", "0"]
    assert document["decimal"][1][0].endswith("e-4343")


def test_radii_around_decimals_are_rounded_up() -> None:
    # 2**-(p + 1) lies in the middle between two decimals of p places, so that rounding to either takes half a unit; a
    # radius between 128 and 512 units leaves p places, and float64 cannot hold the sum of the two
    for places in range(1, 41):
        exponent = ceil(log2(128) - places * log2(10)) - 29
        for bits in (2**29, 6 * 10**8, 10**9):
            ball = arb(arb(2) ** -(places + 1), (bits, exponent))
            mantissa, shift = (int(x) for x in ball.rad().man_exp())
            radius = mantissa * Fraction(2) ** shift
            (text,), (bound,) = decimals(Balls.of(np.array([ball], dtype=object)), 30)
            gap = abs(Fraction(str(text)) - Fraction(1, 2 ** (places + 1)))
            assert gap == Fraction(1, 2 * 10**places)
            assert gap + radius <= Fraction(float(bound)) <= (gap + radius) * (1 + Fraction(1, 2**50))
