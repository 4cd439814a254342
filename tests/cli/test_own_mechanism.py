"""A mechanism of one's own, in one file, in every command that takes mechanisms."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mpmath import mp

from tests.cli.running import run
from verify.numbers.precision import mpmath_precision

MINE = """
from fractions import Fraction

from verify.arguments import Whole
from verify.families import FeatureKernel, PolynomialKernel


class Squares(FeatureKernel):
    name = "squares"
    description = "features 1 and x^2"
    source = "a test"

    def feature_count(self, head_size, member):
        return head_size + 1

    def features(self, f, x, scale, member):
        return [f.ratio(1), *(c * c for c in x)]


class Doubled(PolynomialKernel):
    name = "doubled"
    description = "powers of half the logit, doubled"
    source = "a test"
    parameters = {"degree": Whole(None, least=0, most=6)}
    axis = "degree"

    def coefficients(self, member):
        return [Fraction(2, 2**p) for p in range(member["degree"] + 1)]


SQUARES, DOUBLED = Squares(), Doubled()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    q, k, v = np.random.default_rng(12).standard_normal((3, 5, 3))
    np.savez("good.npz", q=q, k=k, v=v)
    return tmp_path


def test_reference_certifies_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys, "reference", "good.npz", "--mechanism", "mine.py:SQUARES", "--digits", "40")
    assert (code, said) == (0, "")
    assert printed.splitlines()[0] == "exact squares on good.npz: 5 x 3 output elements"
    vectors = np.load("reference.npz")
    assert (str(vectors["mechanism"]), str(vectors["member"])) == ("squares", "squares")
    with mpmath_precision(200):
        q, k, v = ([[mp.mpf(x) for x in row] for row in vectors[name].tolist()] for name in "qkv")
        for i, query in enumerate(q):
            weights = [1 + mp.fsum(a**2 * b**2 for a, b in zip(query, key, strict=True)) for key in k]
            for j in range(3):
                expected = mp.fdot(weights, [row[j] for row in v]) / mp.fsum(weights)
                assert abs(mp.mpf(str(vectors["decimal"][i, j])) - expected) < abs(expected) * mp.mpf(10) ** -40
    code, _, said = run(capsys, "reference", "good.npz", "--mechanism", "mine.py:DOUBLED", "--force")
    assert (code, said.count("\n")) == (2, 1)
    assert "doubled without degree" in said
    code, printed, _ = run(
        capsys, "reference", "good.npz", "--mechanism", "mine.py:DOUBLED:degree=2", "--force", "--json"
    )
    assert (code, json.loads(printed)["member"]) == (0, "doubled:degree=2")


def test_features_counts_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "features", "--mechanism", "mine.py:SQUARES", "--head-sizes", "3,8", "--json")
    assert code == 0
    assert [(row["member"], row["features"], row["state_elements"]) for row in json.loads(printed)["rows"]] == [
        ("squares", 4, 4 * 4),
        ("squares", 9, 9 * 9),
    ]
    code, printed, _ = run(capsys, "features", "--mechanism", "mine.py:DOUBLED", "--head-sizes", "3", "--json")
    assert [(row["order"], row["features"]) for row in json.loads(printed)["rows"]] == [
        *((0, 1), (1, 4), (2, 10), (3, 20), (4, 35), (5, 56), (6, 84))  # C(3 + N, N)
    ]
    code, _, said = run(capsys, "features", "--mechanism", "softmax")
    assert (code, said.count("\n")) == (2, 1)
    assert "the features of softmax, which has none" in said


def test_recommend_searches_along_its_axis(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("recommend", "good.npz", "--tolerance", "1e3")
    code, printed, _ = run(capsys, *arguments, "--mechanism", "mine.py:DOUBLED", "--max-order", "3", "--json")
    (document,) = json.loads(printed)["inputs"]
    assert (code, document["mechanism"], document["axis"], document["value"]) == (0, "doubled", "degree", 0)
    for named, says in (
        ("SQUARES", "mechanism squares, which has nothing to vary"),
        ("DOUBLED:degree=4", "mechanism doubled with its degree given; expected degree left open"),
    ):
        code, _, said = run(capsys, *arguments, "--mechanism", f"mine.py:{named}")
        assert (code, said.count("\n")) == (2, 1)
        assert says in said


@pytest.mark.usefixtures("undrawn")
def test_sweep_and_report_have_it_beside_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ("sweep", "--input", "good.npz", "--orders", "1", "--arithmetic", "float64", "--jobs", "0")
    code, printed, _ = run(capsys, *shared, "--mechanism", "mine.py:SQUARES", "--json")
    found = {(r["member"], r["form"], r["status"]) for r in json.loads(printed)["records"]}
    assert code == 0
    assert {("squares", "pairs", "ok"), ("squares", "stream", "ok"), ("softmax", "softmax", "ok")} <= found
    chosen = "taylor/packed,taylor/packed:side=both,degrees=apart,mine.py:DOUBLED:degree=2/packed:chunk=2"
    code, printed, _ = run(capsys, *shared, "--mechanisms", chosen, "--json")
    found = {(r["member"], r["form"], tuple(r["options"].items())) for r in json.loads(printed)["records"]}
    assert found == {
        ("taylor:order=1", "packed", ()),
        ("taylor:order=1", "packed", (("side", "both"), ("degrees", "apart"))),
        ("doubled:degree=2", "packed", (("chunk", 2),)),
    }
    assert run(capsys, "report", "run.sqlite")[0] == 0
    page = Path("report/report.md").read_text()
    assert " cells, 1 input. Errors are relative" in page
    assert "packed:side=both,degrees=apart" in page
    assert "squares" in page


def test_list_shows_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "list", "--mechanism", "mine.py:DOUBLED", "--json")
    lists = json.loads(printed)
    assert code == 0
    assert lists["mechanisms"]["doubled"] == "powers of half the logit, doubled; parameters degree; varied along degree"
    assert "doubled/packed" in lists["forms"]


