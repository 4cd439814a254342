"""attnproof features as a user meets it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from functools import cache
from math import comb, factorial
from typing import Any

import pytest

from tests.cli.running import run
from tests.readme import PROOFS, ROOT
from verify.claims import audit
from verify.families.polynomial import basis
from verify.mechanisms.taylor import costs as cost
from verify.proofs import PROOFS as PROVED
from verify.proofs.finding import Finding


def test_features_gives_the_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys, "features", "--head-sizes", "8,16,32,64,128", "--orders", "3", "--json")
    rows = json.loads(printed)["rows"]
    assert (code, said) == (0, "")
    keys = ("head_size", "features", "state_elements", "flops_per_token", "kv_break_even", "flop_break_even")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (8, 165, 1_485, 6_820, 93, 195),
        (16, 969, 16_473, 71_364, 515, 1_065),
        (32, 6_545, 215_985, 902_020, 3_375, 6_886),
        (64, 47_905, 3_113_825, 12_738_308, 24_327, 49_183),
        (128, 366_145, 47_232_705, 191_110_660, 184_503, 371_089),
    ]
    assert {(row["order"], row["terms"]) for row in rows} == {(3, 4)}
    code, printed, _ = run(capsys, "features", "--head-sizes", "64", "--orders", "3", "--value-size", "32")
    assert "47,905" in printed
    assert "d_v" in printed
    code, printed, _ = run(capsys, "features", "--head-sizes", "65536", "--orders", "512", "--json")
    assert code == 0
    assert json.loads(printed)["rows"][0]["features"] == comb(65536 + 512, 512)


def test_every_order_of_a_large_head(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "features", "--head-sizes", "128", "--orders", "0:15", "--json")
    rows = json.loads(printed)["rows"]
    assert code == 0
    assert [row["features"] for row in rows] == [comb(128 + order, order) for order in range(16)]
    assert rows[15]["features"] == comb(143, 15) == 76_435_265_515_004_093_841
    assert rows[15]["alpha"] == f"1/({factorial(15) * 128**7} sqrt(128))"
    assert rows[2]["state_bytes"]["float64"] == 8 * rows[2]["state_elements"]
    assert rows[2]["reduction"] == rows[2]["dense_features"] / rows[2]["features"]


def test_heads_at_fixed_width(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["features", "--width", "1024:4096", "--head-sizes", "32,64", "--orders", "3"]
    code, printed, said = run(capsys, *arguments, "--json")
    rows = json.loads(printed)["heads"]
    assert (code, said) == (0, "")
    assert [(row["width"], row["head_size"], row["heads"]) for row in rows] == [
        (1024, 32, 32),
        (1024, 64, 16),
        (2048, 32, 64),
        (2048, 64, 32),
        (4096, 32, 128),
        (4096, 64, 64),
    ]
    assert rows[0]["total_state_elements"] == 32 * 215_985
    assert rows[0]["total_flops_per_token"] == 32 * 902_020
    assert rows[0]["kv_cache_per_token"] == 2 * 1024
    code, printed, _ = run(capsys, *arguments, "--value-size", "16")
    assert re.search(r"^width +d +d_v +order +terms", printed, re.MULTILINE)


def test_a_width_that_is_no_multiple_is_refused_after_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["features", "--width", "1000", "--head-sizes", "8,16", "--orders", "3"]
    code, printed, said = run(capsys, *arguments)
    assert (code, said.count("\n")) == (2, 1)
    assert "width 1000 at head size 16, which does not divide it" in said
    assert "take 992 or 1008" in said
    assert "185,625" in printed  # 125 heads of 8
    code, printed, _ = run(capsys, *arguments, "--json")
    document = json.loads(printed)
    assert (code, len(document["rows"]), len(document["heads"])) == (2, 2, 1)
    code, printed, said = run(capsys, "features", "--width", "8", "--head-sizes", "16")
    assert (code, printed) == (2, "")
    assert "take 16" in said


def test_monomials(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["features", "--monomials", "--head-sizes", "2,3", "--orders", "2"]
    code, printed, said = run(capsys, *arguments, "--json")
    found = json.loads(printed)["monomials"]
    assert (code, said) == (0, "")
    small = [(m["indices"], m["multiplicity"]) for m in found if m["head_size"] == 2]
    assert small == [([0, 0], 1), ([0, 1], 2), ([1, 1], 1)]
    papers = sorted((m for m in found if m["head_size"] == 3), key=lambda m: m["lexicographic_position"])
    assert [m["indices"] for m in papers] == [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
    code, printed, _ = run(capsys, *arguments, "--as", "csv")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["indices"] for row in rows[:3]] == ["0 0", "0 1", "1 1"]
    assert len(rows) == 9
    assert "paper's position" in run(capsys, *arguments)[1]


@pytest.mark.parametrize("style", ["plain", "csv", "json"])
def test_a_list_that_does_not_fit_is_refused_and_counted(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--json"] if style == "json" else ["--as", style]
    code, printed, said = run(capsys, "features", "--monomials", "--head-sizes", "64,1", "--orders", "10", *how)
    assert (code, said.count("\n")) == (2, 1)
    assert (
        "a list of 621,324,937,376 monomials of degree 10 in 64 variables, 1.38e+06 GiB; expected at most 1 GiB" in said
    )
    if style == "json":
        document = json.loads(printed)
        assert document["rows"][0]["degree_features"] == 621_324_937_376
        assert len(document["monomials"]) == 1
    elif style == "csv":
        assert printed.splitlines()[0].startswith("head_size,degree,position")
        assert len(printed.splitlines()) == 2
    else:
        assert "718,406,958,841" in printed


STYLED = ["features", "--head-sizes", "8,64", "--orders", "0,3"]


def test_styles(capsys: pytest.CaptureFixture[str]) -> None:
    records = json.loads(run(capsys, *STYLED, "--json")[1])["rows"]
    rows = list(csv.DictReader(io.StringIO(run(capsys, *STYLED, "--as", "csv")[1])))
    assert [int(row["flops_per_token"]) for row in rows] == [record["flops_per_token"] for record in records]
    assert [int(row["state_bytes_bfloat16"]) for row in rows] == [2 * record["state_elements"] for record in records]
    markdown = run(capsys, *STYLED, "--as", "markdown")[1]
    assert markdown.splitlines()[0].startswith("|")
    latex = run(capsys, *STYLED, "--as", "latex")[1]
    assert "12,738,308" in markdown
    assert "12,738,308" in latex
    assert "toprule" in latex
    in_bfloat16 = run(capsys, *STYLED, "--storage", "bfloat16")[1]
    assert re.search("bfloat16.*\n.*bytes", in_bfloat16)
    assert "6.23 MB" in in_bfloat16  # 2 x 3,113,825 B


@pytest.mark.parametrize(
    ("mechanism", "keys"),
    [
        ("taylor", "d +order +terms"),
        ("power", "d +degree"),
        ("favor", "member +d"),  # its axis is called like a count
        ("elu", "member +d"),
        ("examples/chebyshev.py:CHEBYSHEV", "d +order +radius"),
    ],
)
def test_columns_are_called_as_the_mechanism_calls_them(
    mechanism: str, keys: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for more, first in ((), keys), (("--width", "64"), f"width +{keys}"):
        code, printed, _ = run(capsys, "features", "--mechanism", mechanism, "--head-sizes", "8,64", *more)
        assert code == 0
        assert max(map(len, printed.splitlines())) <= 80
        headings = [part.split("\n-")[0].splitlines()[-1] for part in printed.split("\n\n")]
        for heading in headings:
            assert re.match(f" *{first} ", heading), heading
            assert ("order" in heading) == ("order" in keys)
            assert ("terms" in heading) == ("terms" in keys)


def test_ratios_beyond_float64_have_their_integers(capsys: pytest.CaptureFixture[str]) -> None:
    far = ["features", "--head-sizes", "65536", "--orders", "512"]
    (row,) = json.loads(run(capsys, *far, "--json")[1])["rows"]
    assert row["reduction"] is None
    assert row["dense_features"] > 10**1000
    assert re.search(r"e\+11\d\d$", run(capsys, *far)[1].splitlines()[-1])


EVERY: tuple[Any, ...] = (*PROVED, *audit.CHECKS)
STATEMENTS = {statement.name: statement for statement in EVERY}


@cache
def found(name: str) -> Finding:
    """Return what becomes of a proof or a check, once: what follows the first time is how it is shown."""
    finding: Finding = STATEMENTS[name].finding()
    return finding


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_proof_and_every_check_holds(name: str) -> None:
    assert found(name).difference is None
    assert re.match("(proved for all |checked for )", found(name).scope)
    assert " ".join(found(name).scope.split()) in " ".join(PROOFS.read_text().split())


def test_prove(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "findings", lambda: map(found, STATEMENTS))
    monkeypatch.setattr(audit, "operations_of_one_token", cache(audit.operations_of_one_token))
    code, printed, said = run(capsys, "features", "--prove")
    assert (code, said) == (0, "")
    verdicts = re.findall(r"^  => (.*)$", printed, re.MULTILINE)
    assert len(verdicts) == len(STATEMENTS) == len(PROVED) + len(audit.CHECKS)
    assert all(re.match("proved for all |checked for ", verdict) for verdict in verdicts)
    assert printed == PROOFS.read_text(), "run make readme and read the difference"
    assert re.search(r"all +6,820 +6,665 +6,300", printed)
    code, printed, _ = run(capsys, "features", "--prove", "--json")
    document = json.loads(printed)
    assert code == 0
    assert len(document["findings"]) == len(verdicts)
    assert all(finding["holds"] for finding in document["findings"])
    assert document["operations"]["rows"][-1]["charged"] == 6_820
    assert document["operations"]["rows"][-1]["packed"]["flops"] == 6_300
    rows = list(csv.DictReader(io.StringIO(run(capsys, "features", "--prove", "--as", "csv")[1])))
    assert [row["scope"] for row in rows] == [finding["scope"] for finding in document["findings"]]
    assert "toprule" in run(capsys, "features", "--prove", "--as", "latex")[1]


def dropped(values: list[Any]) -> list[Any]:
    return values[:2] + values[3:]


def changed(values: list[int]) -> list[int]:
    return [value + (position == 3) for position, value in enumerate(values)]


PLANTED: dict[str, tuple[Any, str, Callable[[Any], Any], list[str], str]] = {
    "a multiplicity changed": (
        basis,
        "multiplicities",
        lambda true: lambda *a: changed(true(*a)),
        [],
        "expansion: at d = 2, p = 3: x1 x1 x1 (position 3) has multiplicity 2",
    ),
    "a monomial dropped": (
        basis,
        "monomial_indices",
        lambda true: lambda *a: dropped(true(*a)),
        ["--json"],
        "expansion: at d = 2, p = 2: x1 x1 of sympy's expansion is missing",
    ),
    "order and terms confused": (
        cost,
        "feature_count",
        lambda true: lambda d, order: true(d, order + 1),
        ["--as", "markdown"],
        "costs: at d = 1, d_v = 1, order 0: features is 2",
    ),
}


@pytest.mark.parametrize(("module", "name", "planted", "how", "message"), PLANTED.values(), ids=PLANTED.keys())
def test_what_is_planted_makes_the_command_fail_and_is_named(
    module: Any,
    name: str,
    planted: Any,
    how: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, planted(getattr(module, name)))
    # what sympy derives by itself is not what is planted in, nor is what runs
    monkeypatch.setattr(audit, "PROOFS", PROVED[:2])
    monkeypatch.setattr(audit, "CHECKS", [check for check in audit.CHECKS if check.name in ("expansion", "costs")])
    code, printed, said = run(capsys, "features", "--prove", *how)
    assert (code, said.count("\n")) == (1, 1)
    assert message in said
    if how == ["--json"]:
        assert not all(finding["holds"] for finding in json.loads(printed)["findings"])
    else:
        assert "FAILS: at d" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--orders", "-1"], "order -1"),
        (["--orders", "3:1"], "runs backwards"),
        (["--orders", "513"], "from 0 to 512"),
        (["--head-sizes", "0"], "head size 0"),
        (["--head-sizes", "-8"], "head size -8"),
        (["--head-sizes", "8:4"], "write 4:8"),
        (["--head-sizes", "8:63:8"], "end it at 56"),
        (["--value-size", "0"], "value size '0'"),
        (["--value-size", "1.5"], "value size '1.5'"),
        (["--width", "0"], "width 0"),
        (["--width", "8192:1024"], "runs backwards"),
        (["--width", "1024:5000"], "end it at 4096, or choose the step"),
        (["--width", "wide"], "width 'wide'"),
        (["--storage", "float7"], "storage 'float7'; expected one of float64, float32"),
        (["--head-sizes", "9" * 20], "from 1 to 65536"),
        (["--mechanism", "power", "--orders", "0:8:2"], "degree 0; expected an integer from 2 to 64 in steps of 2"),
        (["--mechanism", "power", "--orders", "8:66:2"], "degree 66; expected an integer from 2 to 64 in steps of 2"),
        (["--mechanism", "power", "--orders", "2,66,4"], "degree 66; expected an integer from 2 to 64 in steps of 2"),
        (["--orders", "0:7:2"], "end it at 6, or choose the step"),
        (["--as", "html"], "style 'html'; expected one of plain"),
        (["--as", "csv", "--json"], "--as csv with --json"),
        (["--prove", "--orders", "3"], "--orders with --prove"),
        (["--prove", "--monomials"], "--monomials with --prove"),
        (["--monomials", "--width", "64"], "--width with --monomials"),
    ],
)
def test_bad_requests(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys, "features", *arguments)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert message in said
