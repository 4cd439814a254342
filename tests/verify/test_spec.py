"""What a sweep is asked for: cells from plans, orders and arithmetics, and the keys by which they are found again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL_SPEC
from tests.sweeps import plans, records, run
from verify.arguments import Parameter, Whole
from verify.attention import Member
from verify.errors import InvalidRequestError, MechanismError
from verify.families.logit import LogitKernel
from verify.inputs import SyntheticInput
from verify.mechanisms import Registry
from verify.mechanisms.registry import Plan
from verify.mechanisms.taylor.mechanism import LARGEST_ORDER, TAYLOR
from verify.numbers.fields import Field, Number
from verify.sweep import SweepSpec
from verify.sweep.spec import cell_key

INPUT = SyntheticInput("normal", 3, 6)


def names(*texts: str, orders: tuple[int, ...] = (0, 3), arithmetics: tuple[str, ...] = ("float64",)) -> list[str]:
    """Return the cells of a sweep by name."""
    return named(plans(*texts), orders, arithmetics)


def named(chosen: tuple[Plan, ...], orders: tuple[int, ...], arithmetics: tuple[str, ...] = ("float64",)) -> list[str]:
    return [cell.variant.name for cell in SweepSpec((INPUT,), chosen, orders, arithmetics).cells()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ()}, "sweep of nothing"),
        ({"plans": ()}, "sweep of nothing"),
        ({"arithmetics": ()}, "sweep of nothing"),
        ({"orders": (), "plans": plans("taylor/scores")}, "sweep of nothing"),
        ({"orders": (-1,)}, "order -1; expected an integer of at least 0"),
        ({"orders": (-1,), "plans": plans("softmax/softmax")}, "order -1; expected an integer of at least 0"),
        ({"orders": (True,)}, "order True; expected an integer of at least 0"),
        ({"orders": (LARGEST_ORDER + 1,)}, "order 513; expected an integer from 0 to 512"),
        ({"arithmetics": ("float7",)}, "unknown arithmetic"),
    ],
)
def test_specs_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        dataclasses.replace(SMALL_SPEC, **change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("power:degree=2:7/scores", "degree '2:7'; expected a last number that is reached in steps of 2"),
        ("power:degree=1:5/scores", "degree 1; expected integers from 2 to 64"),
        ("power:degree=2:6:3/scores", "degree '2:6:3'; expected a last number that is reached in steps of 3"),
        ("power:degree=2:5:3/scores", "degree 5; expected an integer from 2 to 64 in steps of 2"),
        ("favor:features=1:2000/pairs", "expected at most 1000 values"),
        ("favor:features=2:1/pairs", "which runs backwards"),
        ("mine.py/pairs", "mechanism 'mine.py/pairs'; expected FILE.py:NAME"),
        ("taylor/fast", "form 'fast' of mechanism 'taylor'; expected one of scores, packed"),
        ("relu/scores", "unknown mechanism 'relu'; expected one of softmax, logexp, taylor"),
        ("taylor:order=-1/packed", "order -1; expected an integer from 0 to 512"),
        ("taylor:order=2.5/packed", "order '2.5'; expected an integer from 0 to 512"),
        ("taylor:order=2,order=3/packed", "'order' given twice"),
        ("taylor:depth=2/packed", "unknown parameter 'depth'; expected one of order"),
        ("taylor:order/packed", "'order' in .*; expected NAME=VALUE"),
        ("taylor/packed:side=left", "side 'left'; expected one of "),
        ("taylor/packed:side=both,side=query", "'side' given twice"),
        ("taylor/packed:speed=7", "unknown option 'speed'; expected one of .*side"),
        ("taylor/packed:chunk=0", "chunk 0; expected an integer of at least 1"),
        ("taylor/packed:compensated=1", "compensated '1'; expected yes or no"),
        ("taylor/packed:watch=yes", "unknown option 'watch'"),
        ("softmax:order=3/softmax", "unknown parameter 'order'; expected no parameters of softmax"),
        ("favor:seed=2147483648/stream", "seed 2147483648; expected an integer from 0 to 2147483647"),
        ("favor:features=0/stream", "features 0; expected an integer from 1 to 65536"),
    ],
)
def test_plans_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        names(text)
    assert len(str(caught.value).splitlines()) == 1


def test_orders_are_swept_where_none_is_given() -> None:
    assert names("taylor/packed", "softmax/softmax") == [
        *("taylor:order=0/packed", "taylor:order=3/packed", "softmax/softmax"),
    ]
    assert names("taylor:order=2/packed:side=both,degrees=apart", "taylor/packed") == [
        "taylor:order=2/packed:side=both,degrees=apart",
        "taylor:order=0/packed",
        "taylor:order=3/packed",
    ]
    # options go with every order, whatever their own order
    assert names("taylor/packed:degrees=apart,side=both") == [
        "taylor:order=0/packed:side=both,degrees=apart",
        "taylor:order=3/packed:side=both,degrees=apart",
    ]
    assert names("taylor:order=7/scores", orders=()) == ["taylor:order=7/scores"]
    assert names("softmax/softmax", "taylor/scores", orders=()) == ["softmax/softmax"]
    # a range of a parameter, in its own steps unless another is given, and ranges of two
    assert names("power:degree=2:6/scores") == [f"power:degree={degree}/scores" for degree in (2, 4, 6)]
    assert names("favor:features=8:24:8,seed=0:1/pairs") == [
        f"favor:features={features},seed={seed}/pairs" for features in (8, 16, 24) for seed in (0, 1)
    ]
    assert names("favor:features=2,seed=2147483647/pairs") == ["favor:features=2,seed=2147483647/pairs"]
    # all forms of a mechanism
    assert names("taylor:order=1", "elu") == [
        *(f"taylor:order=1/{form}" for form in ("scores", "packed", "stream", "dense")),
        *("elu/pairs", "elu/stream"),
    ]


def test_cells_of_equal_meaning_are_one() -> None:
    assert names("taylor/packed", "taylor/packed:side=query,degrees=together,compensated=no", orders=(3,)) == [
        "taylor:order=3/packed"
    ]
    assert names("taylor:order=3/packed", "taylor/packed", orders=(2, 3, 2)) == [
        *("taylor:order=3/packed", "taylor:order=2/packed"),
    ]
    assert names("favor/stream", "favor:seed=0,features=64/stream", "favor:features=64/stream") == [
        "favor:features=64,seed=0/stream"
    ]
    assert names("softmax", "softmax/online", "softmax/softmax") == ["softmax/softmax", "softmax/online"]
    assert len(names("taylor/packed", "taylor/packed:side=both", orders=(3,))) == 2
    assert len(names("softmax/softmax", arithmetics=("float32", "float64", "float32"))) == 2


class Ordered(LogitKernel):
    """exp(s) / order, its parameter called order, and its axis perhaps another one."""

    description = "here"
    source = "here"
    parameters: Mapping[str, Parameter] = {"order": Whole(1, least=1, most=9), "depth": Whole(4, least=1)}

    def __init__(self, name: str, axis: str | None) -> None:
        self.name, self.axis = name, axis

    def function(self, f: Field, s: Number, member: Member) -> Number:
        return f.exp(s) / member["order"]


def test_only_an_axis_that_is_called_order_is_swept() -> None:
    own = Registry({name: Ordered(name, axis) for name, axis in (("one", "order"), ("two", "depth"), ("none", None))})
    assert named(tuple(own.plans(["one/pairs", "two/pairs", "none/pairs"])), (2, 3)) == [
        "one:order=2,depth=4/pairs",
        "one:order=3,depth=4/pairs",
        "two:order=1,depth=4/pairs",
        "none:order=1,depth=4/pairs",
    ]
    assert named(tuple(own.plans(["one:depth=7/pairs", "one:order=5/pairs"])), (2,)) == [
        *("one:order=2,depth=7/pairs", "one:order=5,depth=4/pairs"),
    ]
    assert names("favor/pairs", "power/scores", orders=(0, 1)) == [
        *("favor:features=64,seed=0/pairs", "power:degree=2/scores"),
    ]
    with pytest.raises(InvalidRequestError, match="order 10; expected an integer from 1 to 9"):
        named(tuple(own.plans(["one/pairs"])), (10,))


def test_members_that_are_listed_are_swept(tmp_path: Path) -> None:
    listed = [f"favor:features={count}/stream" for count in (2, 4, 8)]
    chosen = plans(*listed, "favor:features=8,seed=1/stream", "power:degree=4/stream", "softmax/softmax")
    spec = SweepSpec((INPUT,), chosen, (0, 1), ("float64",))
    summary = run(spec, tmp_path / "run.sqlite")
    assert (summary.cells, summary.by_status["ok"]) == (6, 6)
    found = {record["member"]: record for record in records(tmp_path / "run.sqlite")}
    assert set(found) == {
        *(f"favor:features={count},seed=0" for count in (2, 4, 8)),
        *("favor:features=8,seed=1", "power:degree=4", "softmax"),
    }
    for record in found.values():
        assert record["labels"] == {} or record["mechanism"] in ("favor", "power")
        assert ("formula" in record["errors"]) == (record["mechanism"] != "softmax")
    features = [found[f"favor:features={count},seed=0"] for count in (2, 4, 8)]
    assert [record["labels"] for record in features] == [{"features": count, "seed": 0} for count in (2, 4, 8)]
    assert [record["features"] for record in features] == [2, 4, 8]
    assert len({record["errors"]["formula"]["rms"] for record in found.values() if "formula" in record["errors"]}) == 5


def test_a_spec_in_words() -> None:
    spec = SweepSpec((INPUT,), plans("taylor/packed:side=both", "softmax/softmax"), (1, 2), ("float64", "float32"))
    assert spec.describe() == {
        "inputs": [INPUT.name],
        "cells": ["taylor:order=1/packed:side=both", "taylor:order=2/packed:side=both", "softmax/softmax"],
        "arithmetics": ["float64", "float32"],
    }


def test_everything_that_determines_a_record_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    source, other = SMALL_SPEC.inputs
    spec = dataclasses.replace(SMALL_SPEC, plans=(*SMALL_SPEC.plans, *plans("taylor/packed:side=both", "favor")))
    cells = list(spec.cells())
    assert len(cells) == len(list(SMALL_SPEC.cells())) + 2 * (3 + 2)
    cell = cells[0]
    monkeypatch.setattr("verify.sweep.spec.code_digest", lambda mechanism: "code")
    keys = {
        cell_key(cell, source, "digest", None),
        cell_key(cell, other, "digest", None),
        cell_key(cell, source, "another digest", None),
        cell_key(cell, source, "digest", 8),
        *(cell_key(another, source, "digest", None) for another in cells),
    }
    assert len(keys) == 3 + len(cells)
    monkeypatch.setattr("verify.sweep.spec.code_digest", lambda mechanism: f"other code of {mechanism.name}")
    keys.add(cell_key(cell, source, "digest", None))
    monkeypatch.setattr("verify.sweep.spec.DIGITS", 34)
    keys.add(cell_key(cell, source, "digest", None))
    monkeypatch.setattr("verify.sweep.spec.SCHEMA", 99)
    keys.add(cell_key(cell, source, "digest", None))
    assert len(keys) == 6 + len(cells)


def test_labels_of_one_mechanism_have_the_same_names() -> None:
    class Labelled(LogitKernel):
        name, description, source = "labelled", "exp", "a test"
        parameters: Mapping[str, Parameter] = {"n": Whole(1, least=1)}

        def function(self, f: Any, s: Any, member: Any) -> Any:
            return f.exp(s)

        def labels(self, member: Any) -> dict[str, Any]:
            return {"a": 1} if member["n"] == 1 else {"b": 1}

    made = Labelled()
    both = tuple(Plan(made, (("n", n),), "pairs", ()) for n in (1, 2))
    assert len(list(SweepSpec((INPUT,), both[:1], (), ("float64",)).cells())) == 1
    with pytest.raises(MechanismError, match=r"labels {'b': 1} of labelled:n=2; expected the names of {'a': 1}"):
        SweepSpec((INPUT,), both, (), ("float64",))


def test_orders_end_at_the_largest() -> None:
    """1/512! is 10^-1167: no format holds what a higher order adds, and counts of features have hundreds of digits."""
    assert TAYLOR.member(order=512)["order"] == LARGEST_ORDER
    with pytest.raises(InvalidRequestError, match="order 513; expected an integer from 0 to 512"):
        TAYLOR.member(order=513)