BROKEN = """
from verify.families import LogitKernel


class Broken(LogitKernel):
    name = "broken"
    description = "what gives no number"
    source = "a test"

    def function(self, f, s, member):
        {body}


BROKEN = Broken()
"""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('first\\nsecond')", "broken, which raises ValueError: first second, line 11; expected"),
        (
            "raise SystemExit(3)",
            "SystemExit: 3, line 11; expected code that runs; mend broken.py",
        ),
        ("return f.cos(s)", "has no attribute 'cos'"),
        ("f.exp(s)", "a formula gives NoneType None; expected a number of its field"),
        ("return [s]", "a formula gives list"),
        ("return 0.5", "a formula gives float 0.5; expected a number of its field, or a whole number"),
    ],
)
def test_a_formula_that_gives_no_number_is_no_answer(
    body: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text(BROKEN.format(body=body))
    code, printed, said = run(capsys, "reference", "good.npz", "--mechanism", "broken.py:BROKEN", "--digits", "20")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert says in said
    assert not Path("reference.npz").exists()


WRONG = """
from verify.arguments import Whole
from verify.families import FeatureKernel


class Wrong(FeatureKernel):
    name = "wrong"
    description = "exponentials"
    source = "a test"
    parameters = {{"base": Whole(1, least=1)}}
    axis = "base"

    def features(self, f, x, scale, member):
        return [f.exp(c) for c in x]

    def {method}(self, *given):
        {body}


WRONG = Wrong()
"""


@pytest.mark.parametrize(
    ("command", "method", "body", "says"),
    [
        ("sweep", "labels", "raise KeyError('x')", "wrong, which raises KeyError: 'x', line 17; .*; mend wrong.py"),
        ("sweep", "labels", "return {1: 2}", r"labels {1: 2} of wrong:base=1; expected names with whole numbers"),
        ("sweep", "descriptor", "raise OSError('no disk')", "wrong, which raises OSError: no disk, line 17"),
        ("recommend", "searched", "raise SystemExit(3)", "wrong, which raises SystemExit: 3, line 17"),
        ("recommend", "unservable", "raise OSError('no disk')", "wrong, which raises OSError: no disk, line 17"),
        ("features", "searched", "raise KeyError('x')", "wrong, which raises KeyError: 'x', line 17"),
        (
            "recommend",
            "searched",
            "return [2, 1]",
            r"the values \[2, 1\] that wrong searches; expected a list",
        ),
        ("recommend", "searched", "return []", r"the values \[\] that wrong searches"),
        (
            "recommend",
            "searched",
            "return [1, 9]",
            r"the values \[1, 9\] that wrong .* expected .* that rise, up to 8; m",
        ),
        ("recommend", "hopeless", "return True", r"hopeless\(\) of wrong gives True; expected one line of text; mend"),
        ("recommend", "hopeless", "return 'a\\nb'", r"hopeless\(\) of wrong gives 'a\\nb'; expected one line"),
        ("reference", "work", "return '3'", r"work\(\) of wrong:base=1 gives '3'; expected an integer of at least 1"),
        (
            "reference",
            "features",
            "return given[1][0]",
            "features of wrong:base=1 of type .*; expected a list of numbers",
        ),
        (
            "features",
            "counts",
            "return 3",
            "counts 3 of wrong:base=1; expected a FeatureCost, or None; mend",
        ),
        ("features", "counts", "raise KeyError('x')", "wrong, which raises KeyError: 'x', line 17"),
        ("reference", "work", "raise KeyError('x')", "wrong, which raises KeyError: 'x', line 17"),
        ("reference", "unservable", "raise KeyError('x')", "wrong, which raises KeyError: 'x', line 17"),
        (
            "reference",
            "feature_count",
            "return 5",
            "3 features of wrong:base=1 at head size 3; expected 5, as",
        ),
        *(
            (
                command,
                "feature_count",
                f"return {count}",
                f"feature_count {count} of wrong:base=1 at head size 3; expected an integer of at least 1; mend",
            )
            for command, count in [("features", "-1"), ("reference", "0"), ("recommend", "3.0"), ("features", "None")]
        ),
        *(
            (
                command,
                "unservable",
                "return 'no'",
                r"'no' from unservable\(\) of wrong; expected an InvalidRequestError, or None; mend it",
            )
            for command in ("reference", "recommend")
        ),
    ],
)
def test_whatever_else_of_it_breaks_is_one_line(
    command: str, method: str, body: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wrong.py").write_text(WRONG.format(method=method, body=body))
    arguments: dict[str, list[object]] = {
        "sweep": ["--input", "good.npz", "--jobs", 0],
        "recommend": ["good.npz", "--tolerance", 1e-9, "--max-order", 8],
        "features": ["--head-sizes", 3],
        "reference": ["good.npz"],
    }
    code, printed, said = run(capsys, command, *arguments[command], "--mechanism", "wrong.py:WRONG")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert re.match(f"attnproof: {says}", said), said


TALKING = """
from verify.families import FeatureKernel

print("imported")


class Talking(FeatureKernel):
    name = "talking"
    description = "exponentials"
    source = "a test"

    def features(self, f, x, scale, member):
        print("asked")
        return [f.exp(c) for c in x]

    def labels(self, member):
        print("labelled")
        return {}


TALKING = Talking()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["features", "--head-sizes", "3"],
        ["list"],
        ["reference", "good.npz", "--jobs", "0"],
        ["reference", "good.npz", "--jobs", "1"],
        ["sweep", "--input", "good.npz", "--mechanisms", "talking", "--arithmetic", "float64", "--jobs", "0"],
        ["sweep", "--input", "good.npz", "--mechanisms", "talking", "--arithmetic", "float64", "--jobs", "1"],
    ],
    ids=" ".join,
)
def test_what_it_prints_goes_to_stderr(arguments: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("talking.py").write_text(TALKING)
    code, printed, said = run(capfd, *arguments, "--mechanism", "talking.py:TALKING", "--json")
    assert code == 0
    assert isinstance(json.loads(printed), dict)
    expected = {"list": {"imported"}, "reference": {"imported", "asked"}}  # two processes may print into one line
    assert set(said.replace("ed", "ed ").split()) == expected.get(arguments[0], {"imported", "asked", "labelled"})


def test_a_file_that_misses_what_stands_beside_it_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "beside_it.py").write_text("")
    for module, remedy in (
        ("beside_it", "write beside_it into it, or put its folder on PYTHONPATH"),
        ("nowhere.at_all", "mend it"),
    ):
        Path("own/mine.py").write_text(f"import {module}\n{MINE}")
        code, _, said = run(capsys, "features", "--mechanism", "own/mine.py:SQUARES", "--head-sizes", "3")
        assert (code, said.count("\n")) == (2, 1)
        assert said.endswith(f"line 1); expected a file that does; {remedy}\n")
    Path("own/mine.py").write_text(f"import beside_it\n{MINE}")
    monkeypatch.syspath_prepend(folder / "own")
    assert run(capsys, "features", "--mechanism", "own/mine.py:SQUARES", "--head-sizes", "3")[0] == 0


POLYNOMIAL = """
from fractions import Fraction

from verify.families import PolynomialKernel


class Poly(PolynomialKernel):
    name = "poly"
    description = "a polynomial"
    source = "a test"

    def coefficients(self, member):
        return {coefficients}


POLY = Poly()
"""


@pytest.mark.parametrize("coefficients", ["[Fraction(0)]", "[]", "None", "[1.5]", "[True]", "3", "(c for c in [1])"])
@pytest.mark.parametrize("command", ["features", "reference", "sweep"])
def test_coefficients_are_rational_and_not_all_zero(
    coefficients: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("poly.py").write_text(POLYNOMIAL.format(coefficients=coefficients))
    arguments: dict[str, list[object]] = {
        "features": ["--head-sizes", 3],
        "reference": ["good.npz"],
        "sweep": ["--input", "good.npz", "--jobs", 0, "--arithmetic", "float32", "--mechanisms", "poly/scores"],
    }
    code, _, said = run(capsys, command, *arguments[command], "--mechanism", "poly.py:POLY")
    assert code == (1 if command == "sweep" else 2)
    assert re.search(r"coefficients .* of poly; expected a list of Fractions that are not all 0; mend them", said)


@pytest.mark.parametrize(
    "body",
    [
        "return f.exp(s) if s > 0 else 3 * f.exp(s)",  # a ball that holds both signs is not above
        "return f.exp(s) if type(f).__name__ == 'BallField' else f.exp(s / 2)",
    ],
)
def test_a_formula_that_is_not_one_formula_is_not_certified(
    body: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text(BROKEN.format(body=body))
    # one logit is 2^-900, left over by terms of size 1
    np.savez("small.npz", q=[[1.0, 1.0, 2.0**-900]], k=[[1.0, -1.0, 1.0], [1.0, 0.0, 0.0]], v=[[1.0], [0.0]], scale=1.0)
    code, printed, said = run(capsys, "reference", "small.npz", "--mechanism", "broken.py:BROKEN", "--digits", "20")
    assert (code, printed, said.count("\n")) == (1, "", 1)
    assert "by the mpmath definition" in said
    assert not Path("reference.npz").exists()
