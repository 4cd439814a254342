"""Every number of a record, found a second time from the raw arrays: loops and mpmath, none of the measuring code."""

from __future__ import annotations

import dataclasses
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from tests.cases import FORMS, named, run, variant
from tests.cells import records_of
from verify.attention import Variant
from verify.bounds import RoundingBound
from verify.errors import ViolatedBoundError
from verify.inputs import FileInput
from verify.measure.cell import Cell, measured
from verify.measure.counts import WIDTH
from verify.measure.exact import Exact, Setting
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.formats import FORMATS
from verify.numbers.precision import mpmath_precision
from verify.numbers.rounding import correctly_rounded
from verify.sweep import Record, Status
from verify.truth import reference

HEADS, QUERIES, KEYS, SIZE, VALUE_SIZE, SCALE = 2, 3, 5, 2, 3, 0.7
ORDERS = (0, 1, 3)
BITS = 400
# mechanisms that a family makes of one formula
MORE = [("mean", "pairs"), ("power", "scores"), ("elu", "pairs")]


@dataclasses.dataclass(frozen=True)
class Raw:
    """The arrays as drawn: two query heads share one key head, and nothing is a float32."""

    q: Any
    k: Any
    v: Any
    mask: Any

    def seen(self, head: int, row: int) -> list[int]:
        """Return the keys a query sees: causal with the last query at the last key, and its own head's mask."""
        return [t for t in range(KEYS) if t <= row + KEYS - QUERIES and self.mask[head, row, t]]


def draw() -> Raw:
    rng = np.random.default_rng(18)
    mask = rng.random((HEADS, QUERIES, KEYS)) < 0.8
    mask[1, 0] = False  # one row sees nothing
    q, k = 2 * rng.standard_normal((HEADS, QUERIES, SIZE)), 2 * rng.standard_normal((1, KEYS, SIZE))
    return Raw(q, k, rng.standard_normal((1, KEYS, VALUE_SIZE)) + 0.5, mask)


RAW = draw()
# what the inputs and outputs of each arithmetic are rounded to
INPUTS = {
    "float64": "float64",
    "float32": "float32",
    "float16+float32": "float16",
    "bfloat16+float32": "bfloat16",
    "float8_e4m3fn+float32": "float8_e4m3fn",
    "float16": "float16",
    "bfloat16": "bfloat16",
}
OUTPUTS = INPUTS | {"float8_e4m3fn+float32": "bfloat16"}


def narrowed(arithmetic: str) -> Raw:
    def rounded(values: Any) -> Any:
        return np.vectorize(lambda x: correctly_rounded(float(x), FORMATS[INPUTS[arithmetic]]))(values)

    return dataclasses.replace(RAW, **{name: rounded(getattr(RAW, name)) for name in ("q", "k", "v")})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FileInput:
    path = tmp_path_factory.mktemp("measure") / "raw.npz"
    np.savez(path, q=RAW.q, k=RAW.k, v=RAW.v, mask=RAW.mask)
    return FileInput((str(path),), scale=SCALE, causal=True, alignment="bottom-right")


def cell(mechanism: str, form: str, order: int | None, arithmetic: str) -> Cell:
    return Cell(variant(mechanism, form, order), arithmetic)


@pytest.fixture(scope="module")
def records(source: FileInput) -> dict[Cell, Record]:
    cells = tuple(
        cell(mechanism, form, order, arithmetic)
        for arithmetic in ARITHMETICS
        for mechanism, form in (*FORMS, *MORE)
        for order in (ORDERS if mechanism == "taylor" else (None,))
    )
    return dict(zip(cells, records_of(source, *cells), strict=True))


def weight(mechanism: str, order: int | None, q: Any, k: Any) -> Any:
    if mechanism == "logexp":
        return sum(mp.exp(mp.mpf(a)) * mp.exp(mp.mpf(b)) for a, b in zip(q, k, strict=True))
    if mechanism == "elu":
        of_q, of_k = ([mp.mpf(x) + 1 if x > 0 else mp.exp(mp.mpf(x)) for x in token] for token in (q, k))
        return sum(a * b for a, b in zip(of_q, of_k, strict=True))
    if mechanism == "mean":
        return mp.mpf(1)
    logit = mp.mpf(SCALE) * sum(mp.mpf(a) * mp.mpf(b) for a, b in zip(q, k, strict=True))
    if mechanism == "softmax":
        return mp.exp(logit)
    if mechanism == "power":
        return logit**2
    assert order is not None
    return sum(logit**p / mp.factorial(p) for p in range(order + 1))


