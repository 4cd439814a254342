"""Every number stands where it belongs: a run in which no two are the same."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.answers import answers
from reports.frame import Runs, load_runs
from reports.tables import input_sections
from verify.attention.hazards import Hazards
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary, WeightSummary
from verify.mechanisms.registry import known, named_variant
from verify.sweep import Record, RunFile, Status


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """A run in which every number is another one, so that no table or curve can show the wrong one unnoticed."""
    numbers = (1.0 + count / 1000 for count in range(100_000))
    counts = iter(range(100, 100_000))

    def filled(kind: Any, **more: Any) -> Any:
        values: dict[str, Any] = {"float": numbers, "int": counts}
        plain = {f.name: next(values[str(f.type)]) for f in dataclasses.fields(kind) if str(f.type) in values}
        return kind(**plain, **more)

    blank = Record("x", "sample", "digest", 8, 4, 11, 12, 13, True, 0.5, None, 14.0, 15.0, (1.0, 2.5), 17, 16)
    path = tmp_path / "run.sqlite"
    with RunFile(path, write=True) as run:
        run.begin("now", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
        for name in ("softmax", "logexp", "taylor"):
            run.describe(known().mechanism(name).descriptor(), [])
        variants = ["softmax/softmax", "logexp/quadratic"]
        variants += [f"taylor:order={order}/{form}" for form in ("scores", "packed") for order in (0, 3, 5)]
        for key, (arithmetic, variant) in enumerate(product(("float64", "float32"), map(named_variant, variants))):
            member = variant.member
            inherent = ["formula"] if member.of != "softmax" else []
            record = dataclasses.replace(
                blank,
                mechanism=member.of,
                member=member.name,
                labels=member.mechanism.labels(member),
                form=variant.form,
                arithmetic=arithmetic,
                status=Status.OK,
                errors={name: filled(ErrorSummary) for name in ("rounding", "quantisation", "total", *inherent)},
                skill=next(numbers),
                softmax_ratio=next(numbers),
                nonpositive_exact=next(counts),
                hazards=filled(Hazards),
                weights=filled(WeightSummary, by_distance=((0, 0, 1.5, 2.5),)),
                output_rows=filled(RowSummary, by_position=((0, 0, 3.5, 1.0, 2.0, 3.0),)),
                bounds={name: filled(BoundSummary) for name in ("rounding", "rounding_probable", *inherent)},
                softmax_rounding=next(numbers),
                per_head=(filled(HeadSummary, head=(0,), formula=None if member.of == "softmax" else next(numbers)),),
                undefined=next(counts),
                digits=next(counts),
                without_digits=next(counts),
                features=next(counts) if variant.form == "packed" else None,
                state_elements=next(counts),
                flops_per_token=next(counts),
            )
            run.write(str(key), record)
    return load_runs([path])


@pytest.fixture
def distinct(runs: Runs) -> pd.DataFrame:
    """The cells of that run."""
    return runs.frame


def of(frame: pd.DataFrame, mechanism: str) -> pd.DataFrame:
    return frame[frame["mechanism"] == mechanism]


def cell(frame: pd.DataFrame, mechanism: str, form: str, arithmetic: str, order: int | None = None) -> Any:
    chosen = of(frame, mechanism)
    chosen = chosen[(chosen["form"] == form) & (chosen["arithmetic"] == arithmetic)]
    return (chosen if order is None else chosen[chosen["order"] == order]).iloc[0]


def exact_text(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def test_every_column_shows_its_own_number(runs: Runs, distinct: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("error_text", "skill_text", "percent_text"):
        monkeypatch.setattr(f"reports.tables.{name}", exact_text)  # two digits would hide which number it is
    curve = [cell(distinct, "taylor", "scores", "float32", order) for order in (0, 3, 5)]
    middle = sorted(own["total_relative"] for own in curve)[1]
    found = answers(runs)
    (section,) = input_sections(runs, found)
    (taylor,) = section.mechanisms
    facts = dict(section.facts)
    assert facts["heads x queries x keys"] == "13 x 11 x 12"
    assert (facts["d_k, d_v"], facts["scale"], facts["causal"], facts["rows"]) == ("8, 4", "0.5", "yes", "16 of 17")
    assert (facts["largest attended |logit|"], facts["standard deviation of the logits"]) == ("14", "15")
    assert facts["certified digits of exact values"] == f"at least {distinct['digits'].min()}"
    variants = [(a, f) for a in ("float64", "float32") for f in ("scores", "packed")]
    for position, order in enumerate((0, 3, 5)):
        total = dict(zip(taylor.totals.columns, taylor.totals.rows[position], strict=True))
        rounding = dict(zip(taylor.roundings.columns, taylor.roundings.rows[position], strict=True))
        exact = distinct[distinct["order"] == order].iloc[0]
        least = distinct[distinct["order"] == order]["features"].dropna().min()
        assert (total["order"], total["terms"], total["features"]) == (str(order), str(order + 1), f"{least:,}")
        assert total["rows with Z <= 0"] == f"{exact['nonpositive_exact']} of 16"
        assert total["truncation"] == exact_text(exact["formula_relative"])
        assert total["truncation max"] == exact_text(exact["formula_max"])
        assert total["skill"] == exact_text(cell(distinct, "taylor", "scores", "float32", order)["skill"])
        assert (rounding["order"], rounding["terms"]) == (str(order), str(order + 1))
        for arithmetic, form in variants:
            own = cell(distinct, "taylor", form, arithmetic, order)
            assert total[f"total {arithmetic} {form}"] == exact_text(own["total_relative"])
            assert rounding[f"rounding {arithmetic} {form}"] == exact_text(own["rounding_relative"])
            assert rounding[f"Z <= 0 computed, {arithmetic} {form}"] == str(own["nonpositive_rows"])
    for row in section.others.rows:
        shown = dict(zip(section.others.columns, row, strict=True))
        own = cell(distinct, shown["mechanism"], shown["form"], shown["arithmetic"])
        deviation = "exact" if shown["mechanism"] == "softmax" else exact_text(own["formula_relative"])
        assert (shown["deviation"], shown["rounding"]) == (deviation, exact_text(own["rounding_relative"]))
        assert (shown["total"], shown["skill"]) == (exact_text(own["total_relative"]), exact_text(own["skill"]))
        assert (shown["state"], shown["FLOPs/token"]) == (str(own["state_elements"]), str(own["flops_per_token"]))
    answer = found[-1]
    assert (answer.arithmetic, [column.member for column in answer.columns]) == (
        "float32",
        ["taylor:order=0", "taylor:order=3", "taylor:order=5", "logexp"],
    )
    (subject,) = answer.subjects
    assert (subject.largest_logit, subject.head_size, subject.value_size) == (14.0, 8, 4)
    assert [subject.points[place].error for place in range(3)] == [own["total_relative"] for own in curve]
    assert [subject.points[place].nonpositive for place in range(3)] == [own["nonpositive_exact"] for own in curve]
    assert subject.points[3].error == cell(distinct, "logexp", "quadratic", "float32")["total_relative"]
    assert subject.softmax in distinct[distinct["arithmetic"] == "float32"]["softmax_rounding"].tolist()
    best = min(curve, key=lambda own: float(own["total_relative"]))
    found_best = answer.best(subject, "taylor")
    assert found_best is not None
    assert (found_best[0].along, found_best[1].error) == (best["order"], best["total_relative"])
    enough = [own["order"] for own in curve if own["total_relative"] <= middle]
    column = answer.reached(subject, "taylor", middle)
    assert column is not None
    assert column.along == enough[0]
    assert answer.reached(subject, "taylor", 1.0) is None