def exact(raw: Raw, mechanism: str, order: int | None) -> tuple[dict[tuple[int, int, int], Any], int]:
    """Return the outputs of the rows that see something, and how many of these have Z <= 0."""
    values, nonpositive = {}, 0
    for head in range(HEADS):
        for row in range(QUERIES):
            seen = raw.seen(head, row)
            if not seen:
                continue
            weights = [weight(mechanism, order, raw.q[head, row], raw.k[0, t]) for t in seen]
            z = sum(weights)
            nonpositive += z <= 0
            for j in range(VALUE_SIZE):
                values[head, row, j] = sum(w * mp.mpf(raw.v[0, t, j]) for w, t in zip(weights, seen, strict=True)) / z
    return values, nonpositive


def ordinal(value: float, arithmetic: str) -> int:
    """Return where a number stands among those of the output's format, from its bit pattern."""
    output = OUTPUTS[arithmetic]
    if output == "bfloat16":  # the upper half of a float32
        upper: int = struct.unpack("<i", struct.pack("<f", correctly_rounded(value, FORMATS[output])))[0] >> 16
        return upper if upper >= 0 else -(upper & 0x7FFF)
    kind = {"float64": "<dq", "float32": "<fi", "float16": "<eh"}[output]
    pattern: int = struct.unpack(f"<{kind[2]}", struct.pack(kind[:2], value))[0]
    return pattern if pattern >= 0 else -(pattern & (2 ** (8 * struct.calcsize(kind[2]) - 1) - 1))


def statistics(one: Any, other: Any, softmax: Any, arithmetic: str) -> dict[str, float]:
    """Return the statistics of one - other over all elements."""
    gaps = sorted(abs(float(one[place] - other[place])) for place in softmax)
    count = len(gaps)
    rms = math.sqrt(math.fsum(gap * gap for gap in gaps) / count)
    steps = [abs(ordinal(float(one[p]), arithmetic) - ordinal(float(other[p]), arithmetic)) for p in softmax]
    bits = [math.log2(1 + step) for step in steps]
    shares = [abs(float((one[p] - other[p]) / other[p])) for p in softmax]
    digits = sorted(min(34.0, max(0.0, -math.log10(share))) if share else 34.0 for share in shares)
    return {
        "max": gaps[-1],
        **{f"q{percent:02}": gaps[math.ceil(percent * count / 100) - 1] for percent in (5, 25, 50, 75, 95, 99)},
        "rms": rms,
        "relative": rms / math.sqrt(math.fsum(float(y) ** 2 for y in softmax.values()) / count),
        "bits_mean": math.fsum(bits) / count,
        "bits_max": max(bits),
        "digits_min": digits[0],
        "digits_median": digits[math.ceil(0.5 * count) - 1],
        "unresolved": 0,
    }


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(
    ("mechanism", "form"), [*(pair for pair in FORMS if pair[1] not in ("packed", "stream", "linear")), *MORE]
)
def test_every_number_of_a_record(
    mechanism: str, form: str, arithmetic: str, records: dict[Cell, Record], source: FileInput
) -> None:
    problem = source.load()
    for order in ORDERS if mechanism == "taylor" else (None,):
        record = records[cell(mechanism, form, order, arithmetic)]
        assert record.status == Status.OK
        output = run(mechanism, form, problem, ARITHMETICS[arithmetic], order)
        plain = run("softmax", "softmax", problem, ARITHMETICS[arithmetic]).value
        with mpmath_precision(BITS):
            softmax, _ = exact(RAW, "softmax", None)
            null, _ = exact(RAW, "taylor", 0)
            own, nonpositive = exact(RAW, mechanism, order)
            rounded, _ = exact(narrowed(arithmetic), mechanism, order)
            computed = {place: mp.mpf(float(output.value[place])) for place in softmax}
            baseline = {place: mp.mpf(float(plain[place])) for place in softmax}
            expected = {
                "rounding": statistics(computed, rounded, softmax, arithmetic),
                "quantisation": statistics(rounded, own, softmax, arithmetic),
                "total": statistics(computed, softmax, softmax, arithmetic),
            }
            if mechanism != "softmax":
                expected["formula"] = statistics(own, softmax, softmax, arithmetic)
            null_rms = statistics(null, softmax, softmax, arithmetic)["rms"]
            baseline_rms = statistics(baseline, softmax, softmax, arithmetic)["rms"]
        found = {name: dataclasses.asdict(summary) for name, summary in record.errors.items()}
        assert set(found) == set(expected)
        for name, numbers in expected.items():
            for quantile in [number for number in numbers if number.startswith("q")]:
                size, least = found[name].pop(quantile), numbers.pop(quantile)
                assert (1 - 1e-9) * least <= size <= (1 + 1e-9) * (1 + WIDTH) * least, (order, name, quantile)
            digits = numbers.pop("digits_median") - found[name].pop("digits_median")
            assert -1e-9 <= digits <= math.log10(1 + WIDTH) + 1e-9
            assert found[name] == pytest.approx(numbers, rel=1e-9, abs=0), (order, name)
        if arithmetic == "float64":
            assert found["quantisation"]["max"] == 0
        assert record.skill == pytest.approx(1 - expected["total"]["rms"] / null_rms, rel=1e-9, abs=1e-9)
        assert record.softmax_ratio == pytest.approx(expected["total"]["rms"] / baseline_rms, rel=1e-9)
        assert record.nonpositive_exact == nonpositive
        normaliser = [output.normaliser[head, row] for head, row, j in softmax if j == 0]
        assert record.hazards == output.hazards
        assert output.hazards.nonpositive_rows == sum(not z > 0 for z in normaliser)
        assert (output.hazards.nonfinite_elements, record.undefined, record.without_digits) == (0, 0, 0)
        parts = [
            reference(p, 33, named(mechanism, order))
            for p in (problem, problem.rounded(ARITHMETICS[arithmetic].inputs))
        ]
        assert record.digits == min(part.digits for part in [*parts, reference(problem, 33)])


def test_the_case_is_worth_it(records: dict[Cell, Record]) -> None:
    counts = [
        record.nonpositive_exact
        for record in records.values()
        if record.labels.get("order") in (1, 3) and record.errors
    ]
    assert any(counts)
    assert any(record.errors["quantisation"].max > 1e-9 for record in records.values() if record.errors)
    refused = [cell for cell, record in records.items() if record.status == Status.REFUSED]
    # no mask, no shifted alignment: packed and stream at every order, linear and stream of log-exp
    assert {cell.variant.form for cell in refused} == {"packed", "stream", "linear"}
    assert len(refused) == len(ARITHMETICS) * (2 * len(ORDERS) + 2)


def test_facts_about_the_input(records: dict[Cell, Record], source: FileInput) -> None:
    record = next(iter(records.values()))
    sizes = (record.heads, record.queries, record.keys, record.head_size, record.value_size)
    assert sizes == (HEADS, QUERIES, KEYS, SIZE, VALUE_SIZE)
    places = [(h, i, t) for h in range(HEADS) for i in range(QUERIES) for t in RAW.seen(h, i)]
    logits = np.array([SCALE * float(RAW.q[h, i] @ RAW.k[0, t]) for h, i, t in places])
    assert record.largest_logit == pytest.approx(np.abs(logits).max())
    assert record.measured_logit_std == pytest.approx(logits.std())
    assert record.rows == len({place[:2] for place in places}) == HEADS * QUERIES - 1
    assert (record.causal, record.scale, record.kind, record.input) == (True, SCALE, "file", source.name)
    assert record.digest == source.load().digest


def test_costs_are_those_of_the_form(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q=RAW.q, k=RAW.k, v=RAW.v)
    source = FileInput((str(tmp_path / "a.npz"),))
    cells = tuple(cell(*pair, 2 if pair[0] == "taylor" else None, "float64") for pair in FORMS)
    found = {
        f"{cell.member.of}/{cell.variant.form}": record
        for cell, record in zip(cells, records_of(source, *cells), strict=True)
    }
    cache = KEYS * (SIZE + VALUE_SIZE)
    costs = {form: (r.features, r.state_elements, r.flops_per_token) for form, r in found.items()}
    features = 1 + SIZE + SIZE * (SIZE + 1) // 2
    flops = (4 * VALUE_SIZE + 4) * 1 + (4 * VALUE_SIZE + 6) * SIZE + (4 * VALUE_SIZE + 8) * SIZE * (SIZE + 1) // 2
    conventional = (None, cache, KEYS * (2 * SIZE + 2 * VALUE_SIZE + 3))
    packed = (features, (VALUE_SIZE + 1) * features, flops)
    logexp = (SIZE, SIZE * (VALUE_SIZE + 1), None)
    assert costs == {
        "softmax/softmax": conventional,
        "softmax/online": conventional,
        "logexp/quadratic": (None, cache, None),
        "logexp/linear": logexp,
        "logexp/stream": logexp,
        "taylor/scores": (None, cache, None),
        "taylor/packed": packed,
        "taylor/stream": packed,
        "taylor/dense": (1 + SIZE + SIZE**2, (VALUE_SIZE + 1) * (1 + SIZE + SIZE**2), None),
    }


def record_of(source: FileInput, *which: Any) -> Record:
    (record,) = records_of(source, cell(*which))
    return record


@pytest.mark.parametrize(("spread", "order"), [(0.01, 14), (1.0, 40), (0.01, 24)])
def test_truncation_is_resolved_however_small(spread: float, order: int, tmp_path: Path) -> None:
    # 33 digits cannot tell these apart; the difference has to be found with more
    q, k, v = np.random.default_rng(19).standard_normal((3, 6, 4))
    np.savez(tmp_path / "a.npz", q=spread * q, k=k, v=v)
    source = FileInput((str(tmp_path / "a.npz"),), scale=0.5)
    record = record_of(source, "taylor", "scores", order, "float64")
    with mpmath_precision(BITS):
        squares = mp.mpf(0)
        for i in range(6):
            logits = [
                sum(mp.mpf(a) * mp.mpf(b) for a, b in zip(spread * q[i], k[t], strict=True)) / 2 for t in range(6)
            ]
            cut = [sum(s**p / mp.factorial(p) for p in range(order + 1)) for s in logits]
            whole = [mp.exp(s) for s in logits]
            for j in range(4):
                one, other = (sum(w * v[t, j] for t, w in enumerate(ws)) / sum(ws) for ws in (cut, whole))
                squares += (one - other) ** 2
        expected = float(mp.sqrt(squares / 24))
    assert 0 < expected < 1e-30
    assert record.errors["formula"].rms == pytest.approx(expected, rel=1e-6, abs=0)


def test_differences_that_do_not_exist_are_zero(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q=np.ones((2, 1)), k=np.ones((2, 1)), v=np.full((2, 1), 0.3))
    source = FileInput((str(tmp_path / "a.npz"),))
    record = record_of(source, "taylor", "scores", 2, "float64")
    assert record.errors["formula"].max == record.errors["quantisation"].max == 0.0
    assert record.skill is None  # the mean of v is exact already


@pytest.mark.parametrize(
    ("q", "k", "v", "expected"),
    [
        # s = 1e50 overflows float32: the weights are infinities of both signs, and their sum is NaN; exactly, Z = 2
        (1e25, [1e25, -1e25], [1.0, 2.0], (0, 1, 0, 1)),
        # weights -1 and 1: Z = 0, numerator 4, output infinite
        (1.0, [-2.0, 0.0], [1.0, 5.0], (1, 1, 1, 1)),
    ],
)
def test_hazards_are_counted(q: float, k: list[float], v: list[float], expected: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q=[[q]], k=[[x] for x in k], v=[[x] for x in v])
    source = FileInput((str(tmp_path / "a.npz"),), scale=1.0)
    record = record_of(source, "taylor", "scores", 1, "float32")
    assert record.hazards is not None
    computed = (record.hazards.nonpositive_rows, record.hazards.nonfinite_elements)
    assert (record.nonpositive_exact, computed[0], record.undefined, computed[1]) == expected
    assert record.errors["total"].max == np.inf


@pytest.mark.parametrize("mechanism", ["softmax", "scores"])
def test_float32_is_computed_in_float32(mechanism: str, records: dict[Cell, Record]) -> None:
    # a computation in float64, rounded at the end, errs by at most half a step: more shows that steps were rounded
    which = (
        cell("softmax", "softmax", None, "float32")
        if mechanism == "softmax"
        else cell("taylor", "scores", 3, "float32")
    )
    rounding = records[which].errors["rounding"]
    assert rounding.bits_max > 1.0


@pytest.mark.parametrize(("part", "probable"), [("rounding", False), ("rounding", True), ("formula", False)])
def test_an_error_a_little_above_its_bound_is_noticed(
    part: str, probable: bool, source: FileInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = variant("taylor", "scores", 3)
    problem = source.load()
    setting = Setting(Exact(problem, [chosen.member]), ARITHMETICS["float32"])
    least = setting.errors(chosen).found.parts[part].least
    sure = np.full(least.shape, np.inf)
    for share, holds in ((1.0, True), (1.05, probable), (0.5, True)):
        bound = least / share
        rounding = RoundingBound(sure, bound) if probable else RoundingBound(bound, bound)
        if part == "rounding":
            monkeypatch.setattr(Variant, "rounding_bound", lambda *_, given=rounding: given)
        else:
            monkeypatch.setattr(type(chosen.member.mechanism), "formula_bound", lambda *_, given=bound: given)
        if holds:
            name = "rounding_probable" if probable else part
            found = measured(problem, Cell(chosen, "float32"))
            assert found.bounds[name].share == pytest.approx(share, rel=1e-12)
        else:
            with pytest.raises(ViolatedBoundError, match=f"the error of {part} is 1.05 times its bound"):
                measured(problem, Cell(chosen, "float32"))
